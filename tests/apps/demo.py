"""./dev demo: three real programs under glibc's allocator and under carrel, side by side.

A Redis load, a Python script that builds and drops large object graphs, and a g++ compile run
alternately under both; one table gives the median, and the lowest and highest in brackets, of the
wall time, the peak resident memory, and the resident memory one second after the program went idle.
Every run proves where the program's malloc and operator new resolve; if any proof fails, there is
no table. It is a demonstration on whatever machine this is: ./dev bench measures. Last, unless
programs were chosen, carrel advise is asked about one program.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import elf_hide
from demo_advice import show_advice
from harness import PROGRAMS, App, describe_status, find, resolve_library, temporary_folder
from proof import Allocator, Failure, Report, parse_reports, prove_in_use
from redis import connect
from resp import Client

IDLE_SECONDS = 1.0
REDIS_KEYS = 250_000
PYTHON_ROUNDS, PYTHON_NODES = 3, 150_000


@dataclasses.dataclass
class Run:
    """One run of one program under one allocator. Memory in KiB; no idle figure for a program that
    ends when its work is done."""

    wall_seconds: float
    peak_kib: int
    idle_kib: int | None
    malloc: str
    operator_new: str


def status_kib(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise Failure(f"/proc/{pid}/status has no {field}")


def resolved(reports: list[Report], program: str) -> tuple[str, str]:
    """Where malloc and operator new of a program resolve, in words."""
    report = next(r for r in reports if r.program == program)
    malloc = os.path.basename(report.functions["malloc"])
    new = os.path.basename(report.functions["new"])
    if new == "-":
        return malloc, "none, a C program"
    if new == "self":
        return malloc, f"its own copy, which calls malloc of {malloc}"
    symbols = {s.name for s in elf_hide.dynamic_symbols(Path(report.executable))}
    if new != malloc and "_Znwm" not in symbols and "libstdc++" not in new:
        return malloc, f"{new}, which this C program never calls"
    return malloc, new


def fill(client: Client) -> None:
    """Keys with values of 16 bytes to 1 KiB, from a fixed seed."""
    chance = random.Random(1)
    client.pipeline(("SET", f"demo:{i}", "v" * int(2 ** chance.uniform(4, 10)))
                    for i in range(REDIS_KEYS))


def run_redis(app: App, allocator: Allocator) -> Run:
    """Fill, benchmark, delete nine keys of ten, go idle."""
    if allocator.is_glibc:
        allocator = app.glibc_first
    folder = app.make_folder(app.make_probe_file().stem)
    path = folder / "socket"
    server_program = find("redis-server", "redis-server")
    argv = [server_program, "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly",
            "no", "--daemonize", "no", "--dir", str(folder), "--jemalloc-bg-thread", "no"]
    with app.serve(argv, allocator, cwd=folder) as server:
        client = connect(server, path)
        server.prove_mapped()
        start = time.monotonic()
        fill(client)
        app.run([find("redis-benchmark", "redis-tools"), "-s", path, "-q", "-n", "100000", "-c",
                 "20", "-P", "16", "-r", "100000", "-d", "200", "-t", "set,get,lpush,lpop,sadd"],
                allocator)
        client.pipeline(("DEL", f"demo:{i}") for i in range(REDIS_KEYS) if i % 10)
        client.call("DEL", "mylist", "myset")
        wall = time.monotonic() - start
        client.close()
        time.sleep(IDLE_SECONDS)
        idle = status_kib(server.pid, "VmRSS")
        peak = status_kib(server.pid, "VmHWM")
        server.stop()
        reports = parse_reports(server.probe_file.read_text())
    return Run(wall, peak, idle, *resolved(reports, os.path.basename(
        os.path.realpath(server_program))))


def run_python(app: App, allocator: Allocator) -> Run:
    """Object graphs on malloc (PYTHONMALLOC=malloc, under both), then idle until told to end."""
    python = find("python3", "python3")
    out = app.make_probe_file()
    environment = app.make_environment(allocator, out, {"PYTHONMALLOC": "malloc",
                                                        "PYTHONHASHSEED": "0"})
    start = time.monotonic()
    process = subprocess.Popen([python, str(PROGRAMS / "idle_graphs.py"), str(PYTHON_ROUNDS),
                                str(PYTHON_NODES)], env=environment, cwd=app.folder,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdin is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        wall = time.monotonic() - start
        if lines[1] != b"idle\n":
            raise Failure(f"{allocator.name}: the Python script did not go idle; it said {lines}")
        time.sleep(IDLE_SECONDS)
        idle = status_kib(process.pid, "VmRSS")
        peak = status_kib(process.pid, "VmHWM")
        process.stdin.close()
        if process.wait(60) != 0:
            raise Failure(f"{allocator.name}: the Python script ended badly: "
                          f"{describe_status(process.returncode)}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    program = os.path.basename(os.path.realpath(python))
    reports = parse_reports(out.read_text())
    prove_in_use(allocator, reports, [program])
    return Run(wall, peak, idle, *resolved(reports, program))


def run_gxx(app: App, allocator: Allocator) -> Run:
    """One compile; the peak is that of the largest process of it, cc1plus."""
    out = app.make_probe_file()
    argv = [find("g++", "g++"), "-std=c++20", "-O1", "-DSIZE=2", "-c", str(PROGRAMS / "heavy.cc"),
            "-o", str(out.with_suffix(".o"))]
    start = time.monotonic()
    process = subprocess.Popen(argv, env=app.make_environment(allocator, out), cwd=app.folder)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failure(f"{allocator.name}: g++: {describe_status(process.returncode)}")
    reports = parse_reports(out.read_text())
    prove_in_use(allocator, reports, ["cc1plus"])
    return Run(wall, usage.ru_maxrss, None, *resolved(reports, "cc1plus"))


PROGRAMS_SHOWN: dict[str, Callable[[App, Allocator], Run]] = {
    "redis": run_redis, "python": run_python, "g++": run_gxx}


def measure(app: App, runs: int, only: list[str]) -> dict[str, dict[str, list[Run]]]:
    """All runs, program by program, the allocators in turn and in turning order."""
    found: dict[str, dict[str, list[Run]]] = {
        program: {a.name: [] for a in app.allocators} for program in only}
    for number in range(runs):
        for program in only:
            order = app.allocators if number % 2 == 0 else app.allocators[::-1]
            for allocator in order:
                print(f"run {number + 1} of {runs}: {program} under {allocator.name} ...",
                      file=sys.stderr, flush=True)
                run = PROGRAMS_SHOWN[program](app, allocator)
                found[program][allocator.name].append(run)
    return found


@dataclasses.dataclass(frozen=True)
class Column:
    title: str
    field: str
    scale: float
    digits: int

    def values(self, runs: list[Run]) -> list[float]:
        raw = [getattr(run, self.field) for run in runs]
        return [value / self.scale for value in raw if value is not None]

    def show(self, runs: list[Run]) -> str:
        values = self.values(runs)
        if not values:
            return "ends"
        low, middle, high = (f"{v:.{self.digits}f}" for v in
                             (min(values), statistics.median(values), max(values)))
        return f"{middle} ({low}-{high})"

    def ratio(self, before: list[Run], after: list[Run]) -> float | None:
        if not self.values(before):
            return None
        return statistics.median(self.values(after)) / statistics.median(self.values(before))


COLUMNS = (Column("wall time, s", "wall_seconds", 1, 2),
           Column("peak RSS, MiB", "peak_kib", 1024, 1),
           Column("RSS 1 s after idle, MiB", "idle_kib", 1024, 1))


def make_table(found: dict[str, dict[str, list[Run]]], names: tuple[str, str]) -> str:
    rows = [["program", "allocator", *(column.title for column in COLUMNS)]]
    for program, by_name in found.items():
        before, after = (by_name[name] for name in names)
        rows.append([program, names[0], *(c.show(before) for c in COLUMNS)])
        rows.append(["", names[1], *(c.show(after) for c in COLUMNS)])
        ratios = [c.ratio(before, after) for c in COLUMNS]
        rows.append(["", f"{names[1]}/{names[0]}",
                     *("-" if r is None else f"{r:.2f}" for r in ratios)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
             for row in rows]
    rule = "-" * max(map(len, lines))
    grouped = [lines[0]]
    for i, line in enumerate(lines[1:]):
        grouped += [rule, line] if i % 3 == 0 else [line]
    return "\n".join(grouped)


def make_proof(found: dict[str, dict[str, list[Run]]]) -> str:
    lines = ["In use, as each process resolved its functions:"]
    for program, by_name in found.items():
        for name, runs in by_name.items():
            for malloc, new in sorted({(run.malloc, run.operator_new) for run in runs}):
                lines.append(f"  {program:7} {name:7} malloc: {malloc}; operator new: {new}")
    return "\n".join(lines)


def show(found: dict[str, dict[str, list[Run]]], app: App, runs: int) -> None:
    names = (app.glibc.name, app.tested.name)
    print(make_proof(found))
    print()
    print(make_table(found, names))
    print()
    print(f"Median of {runs} interleaved runs (lowest-highest) on {platform.machine()} with "
          f"{os.cpu_count()} CPUs. Lower is better.")
    if "g++" in found:
        print("'ends': a compiler's process is over when its work is, so it never goes idle.")
    if "python" in found:
        print("python runs with PYTHONMALLOC=malloc under both: each object is a malloc.")
    if "redis" in found:
        print("redis: Debian links it with jemalloc; glibc's allocator is put first for its rows.")


def write_json(path: str, found: dict[str, dict[str, list[Run]]], app: App) -> None:
    data = {
        "library": str(app.lib), "machine": platform.machine(), "cpus": os.cpu_count(),
        "kernel": platform.release(), "libc": " ".join(platform.libc_ver()),
        "programs": {program: {name: [dataclasses.asdict(run) for run in runs]
                               for name, runs in by_name.items()}
                     for program, by_name in found.items()},
        "ratios": {program: {c.field: c.ratio(*(by_name[a.name] for a in app.allocators))
                             for c in COLUMNS} for program, by_name in found.items()},
    }
    text = json.dumps(data, indent=2) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        Path(path).write_text(text)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib", metavar="PATH", help="library to show (default: CARREL_LIB, or "
                        "the release build's libcarrel.so)")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each (default 3)")
    parser.add_argument("--only", action="append", choices=list(PROGRAMS_SHOWN),
                        help="show this program only; may be repeated")
    parser.add_argument("--json", metavar="FILE", help="write every run as JSON too; '-': to "
                        "standard output, instead of the table")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs is {arguments.runs}: give 1 or more")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    try:
        lib = resolve_library(arguments.lib)
        with temporary_folder(keep=False) as folder:
            app = App("demo", lib, folder)
            app.tested = dataclasses.replace(
                app.tested, name=lib.name.removeprefix("lib").split(".")[0])
            # A library that cannot win is refused now, not after the first minute.
            app.run([find("python3", "python3"), "-c", "pass"], app.tested)
            found = measure(app, arguments.runs, arguments.only or list(PROGRAMS_SHOWN))
            if arguments.json != "-":
                show(found, app, arguments.runs)
            if arguments.json is not None:
                write_json(arguments.json, found, app)
            if arguments.only is None and arguments.json != "-":
                show_advice(lib, folder)
    except Failure as failure:
        print(f"demo: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
