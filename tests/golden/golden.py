#!/usr/bin/env python3
"""golden: what the cached path of each entry point costs, counted by callgrind.

Runs driver.c's program under valgrind with a library preloaded, subtracts the costs of n from those
of 2n calls so that start and warm-up cancel, and prints per call: instructions, loads, stores,
conditional and indirect branches, and functions entered below the entry point (calls and tail
jumps). The default build's table is compared with fastpath.<arch>.txt: exactly under the compiler
and libc that the file was made with, otherwise within a tolerance, saying so. The hardened build's
is compared with fastpath-secure.<arch>.txt, always within a tolerance, because which slots it hands
out is random. --update rewrites the files; --peers prints the instructions of other allocators
instead. It measures no time and no cache misses.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

HERE = Path(__file__).resolve().parent
# A batch is 4 calls: 1,000 calls, then 2,000, an operation.
ROUNDS = 250
COLUMNS = ["instr", "loads", "stores", "cond", "indirect", "entered"]
EVENTS = ["Ir", "Dr", "Dw", "Bc", "Bi"]
# Under another compiler or libc a cell may differ by this much before the test fails.
TOLERANCE_SHARE = Fraction(15, 100)
TOLERANCE_COUNT = 2
# What chance does to a cell of the hardened build's.
TOLERANCE_RANDOM = Fraction(3, 100)
# Library and table; whether its choices are random.
TABLES = [("libcarrel.so", "fastpath", False), ("libcarrel-secure.so", "fastpath-secure", True)]

HEADING = """\
# Cost of one call on the cached path, by callgrind: instructions, loads, stores, conditional and
# indirect branches, and functions entered below the entry point. Printed by `./dev golden`,
# rewritten by `./dev golden --update`; the tests compare. A change here is to be explained.
"""


def die(message: str) -> None:
    print(f"golden: {message}", file=sys.stderr)
    sys.exit(2)


@dataclass
class Cost:
    """Totals over some number of calls, or per call after subtraction; COLUMNS in order."""

    calls: Fraction
    cells: list[Fraction]

    def minus(self, other: Cost) -> Cost:
        return Cost(self.calls - other.calls,
                    [a - b for a, b in zip(self.cells, other.cells)])

    def per_call(self) -> list[Fraction]:
        return [cell / self.calls for cell in self.cells]


class Dump:
    """One callgrind dump: the call graph, as far as it was collected."""

    LABEL = re.compile(r"^desc: Trigger: Client Request: golden (\S+) (\d+)$")
    NAMED = re.compile(r"^(c?fn)=\((\d+)\)(?: (.*))?$")

    def __init__(self, path: Path) -> None:
        self.label: str | None = None
        self.count = 0
        self.names: dict[str, str] = {}
        # source function -> list of (target function, calls, inclusive events)
        self.edges: dict[str, list[tuple[str, int, list[int]]]] = {}
        self._events: list[int] = []
        self._parse(path.read_text(encoding="utf-8", errors="replace").splitlines())

    def _parse(self, lines: list[str]) -> None:
        source = target = ""
        calls: int | None = None
        for line in lines:
            if match := self.LABEL.match(line):
                self.label, self.count = match.group(1), int(match.group(2))
            elif line.startswith("events:"):
                names = line.split()[1:]
                self._events = [names.index(event) for event in EVENTS]
            elif match := self.NAMED.match(line):
                kind, number, name = match.groups()
                if name is not None:
                    self.names[number] = name
                source, target = (number, target) if kind == "fn" else (source, number)
            elif line.startswith("calls="):
                calls = int(line[len("calls="):].split()[0])
            elif calls is not None:
                # The line after calls= holds a position and the inclusive cost of the calls.
                cost = [int(word) for word in line.split()[1:]]
                cost += [0] * (max(self._events) + 1 - len(cost))
                self.edges.setdefault(source, []).append(
                    (target, calls, [cost[i] for i in self._events]))
                calls = None

    def cost_from(self, function: str) -> Cost:
        """What the calls out of `function` cost, with the functions entered below them."""
        starts = [number for number, name in self.names.items() if name == function]
        edges = [edge for start in starts for edge in self.edges.get(start, [])]
        cells = [sum(edge[2][i] for edge in edges) for i in range(len(EVENTS))]
        reached: set[str] = set()
        waiting = [edge[0] for edge in edges]
        entered = 0
        while waiting:
            number = waiting.pop()
            if number in reached:
                continue
            reached.add(number)
            for target, calls, _ in self.edges.get(number, []):
                entered += calls
                waiting.append(target)
        return Cost(Fraction(sum(edge[1] for edge in edges)),
                    [Fraction(cell) for cell in [*cells, entered]])


def measure(driver: Path, library: Path | None) -> dict[str, list[Fraction]]:
    """Per operation the cost of one call under `library`; absent operations are left out."""
    environment = {key: value for key, value in os.environ.items() if key != "CARREL_OPTIONS"}
    # The helper thread would only add calls of its own to the dumps, and samples leave the cached
    # path, by chance.
    environment["CARREL_OPTIONS"] = "purge_thread=0,guard_sample=0"
    environment.pop("LD_PRELOAD", None)
    if library is not None:
        environment["LD_PRELOAD"] = str(library)
    with tempfile.TemporaryDirectory(prefix="carrel-golden-") as folder:
        result = subprocess.run(
            ["valgrind", "--tool=callgrind", "--cache-sim=yes", "--branch-sim=yes",
             "--collect-atstart=no", "--quiet", f"--callgrind-out-file={folder}/dump",
             str(driver), str(ROUNDS)],
            env=environment, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            die(f"the driver failed under valgrind ({result.returncode}):\n{result.stderr}")
        prove_preload(result.stdout, library)
        dumps = [Dump(path) for path in Path(folder).iterdir()]
    by_label: dict[str, dict[int, Cost]] = {}
    for dump in dumps:
        if dump.label is not None:
            by_label.setdefault(dump.label, {})[dump.count] = dump.cost_from("measured_call")
    table = {}
    for label in order(driver):
        if label not in by_label:
            continue
        (fewer, small), (more, large) = sorted(by_label[label].items())
        difference = large.minus(small)
        if difference.calls != more - fewer:
            die(f"{label}: {difference.calls} calls counted where {more - fewer} were made")
        table[label] = difference.per_call()
    for first, second in (("malloc(64)", "free"), ("malloc(64)", "free_sized(64)")):
        if first in table and second in table:
            table[f"{first}+{second}"] = [a + b for a, b in zip(table[first], table[second])]
    return table


def prove_preload(output: str, library: Path | None) -> None:
    """Ends the program unless the driver's malloc came from the library that was asked for."""
    match = re.search(r"^malloc (.*)$", output, re.MULTILINE)
    found = Path(match.group(1)).resolve() if match else None
    if library is not None and found != library.resolve():
        die(f"{library} was preloaded, but malloc came from {found}")


