"""./dev bench-trace: what recording costs, beside heaptrack, and what replaying a long trace takes.

Two parts, each printed as tables for docs/TOOLS.md:

recording  Programs run alone, under `carrel record` with and without stacks, and under heaptrack,
           in turn. CPU is the program's own, by wait4, over that of the same round alone; what is
           done for it by other processes (carrel's recorder, heaptrack's interpreter and
           compressor) is in `all CPU`. Heaptrack takes a stack for every allocation; so does carrel
           with --every-stack, else one every 512 KiB.
replaying  A program is recorded until its trace has --events events; the trace is replayed on five
           allocators. Memory is the proportional share (PSS) of carrel and its players together,
           looked at every 50 ms: the plan that they share counts once.

It changes no system setting and keeps nothing but --json. Times are as noisy as the machine; the
spread is printed beside them. Needs a built carrel and bench_launch, bench_binary_trees.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import inputs, machine
from harness.stats import paired_ratio, spread

ROOT = Path(__file__).resolve().parent.parent
FILES = Path(__file__).resolve().parent / "apps"
BUILD = ROOT / "build/release"
CARREL, LAUNCH = "bin/carrel", "bench/launch"  # there
PYTHON = "/usr/bin/python3"
LIMIT_SECONDS = 300
LIMIT_BYTES = 1 << 30
MOST_SECONDS = 900  # of one run
LOOK_SECONDS = 0.05
ALONE = "alone"
HEAPTRACK = "heaptrack"
EVERY_STACK = "carrel record --stacks --stack-interval 0"
WAYS: dict[str, list[str]] = {
    "carrel record": [],
    "carrel record --stacks": ["--stacks"],
    EVERY_STACK: ["--stacks", "--stack-interval", "0"],
}


def die(text: str) -> None:
    sys.exit(f"bench-trace: {text}")


@dataclass
class Program:
    """`kind` says what is asked of its recording."""

    name: str
    kind: str  # "bound": does little but allocate; "typical"
    words: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    def surroundings(self) -> dict[str, str]:
        return {**os.environ, **self.environment}


@dataclass
class Run:
    """One run; sizes where something was written."""

    wall: float
    cpu: float  # the program's own
    all_cpu: float
    events: int = 0
    raw_bytes: int = 0
    file_bytes: int = 0


def programs(folder: Path, scale: float) -> list[Program]:
    """Those that are installed; the others are named."""
    sql = folder / "script.sql"
    sql.write_text(inputs.sql_script(int(30_000 * scale)), encoding="ascii")
    smt = folder / "problem.smt2"
    smt.write_text(inputs.smt_problem(7 if scale >= 2 else 6), encoding="ascii")
    found = [
        Program("binary_trees, 2 threads", "bound",
                [str(BUILD / "bench/binary_trees"), "--scale", str(0.05 * scale)]),
        Program("python3, every object by malloc", "bound",
                [PYTHON, str(FILES / "graph.py"), str(max(1, round(scale)))],
                {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}),
        Program("python3", "typical",
                [PYTHON, str(FILES / "graph.py"), str(max(1, round(2 * scale)))],
                {"PYTHONHASHSEED": "0"}),
        Program("sqlite3", "typical", ["sqlite3", ":memory:", f".read {sql}"]),
        Program("z3", "typical", ["z3", str(smt)]),
    ]
    if shutil.which("g++"):
        def said(option: str) -> str:
            return subprocess.run(["g++", option], capture_output=True, text=True,
                                  check=True).stdout.strip()
        found.append(Program("cc1plus", "typical", [
            said("-print-prog-name=cc1plus"), "-quiet", "-imultiarch", said("-print-multiarch"),
            "-D_GNU_SOURCE", "-std=c++20", "-O1",
            str(FILES / "heavy.cpp"), "-o", str(folder / "heavy.s")]))
    for program in list(found):
        path = shutil.which(program.words[0])
        if path is None:
            print(f"{program.words[0]} is not installed: left out", file=sys.stderr)
            found.remove(program)
        else:
            program.words[0] = path
    return found


def children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def launched(words: list[str], environment: dict[str, str], start: list[str]) -> Run:
    """By bench/launch.c, which tells what the program itself cost; `start` starts the launcher."""
    read, write = os.pipe()
    began, cpu = time.monotonic(), children_cpu()
    # The launcher reports on descriptor 3. What a tracer prints goes to a file, not to a pipe that
    # a helper of its own may keep open.
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([*start, str(BUILD / LAUNCH), str(MOST_SECONDS), "--", *words],
                                   stdout=errors, stderr=errors, env=environment,
                                   preexec_fn=lambda: os.dup2(write, 3), close_fds=False)
        os.close(write)
        status = process.wait()
        wall, all_cpu = time.monotonic() - began, children_cpu() - cpu
        with os.fdopen(read) as report:
            line = report.readline()
        said = json.loads(line) if line else {}
        if status != 0 or said.get("exit") != 0:
            errors.seek(0)
            die(f"{' '.join([*start, *words])}: {line}{errors.read()[-2000:]}")
    return Run(wall, said["user"] + said["system"], all_cpu)


def last_object(text: str) -> dict[str, Any]:
    """carrel's JSON, behind what the program printed."""
    return json.loads(text[text.rfind("\n{\n") + 1:])


