"""Tests of the order of runs, of giving up, of the budget, and of hiding symbols."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import allocators, elf_hide, workloads
from harness.allocators import Allocator
from harness.campaign import Campaign, Plan, Unit
from harness.runner import Sample


def named(name: str) -> Allocator:
    return Allocator(name, "peer", None, "", "1", "", "", {})


class Campaigns(unittest.TestCase):
    def setUp(self) -> None:
        self.ran: list[tuple[str, str, int]] = []

    def unit(self, name: str, kind: str = "timed", status: str = "ok") -> Unit:
        def run(allocator: Allocator, number: int) -> Sample:
            self.ran.append((name, allocator.name, number))
            return Sample(name, allocator.name, number, status, seconds=1)
        return Unit(name, kind, run)

    def test_everything_runs_in_every_round_with_neighbours_together(self) -> None:
        campaign = Campaign([self.unit("a"), self.unit("b")], [named("x"), named("y")],
                            Plan(3, 3, 5))
        self.assertEqual(len(campaign.run()), 12)
        self.assertEqual(len(set(self.ran)), 12)
        for first, second in zip(self.ran[::2], self.ran[1::2]):
            self.assertEqual((first[0], first[2]), (second[0], second[2]))

    def test_the_seed_decides_the_order(self) -> None:
        orders = []
        for seed in (1, 1, 2):
            self.ran = []
            Campaign([self.unit(n) for n in "abcdef"], [named(n) for n in "uvwxyz"],
                     Plan(2, 2, seed)).run()
            orders.append(list(self.ran))
        self.assertEqual(orders[0], orders[1])
        self.assertNotEqual(orders[0], orders[2])

    def test_what_does_not_finish_is_recorded_once_and_not_tried_again(self) -> None:
        campaign = Campaign([self.unit("slow", status="dnf")], [named("x")], Plan(4, 4, 1))
        self.assertEqual([s.status for s in campaign.run()], ["dnf"])

    def test_idle_units_take_fewer_rounds_and_floors_run_without_a_preload(self) -> None:
        Campaign([self.unit("idle", "idle"), self.unit("floor", "floor")],
                 [named("x"), named("y")], Plan(3, 1, 1)).run()
        self.assertEqual(sum(name == "idle" for name, _, _ in self.ran), 2)
        self.assertEqual({a for name, a, _ in self.ran if name == "floor"}, {"none"})

    def test_a_spent_budget_leaves_out_by_name(self) -> None:
        campaign = Campaign([self.unit("a"), self.unit("b")], [named("x")],
                            Plan(3, 3, 1, budget_seconds=0))
        self.assertEqual(campaign.run(), [])
        self.assertEqual(sorted(campaign.not_reached), ["a", "b"])


class Choices(unittest.TestCase):
    def test_unknown_names_are_refused_with_the_known_ones(self) -> None:
        with self.assertRaisesRegex(ValueError, "no allocator 'mimaloc'; known: .*mimalloc3"):
            allocators.select(["mimaloc"])
        with self.assertRaisesRegex(ValueError, "no workload 'larsen'; known: .*larson"):
            workloads.select(["larsen"])

    def test_carrel_brings_its_copy_and_a_workload_its_floor(self) -> None:
        self.assertEqual([s.name for s in allocators.select(["carrel"])], ["carrel", "carrel-aa"])
        self.assertEqual([w.name for w in workloads.select(["realloc-grow"])],
                         ["realloc-grow", "realloc-kernel"])

    def test_an_absent_peer_is_named_with_how_to_get_it(self) -> None:
        spec = allocators.Spec("gone", "peer", ("/nonexistent/libgone.so",), "",
                               "apt-get install gone")
        present, missing = allocators.discover([spec], Path("/nonexistent"), Path("/bin/true"),
                                               Path("/nonexistent"))
        self.assertEqual(present, [])
        self.assertIn("apt-get install gone", missing[0].reason)

    def test_a_preload_that_does_not_take_over_is_found_out(self) -> None:
        library = Path("/x/liby.so")
        answer = {"version": "", "malloc": "/x/liby.so", "free": "/lib/libc.so.6", "_Znwm": ""}
        self.assertEqual(allocators.did_not_take(library, answer), ["free", "_Znwm"])


@unittest.skipUnless(shutil.which("cc"), "needs a C compiler")
class Hiding(unittest.TestCase):
    def test_hidden_definitions_are_no_longer_found(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            directory = Path(place)
            source = directory / "two.c"
            source.write_text("int first(void){return 1;} int second(void){return 2;}\n"
                              "extern int puts(const char*); int third(void){return puts(\"\");}\n")
            library = directory / "libtwo.so"
            subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
            self.assertEqual(elf_hide.defined(library, {"first", "second", "puts"}),
                             {"first", "second"})
            copy = directory / "libcopy.so"
            self.assertEqual(elf_hide.hide(library, copy, {"first", "puts"}), {"first"})
            self.assertEqual(elf_hide.defined(copy, {"first", "second"}), {"second"})
            # The dynamic linker agrees.
            ask = ("import ctypes,sys; l = ctypes.CDLL(sys.argv[1]);"
                   "print(hasattr(l, 'first'), l.second())")
            for path, answer in ((library, "True 2"), (copy, "False 2")):
                done = subprocess.run(["python3", "-c", ask, path], capture_output=True, text=True,
                                      check=True)
                self.assertEqual(done.stdout.strip(), answer)

    def test_other_files_are_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "not a 64-bit little-endian ELF"):
            elf_hide.defined(Path(__file__), {"x"})


if __name__ == "__main__":
    unittest.main()
