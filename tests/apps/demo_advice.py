"""The demo's last part: carrel advise on one real program, and its report as an HTML file.

The program is a Python script whose objects are all on malloc. What the verdict is depends on the
machine; any verdict will do, a failure to reach one will not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness import PROGRAMS, find
from proof import Failure

ROUNDS, NODES = 1, 15_000
RUNS = 5
LONGEST_SECONDS = 200
VERDICTS = {0: "keep", 10: "switch", 20: "inconclusive"}


def command_beside(lib: Path) -> Path | None:
    """The carrel command of the build that the library is from."""
    path = lib.resolve().parent.parent / "bin" / "carrel"
    return path if path.exists() else None


def show_advice(lib: Path, folder: Path) -> None:
    carrel = command_beside(lib)
    if carrel is None:
        print("\nThe carrel command is not built beside this library: no advice.", file=sys.stderr)
        return
    report = carrel.parent.parent / "demo-report.html"
    kept = folder / "advice"
    program = [find("python3", "python3"), str(PROGRAMS / "idle_graphs.py"), str(ROUNDS),
               str(NODES)]
    print("\nAdvice for one program, measured now: carrel advise -- python3 idle_graphs.py",
          flush=True)
    try:
        result = subprocess.run(
            [str(carrel), "advise", "-o", str(kept), "--runs", str(RUNS), "--alloc",
             f"glibc,carrel={lib},jemalloc", "--", *program],
            env={**os.environ, "PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL, timeout=LONGEST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        print(f"carrel advise was not done after {LONGEST_SECONDS} s: this machine is too busy for "
              "a demonstration of it.")
        return
    if result.returncode not in VERDICTS:
        raise Failure(f"carrel advise ended with status {result.returncode}")
    print(f"Exit status {result.returncode}: {VERDICTS[result.returncode]}.")
    subprocess.run([str(carrel), "report", str(kept), "-o", str(report)], check=True)
