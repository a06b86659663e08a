"""./dev bench-observing: what it costs to be able to look inside, and what steering is worth.

Statistics: carrel beside a build of the same sources without the counters. Sampling: a heap
profile at its default rate beside none. Processor seconds of each workload in interleaved runs, as
medians of the ratios within a round, beside an A/A pair; and instructions, which no other process
disturbs. Then an arena of a million blocks that is destroyed at once beside one whose
blocks are freed one by one, and the process's limit under 16 threads that allocate all they can.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))
from harness import workloads  # noqa: E402 (found by the line above)
from harness.builds import build_library  # noqa: E402

RELEASE = ROOT / "build/release"
# What counts events or amounts for statistics alone, and what stands there without it.
COUNTERS = {
    "slab/slab_bin.h": {
        "lock_.lock_counting(contended_);": "lock_.lock();",
        "    used_slots_ += taken;\n    taken_slots_ += taken;\n    ++refills_;\n": "",
        "    used_slots_ -= count - kept;\n": "",
        "    if (from != shard_) remote_slots_ += count - kept;\n    ++flushes_;\n": "",
    },
    "mem/span_pool.h": {
        "CountingLockGuard guard(lock_, events_.contended);": "LockGuard guard(lock_);",
        "    events_.allocated += state == SpanState::kPurging ? 0 : 1;\n": "",
        "    ++events_.extensions;\n": "",
        "    ++events_.purges;\n": "",
    },
    "heap/large_objects.h": {
        "    count_.fetch_add(1, std::memory_order_relaxed);\n"
        "    bytes_.fetch_add(bytes, std::memory_order_relaxed);\n": "",
        "    count_.fetch_sub(1, std::memory_order_relaxed);\n"
        "    bytes_.fetch_sub(bytes, std::memory_order_relaxed);\n": "",
    },
}
SKIPPED = ("latency", "trivial", "floor", "idle")


@dataclass
class Variant:
    name: str
    library: Path
    options: str = ""


def without_counters(folder: Path) -> Path:
    """A copy of src without them; a text that is no longer there is an error."""
    sources = folder / "src"
    shutil.copytree(ROOT / "src", sources)
    for name, changes in COUNTERS.items():
        path = sources / name
        text = path.read_text(encoding="utf-8")
        for old, new in changes.items():
            if old not in text:
                sys.exit(f"bench-observing: src/{name} no longer has: {old.strip()}; mend COUNTERS "
                         "in bench/observing.py")
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
    return sources


def environment(variant: Variant) -> dict[str, str]:
    return {"LD_PRELOAD": str(variant.library), "CARREL_OPTIONS": variant.options,
            "PATH": "/usr/bin:/bin"}


def command(workload: workloads.Workload, scale: float) -> list[str]:
    return [str(RELEASE / "bench" / workload.program), *workload.arguments, "--scale", f"{scale:g}"]


def seconds(variant: Variant, workload: workloads.Workload, scale: float, folder: Path) -> float:
    with subprocess.Popen(command(workload, scale), env=environment(variant), cwd=folder,
                          stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"bench-observing: {workload.name} failed with {variant.name}")
    return usage.ru_utime + usage.ru_stime


def instructions(variant: Variant, workload: workloads.Workload, scale: float,
                 folder: Path) -> float:
    done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                           *command(workload, scale)], env=environment(variant), cwd=folder,
                          capture_output=True, text=True, check=False)
    found = re.search(r"refs: +([0-9,]+)", done.stderr)
    if done.returncode != 0 or found is None:
        sys.exit(f"bench-observing: valgrind failed: {done.stderr.strip()[-300:]}")
    return float(found[1].replace(",", ""))


def compare(title: str, variants: list[Variant], options: argparse.Namespace, folder: Path,
            counted_scale: float) -> None:
    """The first variant is the base, the last its copy; instructions are those of the second."""
    chosen = [w for w in workloads.WORKLOADS if w.kind not in SKIPPED
              and (not options.workloads or w.name in options.workloads.split(","))]
    print(f"\n{title}: {options.runs} rounds at scale {options.scale:g}")
    heads = [variant.name for variant in variants[1:]] + ["instructions"]
    print(f"{'workload':<15}{'CPU s':>8}" + "".join(f"{head:>22}" for head in heads))
    columns: list[list[float]] = [[] for _ in heads]
    for workload in chosen:
        rounds = []
        for _ in range(options.runs):
            order = random.sample(range(len(variants)), len(variants))
            took = {i: seconds(variants[i], workload, options.scale, folder) for i in order}
            rounds.append([took[i] for i in range(len(variants))])
        base = statistics.median(each[0] for each in rounds)
        cells = []
        for i in range(1, len(variants)):
            ratios = sorted(each[i] / max(each[0], 1e-4) for each in rounds)
            columns[i - 1].append(statistics.median(ratios))
            quarter = len(ratios) // 4
            cells.append(f"{statistics.median(ratios):.3f} "
                         f"({ratios[quarter]:.2f}-{ratios[-1 - quarter]:.2f})")
        found = [instructions(v, workload, counted_scale, folder) for v in variants[:2]]
        columns[-1].append(found[1] / found[0])
        cells.append(f"{columns[-1][-1]:.4f}")
        print(f"{workload.name:<15}{base:>8.3f}" + "".join(f"{cell:>22}" for cell in cells),
              flush=True)
    means = [f"{statistics.geometric_mean(column):.4f}" for column in columns]
    print(f"{'geometric mean':<23}" + "".join(f"{mean:>22}" for mean in means))


def last_lines(arguments: list[str], library: Path | None = None) -> str:
    """What a program of ours prints, for which it must succeed."""
    extra = {"LD_PRELOAD": str(library)} if library else {}
    done = subprocess.run(arguments, capture_output=True, text=True, check=False,
                          env={"PATH": "/usr/bin:/bin", **extra})
    if done.returncode != 0:
        sys.exit(f"bench-observing: {' '.join(arguments)} failed: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=7, help="rounds of each workload")
    parser.add_argument("--scale", type=float, default=0.3, help="share of a workload's work")
    parser.add_argument("--workloads", default="", help="names, with commas; all if none is given")
    parser.add_argument("--only", choices=("statistics", "sampling", "arenas", "limit"))
    options = parser.parse_args()
    known = {w.name for w in workloads.WORKLOADS if w.kind not in SKIPPED}
    unknown = [name for name in options.workloads.split(",") if name and name not in known]
    if unknown:
        parser.error(f"no workload {unknown[0]}; known: {', '.join(sorted(known))}")
    wanted = [options.only] if options.only else ["statistics", "sampling", "arenas", "limit"]
    needed = {"statistics": RELEASE / "bench/pairs", "sampling": RELEASE / "bench/pairs",
              "arenas": RELEASE / "bench/arena_destroy",
              "limit": RELEASE / "tests/api/test_memory_storm"}
    for what in wanted:
        if not needed[what].exists():
            sys.exit(f"bench-observing: {needed[what]} is missing; ./dev bench-observing builds it")
    if {"statistics", "sampling"} & set(wanted) and shutil.which("valgrind") is None:
        sys.exit("bench-observing: valgrind is missing: run ./dev setup")
    with tempfile.TemporaryDirectory(prefix="carrel-observing-") as name:
        folder = Path(name)
        preset = ROOT / "src/config/presets/default"
        if "statistics" in wanted:
            for each in ("with", "without"):
                (folder / each).mkdir()
            counting = build_library(folder / "with", preset)
            silent = build_library(folder / "without", preset, without_counters(folder))
            compare("Statistics, over a build without counters",
                    [Variant("without", silent), Variant("with counters", counting),
                     Variant("without, again", silent)], options, folder, 0.005)
        shipped = RELEASE / "lib/libcarrel.so"
        if "sampling" in wanted:
            compare("Sampling every 512 KiB, over none",
                    [Variant("none", shipped), Variant("sampling", shipped, "profile=1"),
                     Variant("none, again", shipped)], options, folder, 0.02)
        if "arenas" in wanted:
            print("\nArenas\n" + last_lines([str(RELEASE / "bench/arena_destroy")]))
        if "limit" in wanted:
            print("\nLimit\n" + last_lines([str(RELEASE / "tests/api/test_memory_storm"), "hard"],
                                           shipped))
    return 0


if __name__ == "__main__":
    sys.exit(main())
