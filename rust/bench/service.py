#!/usr/bin/env python3
"""service: a web service under rising load, for each allocator in turn.

The example rust/examples/service is built once per allocator. In each round every allocator's
service is started afresh, proves whose memory it serves from, and is loaded over loopback by 1 to
512 connections; then it is left alone for two seconds. Printed and drawn: throughput, latency,
processor time, peak and idle resident memory. The load runs on the same machine and takes its share
of the processors.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import page
from common import ROOT, build, die, environment, machine, middle, note, table, target_dir

EXAMPLE = ROOT / "rust" / "examples" / "service"
ALLOCATORS = ("carrel", "mimalloc", "jemalloc", "snmalloc", "system")
KNOWN = (*ALLOCATORS, "carrel-secure")
CONNECTIONS = (1, 8, 64, 256, 512)
LATENCIES = {"p50_us": "p50", "p99_us": "p99", "p999_us": "p99.9"}

# Of one run: "peak" and "idle" in MiB, the service's processor time for a request in
# microseconds as "cpu", and "per_second", "p50_us", ... for each step.
Run = dict[str, float]


def memory_mib(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    die(f"/proc/{pid}/status has no {field}")
    raise AssertionError


def processor_seconds(pid: int) -> float:
    """What the process has used so far, in user and in kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(program: Path, port: str, connections: int, seconds: float) -> dict[str, float]:
    try:
        done = subprocess.run([str(program), port, str(connections), str(seconds)],
                              capture_output=True, text=True, check=False, env=environment(),
                              timeout=60 + 20 * seconds)
    except subprocess.TimeoutExpired:
        die(f"{connections} connections: the load did not end")
    if done.returncode != 0:
        die(f"{connections} connections: {done.stderr.strip()}")
    return json.loads(done.stdout)


def run(programs: dict[str, Path], name: str, steps: list[int], seconds: float) -> Run:
    server = subprocess.Popen([str(programs["service"])], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, env=environment())
    try:
        first = server.stdout.readline().split()
        if len(first) != 2 or first[0] != name:
            die(f"the service built for {name} opens with {first}")
        found: Run = {}
        requests, before = 0, processor_seconds(server.pid)
        for connections in steps:
            answer = load(programs["load"], first[1], connections, seconds)
            requests += answer["requests"]
            for key in ("per_second", *LATENCIES):
                found[f"{key} {connections}"] = answer[key]
        found["cpu"] = (processor_seconds(server.pid) - before) * 1e6 / requests
        time.sleep(2)
        found["peak"] = memory_mib(server.pid, "VmHWM")
        found["idle"] = memory_mib(server.pid, "VmRSS")
        return found
    finally:
        server.stdin.close()
        server.wait(20)


def collect(allocators: list[str], rounds: int, steps: list[int], seconds: float,
            seed: int) -> dict[str, dict[str, list[float]]]:
    programs = {}
    for name in allocators:
        note(f"building the service for {name}")
        programs[name] = build(["build", "--release", "--features", name],
                               target_dir() / "service-of" / name, EXAMPLE)
    order = random.Random(seed)
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in allocators}
    for turn in range(rounds):
        for name in order.sample(allocators, len(allocators)):
            note(f"round {turn + 1} of {rounds}, {name}")
            for key, value in run(programs[name], name, steps, seconds).items():
                samples[name].setdefault(key, []).append(value)
    return samples


def report(samples: dict[str, dict[str, list[float]]], steps: list[int], seconds: float,
           rounds: int, path: Path, where: str) -> None:
    names = list(samples)
    last = steps[-1]
    throughput = [(name, [middle(samples[name][f"per_second {c}"], 0) for c in steps])
                  for name in names]
    latency = [(name, [middle([v / 1000 for v in samples[name][f"{key} {last}"]])
                       for key in LATENCIES]
                + [middle(samples[name][key], 1) for key in ("cpu", "peak", "idle")])
               for name in names]
    columns = [f"{count} conn." for count in steps]
    title = f"requests a second, {seconds:g} s a step, median of {rounds} rounds"
    table(title, columns, throughput)
    late = [f"{text} ms" for text in LATENCIES.values()] + ["CPU us", "peak MiB", "idle MiB"]
    late_title = (f"latency at {last} connections; the service's processor time for a request, "
                  "over all steps; resident memory, idle 2 s after the load")
    table(late_title, late, latency)

    def centres(key: str, scale: float = 1.0) -> dict[str, list[float]]:
        return {name: [median(samples[name][f"{key} {c}"]) / scale for c in steps]
                for name in names}

    charts = [page.line_chart("Throughput", "connections", "requests a second",
                              [float(c) for c in steps], centres("per_second"))]
    charts += [page.line_chart(f"Latency {text}", "connections", "milliseconds",
                               [float(c) for c in steps], centres(key, 1000))
               for key, text in LATENCIES.items()]
    charts += [page.bar_chart(f"{text} resident memory", "MiB",
                              {name: median(samples[name][key]) for name in names})
               for key, text in (("peak", "Peak"), ("idle", "Idle"))]
    charts.append(page.bar_chart("Processor time of a request", "microseconds",
                                 {name: median(samples[name]["cpu"]) for name in names}))
    page.write(path, "carrel: a web service under load", [
        where, f"{rounds} rounds, interleaved, {seconds:g} s a step; points are medians. ± is half "
        "the distance between the extremes. The load runs on the same machine."],
        [page.key(names), *charts, page.html_table(title, columns, throughput),
         page.html_table(late_title, late, latency)])
    note(f"the page is {path}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench-service", description=__doc__.split("\n")[0])
    parser.add_argument("--allocs", default=",".join(ALLOCATORS),
                        help="comma-separated, of " + ",".join(KNOWN))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load for each step")
    parser.add_argument("--connections", default=",".join(map(str, CONNECTIONS)),
                        help="the steps, comma-separated")
    parser.add_argument("--seed", type=int, default=1, help="of the order of runs")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "rust-bench-results")
    options = parser.parse_args()
    allocators = options.allocs.split(",")
    for name in allocators:
        if name not in KNOWN:
            parser.error(f"'{name}' is unknown; one of: {', '.join(KNOWN)}")
    try:
        steps = [int(word) for word in options.connections.split(",")]
    except ValueError:
        parser.error(f"--connections is '{options.connections}'; numbers as 1,64,512 are wanted")
    if min(steps) < 1 or max(steps) > 512:
        parser.error("--connections: 1 to 512 each")
    where = machine()
    print(where)
    rounds = max(1, options.rounds)
    samples = collect(allocators, rounds, steps, options.seconds, options.seed)
    report(samples, steps, options.seconds, rounds, options.out / "service.html", where)
    return 0


if __name__ == "__main__":
    sys.exit(main())
