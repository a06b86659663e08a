#!/usr/bin/env python3
"""soak: real servers on carrel, under load for as long as you like; does their memory grow?

redis, PostgreSQL and the Rust web service of rust/examples run side by side. Clients come in
bursts, in turn; a third of them are killed at work. Each server's memory is sampled. Exit status:
0, all is well; 1, a server's private memory grew beyond the margin (growth.py says how that is
judged), a server ended, or an answer was wrong; 2, it cannot be run like this; 130, interrupted,
what there is is reported. The results are soak.json, soak.html and soak.svg.

The load waits between bursts so that servers and clients together use no more than --load of one
processor on average; --nice lowers their priority.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import chart
import processes
from growth import MIB, Margin, TooFew, Verdict, judge
from servers import LOADS, ROOT, Load, Service, common

from harness import App, resolve_library, temporary_folder  # isort: skip (servers.py finds them)
from proof import Allocator, Failure  # isort: skip
import page  # isort: skip

LIBRARIES = {"carrel": "libcarrel.so", "secure": "libcarrel-secure.so", "glibc": "libcarrel.so"}
JUDGED = "private"


class Sampler(threading.Thread):
    """Looks at the servers' memory at even distances until it is stopped."""

    def __init__(self, loads: list[Load], interval: float, nice: int) -> None:
        super().__init__(daemon=True)
        self.loads, self.interval, self.nice = loads, interval, nice
        self.started = time.monotonic()
        self.series: dict[str, dict[str, list[float]]] = {
            load.name: {"seconds": [], "rss": [], "pss": [], "private": [], "processes": []}
            for load in loads}
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(self.interval):
            for load in self.loads:
                if self.nice:
                    processes.lower_priority(load.pid, self.nice)
                found = processes.memory(load.pid)
                if found.processes == 0:
                    continue  # it ended: its load says how
                series = self.series[load.name]
                series["seconds"].append(round(time.monotonic() - self.started, 2))
                for name, value in asdict(found).items():
                    series[name].append(value)

    def stop(self) -> None:
        self.ended.set()
        self.join()


def processor_seconds(loads: list[Load]) -> float:
    """Of the servers, of the clients that ended, of those that did not, and of this program."""
    total = sum(processes.processor_seconds(pid)
                for load in loads for pid in [load.pid, *load.helpers()])
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


def drive(loads: list[Load], seconds: float, share: float) -> float:
    """Bursts in turn until the time is over; the share of a processor that was used."""
    started, before = time.monotonic(), processor_seconds(loads)
    turn = 0
    while True:
        loads[turn % len(loads)].burst()
        turn += 1
        used = processor_seconds(loads) - before
        passed = time.monotonic() - started
        if passed >= seconds and turn >= len(loads):
            return used / passed
        time.sleep(max(0.0, min(used / share - passed, seconds - passed)))


def verdicts(series: dict[str, dict[str, list[float]]], margin: Margin) -> dict[str, Verdict]:
    return {name: judge(list(zip(one["seconds"], one[JUDGED])), margin)
            for name, one in series.items()}


def write(out: Path, document: dict[str, Any], title: str, remarks: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "soak.json").write_text(json.dumps(document) + "\n", encoding="utf-8")
    panels = {name: one["samples"] for name, one in document["servers"].items()
              if one["samples"]["seconds"]}
    if not panels:
        return
    picture = chart.svg(panels)
    (out / "soak.svg").write_text(picture, encoding="utf-8")
    rows = [(name, [f"{one['verdict']['second_quarter'] / MIB:.1f}",
                    f"{one['verdict']['last_quarter'] / MIB:.1f}",
                    f"{one['verdict']['slope'] * 3600 / MIB:+.2f}",
                    f"{one['verdict']['margin'] / MIB:.1f}",
                    "grows" if one["verdict"]["grows"] else "steady"])
            for name, one in document["servers"].items() if one["verdict"]]
    page.write(out / "soak.html", title, remarks, [picture, page.html_table(
        "Private memory, medians in MiB",
        ["second quarter", "last quarter", "trend an hour", "margin", ""], rows)])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__.split("\n")[0][6:])
    how_long = parser.add_mutually_exclusive_group(required=True)
    how_long.add_argument("--hours", type=float)
    how_long.add_argument("--minutes", type=float)
    parser.add_argument("--alloc", choices=list(LIBRARIES), default="carrel")
    parser.add_argument("--servers", default=",".join(LOADS), help="of " + ",".join(LOADS))
    parser.add_argument("--load", type=float, default=0.5, metavar="SHARE",
                        help="of one processor, servers and clients together (default 0.5)")
    parser.add_argument("--nice", type=int, default=0, help="0 to 19 (default 0)")
    parser.add_argument("--interval", type=float, help="seconds between samples")
    parser.add_argument("--margin", type=float, default=5, help="percent that are no growth yet")
    parser.add_argument("--margin-mib", type=float, default=4, help="the least margin, in MiB")
    parser.add_argument("--seed", type=int, default=1, help="of the load")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "soak")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release",
                        help="where the libraries were built (default build/release)")
    parser.add_argument("--lib", help="another library to preload; not for the service")
    parser.add_argument("--debug-service", action="store_true",
                        help="build the service without optimisation")
    options = parser.parse_args()
    options.seconds = options.hours * 3600 if options.hours else (options.minutes or 0) * 60
    options.names = options.servers.split(",")
    for name in options.names:
        if name not in LOADS:
            parser.error(f"no server '{name}'; known: {', '.join(LOADS)}")
    if options.lib and "service" in options.names:
        parser.error("--lib goes with --servers redis,postgres: the service has its allocator "
                     "compiled in")
    if options.seconds <= 0 or options.load <= 0 or not 0 <= options.nice <= 19:
        parser.error("the time and --load must be positive, --nice 0 to 19")
    return options


