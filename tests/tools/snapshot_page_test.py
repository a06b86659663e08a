"""The page of a snapshot in a headless Chromium: taken of a real process, it loads without a word
on the console and without asking for anything, says what the file says, redraws when a view is
switched, obeys the keyboard, and fits a phone and a desktop, light and dark.

    python3 snapshot_page_test.py --carrel build/release/bin/carrel --program known_heap
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

from report_browser import Page, browser

READY = "document.documentElement.dataset.ready === 'yes'"
SECTIONS = ["numbers", "resident", "classes", "map", "worst", "provenance"]
RIGHT, DOWN = 39, 40

carrel: str
program: str
keep: Path | None = None


def take_snapshot(folder: Path) -> tuple[dict, Path]:
    file, page = folder / "heap.json", folder / "heap.html"
    process = subprocess.Popen([program, str(folder / "known")], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdout.readline()
        subprocess.run([carrel, "snapshot", str(process.pid), "-o", str(file)], check=True,
                       capture_output=True)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()
    subprocess.run([carrel, "report", str(file), "-o", str(page)], check=True, capture_output=True)
    return json.loads(file.read_text()), page


def pick(page: Page, group: str, value: str) -> None:
    page.run(f"document.querySelector('label[for=\"{group}-{value}\"]').click()")


class SnapshotPage(unittest.TestCase):
    page: Page
    document: dict
    file: Path  # its page

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix="carrel-snapshot-")
        cls.addClassCleanup(folder.cleanup)
        cls.document, cls.file = take_snapshot(Path(folder.name))
        cls.page = cls.enterClassContext(browser())
        cls.page.size(1280, 900)
        cls.page.open(cls.file, READY)

    def tearDown(self) -> None:
        self.assertEqual(self.page.problems, [])

    def show(self, document: dict) -> None:
        """The page of a document that differs from the one that was taken."""
        with tempfile.TemporaryDirectory(prefix="carrel-snapshot-") as name:
            file, page = Path(name) / "heap.json", Path(name) / "heap.html"
            file.write_text(json.dumps(document))
            subprocess.run([carrel, "report", str(file), "-o", str(page)], check=True,
                           capture_output=True)
            self.page.open(page, READY)
        self.addCleanup(self.page.open, self.file, READY)

    def text(self, section: str) -> str:
        return self.page.run(f"document.getElementById('{section}').innerText")

    def test_every_section_is_there(self) -> None:
        found = self.page.run("[...document.querySelectorAll('main > section')].map(s => s.id)")
        self.assertEqual(found, SECTIONS)
        self.assertIn(f"process {self.document['process']['pid']}",
                      self.page.run("document.querySelector('header').innerText"))

    def test_numbers_are_the_documents(self) -> None:
        self.assertIn(f"{self.document['totals']['live_blocks']:,}", self.text("numbers"))
        for part in self.document["resident"]["parts"]:
            shown = part["label"] in self.text("resident")
            self.assertEqual(shown, part["bytes"] != 0, part["label"])
        slab = self.document["worst"][0]
        self.assertIn(slab["address"], self.text("worst"))
        self.assertIn(slab["first_live"][0], self.text("worst"))

    def test_switching_the_classes_view_changes_what_is_drawn(self) -> None:
        shown = set()
        for view in ("slots", "memory", "slabs"):
            pick(self.page, "classes-view", view)
            self.page.wait(f"document.getElementById('classes').dataset.view === '{view}'")
            shown.add(self.text("classes"))
            rows = self.page.run("document.querySelectorAll('#classes tbody tr').length")
            self.assertEqual(rows, len(self.document["classes"]))
        self.assertEqual(len(shown), 3)

    def test_switching_the_maps_colours_changes_what_is_drawn(self) -> None:
        drawn = set()
        for view in ("kind", "live", "resident"):
            pick(self.page, "map-view", view)
            self.page.wait(f"document.getElementById('map-canvas').dataset.view === '{view}'")
            drawn.add(self.page.run("document.getElementById('map-canvas').toDataURL()"))
        self.assertEqual(len(drawn), 3)

    def test_the_map_is_walked_by_keys(self) -> None:
        words = "document.getElementById('map-cell').innerText"
        self.page.run("document.getElementById('map-canvas').focus()")
        first = self.page.run(words)
        self.assertTrue(first.startswith(self.document["heap"]["base"] + ":"), first)
        self.page.key("ArrowRight", RIGHT)
        second = self.page.run(words)
        cell = (self.document["map"]["granules_per_cell"]
                * self.document["heap"]["granule_bytes"])
        self.assertTrue(second.startswith(hex(int(self.document["heap"]["base"], 16) + cell)))
        live = self.document["map"]["live_percent"][1]
        self.assertIn(f"{live}% live", second)

    def test_the_map_has_gaps_where_the_heap_has(self) -> None:
        document = copy.deepcopy(self.document)
        first = document["map"]["first_granules"]
        document["map"]["first_granules"] = first[:1] + [granule + 1000 for granule in first[1:]]
        self.show(document)
        self.page.run("document.getElementById('map-canvas').focus()")
        self.page.key("ArrowRight", RIGHT)
        heap = document["heap"]
        second = int(heap["base"], 16) + (first[1] + 1000) * heap["granule_bytes"]
        self.assertTrue(self.page.run("document.getElementById('map-cell').innerText")
                        .startswith(hex(second) + ":"))
        self.assertIn(hex(second), self.page.copied_texts()["map"])

    def test_what_is_resident_may_be_unknown(self) -> None:
        document = copy.deepcopy(self.document)
        del document["resident"]
        del document["map"]["resident_percent"]
        document["worst"] = []
        for entry in document["classes"]:
            del entry["resident_bytes"]
            del entry["resident_free_bytes"]
        self.show(document)
        found = self.page.run("[...document.querySelectorAll('main > section')].map(s => s.id)")
        self.assertEqual(found, [s for s in SECTIONS if s not in ("resident", "worst")])
        self.assertNotIn("memory", self.page.run(
            "document.getElementById('map-cell').innerText"))
        labels = self.page.run("[...document.querySelectorAll('#map label, #classes label')]"
                               ".map(label => label.innerText)")
        self.assertEqual([label for label in labels if "emory" in label], [])

    def test_sampled_blocks_are_on_the_map(self) -> None:
        document = copy.deepcopy(self.document)
        document["map"]["kinds"] = "g" + document["map"]["kinds"][1:]
        document["totals"]["guarded_bytes"] = 8192
        self.assertNotIn("sampled", self.text("numbers"))
        self.show(document)
        self.assertIn("guard pages", self.text("numbers"))
        self.assertIn("guard pages", self.page.run(
            "document.getElementById('map-legend').innerText"))

    def test_every_section_copies_as_text(self) -> None:
        copied = self.page.copied_texts()
        self.assertEqual(sorted(copied), sorted(SECTIONS))
        self.assertEqual(len(copied["map"].splitlines()), 1 + len(self.document["map"]["kinds"]))
        self.assertIn(self.document["worst"][0]["slot_states"], copied["worst"])

    def test_fits_phone_and_desktop_in_both_themes(self) -> None:
        papers = set()
        for width, height in ((390, 844), (1280, 900)):
            for theme in ("light", "dark"):
                self.page.size(width, height)
                self.page.theme(theme)
                self.page.wait(f"document.documentElement.clientWidth === {width}")
                self.page.wait(f"document.getElementById('map-canvas').clientWidth < {width}")
                self.assertLessEqual(
                    self.page.run("document.documentElement.scrollWidth"), width)
                papers.add(self.page.run("getComputedStyle(document.body).backgroundColor"))
                if keep:
                    self.page.screenshot(keep / f"snapshot-{width}-{theme}.png")
        self.assertEqual(len(papers), 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--carrel", required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--keep", type=Path, help="write screenshots here")
    arguments, rest = parser.parse_known_args()
    carrel, program, keep = arguments.carrel, arguments.program, arguments.keep
    unittest.main(argv=[sys.argv[0], *rest])
