"""Runs one program once under one allocator, in a fresh process, and says what it cost.

The launcher (bench/launch.c) starts the program, so that peak resident memory is the program's own
and the preload reaches nothing else. A run ends as "ok", "dnf" (not finished in time) or "failed";
neither of the last two is ever dropped.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .allocators import Allocator
from .workloads import Workload

# Programs see this and nothing else of our environment, so that it cannot tilt a measurement.
CLEAN_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "HOME": "/nonexistent"}


@dataclass
class Sample:
    """What one run of one workload under one allocator gave."""

    workload: str
    allocator: str
    round: int
    status: str
    seconds: float = 0.0
    wall: float = 0.0
    user: float = 0.0
    system: float = 0.0
    rss_kib: int = 0
    minor_faults: int = 0
    major_faults: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Outcome:
    """What the launcher said about one program."""

    status: str
    usage: dict[str, Any]
    output: bytes
    error: str


class Launcher:
    """Starts programs through bench/launch.c."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def run(self, command: list[str], environment: dict[str, str], timeout: int,
            directory: Path | None = None, stdin: Path | None = None) -> Outcome:
        settings = [f"{name}={value}" for name, value in sorted(environment.items())]
        read_end, write_end = os.pipe()
        source = stdin.open("rb") if stdin else None
        try:
            # The launcher writes its line to descriptor 3; a shell-less way to put it there.
            child = subprocess.Popen(
                [str(self.program), str(timeout), *settings, "--", *command],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=directory,
                stdin=source or subprocess.DEVNULL, env=CLEAN_ENVIRONMENT, close_fds=False,
                preexec_fn=lambda: os.dup2(write_end, 3) if write_end != 3
                else os.set_inheritable(3, True))
        finally:
            os.close(write_end)
            if source:
                source.close()
        try:
            output, errors = child.communicate()
        except BaseException:
            child.send_signal(signal.SIGTERM)
            child.wait()
            os.close(read_end)
            raise
        with os.fdopen(read_end) as report:
            line = report.readline()
        text = errors.decode(errors="replace").strip()
        if not line:
            return Outcome("failed", {}, output, text or "the launcher wrote nothing")
        usage = json.loads(line)
        if usage["timed_out"]:
            return Outcome("dnf", usage, output, f"not finished after {timeout} s")
        if usage["signal"]:
            name = signal.Signals(usage["signal"]).name
            return Outcome("failed", usage, output, f"killed by {name}; {text[-300:]}")
        if usage["exit"]:
            return Outcome("failed", usage, output, f"exit status {usage['exit']}; {text[-300:]}")
        return Outcome("ok", usage, output, "")


def sample_from(outcome: Outcome, workload: str, allocator: str, number: int) -> Sample:
    """The launcher's figures as a sample; the workload's own are added by the caller."""
    usage = outcome.usage
    return Sample(workload, allocator, number, outcome.status, seconds=usage.get("wall", 0.0),
                  wall=usage.get("wall", 0.0), user=usage.get("user", 0.0),
                  system=usage.get("system", 0.0), rss_kib=usage.get("maxrss_kib", 0),
                  minor_faults=usage.get("minor_faults", 0),
                  major_faults=usage.get("major_faults", 0), error=outcome.error)


def run_workload(launcher: Launcher, programs: Path, workload: Workload, allocator: Allocator,
                 number: int, scale: float, idle_seconds: float, timeout: int) -> Sample:
    """One run of one of bench/workloads. Its own `seconds` count; its start and end do not."""
    command = [str(programs / workload.program), *workload.arguments]
    if workload.kind != "trivial":
        command += ["--scale", f"{scale:g}"]
    if workload.kind == "idle":
        command += ["--idle", f"{idle_seconds:g}"]
    outcome = launcher.run(command, allocator.environment, timeout)
    sample = sample_from(outcome, workload.name, allocator.name, number)
    if sample.status != "ok":
        return sample
    try:
        metrics = json.loads(outcome.output.decode())
        sample.seconds = float(metrics.pop("seconds"))
        sample.metrics = {name: float(value) for name, value in metrics.items()}
    except (ValueError, KeyError, AttributeError) as error:
        sample.status, sample.error = "failed", f"its line of figures is unreadable: {error}"
    return sample
