#!/usr/bin/env python3
"""promises: one tiny program per misuse, under any allocator, judged by how the process ended.

Prints a table of which misuse each allocator catches (the process dies), renders harmless (the
program goes on and its misuse had no effect) or misses, for blocks of three sizes. --runs repeats
each case and counts, for those that an allocator catches by chance. --expect compares with a
committed list and fails on any difference; --update rewrites that list. It does not read what an
allocator prints.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
from harness import allocators  # noqa: E402 (found by the line above)

# The sizes are where checks have the least room: exact slots and whole pages.
SIZES = {"small": 32, "medium": 4096, "large": 262144}
DEFAULT = ("glibc", "carrel", "carrel-secure", "mimalloc3", "mimalloc3-secure", "jemalloc",
           "snmalloc", "snmalloc-checks", "rpmalloc", "tcmalloc", "scudo")
EXIT = {0: "missed", 42: "harmless", 4: "n/a"}
HELD = ("caught", "harmless")
LETTER = {"caught": "C", "harmless": "h", "missed": "-", "n/a": " ", "hang": "!", "broken": "?"}


@dataclass(frozen=True)
class Library:
    """An allocator to judge; no path: the C library's own."""

    name: str
    path: Path | None


def limits() -> None:
    """A dying program leaves no core file, a mad one does not take the machine with it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))


def judge(program: Path, case: str, size: int, library: Library) -> str:
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    if library.path is not None:
        environment["LD_PRELOAD"] = str(library.path)
    try:
        done = subprocess.run([str(program), case, str(size)], capture_output=True, timeout=20,
                              check=False, env=environment, preexec_fn=limits)
    except subprocess.TimeoutExpired:
        return "hang"
    if not done.stdout.startswith(b"!"):
        return EXIT.get(done.returncode, "broken") if done.returncode == 4 else "broken"
    # By a signal, or by an exit that is not the program's own: the allocator ended it.
    return EXIT.get(done.returncode, "caught")


def find_libraries(words: list[str]) -> list[Library]:
    """Names that the benchmarks know, or NAME=PATH; a sentence for each that is not there."""
    found = []
    for word in words:
        name, _, path = word.partition("=")
        if path:
            if not Path(path).is_file():
                sys.exit(f"promises: {path} is not there; build it first")
            found.append(Library(name, Path(path).resolve()))
            continue
        specs = [spec for spec in allocators.SPECS if spec.name == name]
        if not specs:
            sys.exit(f"promises: no allocator '{name}'; NAME=PATH takes any library")
        library = allocators.find_library(specs[0], ROOT)
        if library is None and specs[0].patterns:
            print(f"promises: {name} left out; get it with: {specs[0].hint}", file=sys.stderr)
            continue
        found.append(Library(name, library))
    return found


def read_expectations(path: Path) -> dict[tuple[str, str], list[str]]:
    """(case, library) -> what is expected for each size; "a|b" where either may be seen."""
    expected = {}
    library = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.partition("#")[0].split()
        if len(words) == 2 and words[0] == "library":
            library = words[1]
        elif len(words) == 1 + len(SIZES) and library:
            expected[words[0], library] = words[1:]
        elif words:
            sys.exit(f"{path.name}:{number}: expected CASE and {len(SIZES)} outcomes")
    return expected


def compare(results: dict[tuple[str, str, str], Counter[str]], path: Path) -> int:
    """Prints where the outcomes differ from the committed ones; returns how many do."""
    expected = read_expectations(path)
    wrong = 0
    seen = set()
    for (case, library, size), outcomes in results.items():
        seen.add((case, library))
        wanted = expected.get((case, library))
        if wanted is None:
            print(f"{case} under {library}: {path.name} has no line for it")
            wrong += 1
            continue
        allowed = wanted[list(SIZES).index(size)].split("|")
        for outcome in outcomes:
            if outcome not in allowed:
                print(f"{case}, {size}, under {library}: {outcome}, expected {'|'.join(allowed)}")
                wrong += 1
    libraries = {library for _, library in seen}
    for case, library in expected:
        if library in libraries and (case, library) not in seen:
            print(f"{path.name} has {case} under {library}, which is no case")
            wrong += 1
    return wrong


def update(results: dict[tuple[str, str, str], Counter[str]], cases: list[str],
           libraries: list[Library], path: Path) -> None:
    """Rewrites the list from these outcomes and keeps its opening comment; review the change."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines()
             if line.startswith("#")]
    for library in libraries:
        lines += ["", f"library {library.name}"]
        for case in cases:
            outcomes = ("|".join(sorted(results[case, library.name, size])) for size in SIZES)
            lines.append(f"{case:26}" + " ".join(f"{outcome:16}" for outcome in outcomes).rstrip())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def cell(results: dict[tuple[str, str, str], Counter[str]], case: str, library: str) -> str:
    """One outcome per size: a letter, or the share that was held where runs differ."""
    parts = []
    for size in SIZES:
        outcomes = results[case, library, size]
        if len(outcomes) == 1:
            parts.append(LETTER[next(iter(outcomes))])
        else:
            held = sum(outcomes[outcome] for outcome in HELD)
            parts.append(f"{100 * held / outcomes.total():.1f}%")
    return " ".join(parts)


