"""Tests of what is made of samples: ratios, ties, bounds, who is best, which aims are reached."""

from __future__ import annotations

import json
import math
import unittest

from harness import report_html, report_text, targets
from harness.allocators import Allocator
from harness.runner import Sample
from harness.summary import Row, Summary


def allocator(name: str, group: str = "peer") -> Allocator:
    return Allocator(name, group, None, "", "1", "", "", {})


def samples(workload: str, name: str, seconds: list[float], rss: int = 1000,
            status: str = "ok", **metrics: float) -> list[Sample]:
    return [Sample(workload, name, number, status, seconds=value, rss_kib=rss, metrics=metrics)
            for number, value in enumerate(seconds)]


ALLOCATORS = [allocator("carrel", "ours"), allocator("carrel-aa", "ours"), allocator("glibc"),
              allocator("fast"), allocator("stuck")]
ROWS = [Row("one", "the first", "timed", ""), Row("two", "the second", "timed", ""),
        Row("trivial", "tiny", "trivial", ""), Row("two-floor", "two by hand", "floor", "two")]


def example() -> Summary:
    found = (samples("one", "carrel", [1.0, 1.1, 1.0], 100)
             + samples("one", "carrel-aa", [1.05, 1.1, 0.98], 101)
             + samples("one", "glibc", [2.0, 2.2, 2.0], 50)
             + samples("one", "fast", [0.98, 1.08, 0.97], 400)
             + samples("one", "stuck", [30.0], 9000, "dnf")
             + samples("two", "carrel", [4.0, 4.0, 4.0]) + samples("two", "carrel-aa", [4.0] * 3)
             + samples("two", "glibc", [4.0, 4.0, 4.0]) + samples("two", "fast", [2.0, 2.0, 2.0])
             + [Sample("two", "stuck", 0, "failed", error="killed by SIGSEGV")]
             + samples("trivial", "carrel", [0.0], 1300) + samples("trivial", "glibc", [0.0], 1100)
             + samples("two-floor", "none", [2.0, 2.0, 2.0]))
    return Summary(ROWS, ALLOCATORS, found)


class Tables(unittest.TestCase):
    def setUp(self) -> None:
        self.summary = example()
        self.result = self.summary.as_json()
        self.first, self.second = self.result["time"]

    def test_carrel_is_the_base_and_never_its_own_peer(self) -> None:
        self.assertEqual(self.result["base"], "carrel")
        self.assertEqual(self.result["peers"], ["glibc", "fast", "stuck"])

    def test_ratios_are_carrel_over_the_peer(self) -> None:
        self.assertAlmostEqual(self.first["cells"]["glibc"]["ratio"][0], 0.5)
        self.assertAlmostEqual(self.second["cells"]["fast"]["ratio"][0], 2.0)

    def test_the_best_peer_is_the_fastest_that_finished(self) -> None:
        self.assertEqual(self.first["best"], "fast")
        self.assertEqual(self.summary.lowest("one", self.summary.rss), "glibc")

    def test_inside_the_spread_is_a_tie(self) -> None:
        self.assertTrue(self.first["cells"]["fast"]["tie"])
        self.assertFalse(self.first["cells"]["glibc"]["tie"])
        # Both copies took exactly as long, so any difference is one.
        self.assertFalse(self.second["cells"]["fast"]["tie"])

    def test_not_finishing_is_a_bound_and_failing_has_no_number(self) -> None:
        self.assertEqual(self.first["cells"]["stuck"]["status"], "dnf")
        self.assertAlmostEqual(self.first["cells"]["stuck"]["ratio"][0], 1 / 30)
        self.assertTrue(math.isnan(self.second["cells"]["stuck"]["ratio"][0]))
        means = self.result["geomean_time"]["stuck"]
        self.assertEqual((means["workloads"], means["of"]), (1, 2))
        self.assertEqual((means["dnf"], means["failed"]), (["one"], ["two"]))
        self.assertEqual({p["status"] for p in self.result["problems"]}, {"dnf", "failed"})

    def test_geometric_means(self) -> None:
        over_glibc = self.result["geomean_time"]["glibc"]["base_over"][0]
        self.assertAlmostEqual(over_glibc, math.sqrt(0.5 * 1.0))
        over_best = self.result["geomean_time"]["carrel"]["over_best"][0]
        self.assertAlmostEqual(over_best, math.sqrt(1.0 / 0.98 * 2.0), places=2)

    def test_floors_are_set_beside_their_workload(self) -> None:
        floor, = self.result["floors"]
        self.assertEqual(floor["of"], "two")
        self.assertAlmostEqual(floor["over"]["carrel"][0], 2.0)

    def test_aims(self) -> None:
        verdicts = {v["what"]: v for v in targets.judge(self.result)}
        worst = verdicts["worst single workload, to its best peer"]
        self.assertEqual((worst["met"], worst["measured"]), (False, "2.000 (two)"))
        self.assertTrue(verdicts["trivial process: RSS above glibc's"]["met"])
        self.assertIsNone(verdicts["p99.9 of malloc, to the lowest peer"]["met"])

    def test_without_carrel_there_are_no_aims(self) -> None:
        others = Summary(ROWS, ALLOCATORS[2:4], samples("one", "glibc", [2.0])
                         + samples("one", "fast", [1.0]))
        result = others.as_json()
        self.assertEqual(result["base"], "glibc")
        self.assertEqual(targets.judge(result), [])
        self.assertAlmostEqual(result["time"][0]["to_best"][0], 2.0)


class Reports(unittest.TestCase):
    def document(self) -> dict:
        result = example().as_json()
        return {"machine": {"cpu": "a </script> b"}, "run": {"seed": 1},
                "allocators": [{"name": a.name, "version": "1", "library": "", "identity": "",
                                "origin": "here"} for a in ALLOCATORS],
                "missing": [{"name": "scudo", "reason": "not found; get it with: apt-get"}],
                "absent_apps": [], "summary": result, "targets": targets.judge(result),
                "quotable": False, "why_not_quotable": "3 rounds", "not_reached": ["larson"]}

    def test_text_names_everything_that_is_missing_or_went_wrong(self) -> None:
        text = report_text.render(self.document())
        for part in ("left out: scudo: not found", "stuck: killed by SIGSEGV", "<0.03", "1.02~",
                     "not run for lack of time: larson", "3 rounds"):
            self.assertIn(part, text)

    def test_page_is_whole_and_safe(self) -> None:
        document = json.loads(json.dumps(self.document()).replace("NaN", "null"))
        page = report_html.render(document)
        self.assertNotIn("a </script> b", page)
        self.assertEqual(page.count("</script>"), 1)
        for outside in ("http://www.w3.org/2000/svg",):
            page = page.replace(outside, "")
        self.assertNotIn("http", page)


if __name__ == "__main__":
    unittest.main()
