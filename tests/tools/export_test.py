"""carrel export: pprof's protocol buffers decode to what the document says, speedscope's file keeps
its format's rules, ms_print reads massif's, folded stacks add up; and documents that are none are
refused in one line.

    python3 export_test.py --carrel build/release/bin/carrel
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

import report_sample

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from protobuf import fields, packed  # noqa: E402

carrel: str
MEASURES = ["bytes", "allocations", "peak_bytes", "leaked_bytes", "temporary", "allocator_ns"]


def message(data: bytes) -> dict[int, list[Any]]:
    """Field number to values: numbers for varints, bytes for what has a length."""
    values: dict[int, list[Any]] = collections.defaultdict(list)
    for number, value in fields(data):
        values[number].append(value)
    return values


class Export(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory(prefix="carrel-export-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.document = report_sample.make_document()
        cls.source = Path(cls.folder.name) / "profile.json"
        cls.source.write_text(json.dumps(cls.document))

    def export(self, *options: str) -> bytes:
        return self.export_of(self.folder.name, *options)

    def export_of(self, place: str, *options: str) -> bytes:
        return subprocess.run([carrel, "export", place, *options], check=True,
                              capture_output=True).stdout

    def stacks(self, key: str) -> dict[tuple[str, ...], int]:
        """Names outermost first, to the sum of one measure."""
        section = self.document["stacks"]
        sums: dict[tuple[str, ...], int] = collections.Counter()
        for stack in section["stacks"]:
            names = tuple(section["frames"][i]["function"] for i in stack["frames"])
            sums[names] += stack[key]
        return {names: value for names, value in sums.items() if value}

    def test_pprof_decodes_to_the_documents_stacks(self) -> None:
        profile = message(self.export("--pprof"))
        strings = [text.decode() for text in profile[6]]
        self.assertEqual(strings[0], "")
        types = [(strings[t[1][0]], strings[t[2][0]]) for t in map(message, profile[1])]
        self.assertEqual(types[0], ("alloc_space", "bytes"))
        self.assertEqual(len(types), len(MEASURES))
        functions = {f[1][0]: strings[f[2][0]] for f in map(message, profile[5])}
        mappings = {m[1][0] for m in map(message, profile[3])}
        locations = {}
        for location in map(message, profile[4]):
            line = message(location[4][0])
            locations[location[1][0]] = functions[line[1][0]]
            self.assertIn(location[2][0], mappings)
        for column, key in enumerate(MEASURES):
            sums: dict[tuple[str, ...], int] = collections.Counter()
            for sample in map(message, profile[2]):
                values = packed(sample[2][0])
                self.assertEqual(len(values), len(types))
                names = tuple(locations[i] for i in reversed(packed(sample[1][0])))
                sums[names] += values[column]
            self.assertEqual({n: v for n, v in sums.items() if v}, self.stacks(key), key)

    def test_speedscope_keeps_the_formats_rules(self) -> None:
        out = json.loads(self.export("--speedscope"))
        self.assertEqual(out["$schema"],
                         "https://www.speedscope.app/file-format-schema.json")
        frames = out["shared"]["frames"]
        self.assertTrue(all(isinstance(f["name"], str) for f in frames))
        self.assertEqual(len(out["profiles"]), len(MEASURES))
        for profile, key in zip(out["profiles"], MEASURES, strict=True):
            self.assertEqual(profile["type"], "sampled")
            self.assertIn(profile["unit"], ("bytes", "none", "nanoseconds"))
            self.assertEqual(len(profile["samples"]), len(profile["weights"]))
            self.assertEqual(profile["endValue"] - profile["startValue"], sum(profile["weights"]))
            sums: dict[tuple[str, ...], int] = collections.Counter()
            for sample, weight in zip(profile["samples"], profile["weights"], strict=True):
                sums[tuple(frames[i]["name"] for i in sample)] += weight
            self.assertEqual(dict(sums), self.stacks(key))

    def test_folded_lines_add_up(self) -> None:
        for key in MEASURES:
            sums: dict[tuple[str, ...], int] = collections.Counter()
            for line in self.export("--folded", "--measure", key).decode().splitlines():
                names, value = line.rsplit(" ", 1)
                sums[tuple(names.split(";"))] += int(value)
            self.assertEqual(dict(sums), self.stacks(key))

    def test_ms_print_reads_massifs_file(self) -> None:
        out = Path(self.folder.name) / "massif.out"
        self.export("--massif", "-o", str(out))
        text = subprocess.run(["ms_print", "--threshold=0", str(out)], check=True,
                              capture_output=True, text=True).stdout
        peak = max(self.document["timeline"]["live_bytes"])
        rows = [line.split() for line in text.splitlines() if re.match(r"^ *\d+ +[\d,]+ ", line)]
        totals = [int(row[2].replace(",", "")) for row in rows]
        self.assertEqual(max(totals), peak)
        self.assertGreater(len(totals), 10)
        times = [int(row[1].replace(",", "")) for row in rows]
        self.assertEqual(times, sorted(times))
        # The functions that allocate themselves, with what the document says of each.
        section = self.document["stacks"]
        leaves: dict[str, int] = collections.Counter()
        for stack in section["stacks"]:
            leaves[section["frames"][stack["frames"][-1]]["function"]] += stack["peak_bytes"]
        top, most = leaves.most_common(1)[0]
        found = [re.search(r"^->[\d.]+% \(([\d,]+)B\) 0x\w+: (.*) \(", line)
                 for line in text.splitlines()]
        shown = {m.group(2): int(m.group(1).replace(",", "")) for m in found if m}
        scale = min(1, peak / sum(leaves.values()))
        self.assertAlmostEqual(shown[top], most * scale, delta=len(section["stacks"]))

    def test_massif_goes_without_call_sites(self) -> None:
        other = Path(self.folder.name) / "bare.json"
        other.write_text(json.dumps({k: v for k, v in self.document.items() if k != "stacks"}))
        out = Path(self.folder.name) / "bare.massif"
        self.export_of(str(other), "--massif", "-o", str(out))
        subprocess.run(["ms_print", str(out)], check=True, capture_output=True)

    def test_json_is_the_document(self) -> None:
        self.assertEqual(json.loads(self.export("--json")), self.document)

    def test_a_file_is_written_whole_or_not_at_all(self) -> None:
        out = Path(self.folder.name) / "out.json"
        self.export("--speedscope", "-o", str(out))
        json.loads(out.read_text())
        self.assertEqual(list(Path(self.folder.name).glob("*.new")), [])

    def refused(self, *arguments: str) -> str:
        result = subprocess.run([carrel, *arguments], capture_output=True, text=True, check=False)
        self.assertIn(result.returncode, (1, 2))
        if result.returncode == 1:
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        return result.stderr

    def test_bad_input_gets_one_line_that_says_what_to_do(self) -> None:
        folder = Path(self.folder.name)
        self.assertIn("carrel profile -o DIR", self.refused("export", "/nowhere", "--json"))
        other = folder / "other.json"
        other.write_text('{"schema": "else"}')
        self.assertIn("is no analysis document", self.refused("export", str(other), "--json"))
        other.write_text("{ broken")
        self.assertIn("is no analysis document", self.refused("export", str(other), "--json"))
        later = dict(self.document, version=99)
        other.write_text(json.dumps(later))
        self.assertIn("version 99", self.refused("report", str(other), "-o", str(folder / "x")))
        without = {k: v for k, v in self.document.items() if k != "stacks"}
        other.write_text(json.dumps(without))
        self.assertIn("no call sites", self.refused("export", str(other), "--pprof"))
        self.assertIn("one of: bytes", self.refused("export", str(self.source), "--folded",
                                                    "--measure", "weight"))
        self.assertIn("choose another place", self.refused("report", str(self.source), "-o",
                                                           "/nowhere/report.html"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--carrel", required=True)
    arguments, rest = parser.parse_known_args()
    carrel = arguments.carrel
    unittest.main(argv=[sys.argv[0], *rest])