def soak(options: argparse.Namespace, app: App, loads: list[Load]) -> tuple[dict[str, Any], int]:
    """Runs all; the document, and the exit status so far."""
    failure = ""
    interrupted = False
    share = 0.0
    machine = common.machine()
    interval = options.interval or min(10.0, max(0.25, options.seconds / 400))
    sampler = Sampler(loads, interval, options.nice)
    try:
        with ExitStack() as stack:
            for load in loads:
                stack.enter_context(load.serve(app, allocator_for(load, options, app)))
                load.warm_up()
            print(f"soak: {', '.join(load.name for load in loads)} on {options.alloc} for "
                  f"{options.seconds / 60:g} minutes", file=sys.stderr, flush=True)
            sampler.started = time.monotonic()
            sampler.start()
            try:
                share = drive(loads, options.seconds, options.load)
            except KeyboardInterrupt:
                interrupted = True
            finally:
                sampler.stop()
    except (Failure, OSError, subprocess.SubprocessError) as error:
        failure = str(error)
    found: dict[str, Verdict] = {}
    try:
        found = verdicts(sampler.series, Margin(options.margin / 100, options.margin_mib * MIB))
    except TooFew as error:
        failure = failure or str(error)
    document = {
        "allocator": Path(options.lib).name if options.lib else options.alloc,
        "machine": machine, "seconds": round(time.monotonic() - sampler.started, 1),
        "interval_seconds": interval, "seed": options.seed, "processor_share": round(share, 3),
        "failure": failure,
        "servers": {load.name: {"counts": load.counts, "samples": sampler.series[load.name],
                                "verdict": asdict(found[load.name]) if load.name in found else None}
                    for load in loads}}
    grown = any(verdict.grows for verdict in found.values())
    return document, 1 if failure or grown else 130 if interrupted else 0


def allocator_for(load: Load, options: argparse.Namespace, app: App) -> Allocator:
    if options.alloc != "glibc" or options.lib:
        return app.tested
    return app.glibc_first if load.name == "redis" else app.glibc


def report(document: dict[str, Any], options: argparse.Namespace) -> None:
    minutes = document["seconds"] / 60
    head = (f"{document['allocator']}, {minutes:.1f} minutes, {document['processor_share']:.0%} of "
            f"a processor, {document['machine']}")
    remarks = [head]
    print(head)
    for name, one in document["servers"].items():
        counts = ", ".join(f"{value} {key}" for key, value in one["counts"].items() if value)
        line = f"{name}: {counts}"
        if one["verdict"]:
            line += "; private memory " + Verdict(**one["verdict"]).sentence()
        remarks.append(line)
        print(line)
    write(options.out, document, f"carrel: {minutes:.0f} minutes of load", remarks)
    print(f"soak: {options.out}/soak.html, soak.svg, soak.json")
    for name, one in document["servers"].items():
        if one["verdict"] and one["verdict"]["grows"]:
            print(f"soak: FAILED: {name} grows", file=sys.stderr)
    if document["failure"]:
        print(f"soak: FAILED: {document['failure']}", file=sys.stderr)


def main() -> int:
    options = parse()
    try:
        if options.nice:
            os.nice(options.nice)
            processes.lower_priority(os.getpid(), options.nice)
        lib = resolve_library(options.lib or
                              str(options.build / "lib" / LIBRARIES[options.alloc]))
        chance = random.Random(options.seed)
        loads = [LOADS[name](random.Random(chance.random())) for name in options.names]
        for load in loads:
            if isinstance(load, Service):
                print("soak: building the service", file=sys.stderr, flush=True)
                load.build(options.alloc, not options.debug_service)
        with temporary_folder(keep=False) as folder:
            app = App("soak", lib, folder)
            app.readable_by_all()
            app.environment["HOME"] = "/"
            document, status = soak(options, app, loads)
    except Failure as failure:
        print(f"soak: {failure}", file=sys.stderr)
        return 2
    report(document, options)
    return status


if __name__ == "__main__":
    sys.exit(main())
