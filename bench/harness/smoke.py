"""Runs one workload at a tiny scale under a library, for the tests: does it work, does it verify?

    python3 -m harness.smoke NAME PROGRAMS LIBRARY

It measures nothing worth reading. Exit status 0 when the workload's own checks passed, its line of
figures is there, and malloc really resolved into the library.
"""

from __future__ import annotations

import sys
from pathlib import Path

from . import allocators, workloads
from .runner import Launcher, run_workload

TINY = 0.004


def main(name: str, programs: Path, library: Path) -> int:
    if not library.exists():
        print(f"{library} is missing: build it first", file=sys.stderr)
        return 1
    workload = next(w for w in workloads.WORKLOADS if w.name == name)
    environment = {"LD_PRELOAD": str(library.resolve())}
    answer = allocators.probe(programs / "probe", environment)
    elsewhere = allocators.did_not_take(library, answer)
    if elsewhere:
        print(f"{library.name} did not take over {', '.join(elsewhere)}", file=sys.stderr)
        return 1
    allocator = allocators.Allocator(library.name, "ours", library, str(library), "", "", "",
                                     environment)
    sample = run_workload(Launcher(programs / "launch"), programs, workload, allocator, 0, TINY,
                          0.1, 60)
    print(f"{name}: {sample.status} {sample.error} {sample.seconds:.3f} s, {sample.rss_kib} KiB, "
          f"{sample.metrics}")
    if sample.status == "ok" and sample.metrics.get("ops", 0) < 1:
        print("it reports no operation", file=sys.stderr)
        return 1
    return 0 if sample.status == "ok" else 1


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit("usage: python3 -m harness.smoke NAME PROGRAMS LIBRARY")
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
