"""Real programs: redis, python, lua, z3, sqlite, g++ and rustc, each under the allocator measured.

Every program's output is compared with what it gives under the C library's allocator. A program
that is not installed is named with its package. This prepares inputs once; runs are runner.py's
Samples.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import elf_hide, inputs
from .allocators import Allocator
from .runner import CLEAN_ENVIRONMENT, Launcher, Sample, sample_from

FILES = Path(__file__).resolve().parent.parent / "apps"
RUSTC_SYMBOLS = {"malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc",
                 "memalign", "valloc", "malloc_usable_size"}


class AppError(Exception):
    """A program could not be prepared or did not behave; the message says what to do."""


def require(program: str, package: str) -> str:
    path = shutil.which(program, path=CLEAN_ENVIRONMENT["PATH"])
    if path is None:
        raise AppError(f"{program} is not installed; get it with: apt-get install {package}")
    return path


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class CommandApp:
    """A program that runs to its end: a command, what it reads and writes, and who it is for."""

    name: str
    title: str
    make: Callable[[Path, float], tuple[list[str], dict[str, str], Path | None, Path | None]]
    kind: str = "timed"
    floor_of: str = ""
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    stdin: Path | None = None
    product: Path | None = None  # the file it writes, compared instead of its output
    expected: str = ""
    directory: Path = Path()
    version: str = ""

    @property
    def timed(self) -> bool:
        return self.kind == "timed"

    def prepare(self, directory: Path, scale: float, launcher: Launcher) -> None:
        """Makes the input and learns from a run on the C library what the output must be."""
        self.directory = directory
        self.command, self.environment, self.stdin, self.product = self.make(directory, scale)
        outcome = launcher.run(self.command, self.environment, 120, directory, self.stdin)
        if outcome.status != "ok":
            raise AppError(f"{self.command[0]} does not run: {outcome.error}")
        self.expected = self.result(outcome.output)

    def result(self, output: bytes) -> str:
        return digest(self.product.read_bytes() if self.product else output)

    def run(self, launcher: Launcher, allocator: Allocator, number: int, timeout: int) -> Sample:
        if self.product:
            self.product.unlink(missing_ok=True)
        environment = {**self.environment, **allocator.environment}
        outcome = launcher.run(self.command, environment, timeout, self.directory, self.stdin)
        sample = sample_from(outcome, self.name, allocator.name, number)
        if sample.status == "ok" and self.result(outcome.output) != self.expected:
            sample.status, sample.error = "failed", "its output differs from that under glibc"
        return sample


def make_python(directory: Path, scale: float):
    command = [require("python3", "python3"), "-I", str(FILES / "graph.py"),
               str(max(1, round(6 * scale)))]
    return command, {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "1"}, None, None


def make_lua(directory: Path, scale: float):
    command = [require("lua5.4", "lua5.4"), str(FILES / "work.lua"), str(max(1, round(14 * scale)))]
    return command, {}, None, None


def make_z3(directory: Path, scale: float):
    problem = directory / "problem.smt2"
    problem.write_text(inputs.smt_problem(9 if scale > 0.5 else 7))
    return [require("z3", "z3"), "-smt2", str(problem)], {}, None, None


def make_sqlite(directory: Path, scale: float):
    script = directory / "queries.sql"
    script.write_text(inputs.sql_script(max(500, round(40000 * scale))))
    command = [require("sqlite3", "sqlite3"), "-batch", "-init", os.devnull, ":memory:"]
    return command, {}, script, None


def make_gxx(directory: Path, scale: float):
    product = directory / "heavy.s"
    command = [require("g++", "g++"), "-std=c++20", "-O0", "-S", "-o", str(product),
               f"-DWIDTH={max(1, round(4 * scale))}", str(FILES / "heavy.cpp")]
    return command, {}, None, product


def real_rustc() -> Path:
    """The compiler itself, not a wrapper that starts it."""
    found = shutil.which("rustc")
    if found is None:
        raise AppError("rustc is not installed; get it with: apt-get install rustc-web")
    done = subprocess.run([found, "--print", "sysroot"], capture_output=True, text=True,
                          check=False)
    binary = Path(done.stdout.strip()) / "bin" / "rustc"
    if done.returncode or not binary.exists():
        raise AppError(f"{found} names no sysroot: {done.stderr.strip()}")
    return binary


def make_rustc(directory: Path, scale: float, hidden: bool = True):
    """A copy of the compiler whose own malloc is hidden, so that the preload takes over."""
    original = real_rustc()
    sysroot = original.parent.parent
    binary = original
    own = elf_hide.defined(original, RUSTC_SYMBOLS)
    if not hidden and not own:
        raise AppError("this rustc carries no allocator of its own to compare with")
    if hidden and own:
        copy = directory / "toolchain"
        (copy / "bin").mkdir(parents=True, exist_ok=True)
        if not (copy / "lib").exists():
            (copy / "lib").symlink_to(sysroot / "lib")
        binary = copy / "bin" / "rustc"
        elf_hide.hide(original, binary, RUSTC_SYMBOLS)
    source = directory / "crate.rs"
    source.write_text(inputs.rust_crate(max(5, round(60 * scale))))
    product = directory / "libcrate.rmeta"
    command = [str(binary), "--sysroot", str(sysroot), "--edition", "2021", "--emit",
               f"metadata={product}", "--crate-name", "measured", str(source)]
    return command, {}, None, product


class Redis:
    """redis-server under the allocator, loaded by redis-benchmark, which is not under it."""

    name = "redis"
    title = "redis-server under a bounded load"
    kind = "timed"
    floor_of = ""
    timed = True
    version = ""

    def __init__(self) -> None:
        self.server = self.client = self.load = ""
        self.requests = 0
        self.directory = Path()
        self.libc = ""

    def prepare(self, directory: Path, scale: float, launcher: Launcher) -> None:
        self.server = require("redis-server", "redis-server")
        self.client = require("redis-cli", "redis-tools")
        self.load = require("redis-benchmark", "redis-tools")
        self.requests = max(2000, round(30000 * scale))
        self.directory = directory
        # Debian's server links jemalloc; for the C library's own row libc goes before it.
        ctypes.CDLL("libc.so.6")
        maps = Path("/proc/self/maps").read_text().splitlines()
        self.libc = next(line.split()[-1] for line in maps if line.endswith("libc.so.6"))

    def run(self, launcher: Launcher, allocator: Allocator, number: int, timeout: int) -> Sample:
        sample = Sample(self.name, allocator.name, number, "failed")
        socket = self.directory / "redis.sock"
        socket.unlink(missing_ok=True)
        preload = {"LD_PRELOAD": self.libc, **allocator.environment}
        log = (self.directory / "redis.log").open("wb")
        server = subprocess.Popen(
            [self.server, "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly",
             "no", "--dir", str(self.directory), "--loglevel", "warning"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**CLEAN_ENVIRONMENT, **preload})
        try:
            self.wait_until_up(server, socket)
            library = Path(preload["LD_PRELOAD"]).resolve()
            if str(library) not in Path(f"/proc/{server.pid}/maps").read_text():
                raise AppError(f"the server does not run on {library.name}")
            outcome = launcher.run(
                [self.load, "-s", str(socket), "-q", "-n", str(self.requests), "-c", "16", "-P",
                 "8", "-r", "50000", "-d", "180", "-t", "set,get,lpush,lpop,sadd,hset,zadd"],
                {}, timeout)
            sample = sample_from(outcome, self.name, allocator.name, number)
            self.take_figures(server, sample)
            if outcome.status == "ok":
                self.check_contents(socket)
                sample.metrics["requests_per_second"] = 7 * self.requests / sample.seconds
        except (AppError, subprocess.SubprocessError, OSError) as error:
            sample.status, sample.error = "failed", str(error)
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            log.close()
        return sample

    def wait_until_up(self, server: subprocess.Popen[bytes], socket: Path) -> None:
        for _ in range(200):
            if server.poll() is not None:
                tail = (self.directory / "redis.log").read_text(errors="replace").strip()[-200:]
                raise AppError(f"redis-server ended with {server.returncode}: {tail}")
            if socket.exists() and self.ask(socket, "PING") == "PONG":
                return
            time.sleep(0.01)
        raise AppError("redis-server did not answer within 2 s")

    def ask(self, socket: Path, *words: str) -> str:
        done = subprocess.run([self.client, "-s", str(socket), *words], capture_output=True,
                              text=True, timeout=10, check=False, env=CLEAN_ENVIRONMENT)
        return done.stdout.strip()

    def check_contents(self, socket: Path) -> None:
        """A value of the load must be there in full, and a fresh one come back unchanged."""
        key = self.ask(socket, "RANDOMKEY")
        if not key:
            raise AppError("the server lost its keys")
        text = "abc" * 3000
        self.ask(socket, "SET", "check", text)
        if self.ask(socket, "GET", "check") != text:
            raise AppError("the server returned another value than was stored")

    def take_figures(self, server: subprocess.Popen[bytes], sample: Sample) -> None:
        """The server's memory and times, not the load generator's."""
        status = Path(f"/proc/{server.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        sample.rss_kib = int(fields["VmHWM"].split()[0])
        stat = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        tick = os.sysconf("SC_CLK_TCK")
        sample.minor_faults, sample.major_faults = int(stat[7]), int(stat[9])
        sample.user, sample.system = int(stat[11]) / tick, int(stat[12]) / tick


def all_apps() -> list[CommandApp | Redis]:
    return [
        Redis(),
        CommandApp("python", "object graphs, PYTHONMALLOC=malloc", make_python),
        CommandApp("lua", "tables, strings and closures", make_lua),
        CommandApp("z3", "a generated SMT problem", make_z3),
        CommandApp("sqlite", "queries on a generated database", make_sqlite),
        CommandApp("g++", "compiling a heavy translation unit", make_gxx),
        CommandApp("rustc", "checking a generated crate", make_rustc),
        CommandApp("rustc-own", "rustc as shipped, on its own allocator",
                   lambda directory, scale: make_rustc(directory, scale, hidden=False), "floor",
                   "rustc"),
    ]


def prepare(names: list[str], directory: Path, scale: float,
            launcher: Launcher) -> tuple[list[CommandApp | Redis], list[tuple[str, str]]]:
    """The apps that can run, prepared, and those that cannot with the reason."""
    ready, absent = [], []
    for app in all_apps():
        if names and app.name not in names and app.floor_of not in names:
            continue
        place = directory / app.name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        print(f"bench: preparing {app.name}", file=sys.stderr)
        try:
            app.prepare(place, scale, launcher)
        except AppError as error:
            absent.append((app.name, str(error)))
            continue
        ready.append(app)
    return ready, absent
