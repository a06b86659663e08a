"""The report in a headless Chromium: it loads without a word on the console and without asking for
anything, draws what the document says, redraws when a view is switched, obeys the keyboard, and
fits a phone and a desktop, light and dark.

    python3 report_page_test.py --carrel build/release/bin/carrel [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import report_sample
from report_browser import Page, browser

READY = "document.documentElement.dataset.ready === 'yes'"
SECTIONS = ["verdict", "totals", "comparison", "replay", "fidelity", "latency", "timeline",
            "resident", "flame", "sizes", "heat", "threads", "provenance"]
ENTER, LEFT, DOWN = 13, 37, 40

carrel: str
keep: Path | None = None


def write_report(folder: Path, document: dict) -> Path:
    source, page = folder / "document.json", folder / "report.html"
    source.write_text(json.dumps(document))
    subprocess.run([carrel, "report", str(source), "-o", str(page)], check=True,
                   stdout=subprocess.DEVNULL)
    return page


def pick(page: Page, group: str, value: str) -> None:
    """Chooses a radio button as a click on its label would."""
    page.run(f"document.querySelector('label[for=\"{group}-{value}\"]').click()")


class ReportPage(unittest.TestCase):
    page: Page

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory(prefix="carrel-report-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.file = write_report(Path(cls.folder.name), report_sample.make_document())
        cls.page = cls.enterClassContext(browser())
        cls.page.size(1280, 900)
        cls.page.open(cls.file, READY)
        cls.page.wait("document.querySelectorAll('#flame-chart g.frame').length > 20")

    def tearDown(self) -> None:
        self.assertEqual(self.page.problems, [])

    def test_every_section_is_there_the_verdict_first(self) -> None:
        found = self.page.run("[...document.querySelectorAll('main > section')].map(s => s.id)")
        self.assertEqual(found, SECTIONS)
        links = self.page.run("[...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
        self.assertEqual(links, SECTIONS)

    def test_the_verdict_says_what_the_document_says(self) -> None:
        text = self.page.run("document.getElementById('verdict').innerText")
        verdict = report_sample.make_document()["verdict"]
        for expected in (verdict["headline"], verdict["use"], verdict["evidence"][0]["value"],
                         verdict["reasons"][1], verdict["doubts"][0]):
            self.assertIn(expected, text)

    def test_a_command_with_markup_is_shown_and_not_run(self) -> None:
        self.assertIn("</script><b>sample", self.page.run("document.querySelector('h1').innerText"))
        self.assertEqual(self.page.run("document.querySelectorAll('h1 b').length"), 0)

    def test_switching_the_flame_graph_changes_what_is_drawn(self) -> None:
        seen = {}
        for measure in ("bytes", "allocations", "peak_bytes", "leaked_bytes", "temporary",
                        "allocator_ns"):
            pick(self.page, "flame-measure", measure)
            self.page.wait("document.getElementById('flame-chart').dataset.measure === "
                           f"'{measure}'")
            self.page.wait("document.querySelectorAll('#flame-chart g.frame').length > 5")
            seen[measure] = self.page.run(
                "[...document.querySelectorAll('#flame-chart g.frame')]"
                ".map(g => g.getAttribute('name') + g.getAttribute('width')).join()")
        self.assertEqual(len(set(seen.values())), 6)
        pick(self.page, "flame-measure", "bytes")

    def test_the_flame_graphs_width_is_the_documents_share(self) -> None:
        document = report_sample.make_document()
        stacks = document["stacks"]
        total = sum(s["bytes"] for s in stacks["stacks"])
        first: dict[str, int] = {}
        for stack in stacks["stacks"]:
            name = stacks["frames"][stack["frames"][1]]["function"]
            first[name] = first.get(name, 0) + stack["bytes"]
        name = max(first, key=lambda n: first[n])
        pick(self.page, "flame-measure", "bytes")
        self.page.run("document.getElementById('flame-reset').click()")
        width = self.page.run(
            "Math.max(...[...document.querySelectorAll('#flame-chart g.frame')].filter(g =>"
            f" g.getAttribute('name') === {json.dumps(name)}).map(g => +g.getAttribute('width')))")
        whole = self.page.run("+document.querySelector('#flame-chart svg').getAttribute('width')")
        self.assertAlmostEqual(width / whole, first[name] / total, delta=0.01)

    def test_the_flame_graph_is_walked_by_keys(self) -> None:
        first = "document.querySelector('#flame-chart g.frame[tabindex=\"0\"]')"
        self.page.run("document.getElementById('flame-reset').click()")
        self.page.wait(first)
        self.page.run(first + ".focus()")
        names = []
        for _ in range(3):
            names.append(self.page.run("document.activeElement.getAttribute('name')"))
            self.page.key("ArrowDown", DOWN)
        self.assertEqual(names[:2], ["all", "main"])
        self.assertEqual(len(set(names)), 3)
        before = self.page.run("document.querySelectorAll('#flame-chart g.frame').length")
        self.page.key("Enter", ENTER)
        self.page.wait(
            f"document.querySelectorAll('#flame-chart g.frame:not(.fade)').length < {before}")

    def test_finding_a_function_marks_it(self) -> None:
        self.page.run("document.getElementById('flame-reset').click();"
                      "const f = document.getElementById('flame-find'); f.value = 'parse::grow';"
                      "f.dispatchEvent(new Event('input'))")
        self.page.wait("document.querySelectorAll("
                       "'#flame-chart rect[fill=\"var(--flame-found)\"]').length > 0")

    def test_switching_measures_changes_tables(self) -> None:
        for section, group, values in (
                ("comparison", "comparison-metric", ["cpu_s", "wall_s", "peak_rss_bytes"]),
                ("sizes", "sizes-key", ["allocations", "bytes"]),
                ("latency", "latency-operation", ["malloc", "free"])):
            shown = set()
            for value in values:
                pick(self.page, group, value)
                shown.add(self.page.run(f"document.querySelector('#{section} table').innerText"))
            self.assertEqual(len(shown), 1 if section == "latency" else len(values), section)

    def test_resident_memory_at_both_moments(self) -> None:
        document = report_sample.make_document()
        frames = document["stacks"]["frames"]
        read = "document.getElementById('resident').innerText"
        seen = set()
        for value, name in (("highest", "resident"), ("end", "resident_at_end")):
            pick(self.page, "resident-moment", value)
            self.page.wait(f"document.getElementById('resident').dataset.moment === '{value}'")
            text = self.page.run(read)
            seen.add(text)
            pinned = document[name]["pinned"]
            for expected in ("rounding", "unexplained", pinned["worst"][0]["address"],
                             frames[pinned["sites"][0]["frames"][-1]]["function"],
                             "42 blocks whose stack was taken"):
                self.assertIn(expected, text)
            # The text that is copied is of what is shown.
            lines = self.page.copied_texts()["resident"].splitlines()
            for part in document[name]["parts"]:
                self.assertIn(f"{part['label']}\t{part['bytes']}\t{part['basis']}", lines)
            kept = [line.split("\t") for line in lines if line.startswith("kept by\t")]
            self.assertEqual([int(fields[1]) for fields in kept],
                             [site["bytes"] for site in pinned["sites"]])
        self.assertEqual(len(seen), 2)
        pick(self.page, "resident-moment", "highest")

    def test_brushing_narrows_the_range(self) -> None:
        box = self.page.run("(() => { const e = document.querySelector('#timeline-strip .u-over');"
                            "e.scrollIntoView({block: 'center'}); const r ="
                            " e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height] })()")
        x, y, width, height = box
        before = self.page.run("document.getElementById('timeline-range').innerText")
        for kind, share in (("mousePressed", 0.3), ("mouseMoved", 0.5), ("mouseReleased", 0.5)):
            self.page.call("Input.dispatchMouseEvent", type=kind, x=x + width * share,
                           y=y + height / 2, button="left", buttons=1, clickCount=1)
        self.page.wait("document.getElementById('timeline-range').innerText !== "
                       + json.dumps(before))
        after = self.page.run("document.getElementById('timeline-range').innerText")
        self.assertRegex(after, r"^3\.\d+ s to 6\.\d+ s: live")
        self.page.run("document.getElementById('timeline-main').focus()")
        self.page.key("ArrowLeft", LEFT)
        moved = self.page.run("document.getElementById('timeline-range').innerText")
        self.assertNotEqual(moved, after)
        self.page.run("document.getElementById('timeline-all').click()")
        self.assertEqual(before, self.page.run(
            "document.getElementById('timeline-range').innerText"))

    def test_every_section_copies_as_text(self) -> None:
        copied = self.page.copied_texts()
        self.assertEqual(sorted(copied), sorted(SECTIONS))
        self.assertEqual(len(set(copied.values())) + 1, len(SECTIONS))  # replay is as comparison
        document = report_sample.make_document()
        self.assertEqual(len(copied["timeline"].splitlines()),
                         1 + len(document["timeline"]["seconds"]))
        self.assertIn(document["verdict"]["headline"], copied["verdict"])
        self.assertTrue(all(line.rsplit(" ", 1)[1].isdigit()
                            for line in copied["flame"].splitlines()))

    def test_controls_are_reached_by_tab(self) -> None:
        reached = self.page.run("""[...document.querySelectorAll(
          'a[href], button, input, [tabindex="0"]')].filter(e => e.tabIndex >= 0).map(e =>
          e.id || e.className || e.tagName)""")
        for expected in ("theme", "timeline-main", "flame-find", "timeline-all",
                         "flame-measure-bytes"):
            self.assertIn(expected, reached)

    def test_fits_phone_and_desktop_in_both_themes(self) -> None:
        papers = set()
        for width, height in ((390, 844), (1280, 900)):
            for theme in ("light", "dark"):
                self.page.size(width, height)
                self.page.theme(theme)
                self.page.wait(f"document.documentElement.clientWidth === {width}")
                self.page.wait("+document.querySelector('#flame-chart svg').getAttribute('width')"
                               f" < {width}")
                self.assertLessEqual(
                    self.page.run("document.documentElement.scrollWidth"), width)
                # What the parts of resident memory are stands within the window, not beyond it.
                self.assertLessEqual(self.page.run(
                    "Math.max(...[...document.querySelectorAll('#resident td.basis')]"
                    ".map(cell => cell.getBoundingClientRect().right))"), width)
                papers.add(self.page.run("getComputedStyle(document.body).backgroundColor"))
                if keep:
                    self.page.screenshot(keep / f"{width}-{theme}.png")
        self.assertEqual(len(papers), 2)

    def test_the_theme_button_overrides_the_system(self) -> None:
        self.page.theme("light")
        paper = "getComputedStyle(document.body).backgroundColor"
        light = self.page.run(paper)
        press = "document.getElementById('theme').click()"
        self.page.run(f"{press};{press}")
        self.assertNotEqual(self.page.run(paper), light)
        self.page.run(press)
        self.assertEqual(self.page.run(paper), light)


class SmallReport(unittest.TestCase):
    def test_a_document_without_optional_sections(self) -> None:
        document = report_sample.make_document()
        for name in ("stacks", "cpu", "resident", "resident_at_end", "comparison", "replay",
                     "latency", "fidelity", "verdict"):
            del document[name]
        document["threads"] = document["threads"][:1]
        with tempfile.TemporaryDirectory() as folder, browser() as page:
            page.size(800, 600)
            page.open(write_report(Path(folder), document), READY)
            found = page.run("[...document.querySelectorAll('main > section')].map(s => s.id)")
            self.assertEqual(found, ["verdict", "totals", "timeline", "sizes", "heat",
                                     "provenance"])
            self.assertEqual(page.problems, [])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--carrel", required=True)
    parser.add_argument("--keep", type=Path, help="write screenshots here")
    arguments, rest = parser.parse_known_args()
    carrel, keep = arguments.carrel, arguments.keep
    unittest.main(argv=[sys.argv[0], *rest])
