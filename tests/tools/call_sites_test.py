"""carrel profile on a program that spends its time in one call of the allocator: stacks of timed
calls blame that call, in all processes of the program, and the exporters have them.

    python3 call_sites_test.py --carrel build/release/bin/carrel --program timed
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

carrel: str
program: str


class CallSites(unittest.TestCase):
    def setUp(self) -> None:
        place = tempfile.TemporaryDirectory(prefix="carrel-call-sites-")
        self.addCleanup(place.cleanup)
        self.folder = Path(place.name)

    def profile(self, *arguments: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
        subprocess.run([carrel, "profile", *options, "-o", str(self.folder), "--", program,
                        *arguments], check=True, capture_output=True, timeout=200)
        return json.loads((self.folder / "profile.json").read_text())

    def by_function(self, document: dict[str, Any]) -> dict[str, int]:
        """Nanoseconds by the function that called the allocator."""
        section, found = document["stacks"], {}
        for stack in section["stacks"]:
            name = section["frames"][stack["frames"][-1]]["function"]
            found[name] = found.get(name, 0) + stack.get("allocator_ns", 0)
        return found

    def check(self, document: dict[str, Any]) -> None:
        time = document["stacks"]["allocator_time"]
        self.assertGreater(time["stacks"], 100)
        found = self.by_function(document)
        self.assertEqual(sum(found.values()) + time["omitted_ns"], time["ns"])
        self.assertGreater(found["heavy"], 0.6 * time["ns"])
        self.assertGreater(found["light"], 0)
        self.assertGreater(found["heavy"], 5 * found["light"])

    def test_the_slow_call_is_blamed(self) -> None:
        document = self.profile()
        self.check(document)
        # Stacks stand for what was timed, by the clock: the scheduler's interruptions, of which a
        # part is counted, may be as much again on a busy machine.
        seconds = document["stacks"]["allocator_time"]["ns"] * 1e-9
        self.assertLess(seconds, 3 * document["cpu"]["cpu_s"])
        self.assertGreater(seconds, 0.3 * document["cpu"]["in_allocator"]["median"] *
                           document["cpu"]["cpu_s"])

    def test_threads_forks_and_other_programs_are_named_alike(self) -> None:
        document = self.profile("fork")
        self.check(document)
        section = document["stacks"]
        chains = {tuple(section["frames"][i]["function"] for i in stack["frames"][-3:])
                  for stack in section["stacks"] if "allocator_ns" in stack}
        self.assertIn(("main", "work", "heavy"), chains)

    def test_exporters_have_it(self) -> None:
        document = self.profile()
        out = subprocess.run([carrel, "export", str(self.folder), "--folded", "--measure",
                              "allocator_ns"], check=True, capture_output=True, text=True).stdout
        heavy = sum(int(line.rsplit(" ", 1)[1]) for line in out.splitlines()
                    if line.rsplit(" ", 1)[0].endswith(";heavy"))
        self.assertEqual(heavy, self.by_function(document)["heavy"])

    def test_one_run_has_none(self) -> None:
        document = self.profile(options=("--once",))
        self.assertNotIn("allocator_time", document["stacks"])
        self.assertFalse(any("allocator_ns" in s for s in document["stacks"]["stacks"]))


def main() -> int:
    global carrel, program
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--carrel", required=True)
    parser.add_argument("--program", required=True)
    arguments, rest = parser.parse_known_args()
    carrel, program = arguments.carrel, arguments.program
    return 0 if unittest.main(argv=[sys.argv[0], *rest], exit=False).result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
