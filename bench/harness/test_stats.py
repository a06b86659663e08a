"""Tests of the benchmarks' arithmetic: python3 -m unittest discover -s bench/harness -t bench."""

from __future__ import annotations

import math
import random
import statistics
import unittest

from harness import stats


class Means(unittest.TestCase):
    def test_geomean(self) -> None:
        self.assertAlmostEqual(stats.geomean([2, 8]), 4)
        self.assertAlmostEqual(stats.geomean([0.5, 2]), 1)
        self.assertTrue(math.isnan(stats.geomean([])))

    def test_percentile_is_linear_between_neighbours(self) -> None:
        self.assertEqual(stats.percentile([1, 2, 3], 0.5), 2)
        self.assertAlmostEqual(stats.percentile([0, 10], 0.25), 2.5)
        self.assertEqual(stats.percentile([7], 0.99), 7)


class Intervals(unittest.TestCase):
    def test_few_values_give_their_extremes(self) -> None:
        got = stats.spread([3, 1, 2])
        self.assertEqual(got.as_list(), [2, 1, 3])

    def test_one_value_has_no_spread(self) -> None:
        self.assertEqual(stats.spread([5]).as_list(), [5, 5, 5])
        self.assertEqual(stats.bootstrap(1, lambda rounds: 4.0).as_list(), [4, 4, 4])

    def test_none_is_nan_and_not_an_error(self) -> None:
        self.assertTrue(math.isnan(stats.spread([]).value))

    def test_bootstrap_repeats_and_contains_the_value(self) -> None:
        rng = random.Random(3)
        values = [rng.gauss(100, 5) for _ in range(15)]
        first, again = stats.spread(values), stats.spread(values)
        self.assertEqual(first, again)
        self.assertLessEqual(first.low, first.value)
        self.assertLessEqual(first.value, first.high)
        self.assertEqual(first.value, statistics.median(values))

    def test_bootstrap_covers_the_truth_about_as_often_as_it_says(self) -> None:
        rng = random.Random(11)
        hits = 0
        for _ in range(120):
            got = stats.spread([rng.gauss(50, 4) for _ in range(21)])
            hits += got.low <= 50 <= got.high
        # 95% of 120 is 114; a median's bootstrap is a little off, a wrong one would be far off.
        self.assertGreaterEqual(hits, 102)
        self.assertLess(hits, 121)

    def test_more_noise_is_a_wider_interval(self) -> None:
        rng = random.Random(5)
        steps = [rng.uniform(-1, 1) for _ in range(25)]
        calm = stats.spread([100 + 1 * s for s in steps])
        wild = stats.spread([100 + 20 * s for s in steps])
        self.assertLess(calm.high - calm.low, wild.high - wild.low)


class Ratios(unittest.TestCase):
    def test_ratios_are_formed_within_a_round(self) -> None:
        # The machine is three times slower in round 1; the ratio does not notice.
        ours = {0: 1.0, 1: 3.0, 2: 1.1}
        theirs = {0: 2.0, 1: 6.0, 2: 2.2}
        self.assertEqual([round(x, 9) for x in stats.paired_ratio(ours, theirs).as_list()],
                         [0.5, 0.5, 0.5])

    def test_rounds_that_miss_a_side_are_skipped(self) -> None:
        got = stats.paired_ratio({0: 1.0, 1: 1.0}, {1: 4.0, 2: 9.0})
        self.assertEqual(got.value, 0.25)

    def test_no_common_round_is_nan(self) -> None:
        self.assertTrue(math.isnan(stats.paired_ratio({0: 1.0}, {1: 1.0}).value))

    def test_geomean_of_ratios(self) -> None:
        pairs = [({0: 1.0, 1: 1.0}, {0: 2.0, 1: 2.0}), ({0: 8.0, 1: 8.0}, {0: 4.0, 1: 4.0})]
        got = stats.geomean_of_ratios(pairs)
        self.assertAlmostEqual(got.value, 1.0)
        self.assertAlmostEqual(got.low, 1.0)
        self.assertAlmostEqual(got.high, 1.0)

    def test_geomean_of_ratios_ignores_a_workload_without_a_common_round(self) -> None:
        pairs = [({0: 1.0}, {0: 2.0}), ({0: 1.0}, {1: 100.0})]
        self.assertAlmostEqual(stats.geomean_of_ratios(pairs).value, 0.5)


class Ties(unittest.TestCase):
    def test_a_difference_inside_the_spread_is_a_tie(self) -> None:
        noise = stats.noise_of(stats.Interval(1.0, 0.97, 1.04))
        self.assertAlmostEqual(noise, math.log(1.04))
        self.assertTrue(stats.is_tie(1.03, noise))
        self.assertTrue(stats.is_tie(0.97, noise))
        self.assertFalse(stats.is_tie(1.05, noise))
        self.assertFalse(stats.is_tie(0.95, noise))

    def test_the_spread_is_symmetric(self) -> None:
        noise = stats.noise_of(stats.Interval(0.9, 0.8, 1.01))
        self.assertTrue(stats.is_tie(1.24, noise))
        self.assertFalse(stats.is_tie(1.26, noise))

    def test_without_a_pair_nothing_is_a_tie(self) -> None:
        self.assertFalse(stats.is_tie(1.0, math.nan))
        self.assertTrue(math.isnan(stats.noise_of(stats.spread([]))))


if __name__ == "__main__":
    unittest.main()
