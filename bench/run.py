#!/usr/bin/env python3
"""./dev bench: workloads and real programs under carrel and every peer, interleaved.

Builds what is missing (bench programs, peers, the A/A copy), measures in rounds of fresh processes,
prints the tables, and writes bench.json and bench.html to the output folder. It changes no setting
of the machine and draws no conclusion that the noise does not allow.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import (allocators, apps, campaign, machine, report_html, report_text, runner, summary,
                     targets, workloads)

ROOT = Path(__file__).resolve().parent.parent


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true",
                        help="a tenth of the work, as many rounds as fit into under 4 minutes")
    parser.add_argument("--runs", type=int, help="rounds (default 7; with --quick at most 3)")
    parser.add_argument("--scale", type=float, help="amount of work (default 1; --quick 0.1)")
    parser.add_argument("--workloads", type=words, default=[], metavar="A,B",
                        help="only these: " + ", ".join(w.name for w in workloads.WORKLOADS))
    parser.add_argument("--allocs", type=words, default=["default"], metavar="A,B",
                        help="names or groups: " + ", ".join(
                            [*allocators.GROUPS, *(s.name for s in allocators.SPECS)]))
    parser.add_argument("--apps", nargs="?", const="", default="", metavar="A,B",
                        help="run the real programs, or only these: "
                        + ", ".join(app.name for app in apps.all_apps()))
    parser.add_argument("--no-apps", action="store_true", help="leave the real programs out")
    parser.add_argument("--idle", type=float, help="seconds of idling (default 3; --quick 1)")
    parser.add_argument("--timeout", type=int,
                        help="seconds a run may take (default 30; --quick 8)")
    parser.add_argument("--budget", type=float, help="stop after this many seconds of measuring")
    parser.add_argument("--seed", type=int, help="seed of the order (default: from the clock)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results")
    parser.add_argument("--carrel", type=Path, help="another libcarrel.so to measure as carrel")
    parser.add_argument("--no-build", action="store_true", help="build neither programs nor peers")
    options = parser.parse_args(arguments)
    quick = options.quick
    options.runs = options.runs or (3 if quick else 7)
    options.scale = options.scale or (0.1 if quick else 1.0)
    options.idle = options.idle or (1.0 if quick else 3.0)
    options.timeout = options.timeout or (8 if quick else 30)
    options.budget = options.budget or (195.0 if quick else None)
    options.seed = options.seed if options.seed is not None else int(time.time()) % 100000
    if options.runs < 1 or options.scale <= 0:
        parser.error("--runs must be at least 1 and --scale above 0")
    known = {app.name for app in apps.all_apps()}
    for name in words(options.apps):
        if name not in known:
            parser.error(f"no app '{name}'; known: {', '.join(sorted(known))}")
    try:
        workloads.select(options.workloads)
        allocators.select(options.allocs)
    except ValueError as error:
        parser.error(str(error))
    if options.carrel and not options.carrel.is_file():
        parser.error(f"--carrel: {options.carrel} is no file")
    return options


def quietly(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        raise SystemExit(f"bench: `{' '.join(command)}` failed; fix the error above and try again")


def build_programs() -> Path:
    """Builds workloads, launcher and probe: in the release preset where it is configured."""
    preset = ROOT / "build/release"
    cache = preset / "CMakeCache.txt"
    jobs = os.environ.get("CARREL_JOBS", "2")
    if cache.exists() and (preset / "bench").is_dir():
        quietly(["cmake", "--build", str(preset), f"-j{jobs}", "--target", "carrel_bench"])
        return preset / "bench"
    own = ROOT / "build/bench"
    quietly(["cmake", "-S", str(ROOT / "bench"), "-B", str(own)])
    quietly(["cmake", "--build", str(own), f"-j{jobs}", "--target", "carrel_bench"])
    return own


def build_peers(specs: list[allocators.Spec]) -> None:
    """Builds the pinned peers that are asked for; what fails is named and left out later."""
    names = [spec.name for spec in specs if spec.patterns
             and "build/peers/" in spec.patterns[0]]
    if names:
        subprocess.run([sys.executable, str(ROOT / "bench/peers/build.py"), "--only",
                        ",".join(names)], check=False)


def programs_for(specs: list[allocators.Spec], no_build: bool) -> Path:
    """Where the built programs lie, after building them and the peers unless told not to."""
    if not no_build:
        programs = build_programs()
        build_peers(specs)
        return programs
    for place in (ROOT / "build/release/bench", ROOT / "build/bench"):
        if (place / "launch").exists():
            return place
    raise SystemExit("bench: the benchmark programs are not built; run without --no-build")


def make_units(options: argparse.Namespace, programs: Path, launcher: runner.Launcher,
               directory: Path) -> tuple[list[campaign.Unit], list[summary.Row],
                                         list[tuple[str, str]]]:
    """What to measure, as units for the campaign and rows for the summary."""
    units: list[campaign.Unit] = []
    rows: list[summary.Row] = []
    chosen = [] if options.apps and not options.workloads else workloads.select(options.workloads)
    for workload in chosen:
        def run(allocator: allocators.Allocator, number: int,
                workload: workloads.Workload = workload) -> runner.Sample:
            return runner.run_workload(launcher, programs, workload, allocator, number,
                                       options.scale, options.idle, options.timeout)
        units.append(campaign.Unit(workload.name, workload.kind, run))
        rows.append(summary.Row(workload.name, workload.title, workload.kind, workload.floor_of))
    absent: list[tuple[str, str]] = []
    if not options.no_apps and (options.apps or not options.workloads):
        ready, absent = apps.prepare(words(options.apps), directory, options.scale, launcher)
        for app in ready:
            def run_app(allocator: allocators.Allocator, number: int, app=app) -> runner.Sample:
                return app.run(launcher, allocator, number, options.timeout)
            units.append(campaign.Unit(app.name, app.kind, run_app))
            rows.append(summary.Row(app.name, app.title, app.kind, app.floor_of))
    return units, rows, absent


def why_not_quotable(options: argparse.Namespace, done: campaign.Campaign,
                     missing: list[allocators.Missing]) -> str:
    reasons = []
    if done.rounds_done < targets.ROUNDS_TO_QUOTE:
        reasons.append(f"{done.rounds_done} rounds, {targets.ROUNDS_TO_QUOTE} are wanted")
    if options.scale < 1:
        reasons.append(f"scale {options.scale:g}")
    if missing:
        reasons.append("without " + ", ".join(m.name for m in missing))
    if options.workloads or options.no_apps:
        reasons.append("not every workload and app")
    return "; ".join(reasons)


def finite(value: Any) -> Any:
    """JSON has no nan: null instead, everywhere in a document."""
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and value != value else value


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    specs = allocators.select(options.allocs)
    programs = programs_for(specs, options.no_build)
    launcher = runner.Launcher(programs / "launch")
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-run-", dir=ROOT / "build") as directory:
        present, missing = allocators.discover(specs, ROOT, programs / "probe", Path(directory),
                                               options.carrel)
        for entry in missing:
            print(f"bench: {entry.name} is left out: {entry.reason}", file=sys.stderr)
        if not present:
            raise SystemExit("bench: no allocator to measure; see the reasons above")
        units, rows, absent = make_units(options, programs, launcher, Path(directory))
        for name, reason in absent:
            print(f"bench: {name} is left out: {reason}", file=sys.stderr)
        if not units:
            raise SystemExit("bench: nothing to measure")
        plan = campaign.Plan(options.runs, 1 if options.quick else min(3, options.runs),
                             options.seed, options.budget)
        print(f"bench: {len(units)} workloads and apps, {len(present)} allocators, seed "
              f"{options.seed}", file=sys.stderr)
        run = campaign.Campaign(units, present, plan)
        description = machine.describe()
        begun = time.monotonic()
        samples = run.run()
    tables = summary.Summary(rows, present, samples)
    result = tables.as_json()
    reason = why_not_quotable(options, run, missing)
    document = {
        "machine": description,
        "run": {"command": "./dev bench " + " ".join(arguments), "seed": options.seed,
                "rounds": run.rounds_done, "scale": options.scale, "idle_seconds": options.idle,
                "minutes": round((time.monotonic() - begun) / 60, 1)},
        "allocators": [{"name": a.name, "group": a.group, "version": a.version,
                        "library": a.installed, "identity": a.identity, "origin": a.origin}
                       for a in present],
        "missing": [asdict(entry) for entry in missing],
        "absent_apps": [{"name": name, "reason": why} for name, why in absent],
        "summary": result, "targets": targets.judge(result),
        "quotable": not reason, "why_not_quotable": reason,
        "not_reached": run.not_reached + run.cut_short,
        "samples": [sample.as_json() for sample in samples],
    }
    sys.stdout.write(report_text.render(document))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bench.json").write_text(json.dumps(finite(document)) + "\n")
    (options.out / "bench.html").write_text(report_html.render(finite(document)))
    print(f"bench: wrote {options.out}/bench.json and {options.out}/bench.html", file=sys.stderr)
    ours_failed = any(problem["status"] == "failed" and problem["allocator"].startswith("carrel")
                      for problem in result["problems"])
    return 1 if ours_failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
