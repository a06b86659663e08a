"""growth: what counts as growth, and what does not."""

from __future__ import annotations

import random
import unittest

from growth import MIB, Margin, TooFew, judge

MARGIN = Margin(0.05, 4 * MIB)


def series(shape, count: int = 400, noise: float = 2.0) -> list[tuple[float, float]]:
    """`shape` gives MiB for a time from 0 to 1; an hour in all."""
    chance = random.Random(5)
    return [(3600 * i / count, (shape(i / count) + chance.gauss(0, noise)) * MIB)
            for i in range(count)]


class Growth(unittest.TestCase):
    def grows(self, shape, noise: float = 2.0) -> bool:
        return judge(series(shape, noise=noise), MARGIN).grows

    def test_level_memory_does_not_grow(self) -> None:
        self.assertFalse(self.grows(lambda t: 100))

    def test_a_steady_leak_is_growth(self) -> None:
        self.assertTrue(self.grows(lambda t: 100 + 20 * t))

    def test_a_leak_below_the_margin_is_none(self) -> None:
        self.assertFalse(self.grows(lambda t: 100 + 4 * t))

    def test_warm_up_is_not_looked_at(self) -> None:
        self.assertFalse(self.grows(lambda t: 100 * min(1, t / 0.2)))

    def test_a_saw_is_no_growth(self) -> None:
        self.assertFalse(self.grows(lambda t: 100 + 40 * (t * 13 % 1)))

    def test_a_leak_under_a_saw_is_growth(self) -> None:
        self.assertTrue(self.grows(lambda t: 100 + 40 * (t * 13 % 1) + 40 * t))

    def test_peaks_are_no_growth(self) -> None:
        self.assertFalse(self.grows(lambda t: 900 if t > 0.75 and int(t * 400) % 5 == 0 else 100))

    def test_one_step_in_the_warm_up_is_no_growth(self) -> None:
        self.assertFalse(self.grows(lambda t: 100 if t < 0.2 else 130))

    def test_the_verdict_says_how_much(self) -> None:
        verdict = judge(series(lambda t: 100 + 20 * t, noise=0), MARGIN)
        self.assertAlmostEqual(verdict.slope * 3600 / MIB, 20, delta=0.1)
        self.assertAlmostEqual((verdict.last_quarter - verdict.second_quarter) / MIB, 10, delta=0.2)
        self.assertAlmostEqual(verdict.margin / MIB, verdict.second_quarter / MIB * 0.05, places=3)

    def test_too_few_samples_are_refused(self) -> None:
        for samples in ([], [(0.0, 1.0)], [(float(i), 1.0) for i in range(6)]):
            with self.assertRaises(TooFew):
                judge(samples, MARGIN)


if __name__ == "__main__":
    unittest.main()
