#!/usr/bin/env python3
"""run: the benchmarks of the Rust crates, one table each, and a page.

    micro     criterion's medians of what Rust programs do with memory, for each allocator
    build     how long each allocator's -sys crate takes to build from nothing

Every allocator has a program of its own, built first; they run in turn, round by round, in an order
drawn anew, and each proves that its allocator serves it. Tables go to standard output, what happens
to standard error, the page to --out. Nothing here makes the machine quiet: run it on an idle one,
or read the spread. The web service is service.py's, the compiler rustc.py's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import page
from common import (ROOT, build, cargo, die, environment, geometric_mean, machine, middle, note,
                    processor_seconds, table, target_dir)

ALLOCATORS = ("carrel", "mimalloc", "jemalloc", "snmalloc", "system")
SYS_CRATES = ("carrel-sys", "libmimalloc-sys", "snmalloc-sys", "tikv-jemalloc-sys")

Times = dict[str, dict[str, list[float]]]  # allocator, benchmark: nanoseconds of each round


def run_micro(program: Path, allocator: str, home: Path, quick: bool) -> dict[str, float]:
    """Nanoseconds of each benchmark."""
    seconds = ("0.1", "0.3", "10") if quick else ("0.5", "1.5", "20")
    done = subprocess.run(
        [str(program), "--bench", "--warm-up-time", seconds[0], "--measurement-time", seconds[1],
         "--sample-size", seconds[2], "--noplot"],
        env=environment({"CRITERION_HOME": str(home)}), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        die(f"the benchmarks on {allocator} failed\n{done.stderr[-3000:]}")
    if f"allocator: {allocator}\n" not in done.stdout:
        die(f"the program built for {allocator} does not say that it runs on it")
    found = {}
    for estimates in home.rglob("new/estimates.json"):
        name = json.loads((estimates.parent / "benchmark.json").read_text())["full_id"]
        found[name] = json.loads(estimates.read_text())["median"]["point_estimate"]
    return found


def collect(allocators: list[str], rounds: int, quick: bool, order: random.Random) -> Times:
    programs = {}
    for name in allocators:
        note(f"building micro for {name}")
        programs[name] = build(["bench", "--no-run", "-p", "carrel-micro", "--features",
                                f"carrel-micro/{name}"], target_dir() / "micro" / name)
    times: Times = {name: {} for name in allocators}
    with tempfile.TemporaryDirectory(prefix="carrel-criterion-") as folder:
        for turn in range(rounds):
            for name in order.sample(allocators, len(allocators)):
                note(f"micro: round {turn + 1} of {rounds}, {name}")
                found = run_micro(programs[name]["collections"], name,
                                  Path(folder) / f"{name}{turn}", quick)
                for benchmark, nanoseconds in found.items():
                    times[name].setdefault(benchmark, []).append(nanoseconds)
    return times


def groups_of(times: Times) -> dict[str, dict[str, float]]:
    """For each group, and over all of them, each allocator's geometric mean over the best one's."""
    benchmarks = sorted(next(iter(times.values())))
    centre = {name: {b: median(of[b]) for b in benchmarks} for name, of in times.items()}
    groups: dict[str, list[str]] = {}
    for benchmark in benchmarks:
        groups.setdefault(benchmark.split("/")[0], []).append(benchmark)
    groups["all"] = [b for b in benchmarks if "_wall/" not in b]
    result = {}
    for group, members in groups.items():
        means = {name: geometric_mean([centre[name][b] for b in members]) for name in times}
        best = min(means.values())
        result[group] = {name: mean / best for name, mean in means.items()}
    return result


def micro(allocators: list[str], rounds: int, quick: bool, seed: int) -> list[str]:
    times = collect(allocators, rounds, quick, random.Random(seed))
    rows = [(b, [middle([t / 1000 for t in times[name][b]]) for name in allocators])
            for b in sorted(times[allocators[0]])]
    title = (f"criterion's medians, microseconds of processor time (of wall time where that is "
             f"said), median of {rounds} rounds")
    table(title, allocators, rows)
    groups = groups_of(times)
    group_rows = [(group, [f"{of[name]:.2f}" for name in allocators])
                  for group, of in groups.items()]
    group_title = "each group's geometric mean over that of the fastest allocator in it"
    table(group_title, allocators, group_rows)
    charts = [page.bar_chart(group, "time over the fastest", {n: of[n] for n in allocators})
              for group, of in groups.items()]
    return ["<h2>Collections, strings, threads</h2>", page.html_table(group_title, allocators,
            group_rows), *charts, page.html_table(title, allocators, rows)]


def build_times(repeats: int) -> list[str]:
    """Each crate from nothing, in an empty target folder; the crate cc was built before."""
    seconds: dict[str, list[float]] = {crate: [] for crate in SYS_CRATES}
    work: dict[str, list[float]] = {crate: [] for crate in SYS_CRATES}
    for turn in range(repeats):
        for crate in SYS_CRATES:
            note(f"build: round {turn + 1} of {repeats}, {crate}")
            with tempfile.TemporaryDirectory(prefix="carrel-build-time-") as folder:
                extra = {"CARGO_TARGET_DIR": folder, "RUSTC_WRAPPER": "",
                         "CMAKE_CXX_COMPILER_LAUNCHER": "", "CMAKE_C_COMPILER_LAUNCHER": ""}
                command = ["build", "--release", "--locked", "-p", "carrel-build-time"]
                cargo(command, extra=extra)
                cpu, wall = processor_seconds(), time.monotonic()
                cargo([*command, "--features", crate], extra=extra)
                seconds[crate].append(time.monotonic() - wall)
                work[crate].append(processor_seconds() - cpu)
    columns = ["seconds", "seconds of CPU"]
    rows = [(crate, [middle(seconds[crate], 1), middle(work[crate], 1)]) for crate in SYS_CRATES]
    jobs = os.environ.get("CARGO_BUILD_JOBS", os.cpu_count())
    title = f"building each crate from nothing, release, {jobs} jobs, {repeats} times"
    table(title, columns, rows)
    chart = page.bar_chart("clean build", "seconds of CPU",
                           {crate.split("-")[-2] if crate.startswith("tikv") else
                            crate.removeprefix("lib").removesuffix("-sys"): median(work[crate])
                            for crate in SYS_CRATES})
    return ["<h2>Building the crates</h2>", chart, page.html_table(title, columns, rows)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev rust-bench",
                                     description="Benchmarks of the Rust crates.")
    parser.add_argument("parts", nargs="*", metavar="PART",
                        help="micro or build (default: both, about 15 minutes on 2 free CPUs)")
    parser.add_argument("--allocs", default=",".join(ALLOCATORS),
                        help="comma-separated, of " + ",".join(ALLOCATORS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, short measurements")
    parser.add_argument("--seed", type=int, default=1, help="of the order of runs")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "rust-bench-results")
    options = parser.parse_args()
    parts = options.parts or ["micro", "build"]
    allocators = options.allocs.split(",")
    for word, known in ((parts, ("micro", "build")), (allocators, ALLOCATORS)):
        for name in word:
            if name not in known:
                parser.error(f"'{name}' is unknown; one of: {', '.join(known)}")
    rounds = 1 if options.quick else max(1, options.rounds)
    where = machine()
    print(where)
    sections: list[str] = []
    if "micro" in parts:
        sections += [page.key(allocators),
                     *micro(allocators, rounds, options.quick, options.seed)]
    if "build" in parts:
        sections += build_times(1 if options.quick else 2)
    path = options.out / "criterion.html"
    page.write(path, "carrel: Rust programs", [where, f"{rounds} rounds, interleaved. ± is half "
               "the distance between the slowest and the fastest round."], sections)
    note(f"the page is {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