def print_table(results: dict[tuple[str, str, str], Counter[str]], cases: list[str],
                libraries: list[Library]) -> None:
    names = [library.name for library in libraries]
    rows = [["case", *names], *([case, *(cell(results, case, name) for name in names)]
                                for case in cases)]
    for label, wanted in (("**caught**", ("caught",)), ("**caught or harmless**", HELD)):
        row = [label]
        for name in names:
            held = sum(results[case, name, size][outcome]
                       for case in cases for size in SIZES for outcome in wanted)
            judged = sum(count for case in cases for size in SIZES
                         for outcome, count in results[case, name, size].items()
                         if outcome != "n/a")
            row.append(f"{100 * held / max(judged, 1):.0f}%")
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sizes = ", ".join(f"{name} {size}" for name, size in SIZES.items())
    print(f"\nC caught: the process died; h harmless: it had no effect; - missed; ! hangs; "
          f"in each cell blocks of bytes: {sizes}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--program", type=Path, default=ROOT / "build/release/tests/death/promise",
                        help="the built tests/death/promises")
    parser.add_argument("--allocs", default=",".join(DEFAULT), metavar="NAME[=PATH],...",
                        help="allocators, by the benchmarks' names or with a path")
    parser.add_argument("--cases", default="", metavar="WORD,...",
                        help="only cases whose names contain one of the words")
    parser.add_argument("--runs", type=int, default=1, help="of each case (default 1)")
    parser.add_argument("--expect", type=Path, help="compare with this list of outcomes")
    parser.add_argument("--update", action="store_true", help="rewrite that list")
    arguments = parser.parse_args()
    if not os.access(arguments.program, os.X_OK):
        sys.exit(f"promises: {arguments.program} is missing; run ./dev build")
    listed = subprocess.run([str(arguments.program), "list"], capture_output=True, text=True,
                            check=True).stdout.split()
    words = [word for word in arguments.cases.split(",") if word]
    cases = [case for case in listed if not words or any(word in case for word in words)]
    libraries = find_libraries(arguments.allocs.split(","))
    results: dict[tuple[str, str, str], Counter[str]] = {}
    for library in libraries:
        for case in cases:
            for size, size_bytes in SIZES.items():
                results[case, library.name, size] = Counter(
                    judge(arguments.program, case, size_bytes, library)
                    for _ in range(arguments.runs))
    print_table(results, cases, libraries)
    if arguments.expect is not None and arguments.update:
        update(results, cases, libraries, arguments.expect)
    elif arguments.expect is not None:
        wrong = compare(results, arguments.expect)
        print(f"{wrong} outcomes are not as {arguments.expect.name} says" if wrong else
              f"every outcome is as {arguments.expect.name} says")
        return 1 if wrong else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
