#!/usr/bin/env python3
"""run: the benchmarks of the Rust crates, one table each.

    micro     criterion's medians of what Rust programs do with memory
    service   a JSON web service under 1 to 512 connections: throughput, latency, memory
    build     how long each allocator's -sys crate takes to build

Every allocator has programs of its own, built first; they run in turn, round by round, and each
proves that its allocator serves it. Tables go to standard output, what happens to standard error.
Nothing here makes the machine quiet: run it on an idle one, or read the spread.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ALLOCATORS = ("carrel", "mimalloc", "jemalloc", "snmalloc", "system")
SYS_CRATES = ("carrel-sys", "libmimalloc-sys", "snmalloc-sys", "tikv-jemalloc-sys")
CONNECTIONS = (1, 16, 128, 512)


def die(message: str) -> None:
    sys.exit(f"rust-bench: {message}")


def note(message: str) -> None:
    print(f"rust-bench: {message}", file=sys.stderr, flush=True)


def target_dir() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "build" / "rust-bench"))


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith("CARREL_") and key not in ("RUSTFLAGS", "LD_PRELOAD")}
    return {**kept, "CARGO_TARGET_DIR": str(target_dir()), **(extra or {})}


def cargo(arguments: list[str], succeed: bool = True) -> str:
    program = shutil.which("cargo")
    if program is None:
        die("cargo is not installed; run ./dev setup")
    done = subprocess.run([program, *arguments], cwd=HERE, env=environment(), capture_output=True,
                          text=True, check=False)
    if succeed and done.returncode != 0:
        die(f"`cargo {' '.join(arguments)}` failed\n{done.stderr[-4000:]}")
    return done.stdout


def build(arguments: list[str], place: Path) -> dict[str, Path]:
    """Builds, and copies the executables aside before the next allocator's replace them."""
    text = cargo([*arguments, "--locked", "--message-format", "json"])
    place.mkdir(parents=True, exist_ok=True)
    found = {}
    for line in text.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            name = message["target"]["name"]
            found[name] = Path(shutil.copy(message["executable"], place / name))
    return found


def table(title: str, columns: list[str], rows: list[tuple[str, list[str]]]) -> None:
    print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for name, cells in rows:
        print(f"| {name} | {' | '.join(cells)} |")
    sys.stdout.flush()


# --- micro -----------------------------------------------------------------------------------

def run_micro(program: Path, allocator: str, home: Path, quick: bool) -> dict[str, float]:
    """Nanoseconds of each benchmark."""
    seconds = ("0.2", "0.4", "10") if quick else ("0.5", "2", "30")
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


def micro(allocators: list[str], rounds: int, quick: bool) -> None:
    programs = {}
    for name in allocators:
        note(f"building micro for {name}")
        programs[name] = build(["bench", "--no-run", "-p", "carrel-micro", "--features",
                                f"carrel-micro/{name}"], target_dir() / "micro" / name)
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in allocators}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            for name in allocators:
                note(f"micro: round {turn + 1}, {name}")
                found = run_micro(programs[name]["collections"], name,
                                  Path(folder) / f"{name}{turn}", quick)
                for benchmark, nanoseconds in found.items():
                    samples[name].setdefault(benchmark, []).append(nanoseconds)
    benchmarks = sorted(samples[allocators[0]])
    middle = {name: {b: median(samples[name][b]) for b in benchmarks} for name in allocators}
    rows = [(b, [f"{middle[name][b] / 1000:.2f}" for name in allocators]) for b in benchmarks]
    best = {b: min(middle[name][b] for name in allocators) for b in benchmarks}
    over_best = {name: math.exp(sum(math.log(middle[name][b] / best[b]) for b in benchmarks)
                                / len(benchmarks)) for name in allocators}
    rows.append(("geometric mean over the best", [f"{over_best[name]:.2f}" for name in allocators]))
    table(f"criterion medians in microseconds, {rounds} rounds", allocators, rows)


# --- service ---------------------------------------------------------------------------------

