#!/usr/bin/env python3
"""gdb_test: what `carrel ptr` says of blocks, in a live process.

The script is found by gdb itself, beside the library, as it is after an installation.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ASKED = ["live", "freed", "large", "in_arena", "(char*)live+3", "&live", "(char*)large+8"]
EXPECTED = [
    r"live, class \d+ \(\d+ bytes\), slot \d+ of \d+, slab at 0x[0-9a-f]+, shard \d+$",
    r"(cached by thread cache 0|free \(in quarantine\)), class \d+",
    r"live, large, \d+ bytes at 0x[0-9a-f]+$",
    r"live, class \d+ \(2048 bytes\), slot \d+ of 32, slab at 0x[0-9a-f]+, arena 0$",
    r"live, .*, 3 bytes into the block at 0x",
    r"not carrel's: outside its heap$",
    r"live, large, .*, 8 bytes into it$",
]


def gdb(arguments: list[str], commands: list[str]) -> str:
    line = ["gdb", "-q", "-nx", "-batch", *arguments]
    for command in commands:
        line += ["-ex", command]
    run = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         timeout=240)
    return run.stdout


def check(output: str, what: str) -> int:
    said = [line.split(": ", 1)[1] for line in output.splitlines()
            if re.match(r"0x[0-9a-f]+: ", line)]
    wrong = [f"{asked}: expected {expected}, got {got}"
             for asked, expected, got in zip(ASKED, EXPECTED, said) if not re.search(expected, got)]
    if len(said) != len(ASKED):
        wrong.append(f"{len(said)} answers to {len(ASKED)} questions")
    for each in wrong:
        print(f"{what}: {each}")
    if wrong:
        print(output)
    return len(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path)
    parser.add_argument("library", type=Path)
    parser.add_argument("script", type=Path)
    arguments = parser.parse_args()
    if shutil.which("gdb") is None:
        print("gdb is not installed; run ./dev setup")
        return 77
    questions = [f"carrel ptr {each}" for each in ASKED]
    with tempfile.TemporaryDirectory(prefix="carrel-gdb-") as name:
        folder = Path(name).resolve()
        library = folder / arguments.library.resolve().name
        shutil.copy(arguments.library, library)
        shutil.copy(arguments.script, folder / f"{library.name}-gdb.py")
        trusted = ["-iex", f"add-auto-load-safe-path {folder}",
                   "-iex", "set debuginfod enabled off"]
        live = gdb([*trusted, str(arguments.program)],
                   [f"set environment LD_PRELOAD={library}", "set startup-with-shell off",
                    "break stop_here", "run", *questions])
        if "not permitted" in live or "ptrace" in live:
            print("this machine lets gdb trace nothing")
            return 77
        wrong = check(live, "live")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
