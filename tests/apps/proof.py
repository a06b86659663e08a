"""The proof that an allocator was in use: what an allocator is to the tests, what probe.cc reported
of each process, and whether the two agree. Starts nothing but the compiler that builds the probe.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import elf_hide

HERE = Path(__file__).resolve().parent

C_FUNCTIONS = ("malloc", "free", "calloc", "realloc")
CXX_FUNCTIONS = ("new", "delete")
LIBC = "libc.so.6"


class Failure(Exception):
    """A test that failed, or cannot run: the text says what happened and what to do."""


@dataclasses.dataclass(frozen=True)
class Allocator:
    """What a program is run on: `preload` goes to LD_PRELOAD after the probe."""

    name: str
    preload: tuple[str, ...]
    object_name: str  # the shared object in which malloc must resolve, path or bare name

    @property
    def is_glibc(self) -> bool:
        return self.object_name == LIBC

    def holds(self, path: str) -> bool:
        """Whether the object that the probe reported is this allocator."""
        if self.is_glibc:
            return os.path.basename(path) == LIBC
        return os.path.realpath(path) == self.object_name


@dataclasses.dataclass(frozen=True)
class Report:
    """One line of the probe: a process and where its allocation functions resolve."""

    pid: int
    executable: str
    functions: Mapping[str, str]

    @property
    def program(self) -> str:
        return os.path.basename(self.executable)


def parse_reports(text: str) -> list[Report]:
    reports = []
    for line in text.splitlines():
        pid, executable, *functions = line.split("\t")
        pairs = (item.split("=", 1) for item in functions)
        reports.append(Report(int(pid), executable, {name: path for name, path in pairs}))
    return reports


def calls_foreign_malloc(executable: str) -> bool:
    """Whether an executable takes malloc and free from outside, so that an operator new linked into
    it statically can only be fed by the preloaded malloc."""
    symbols = {s.name: s for s in elf_hide.dynamic_symbols(Path(executable))}
    return all(name in symbols and not symbols[name].defined for name in ("malloc", "free"))


def why_not_in_use(allocator: Allocator, report: Report) -> str | None:
    """None if the process was on the allocator, else what resolved elsewhere."""
    for name in C_FUNCTIONS:
        path = report.functions[name]
        if not allocator.holds(path):
            return f"{name} of {report.program} resolves to {path}"
    if allocator.is_glibc:
        return None  # operator new is libstdc++'s there, which calls malloc
    for name in CXX_FUNCTIONS:
        path = report.functions[name]
        own = path == "self" and calls_foreign_malloc(report.executable)
        if not own and not allocator.holds(path):
            return f"operator {name} of {report.program} resolves to {path}"
    return None


def prove_in_use(allocator: Allocator, reports: Sequence[Report], programs: Sequence[str]) -> None:
    """Raise unless every process was on the allocator, and each of `programs` was among them."""
    for report in reports:
        reason = why_not_in_use(allocator, report)
        if reason is not None:
            raise Failure(f"{allocator.name} was not in use: {reason} (pid {report.pid})")
    seen = {report.program for report in reports}
    for program in programs:
        if program not in seen:
            raise Failure(f"{allocator.name}: {program} loaded no preload at all "
                          f"(processes seen: {', '.join(sorted(seen)) or 'none'})")


def build_probe(compiler: str, folder: Path) -> Path:
    """Compile probe.cc with a C driver: no libstdc++ may come into the probed programs."""
    probe = folder / "probe.so"
    subprocess.run([compiler, "-x", "c++", "-std=c++20", "-D_GNU_SOURCE", "-O1", "-fPIC", "-shared",
                    "-fno-exceptions", "-fno-rtti", "-o", str(probe), str(HERE / "probe.cc")],
                   check=True)
    return probe


def mapped(pid: int, object_name: str) -> bool:
    maps = Path(f"/proc/{pid}/maps").read_text()
    paths = {line.split(maxsplit=5)[5] for line in maps.splitlines() if line.count("/")}
    return object_name in {os.path.realpath(path) for path in paths}
