"""carrel profile on a program whose heap is known: where its resident memory is, on carrel slot by
slot and on the C library's allocator page by page, and which call site keeps the free memory.

    python3 resident_test.py --carrel build/release/bin/carrel --program pinned --library LIBCARREL
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

PINNING, BETWEEN, BYTES = 2500, 15, 200  # as in programs/pinned.c
SLOT = 224  # carrel's for blocks of BYTES
RUNTIME = 160 << 10  # what the program's libraries may hold beside
SHOWN_ELSEWHERE = 0.1  # of blocks that may lie where no free memory is

carrel: str
program: str
library: str


def profile(folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    run = subprocess.run([carrel, "profile", "--once", "-o", str(folder), *options, "--", program],
                         check=True, capture_output=True, text=True, timeout=200)
    return json.loads((folder / "profile.json").read_text()), run.stdout


def parts(section: dict[str, Any]) -> dict[str, int]:
    return {part["label"]: part["bytes"] for part in section["parts"]}


class Resident(unittest.TestCase):
    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory(prefix="carrel-resident-")
        self.addCleanup(place.cleanup)
        self.folder = Path(place.name)

    def check_section(self, section: dict[str, Any]) -> None:
        self.assertEqual(sum(parts(section).values()) + section["residue_bytes"],
                         section["rss_bytes"])
        # Nothing of note is left unexplained.
        self.assertLess(abs(section["residue_bytes"]), 0.05 * section["rss_bytes"])
        self.assertGreater(parts(section)["files and code"], 0)

    def check_sites(self, document: dict[str, Any], pinned: dict[str, Any], least: float) -> None:
        """Most of the free memory is kept by keep_one's blocks, exactly as many as there are."""
        frames = document["stacks"]["frames"]
        site = pinned["sites"][0]
        names = [frames[i]["function"] for i in site["frames"]]
        self.assertEqual(names[-2:], ["main", "keep_one"])
        self.assertLessEqual(site["blocks"], PINNING)
        self.assertGreater(site["blocks"], (1 - SHOWN_ELSEWHERE) * PINNING)
        self.assertGreater(site["bytes"], least)
        self.assertNotIn("pass_one", [frames[s["frames"][-1]]["function"]
                                      for s in pinned["sites"]])

    def test_on_carrel_slot_by_slot(self) -> None:
        document, text = profile(self.folder, "--alloc", f"carrel={library}",
                                 "--stack-interval", "0")
        end = document["resident_at_end"]
        self.assertEqual((end["by"], end["at_end"]), ("slabs", True))
        self.check_section(end)
        kept = PINNING * BYTES
        self.assertGreaterEqual(end["requested_bytes"], kept)
        self.assertLess(end["requested_bytes"], kept + RUNTIME)
        of = parts(end)
        self.assertLessEqual(of["live, as requested"], end["requested_bytes"])
        self.assertGreaterEqual(of["live, as requested"], kept)
        self.assertGreaterEqual(of["rounding"], PINNING * (SLOT - BYTES))
        self.assertLess(of["rounding"], PINNING * (SLOT - BYTES) + RUNTIME / 4)
        # The trace and the slabs agree on every block but those under way.
        self.assertLessEqual(end["blocks_only_in_trace"], 2)
        pinned = end["pinned"]
        free = PINNING * BETWEEN * SLOT
        self.assertEqual(pinned["unit"], "slab")
        self.assertGreater(pinned["free_bytes"], 0.8 * free)
        self.assertLessEqual(pinned["free_bytes"], of["free slots"])
        self.assertEqual(pinned["classes"][0]["block_bytes"], SLOT)
        self.check_sites(document, pinned, 0.8 * free)
        for slab in pinned["worst"]:
            self.assertLess(slab["oldest_s"], end["at_s"])
            self.assertGreater(slab["live_blocks"], 0)
        self.assertIn("keep_one < main", text)
        self.assertIn("at the end", text)

    def test_the_highest_moment(self) -> None:
        document, _ = profile(self.folder, "--alloc", f"carrel={library}")
        high, end = document["resident"], document["resident_at_end"]
        self.check_section(high)
        self.assertFalse(high["at_end"])
        self.assertLess(high["at_s"], end["at_s"])
        self.assertGreater(parts(high)["live, as requested"], parts(end)["live, as requested"])
        self.assertLess(high["pinned"]["free_bytes"], end["pinned"]["free_bytes"])

    def test_on_the_c_library_page_by_page(self) -> None:
        document, text = profile(self.folder, "--stack-interval", "0")
        end = document["resident_at_end"]
        self.assertEqual(end["by"], "pages")
        self.check_section(end)
        kept = PINNING * BYTES
        of = parts(end)
        self.assertGreaterEqual(of["live, as requested"], kept)
        self.assertLess(of["live, as requested"], kept + RUNTIME)
        # The program's pages are all held by a block each.
        free = PINNING * BETWEEN * BYTES
        self.assertGreater(of["beside live blocks"], 0.8 * free)
        self.assertEqual(end["pinned"]["unit"], "page")
        self.check_sites(document, end["pinned"], 0.8 * free)
        self.assertIn("keep_one < main", text)

    def test_few_stacks_are_scaled(self) -> None:
        document, text = profile(self.folder, "--alloc", f"carrel={library}",
                                 "--stack-interval", "4K")
        pinned = document["resident_at_end"]["pinned"]
        self.assertLess(pinned["samples"], PINNING / 4)
        blocks = sum(site["blocks"] for site in pinned["sites"])
        self.assertAlmostEqual(blocks / PINNING, 1, delta=0.5)
        self.assertIn("estimated from", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("--carrel", "--program", "--library"):
        parser.add_argument(name, required=True)
    arguments, rest = parser.parse_known_args()
    carrel, program, library = arguments.carrel, arguments.program, arguments.library
    unittest.main(argv=[sys.argv[0], *rest])
