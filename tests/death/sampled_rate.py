#!/usr/bin/env python3
"""sampled_rate: how often sampling notices a bug that only reads, which nothing else notices.

Runs a program that meets its bug so many times among ordinary requests, --runs times for each kind
and number, under the hardened library with its default options, and prints the share of runs that
ended by a report. Build death_sampled_rate first.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODES = {"after-free": "use-after-free", "behind": "out-of-bounds", "before": "out-of-bounds"}


def no_core_dump() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def noticed(program: Path, library: Path, bug: str, count: int, options: str) -> bool:
    done = subprocess.run([str(program), bug, str(count)], capture_output=True, text=True,
                          check=False, timeout=60, preexec_fn=no_core_dump,
                          env={**os.environ, "LD_PRELOAD": str(library),
                               "CARREL_OPTIONS": options})
    # Without a line: the byte before the heap's first block is nobody's.
    if done.returncode in (0, -signal.SIGSEGV) and not done.stderr:
        return False
    if done.returncode != -signal.SIGSEGV or f"error {CODES[bug]}:" not in done.stderr:
        sys.exit(f"{bug}: status {done.returncode}: {done.stderr}")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--counts", default="100,1000,10000", help="times that the bug is met")
    parser.add_argument("--options", default="", help="CARREL_OPTIONS")
    parser.add_argument("--least", type=int, default=-1, help="fail below so many percent")
    arguments = parser.parse_args()
    program = arguments.build / "tests/death/death_sampled_rate"
    library = arguments.build / "lib/libcarrel-secure.so"
    for path in (program, library):
        if not path.exists():
            sys.exit(f"sampled_rate: {path} is missing; run ./dev build")
    counts = [int(count) for count in arguments.counts.split(",")]
    heads = " | ".join(f"met {count} times" for count in counts)
    print(f"| bug, block of 64 bytes | {heads} |")
    print("| --- |" + " --- |" * len(counts))
    least = 100.0
    for bug in CODES:
        shares = []
        for count in counts:
            caught = sum(noticed(program, library, bug, count, arguments.options)
                         for _ in range(arguments.runs))
            shares.append(100 * caught / arguments.runs)
        least = min(least, *shares)
        print(f"| {bug} | " + " | ".join(f"{share:.1f}%" for share in shares) + " |", flush=True)
    return 1 if least < arguments.least else 0


if __name__ == "__main__":
    sys.exit(main())