def order(driver: Path) -> list[str]:
    """The operations in the order of driver.c's table."""
    source = (HERE / "driver.c").read_text(encoding="utf-8")
    labels = re.findall(r'^    \{"([^"]+)", "\w+", k\w+,', source, re.MULTILINE)
    if not labels:
        die(f"no operations in the source of {driver}")
    return labels


def show(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.2f}"


def format_table(table: dict[str, list[Fraction]]) -> list[str]:
    width = max(map(len, table), default=0)
    lines = [" ".join([f"{'entry':<{width}}"] + [f"{column:>8}" for column in COLUMNS])]
    for label, cells in table.items():
        lines.append(" ".join([f"{label:<{width}}"] + [f"{show(cell):>8}" for cell in cells]))
    return lines


def circumstances(build: Path) -> dict[str, str]:
    """What an exact comparison depends on."""
    compiler = build / "tests/golden/compiler.txt"
    if not compiler.exists():
        die(f"{compiler} is missing; run ./dev build")
    return {"compiler": compiler.read_text(encoding="utf-8").strip(),
            "libc": os.confstr("CS_GNU_LIBC_VERSION") or "unknown"}


def read_golden(path: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    facts: dict[str, str] = {}
    rows: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"^# (compiler|libc): (.*)$", line):
            facts[match.group(1)] = match.group(2)
        elif line and not line.startswith(("#", "entry")):
            words = line.split()
            rows[words[0]] = words[1:]
    return facts, rows


def near(found: Fraction, wanted: str, share: Fraction) -> bool:
    expected = Fraction(wanted)
    return abs(found - expected) <= max(TOLERANCE_COUNT, expected * share)