def alone(program: Program, folder: Path) -> Run:
    del folder
    return launched(program.words, program.surroundings(), [])


def recorded(program: Program, folder: Path, options: list[str]) -> Run:
    trace = folder / "t.crl"
    began, cpu = time.monotonic(), children_cpu()
    done = subprocess.run([str(BUILD / CARREL), "record", "--json", "-o", str(trace), "--max-disk",
                           "20G", *options, "--", *program.words], capture_output=True, text=True,
                          env=program.surroundings(), check=False)
    wall, all_cpu = time.monotonic() - began, children_cpu() - cpu
    if done.returncode != 0:
        die(f"carrel record {' '.join(program.words)}: {done.stderr}")
    said = last_object(done.stdout)
    one = said["processes"][0]
    if one["truncated"]:
        die(f"the trace of {program.name} is cut: {one['truncated_why']}")
    trace.unlink()
    return Run(wall, said["user_seconds"] + said["system_seconds"], all_cpu, one["events"],
               one["raw_bytes"], one["file_bytes"])


def heaptracked(program: Program, folder: Path) -> Run:
    run = launched(program.words, program.surroundings(),
                   ["heaptrack", "-o", str(folder / "heaptrack")])
    file = next(folder.glob("heaptrack.*"))
    run.file_bytes = file.stat().st_size
    with subprocess.Popen(["zstd", "-dcq", str(file)], stdout=subprocess.PIPE) as unpack:
        assert unpack.stdout is not None
        while piece := unpack.stdout.read(1 << 20):
            run.raw_bytes += len(piece)
    file.unlink()
    return run


def measure(program: Program, ways: list[str], rounds: int, folder: Path) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {way: [] for way in ways}
    for number in range(rounds):
        # In turn, and not always in the same order.
        for way in ways[number % len(ways):] + ways[:number % len(ways)]:
            print(f"{program.name}: round {number + 1} of {rounds}, {way}", file=sys.stderr)
            if way == ALONE:
                runs[way].append(alone(program, folder))
            elif way == HEAPTRACK:
                runs[way].append(heaptracked(program, folder))
            else:
                runs[way].append(recorded(program, folder, WAYS[way]))
    return runs


def slowdown(runs: list[Run], base: list[Run], of: str) -> str:
    interval = paired_ratio(dict(enumerate(getattr(run, of) for run in runs)),
                            dict(enumerate(getattr(run, of) for run in base)))
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def print_recording(program: Program, runs: dict[str, list[Run]]) -> None:
    events = max(run.events for way in runs.values() for run in way)
    seconds = spread([run.cpu for run in runs[ALONE]])
    print(f"\n{program.name}: {seconds.value:.2f} s of CPU alone ({seconds.low:.2f} to "
          f"{seconds.high:.2f}), {events:,} events\n")
    print("| | CPU | all CPU | wall | bytes an event | before compression |")
    print("| --- | --- | --- | --- | --- | --- |")
    for way, of_way in runs.items():
        if way == ALONE:
            continue
        sizes = [statistics.median(getattr(run, name) for run in of_way) / events
                 for name in ("file_bytes", "raw_bytes")]
        print(f"| {way} | {slowdown(of_way, runs[ALONE], 'cpu')} | "
              f"{slowdown(of_way, runs[ALONE], 'all_cpu')} | "
              f"{slowdown(of_way, runs[ALONE], 'wall')} | {sizes[0]:.2f} | {sizes[1]:.2f} |")
    sys.stdout.flush()


def as_json(runs: dict[str, list[Run]]) -> dict[str, Any]:
    return {way: [vars(run) for run in of_way] for way, of_way in runs.items()}


class MemoryWatch:
    """The memory of a process and all it started, looked at until the end."""

    def __init__(self, pid: int) -> None:
        self.peak_pss = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(pid,))
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self, root: int) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            total, left = 0, [root]
            while left:
                pid = left.pop()
                try:
                    for task in Path(f"/proc/{pid}/task").iterdir():
                        left += map(int, (task / "children").read_text().split())
                    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
                except (OSError, ValueError):
                    continue  # it has ended
                found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
                total += int(found[1]) << 10 if found else 0
            self.peak_pss = max(self.peak_pss, total)


