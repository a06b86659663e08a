"""growth: whether a server's memory keeps growing, from samples over time.

The first quarter of the time is warm-up and is not looked at. There is growth when both hold:

- the median of the last quarter is more than the margin above the median of the second quarter;
- the trend over the last three quarters, as the median of the slopes between pairs of samples
  (Theil and Sen's), carried over half of the time, which is what lies between those two quarters'
  middles, is more than the margin too.

A single peak moves neither; a jump at the end moves the first only. The margin is a share of the
second quarter's median, and never less than some MiB. It draws and prints nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

Samples = list[tuple[float, float]]  # seconds, bytes; by time
MIB = 2.0 ** 20
MOST_POINTS = 300  # of the slope's pairs: their number is its square


@dataclass(frozen=True)
class Margin:
    """How much more is no growth yet."""

    share: float = 0.05
    least_bytes: float = 4 * MIB

    def over(self, bytes_: float) -> float:
        return max(self.share * bytes_, self.least_bytes)


@dataclass(frozen=True)
class Verdict:
    """What was found; all sizes in bytes, the slope in bytes a second."""

    grows: bool
    second_quarter: float
    last_quarter: float
    slope: float
    seconds: float
    margin: float

    def sentence(self) -> str:
        return (f"{self.second_quarter / MIB:.1f} MiB in the second quarter, "
                f"{self.last_quarter / MIB:.1f} MiB in the last, trend "
                f"{self.slope * 3600 / MIB:+.2f} MiB an hour; growth beyond "
                f"{self.margin / MIB:.1f} MiB would be too much")


class TooFew(ValueError):
    """Not enough samples for a verdict."""


def thinned(samples: Samples) -> Samples:
    step = -(-len(samples) // MOST_POINTS)
    return samples[::step]


def slope(samples: Samples) -> float:
    """The median of the slopes between all pairs, in bytes a second."""
    points = thinned(samples)
    return median((b - a) / (t - s) for i, (s, a) in enumerate(points) for t, b in points[i + 1:]
                  if t > s)


def judge(samples: Samples, margin: Margin) -> Verdict:
    if not samples:
        raise TooFew("no samples")
    begin, end = samples[0][0], samples[-1][0]
    quarter = (end - begin) / 4
    second = [b for t, b in samples if begin + quarter <= t < begin + 2 * quarter]
    last = [b for t, b in samples if t >= end - quarter]
    if len(second) < 3 or len(last) < 3:
        raise TooFew(f"{len(samples)} samples are too few to judge by; let it run longer")
    before, after = median(second), median(last)
    trend = slope([(t, b) for t, b in samples if t >= begin + quarter])
    most = margin.over(before)
    grows = after - before > most and trend * (end - begin) / 2 > most
    return Verdict(grows, before, after, trend, end - begin, most)