def compare(table: dict[str, list[Fraction]], path: Path, now: dict[str, str],
            random: bool) -> int:
    facts, rows = read_golden(path)
    differing = [f"{key} {now[key]} (the file: {facts.get(key, 'not said')})"
                 for key in now if facts.get(key) != now[key]]
    exact = not differing and not random
    if differing:
        print(f"golden: compared within {float(TOLERANCE_SHARE):.0%} or {TOLERANCE_COUNT}, "
              f"not exactly: {', '.join(differing)}")
    problems = []
    for label in [*rows, *(label for label in table if label not in rows)]:
        if label not in table:
            problems.append(f"{label}: gone; it was {' '.join(rows[label])}")
        elif label not in rows:
            problems.append(f"{label}: new, not in {path.name}")
        else:
            for column, found, wanted in zip(COLUMNS, table[label], rows[label]):
                same = show(found) == wanted if exact else near(
                    found, wanted, TOLERANCE_SHARE if differing else TOLERANCE_RANDOM)
                if not same:
                    problems.append(f"{label}: {column} {show(found)}, was {wanted}")
    for problem in problems:
        print(f"golden: {problem}")
    if problems:
        print("golden: the fast path changed; if that is meant, run ./dev golden --update "
              "and say why in the commit")
        return 1
    print(f"golden: as in {path.name}")
    return 0


def update(table: dict[str, list[Fraction]], path: Path, now: dict[str, str]) -> int:
    facts = "".join(f"# {key}: {value}\n" for key, value in now.items())
    path.write_text(HEADING + facts + "\n" + "\n".join(format_table(table)) + "\n",
                    encoding="utf-8")
    print(f"golden: wrote {path.name}")
    return 0


def compare_peers(driver: Path, libraries: dict[str, Path | None]) -> int:
    """Instructions per call, one column an allocator."""
    tables = {name: measure(driver, library) for name, library in libraries.items()}
    pairs = ["malloc(64)+free", "malloc(64)+free_sized(64)"]
    labels = pairs[:1] + [label for label in order(driver) if not label.startswith("carrel_")]
    width = max(map(len, labels))
    print("instructions per call on the cached path, by callgrind")
    print(" ".join([f"{'entry':<{width}}"] + [f"{name:>12}" for name in tables]))
    for label in labels:
        cells = [show(table[label][0]) if label in table else "-" for table in tables.values()]
        print(" ".join([f"{label:<{width}}"] + [f"{cell:>12}" for cell in cells]))
    return 0


def parse_peer(text: str) -> tuple[str, Path | None]:
    name, separator, path = text.partition("=")
    if not separator or not name:
        die(f"'{text}' is not NAME=PATH (glibc= with no path is the C library's own)")
    if path and not Path(path).is_file():
        die(f"{name}: there is no {path}")
    return name, Path(path).resolve() if path else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev golden", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--build", type=Path, default=Path("build/release"),
                        help="build directory (default build/release)")
    parser.add_argument("--update", action="store_true", help="rewrite the committed tables")
    parser.add_argument("--peers", nargs="+", metavar="NAME=PATH",
                        help="print instructions beside these preloadable libraries")
    arguments = parser.parse_args()
    driver = arguments.build / "tests/golden/golden_driver"
    library = arguments.build / "lib/libcarrel.so"
    if not shutil.which("valgrind"):
        die("valgrind is not installed; run ./dev setup")
    if not driver.exists():
        die(f"{driver} is missing; install valgrind (./dev setup), remove the build directory "
            "and build again")
    if not library.exists():
        die(f"{library} is missing; run ./dev build")
    if arguments.peers:
        return compare_peers(driver, {"carrel": library, **dict(map(parse_peer, arguments.peers))})
    now = circumstances(arguments.build)
    failed = 0
    for name, stem, random in TABLES:
        library = arguments.build / "lib" / name
        if not library.exists():
            die(f"{library} is missing; run ./dev build")
        table = measure(driver, library)
        print("\n".join([f"{name}:", *format_table(table)]))
        path = HERE / f"{stem}.{platform.machine()}.txt"
        if arguments.update:
            failed |= update(table, path, now)
        elif path.exists():
            failed |= compare(table, path, now, random)
        else:
            die(f"there is no {path.name} yet; ./dev golden --update makes it")
    return failed


if __name__ == "__main__":
    sys.exit(main())
