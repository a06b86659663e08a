#!/usr/bin/env python3
"""How cost grows: time per operation against live heap, threads and object size, every allocator.

    python3 bench/curves.py [--quick] [--allocs A,B] [--out DIR]

Each point is the median of several fresh processes, allocators next to each other in an order drawn
anew. Writes curves.json, one SVG for each plot (made to stand in documents), and curves.html with
all of them. It shares allocators and launcher with run.py and makes no claim about who is better.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import run as bench
from harness import allocators, machine, runner, workloads

COLOURS = {
    "carrel": "#c2410c", "glibc": "#7a7f87", "mimalloc3": "#2f6fdb", "mimalloc2": "#63a0f2",
    "jemalloc": "#0f8f83", "snmalloc": "#8d4bd8", "rpmalloc": "#c7408f", "tcmalloc": "#b58900",
    "tbbmalloc": "#5c8a00", "scudo": "#8c6d5a",
}


@dataclass(frozen=True)
class Curve:
    """One plot: the mode of the workload, the argument that varies, and its values."""

    name: str
    title: str
    axis: str
    argument: str
    points: tuple[int, ...]
    quick_points: int  # how many of them, from the left, a quick run takes


CURVES = (
    Curve("heap", "Time per replacement against live heap", "MiB live", "--blocks",
          (1, 4, 16, 64, 256, 1024, 4096, 8192), 5),
    Curve("threads", "Time per replacement against threads", "threads", "--threads",
          (1, 2, 4, 8, 16, 32, 64, 128, 256, 512), 8),
    Curve("size", "Time per block against its size", "bytes", "--blocks",
          tuple(8 << step for step in range(24)), 18),
)


def short(value: float) -> str:
    """1024 as 1K, 8388608 as 8M; powers of two on the axes."""
    for unit, name in ((1 << 20, "M"), (1 << 10, "K")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def nanoseconds(value: float) -> str:
    for unit, name in ((1e6, "ms"), (1e3, "µs")):
        if value >= unit:
            return f"{value / unit:g} {name}"
    return f"{value:g} ns"


def svg(curve: Curve, series: dict[str, dict[int, float]]) -> str:
    """A plot with both axes logarithmic, names at the lines' ends, readable on light and dark."""
    values = [y for points in series.values() for y in points.values()]
    xs = sorted({x for points in series.values() for x in points})
    if not values or len(xs) < 2:
        return ""
    left, right, top, bottom = 70, 760, 40, 400
    low, high = math.log(min(values) / 1.1), math.log(max(values) * 1.1)
    def across(x: float) -> float:
        return left + (math.log(x) - math.log(xs[0])) / (math.log(xs[-1] / xs[0])) * (right - left)

    def down(y: float) -> float:
        return bottom - (math.log(y) - low) / (high - low) * (bottom - top)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 450" role="img">',
             "<style>text{font:12px system-ui,sans-serif;fill:#55585f}.g{stroke:#9a9da455}"
             "@media(prefers-color-scheme:dark){text{fill:#b9bcc4}}</style>",
             f'<text x="{left}" y="22" style="font-size:15px">{html.escape(curve.title)}</text>']
    step = max(1, len(xs) // 12)
    for x in xs[::step]:
        parts.append(f'<line class="g" x1="{across(x):.1f}" x2="{across(x):.1f}" y1="{top}" '
                     f'y2="{bottom}"/><text x="{across(x):.1f}" y="{bottom + 18}" '
                     f'text-anchor="middle">{short(x)}</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{bottom + 38}" text-anchor="middle">'
                 f"{curve.axis}</text>")
    # The narrower the range, the more lines.
    factors = (1, 1.5, 2, 3, 5, 7) if high - low < 3 else (1, 2, 5) if high - low < 7 else (1,)
    for power in range(-1, 10):
        for factor in factors:
            y = factor * 10.0 ** power
            if low <= math.log(y) <= high:
                parts.append(f'<line class="g" x1="{left}" x2="{right}" y1="{down(y):.1f}" '
                             f'y2="{down(y):.1f}"/><text x="{left - 6}" y="{down(y) + 4:.1f}" '
                             f'text-anchor="end">{nanoseconds(y)}</text>')
    labels: list[tuple[float, str, str]] = []
    for name, points in series.items():
        colour = COLOURS.get(name, "#888888")
        path = "".join(f"{'L' if i else 'M'}{across(x):.1f} {down(points[x]):.1f}"
                       for i, x in enumerate(sorted(points)))
        width = 3 if name == "carrel" else 1.5
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        labels.append((down(points[max(points)]), name, colour))
    last = -math.inf
    for y, name, colour in sorted(labels):
        last = max(y, last + 13)
        parts.append(f'<text x="{right + 8}" y="{last + 4:.1f}" '
                     f'style="fill:{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"])


def measure(curve: Curve, points: tuple[int, ...], present: list[allocators.Allocator],
            programs: Path, runs: int, scale: float, timeout: int, rng: random.Random,
            problems: list[str]) -> dict[str, dict[int, float]]:
    """Nanoseconds per operation by allocator and point; what failed is named and left out."""
    launcher = runner.Launcher(programs / "launch")
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    given_up: set[tuple[str, int]] = set()
    started = time.monotonic()
    for number in range(runs):
        for position, point in enumerate(points):
            order = list(present)
            rng.shuffle(order)
            for allocator in order:
                if (allocator.name, point) in given_up:
                    continue
                workload = workloads.Workload(
                    f"{curve.name} {point}", "curve",
                    ("--mode", curve.name, curve.argument, str(point)), curve.title)
                sample = runner.run_workload(launcher, programs, workload, allocator, number, scale,
                                             0, timeout)
                if sample.status == "ok":
                    found[(allocator.name, point)].append(
                        sample.seconds * 1e9 / sample.metrics["ops"])
                else:
                    given_up.add((allocator.name, point))
                    problems.append(f"{workload.name} on {allocator.name}: {sample.error}")
            print(f"curves: {curve.name} round {number + 1}/{runs} point {position + 1}/"
                  f"{len(points)}, {time.monotonic() - started:.0f} s", file=sys.stderr)
    series: dict[str, dict[int, float]] = {}
    for allocator in present:
        values = {point: statistics.median(found[(allocator.name, point)]) for point in points
                  if found[(allocator.name, point)]}
        if values:
            series[allocator.name] = values
    return series


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer points, one run each")
    parser.add_argument("--runs", type=int, help="processes for each point (default 5; --quick 1)")
    parser.add_argument("--allocs", type=bench.words, default=["current"], metavar="A,B")
    parser.add_argument("--curves", type=bench.words, default=[c.name for c in CURVES],
                        help="of heap,threads,size")
    parser.add_argument("--timeout", type=int, default=60, help="seconds for one point")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=bench.ROOT / "bench/results/curves")
    parser.add_argument("--no-build", action="store_true", help="build neither programs nor peers")
    options = parser.parse_args(arguments)
    runs = options.runs or (1 if options.quick else 5)
    try:
        specs = [s for s in allocators.select(options.allocs) if s.name != allocators.CARREL_AGAIN]
    except ValueError as error:
        parser.error(str(error))
    programs = bench.programs_for(specs, options.no_build)
    place = tempfile.TemporaryDirectory(prefix="bench-run-", dir=bench.ROOT / "build")
    present, missing = allocators.discover(specs, bench.ROOT, programs / "probe",
                                           Path(place.name))
    for entry in missing:
        print(f"curves: {entry.name} is left out: {entry.reason}", file=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    rng, problems, plots = random.Random(options.seed), [], []
    document = {"machine": machine.describe(), "runs": runs, "seed": options.seed,
                "allocators": {a.name: a.version for a in present},
                "missing": {m.name: m.reason for m in missing}, "curves": {}}
    for curve in CURVES:
        if curve.name not in options.curves:
            continue
        points = curve.points[:curve.quick_points] if options.quick else curve.points
        series = measure(curve, points, present, programs, runs, 0.2 if options.quick else 1.0,
                         options.timeout, rng, problems)
        document["curves"][curve.name] = series
        plot = svg(curve, series)
        (options.out / f"{curve.name}.svg").write_text(plot + "\n")
        plots.append(plot)
    place.cleanup()
    document["problems"] = problems
    (options.out / "curves.json").write_text(json.dumps(document, indent=1) + "\n")
    facts = html.escape(", ".join(f"{k} {v}" for k, v in document["machine"].items()))
    notes = "".join(f"<p>{html.escape(text)}</p>" for text in
                    [*(f"left out: {m.name}: {m.reason}" for m in missing), *problems])
    (options.out / "curves.html").write_text(
        "<!doctype html><html lang=en><meta charset=utf-8><title>carrel: growth of cost</title>"
        "<style>:root{color-scheme:light dark}body{font:15px system-ui;max-width:960px;"
        f"margin:2em auto;padding:0 1em}}</style><h1>Growth of cost</h1><p>{facts}</p>"
        + "".join(plots) + notes)
    for problem in problems:
        print(f"curves: {problem}", file=sys.stderr)
    print(f"curves: wrote {options.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