def memory_mib(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    die(f"/proc has no {field}")
    raise AssertionError


def run_service(programs: dict[str, Path], name: str, seconds: float) -> list[float]:
    """Requests a second for each number of connections; then the last one's latencies in ms, peak
    and idle memory in MiB."""
    server = subprocess.Popen([str(programs["service"])], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, env=environment())
    try:
        first = server.stdout.readline().split()
        if len(first) != 2 or first[0] != name:
            die(f"the service built for {name} opens with {first}")
        numbers: list[float] = []
        answer: dict[str, float] = {}
        for count in CONNECTIONS:
            done = subprocess.run([str(programs["load"]), first[1], str(count), str(seconds)],
                                  capture_output=True, text=True, check=False, env=environment())
            if done.returncode != 0:
                die(f"{name}, {count} connections: {done.stderr.strip()}")
            answer = json.loads(done.stdout)
            numbers.append(answer["per_second"])
        time.sleep(2)
        latencies = [answer[key] / 1000 for key in ("p50_us", "p99_us", "p999_us")]
        memory = [memory_mib(server.pid, field) for field in ("VmHWM", "VmRSS")]
        return [*numbers, *latencies, *memory]
    finally:
        server.stdin.close()
        server.wait(20)


def service(allocators: list[str], rounds: int, seconds: float) -> None:
    programs = {}
    for name in allocators:
        note(f"building the service for {name}")
        programs[name] = build(["build", "--release", "-p", "carrel-service", "--features",
                                f"carrel-service/{name}"], target_dir() / "service-of" / name)
    samples: dict[str, list[list[float]]] = {name: [] for name in allocators}
    for turn in range(rounds):
        for name in allocators:
            note(f"service: round {turn + 1}, {name}")
            samples[name].append(run_service(programs[name], name, seconds))
    columns = [f"{count} conn., req/s" for count in CONNECTIONS]
    columns += ["p50 ms", "p99 ms", "p99.9 ms", "peak MiB", "idle MiB"]
    rows = []
    for name in allocators:
        middle = [median(values) for values in zip(*samples[name])]
        cells = [f"{value:.0f}" for value in middle[:len(CONNECTIONS)]]
        rows.append((name, cells + [f"{value:.1f}" for value in middle[len(CONNECTIONS):]]))
    table(f"web service, {seconds:g} s a step, median of {rounds} rounds; latencies at "
          f"{CONNECTIONS[-1]} connections; idle is 2 s after the load", columns, rows)


# --- build -----------------------------------------------------------------------------------

def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def build_times() -> None:
    rows = []
    with tempfile.TemporaryDirectory(prefix="carrel-build-time-") as folder:
        os.environ["CARGO_TARGET_DIR"] = folder
        try:
            cargo(["build", "--release", "--locked", "-p", "carrel-build-time"])  # cc itself
            for crate in SYS_CRATES:
                note(f"building {crate}")
                cpu, wall = processor_seconds(), time.monotonic()
                cargo(["build", "--release", "--locked", "-p", "carrel-build-time", "--features",
                       crate])
                rows.append((crate, [f"{time.monotonic() - wall:.1f}",
                                     f"{processor_seconds() - cpu:.1f}"]))
        finally:
            del os.environ["CARGO_TARGET_DIR"]
    table("building each crate, release, cc at hand", ["seconds", "seconds of CPU"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Benchmarks of the Rust crates.")
    parser.add_argument("parts", nargs="*", metavar="PART",
                        help="of: micro, service, build (default: all)")
    parser.add_argument("--allocs", default=",".join(ALLOCATORS),
                        help="comma-separated, of " + ",".join(ALLOCATORS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load for each step")
    parser.add_argument("--quick", action="store_true", help="one round, short measurements")
    options = parser.parse_args()
    parts = options.parts or ["micro", "service", "build"]
    allocators = options.allocs.split(",")
    for word, known in ((parts, ("micro", "service", "build")), (allocators, ALLOCATORS)):
        for name in word:
            if name not in known:
                parser.error(f"'{name}' is unknown; one of: {', '.join(known)}")
    rounds = 1 if options.quick else max(1, options.rounds)
    if "micro" in parts:
        micro(allocators, rounds, options.quick)
    if "service" in parts:
        service(allocators, rounds, 1.0 if options.quick else options.seconds)
    if "build" in parts:
        build_times()
    return 0


if __name__ == "__main__":
    sys.exit(main())
