#!/usr/bin/env python3
"""tables: checks the documentation's tables of options and controls against the library's own.

The library lists its controls, options among them, through carrel_ctl_list; the program given
prints that list. Compared with it: the table of options in README.md (whole rows) and in
docs/TUNING.md (all but the effect), and the table of controls in docs/TUNING.md. --update rewrites
the README's and the controls', which have nothing but what the library says.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import repo

NAME = "tables"
# What depends on the machine or the build is documented in words.
DEFAULTS = {"shards": ("one per CPU", "CPUs of the mask at start, at most 64"),
            "guard_sample": ("0; hardened build: 5000", "0; hardened build: 5000")}


@dataclass
class Control:
    name: str
    type: str
    unit: str
    writable: bool
    minimum: int
    maximum: int
    value: str
    meaning: str
    words: str

    @property
    def key(self) -> str:
        return self.name.removeprefix("option.")

    def values(self, between: str = " to ", both: str = ", ") -> str:
        if self.words:
            return self.words
        joint = both if self.maximum - self.minimum == 1 else between
        return f"{self.minimum}{joint}{self.maximum}"


def listed(program: Path) -> list[Control]:
    environment = {key: value for key, value in os.environ.items() if key != "CARREL_OPTIONS"}
    result = subprocess.run([str(program)], capture_output=True, text=True, check=False,
                            env=environment)
    if result.returncode != 0:
        repo.die(NAME, f"{program} ended with {result.returncode}: {result.stderr.strip()}")
    controls = []
    for line in result.stdout.splitlines():
        name, kind, unit, writable, low, high, value, meaning, words = line.split("\t")
        controls.append(Control(name, kind, unit, writable == "1", int(low), int(high), value,
                                meaning, words))
    return controls


def readme_rows(controls: list[Control]) -> list[str]:
    rows = ["| key | values | default | at run time | meaning |", "| --- | --- | --- | --- | --- |"]
    for option in options(controls):
        default = DEFAULTS.get(option.key, (option.value, ""))[0]
        now = "yes" if option.writable else "no"
        rows.append(f"| {option.key} | {option.values()} | {default} | {now} | {option.meaning} |")
    return rows


def control_rows(controls: list[Control]) -> list[str]:
    rows = ["| name | type | unit | set | meaning |", "| --- | --- | --- | --- | --- |"]
    for control in controls:
        if control.name.startswith("option."):
            continue
        allowed = "run" if control.type == "action" else "no"
        if control.writable:
            allowed = "yes"
        rows.append(f"| {control.name} | {control.type} | {control.unit} | {allowed} | "
                    f"{control.meaning} |")
    return rows


def options(controls: list[Control]) -> list[Control]:
    return [control for control in controls if control.name.startswith("option.")]


def table_at(lines: list[str], heading: str) -> tuple[int, int]:
    """From which line to which the table whose first line this is reaches."""
    if heading not in lines:
        return -1, -1
    start = end = lines.index(heading)
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    return start, end


def compare(path: Path, wanted: list[str], update: bool, problems: list[str]) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    start, end = table_at(lines, wanted[0])
    if start < 0:
        problems.append(f"{repo.relative(path)}: no table that begins with {wanted[0]}")
        return
    if update:
        lines[start:end] = wanted
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    found = lines[start:end]
    problems += [f"{repo.relative(path)}: is missing or differs: {row}"
                 for row in wanted if row not in found]
    problems += [f"{repo.relative(path)}: the library has no such row: {row}"
                 for row in found if row not in wanted]


def check_tuning(controls: list[Control], problems: list[str]) -> None:
    """The options of TUNING.md: the effect is told there in its own words."""
    path = repo.ROOT / "docs/TUNING.md"
    lines = path.read_text(encoding="utf-8").splitlines()
    start, end = table_at(lines, "| key | default | unit, range | now | effect |")
    rows = {}
    for line in lines[start + 2:end]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[cells[0]] = cells[1:]
    wanted = {option.key: option for option in options(controls)}
    problems += [f"docs/TUNING.md: no row for option {key}" for key in wanted if key not in rows]
    for key, cells in rows.items():
        if key not in wanted:
            problems.append(f"docs/TUNING.md: there is no option {key}")
            continue
        option = wanted[key]
        units = {"ms": "milliseconds, ", "KiB": "KiB, ", "MiB": "MiB, "}
        expected = [DEFAULTS.get(key, ("", option.value))[1],
                    units.get(option.unit, "") + option.values(both=" or "),
                    "yes" if option.writable else "no"]
        if cells[:3] != expected:
            problems.append(f"docs/TUNING.md: {key}: expected {expected}, found {cells[:3]}")
        if not re.search(r"\w", cells[3]):
            problems.append(f"docs/TUNING.md: {key}: no effect told")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("program", type=Path, help="test_control_table of a build")
    parser.add_argument("--update", action="store_true", help="rewrite the tables")
    arguments = parser.parse_args()
    controls = listed(arguments.program)
    if not controls or not options(controls):
        repo.die(NAME, f"{arguments.program} listed nothing")
    problems: list[str] = []
    compare(repo.ROOT / "README.md", readme_rows(controls), arguments.update, problems)
    compare(repo.ROOT / "docs/TUNING.md", control_rows(controls), arguments.update, problems)
    check_tuning(controls, problems)
    return repo.finish(NAME, problems,
                       f"{len(controls)} controls, {len(options(controls))} options")


if __name__ == "__main__":
    sys.exit(main())
