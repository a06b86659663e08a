"""The arithmetic of comparing: medians, intervals, geometric means, and what counts as a tie.

Ratios are formed within a round, between processes that ran next to each other, so that a machine
that slows down for a while slows both sides. An interval is a bootstrap over rounds. Differences
inside the spread of the A/A pair (carrel against a copy of itself) are ties. Nothing here knows
what a workload is.
"""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass
from typing import Callable, Iterable, Mapping, Sequence

RESAMPLES = 1000
CONFIDENCE = 0.95
# Below this many rounds a bootstrap of the median says less than the extremes do.
FEWEST_FOR_BOOTSTRAP = 5


@dataclass(frozen=True)
class Interval:
    """A value with its spread; low <= value <= high."""

    value: float
    low: float
    high: float

    def as_list(self) -> list[float]:
        return [self.value, self.low, self.high]


def geomean(values: Iterable[float]) -> float:
    """The geometric mean of positive numbers; nan for none."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """Linear between the neighbours, of values already sorted."""
    if not ordered:
        return math.nan
    at = fraction * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def bootstrap(count: int, statistic: Callable[[Sequence[int]], float], seed: int = 1) -> Interval:
    """The statistic over all of `count` rounds and its interval over resampled rounds.

    `statistic` gets indices of rounds. With one round there is no spread to speak of.
    """
    everything = list(range(count))
    value = statistic(everything)
    if count < 2:
        return Interval(value, value, value)
    rng = random.Random(seed)
    drawn = sorted(result for result in
                   (statistic(rng.choices(everything, k=count)) for _ in range(RESAMPLES))
                   if not math.isnan(result))
    if not drawn:
        return Interval(value, value, value)
    tail = (1 - CONFIDENCE) / 2
    return Interval(value, min(value, percentile(drawn, tail)),
                    max(value, percentile(drawn, 1 - tail)))


def spread(values: Sequence[float]) -> Interval:
    """The median with its interval: a bootstrap, or the extremes where there are few values."""
    if not values:
        return Interval(math.nan, math.nan, math.nan)
    if len(values) < FEWEST_FOR_BOOTSTRAP:
        return Interval(statistics.median(values), min(values), max(values))
    return bootstrap(len(values), lambda rounds: statistics.median(values[i] for i in rounds))


def paired_ratio(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Interval:
    """Median over rounds of ours / theirs, from values by round; only rounds that have both."""
    return spread([ours[r] / theirs[r] for r in sorted(ours) if theirs.get(r, 0) > 0])


def noise_of(pair: Interval) -> float:
    """Half the width, in logarithms, of what the A/A pair shows for one and the same library."""
    if math.isnan(pair.value):
        return math.nan
    return max(abs(math.log(pair.low)), abs(math.log(pair.high)))


def is_tie(ratio: float, noise: float) -> bool:
    """Whether a ratio lies within the A/A spread; never when that spread is not known."""
    return not math.isnan(noise) and not math.isnan(ratio) and abs(math.log(ratio)) <= noise


def geomean_of_ratios(pairs: Sequence[tuple[Mapping[int, float], Mapping[int, float]]],
                      seed: int = 1) -> Interval:
    """Geometric mean over workloads of the median of ours / theirs, rounds resampled together."""
    ratios = [{r: ours[r] / theirs[r] for r in ours if theirs.get(r, 0) > 0}
              for ours, theirs in pairs]
    ratios = [by_round for by_round in ratios if by_round]
    if not ratios:
        return Interval(math.nan, math.nan, math.nan)
    rounds = sorted({r for by_round in ratios for r in by_round})

    def mean_over(indices: Sequence[int]) -> float:
        medians = []
        for by_round in ratios:
            values = [by_round[rounds[i]] for i in indices if rounds[i] in by_round]
            if values:
                medians.append(statistics.median(values))
        return geomean(medians)

    return bootstrap(len(rounds), mean_over, seed)
