"""carrel diff: made-up documents whose differences are known, and two real runs of one program that
was changed to keep more.

    python3 diff_test.py --carrel build/release/bin/carrel
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

import report_sample

carrel: str

# Keeps ARGUMENT blocks of 1,000 bytes; what else it does never changes.
KEEPER = r"""
#include <stdlib.h>
void* blocks[100000];
__attribute__((noinline)) void* keep_one(void) { return malloc(1000); }
__attribute__((noinline)) void* same_as_ever(void) { return malloc(500); }
int main(int argc, char** argv) {
  int count = argc > 1 ? atoi(argv[1]) : 0;
  for (int i = 0; i < 1000; ++i) blocks[count + i] = same_as_ever();
  for (int i = 0; i < count; ++i) blocks[i] = keep_one();
  return 0;
}
"""


class Diff(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="carrel-diff-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.document = report_sample.make_document()

    def write(self, name: str, document: dict[str, Any]) -> str:
        path = self.folder / name
        path.write_text(json.dumps(document))
        return str(path)

    def diff(self, *arguments: str) -> str:
        return subprocess.run([carrel, "diff", *arguments], check=True, capture_output=True,
                              text=True).stdout

    def test_a_document_does_not_differ_from_itself(self) -> None:
        place = self.write("a.json", self.document)
        out = json.loads(self.diff(place, place, "--json"))
        self.assertEqual(out["stacks"], [])
        for entry in out["totals"] + out["sizes"]:
            self.assertEqual(entry["before"], entry["after"])
        self.assertIn("No call site differs", self.diff(place, place))

    def test_what_grew_comes_first_with_its_numbers(self) -> None:
        other = copy.deepcopy(self.document)
        other["totals"]["peak_live_bytes"] *= 2
        stacks = other["stacks"]["stacks"]
        stacks[3]["peak_bytes"] += 50 << 20
        stacks[5]["peak_bytes"] += 20 << 20
        gone = stacks.pop(7)
        before = self.write("a.json", self.document)
        after = self.write("b.json", other)
        out = json.loads(self.diff(before, after, "--json"))
        names = [frame["function"] for frame in other["stacks"]["frames"]]
        first, second = out["stacks"][:2]
        self.assertEqual(first["frames"], [names[i] for i in reversed(stacks[3]["frames"])])
        self.assertEqual(first["after"] - first["before"], 50 << 20)
        self.assertEqual(second["after"] - second["before"], 20 << 20)
        lost = [s for s in out["stacks"] if s["after"] < s["before"]]
        self.assertEqual(sum(s["before"] - s["after"] for s in lost), gone["peak_bytes"])
        text = self.diff(before, after, "--top", "1")
        self.assertIn("+50.0 MiB", text)
        self.assertIn("+100.0%", text)
        self.assertNotIn("+20.0 MiB", text)

    def test_small_differences_of_sampled_sites_are_marked(self) -> None:
        self.document["provenance"]["trace"]["stack_interval"] = 1 << 20
        other = copy.deepcopy(self.document)
        stacks = other["stacks"]["stacks"]
        biggest = max(stacks, key=lambda stack: stack["peak_bytes"])
        smallest = min(stacks, key=lambda stack: stack["peak_bytes"])
        biggest["peak_bytes"] += 100 << 20
        smallest["peak_bytes"] += 1
        out = json.loads(self.diff(self.write("a.json", self.document),
                                   self.write("b.json", other), "--json"))
        self.assertEqual([stack["chance"] for stack in out["stacks"]], [False, True])

    def test_a_program_that_keeps_more_is_found_out(self) -> None:
        program = str(self.folder / "keeper")
        subprocess.run(["cc", "-x", "c", "-", "-O1", "-g", "-o", program], input=KEEPER, text=True,
                       check=True)
        for count in ("2000", "7000"):
            subprocess.run([carrel, "profile", "--once", "--stack-interval", "0", "-o",
                            str(self.folder / count), "--", program, count], check=True,
                           capture_output=True)
        out = json.loads(self.diff(str(self.folder / "2000"), str(self.folder / "7000"), "--json",
                                   "--by", "leaked_bytes"))
        self.assertEqual(out["stacks"][0]["frames"][0], "keep_one")
        self.assertEqual((out["stacks"][0]["before"], out["stacks"][0]["after"]),
                         (2_000_000, 7_000_000))
        self.assertNotIn("same_as_ever", [s["frames"][0] for s in out["stacks"]])
        peak = next(t for t in out["totals"] if t["what"] == "peak_live_bytes")
        self.assertEqual(peak["after"] - peak["before"], 5_000_000)

    def test_bad_input_is_refused(self) -> None:
        place = self.write("a.json", self.document)
        for arguments, status in ((["/nowhere", place], 1), ([place], 2),
                                  ([place, place, "--by", "weight"], 2)):
            done = subprocess.run([carrel, "diff", *arguments], check=False, capture_output=True)
            self.assertEqual(done.returncode, status, arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--carrel", required=True)
    arguments, rest = parser.parse_known_args()
    carrel = arguments.carrel
    unittest.main(argv=[sys.argv[0], *rest])