def record_long(folder: Path, events: int) -> tuple[Path, dict[str, Any]]:
    """python3 on malloc, for as many rounds as it takes."""
    trace = folder / "long.crl"
    rounds = max(1, events // 1_000_000)
    while True:
        done = subprocess.run(
            [str(BUILD / CARREL), "record", "--json", "-o", str(trace), "--", PYTHON,
             str(FILES / "graph.py"), str(rounds)], capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"})
        if done.returncode != 0:
            die(f"carrel record: {done.stderr}")
        one = last_object(done.stdout)["processes"][0]
        if one["events"] >= events:
            return trace, one
        rounds = rounds * events // one["events"] + 1


def replaying(folder: Path, events: int, runs: int, allocators: str) -> dict[str, Any]:
    print(f"recording {events:,} events", file=sys.stderr)
    trace, recording = record_long(folder, events)
    print(f"replaying {recording['events']:,} events", file=sys.stderr)
    began, cpu = time.monotonic(), children_cpu()
    command = [str(BUILD / CARREL), "replay", str(trace), "--json", "--runs", str(runs), "--alloc",
               allocators]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watch = MemoryWatch(process.pid)
    output = process.communicate()[0]
    seconds = time.monotonic() - began
    watch.end()
    if process.returncode != 0:
        die("carrel replay failed")
    cpu = children_cpu() - cpu
    result = json.loads(output)
    result |= {"events": recording["events"], "seconds": seconds, "cpu": cpu,
               "peak_pss": watch.peak_pss, "trace_bytes": recording["file_bytes"]}
    print(f"\nA trace of {recording['events']:,} events ({recording['file_bytes'] / 1e6:.1f} MB) "
          f"of python3, replayed on {allocators}, {runs} runs of each: {seconds:.0f} s "
          f"(limit {LIMIT_SECONDS}), {cpu:.0f} s of CPU, {watch.peak_pss / (1 << 20):.0f} MiB "
          f"(limit {LIMIT_BYTES >> 20}).\n")
    print_replay(result)
    return result


def print_replay(result: dict[str, Any]) -> None:
    print("| allocator | CPU, s | wall, s | peak, MiB |")
    print("| --- | --- | --- | --- |")
    for one in result["replay"]["allocators"]:
        if "failed" in one:
            print(f"| {one['name']} | failed: {one['failed']} | | |")
            continue
        cells = []
        for metric, unit in (("cpu_s", 1), ("wall_s", 1), ("peak_rss_bytes", 1 << 20)):
            of = one["metrics"][metric]
            cells.append(f"{of['median'] / unit:.2f} ({of['low'] / unit:.2f} to "
                         f"{of['high'] / unit:.2f})")
        print(f"| {one['name']} | {' | '.join(cells)} |")
    print(f"\nThe replay itself costs {result['replay']['harness_cpu_s']:.2f} s of CPU, taken off; "
          f"within tolerance of the recording: {'yes' if result['fidelity']['within'] else 'no'}.")
    sys.stdout.flush()


def arguments_of(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench-trace", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["recording", "replaying"], help="one part")
    parser.add_argument("--events", type=int, default=10_000_000, help="of the long trace")
    parser.add_argument("--runs", type=int, default=5, help="rounds of recording, runs of a replay")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the recorded programs")
    parser.add_argument("--programs", help="only those whose name begins so: python3,sqlite3")
    parser.add_argument("--alloc", default="glibc,carrel,mimalloc,jemalloc,tcmalloc",
                        help="allocators for the replay")
    parser.add_argument("--build", type=Path, default=BUILD, help="where carrel was built")
    parser.add_argument("--json", type=Path, help="write every number there")
    parser.add_argument("--every-stack", action="store_true",
                        help="also with a stack for every allocation, which takes long")
    parser.add_argument("--without-heaptrack", action="store_true")
    return parser.parse_args(words)


def main() -> int:
    arguments = arguments_of(sys.argv[1:])
    global BUILD
    BUILD = arguments.build.resolve()
    for needed in (CARREL, LAUNCH, "bench/binary_trees"):
        if not (BUILD / needed).exists():
            die(f"{BUILD / needed} is missing; ./dev bench-trace builds it")
    ways = [ALONE, *(way for way in WAYS if arguments.every_stack or way != EVERY_STACK)]
    if not arguments.without_heaptrack and shutil.which("heaptrack") and shutil.which("zstd"):
        ways.append(HEAPTRACK)
    elif not arguments.without_heaptrack:
        print("heaptrack or zstd is not installed: left out", file=sys.stderr)
    described = machine.describe()
    results: dict[str, Any] = {"machine": described, "recording": {}}
    failed = False
    print(f"{described['cpu']}, {described['cpus']} CPUs, Linux {described['kernel']}, load "
          f"{os.getloadavg()[0]:.1f} at the start, {arguments.runs} rounds; medians, and their "
          "intervals in brackets.")
    with tempfile.TemporaryDirectory(prefix="carrel-tracing-") as name:
        folder = Path(name)
        if arguments.only != "replaying":
            for program in programs(folder, arguments.scale):
                if arguments.programs and not program.name.startswith(
                        tuple(arguments.programs.split(","))):
                    continue
                runs = measure(program, ways, arguments.runs, folder)
                print_recording(program, runs)
                results["recording"][program.name] = as_json(runs)
        if arguments.only != "recording":
            long = replaying(folder, arguments.events, arguments.runs, arguments.alloc)
            results["replaying"] = long
            failed = long["seconds"] > LIMIT_SECONDS or long["peak_pss"] > LIMIT_BYTES
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
