"""What the tests of real programs share: run a program under glibc's allocator and under the built
library, prove for each process which allocator it was on, and compare what came out.

A test is one file beside this one with a function that takes an App; main(function) gives it the
command line (--lib PATH, --keep), a temporary folder, and the exit status. This file knows no
program. It doesn't measure: the timings that it prints are for the reader's eye.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import glob
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from proof import (
    LIBC,
    Allocator,
    Failure,
    Report,
    build_probe,
    mapped,
    parse_reports,
    prove_in_use,
)

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
DEFAULT_LIB = HERE.parents[1] / "build" / "release" / "lib" / "libcarrel.so"


@dataclasses.dataclass
class Result:
    """A finished program."""

    argv: list[str]
    status: int
    stdout: bytes
    stderr: bytes
    seconds: float
    reports: list[Report]

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")


def find(name: str, package: str) -> str:
    """The absolute path of a program: Debian's own first, then PATH. `name` may be an absolute
    pattern, of which the last match is taken. Missing: says which package has it."""
    if os.path.isabs(name):
        matches = sorted(m for m in glob.glob(name) if os.access(m, os.X_OK))
        if matches:
            return matches[-1]
    else:
        found = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin") or shutil.which(name)
        if found is not None:
            return found
    raise Failure(f"{name} is missing: run './dev setup', or install it with "
                  f"'apt-get install {package}'")


def need_file(path: str, package: str) -> Path:
    if not os.path.exists(path):
        raise Failure(f"{path} is missing: run './dev setup', or install it with "
                      f"'apt-get install {package}'")
    return Path(path)


def unprivileged_user(preferred: str) -> str | None:
    """The user that servers which refuse root run as; None if we are not root ourselves."""
    if os.geteuid() != 0:
        return None
    for name in (preferred, "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise Failure(f"neither {preferred} nor nobody is a user here, and the server refuses root: "
                  f"add a user named {preferred}")


def describe_status(status: int) -> str:
    if status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    return f"exit status {status}"


def tail(data: bytes, lines: int = 30) -> str:
    return "\n".join(data.decode("utf-8", "replace").splitlines()[-lines:])


class Server:
    """A started server, stopped by its own process id when the `with` block ends."""

    def __init__(self, app: App, allocator: Allocator, process: subprocess.Popen[bytes],
                 probe_file: Path, command: str) -> None:
        self.app = app
        self.allocator = allocator
        self.process = process
        self.probe_file = probe_file
        self.log = probe_file.with_suffix(".log")
        self.command = command

    @property
    def pid(self) -> int:
        return self.process.pid

    def fail(self, what: str) -> Failure:
        log = tail(self.log.read_bytes()) if self.log.exists() else ""
        return Failure(f"{what}\n  command: {self.command}\n{log}")

    def wait_until(self, ready: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise self.fail(f"the server ended at once: "
                                f"{describe_status(self.process.returncode)}")
            if ready():
                return
            time.sleep(0.05)
        raise self.fail(f"the server was not ready after {seconds:.0f} s")

    def prove_mapped(self) -> None:
        """The allocator is in the running process's map."""
        if self.allocator.is_glibc:
            return
        if not mapped(self.pid, self.allocator.object_name):
            raise self.fail(f"{self.allocator.object_name} is not in /proc/{self.pid}/maps")

    def stop(self, signal_number: int = signal.SIGTERM, seconds: float = 60) -> None:
        """Ask it to end and demand that it does so cleanly."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.fail(f"the server did not stop within {seconds:.0f} s") from None
        if status != 0:
            raise self.fail(f"the server ended badly: {describe_status(status)}")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class App:
    """One test: its temporary folder, the two allocators, and what the runs printed."""

    def __init__(self, name: str, lib: Path, folder: Path) -> None:
        self.name = name
        self.lib = lib
        self.folder = folder
        self.probe = build_probe(find("gcc", "gcc"), folder)
        self.glibc = Allocator("glibc", (), LIBC)
        self.tested = Allocator(lib.name, (str(lib),), os.path.realpath(lib))
        self.environment: dict[str, str] = {}

    @property
    def allocators(self) -> tuple[Allocator, Allocator]:
        return (self.glibc, self.tested)

    @property
    def glibc_first(self) -> Allocator:
        """For a program that Debian links with another allocator: glibc's comes first again."""
        return Allocator("glibc", (LIBC,), LIBC)

    def make_folder(self, name: str, owner: str | None = None) -> Path:
        path = self.folder / name
        path.mkdir()
        if owner is not None:
            entry = pwd.getpwnam(owner)
            os.chown(path, entry.pw_uid, entry.pw_gid)
        return path

    def readable_by_all(self) -> None:
        """Let another user reach the temporary folder, the probe and the library (the tree may lie
        under a home folder that is closed to others, so the library is copied)."""
        self.folder.chmod(0o755)
        copy = self.folder / self.lib.name
        shutil.copyfile(self.lib, copy)
        copy.chmod(0o755)
        self.tested = Allocator(self.tested.name, (str(copy),), os.path.realpath(copy))

    def make_environment(self, allocator: Allocator, out: Path,
                         extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """A small, fixed environment: the same for both allocators but for LD_PRELOAD."""
        kept = ("HOME", "USER", "LOGNAME", "TMPDIR", "CARREL_OPTIONS", "RUSTUP_HOME", "CARGO_HOME")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment.update(LANG="C.UTF-8", LC_ALL="C.UTF-8", TZ="UTC",
                           PATH="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        environment.update(self.environment)
        environment.update(extra or {})
        environment["CARREL_PROBE_OUT"] = str(out)
        environment["LD_PRELOAD"] = ":".join((str(self.probe), *allocator.preload))
        return environment

    def make_probe_file(self) -> Path:
        handle, path = tempfile.mkstemp(prefix="probe-", suffix=".txt", dir=self.folder)
        os.close(handle)
        os.chmod(path, 0o666)
        return Path(path)

    def run(self, argv: Sequence[str | Path], allocator: Allocator, *, cwd: Path | None = None,
            stdin: bytes = b"", env: Mapping[str, str] | None = None, timeout: float = 300,
            expect: int | None = 0, programs: Sequence[str] | None = None,
            user: str | None = None) -> Result:
        """Run to the end; prove the allocator; demand the exit status `expect` (None: any).
        `programs`: executables that must be among those started (default: the first of argv)."""
        arguments = [str(a) for a in argv]
        out = self.make_probe_file()
        environment = self.make_environment(allocator, out, env)
        command = self.command_line(arguments, environment, allocator, env, cwd)
        start = time.monotonic()
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, cwd=cwd or self.folder,
                                   env=environment, start_new_session=True, user=user,
                                   group=pwd.getpwnam(user).pw_gid if user else None,
                                   extra_groups=[] if user else None)
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # the program and what it started
            stdout, stderr = process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise Failure(f"{allocator.name}: not finished after {timeout:.0f} s\n"
                          f"  command: {command}\n{tail(stdout)}\n{tail(stderr)}") from None
        result = Result(arguments, process.returncode, stdout, stderr, time.monotonic() - start,
                        parse_reports(out.read_text()))
        if expect is not None and result.status != expect:
            raise Failure(f"{allocator.name}: {describe_status(result.status)}\n"
                          f"  command: {command}\n{tail(stdout)}\n{tail(stderr)}")
        if programs is None:
            programs = [os.path.basename(os.path.realpath(arguments[0]))]
        prove_in_use(allocator, result.reports, programs)
        return result

    @contextmanager
    def serve(self, argv: Sequence[str | Path], allocator: Allocator, *, cwd: Path | None = None,
              env: Mapping[str, str] | None = None, user: str | None = None) -> Iterator[Server]:
        """Start a server and stop it, by its process id, when the block ends. A block that ends
        well demands that the server does too, and that every process of it was on the allocator."""
        arguments = [str(a) for a in argv]
        out = self.make_probe_file()
        environment = self.make_environment(allocator, out, env)
        command = self.command_line(arguments, environment, allocator, env, cwd)
        with out.with_suffix(".log").open("wb") as stream:
            process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=stream,
                                       stderr=stream, cwd=cwd or self.folder, env=environment,
                                       start_new_session=True, user=user,
                                       group=pwd.getpwnam(user).pw_gid if user else None,
                                       extra_groups=[] if user else None)
        server = Server(self, allocator, process, out, command)
        try:
            yield server
            server.stop()
            programs = [os.path.basename(os.path.realpath(arguments[0]))]
            prove_in_use(allocator, parse_reports(out.read_text()), programs)
        finally:
            server.kill()

    def command_line(self, arguments: Sequence[str], environment: Mapping[str, str],
                     allocator: Allocator, extra: Mapping[str, str] | None,
                     cwd: Path | None) -> str:
        """The command as one would type it again, without the probe."""
        shown = {**self.environment, **(extra or {})}
        if "CARREL_OPTIONS" in environment:
            shown["CARREL_OPTIONS"] = environment["CARREL_OPTIONS"]
        if allocator.preload:
            shown["LD_PRELOAD"] = ":".join(allocator.preload)
        words = ["cd", str(cwd or self.folder), "&&", "env"]
        words += [f"{name}={shlex.quote(value)}" for name, value in shown.items()]
        return " ".join(words + [shlex.quote(a) for a in arguments])

    def compare(self, what: str, expected: bytes | str, got: bytes | str) -> None:
        """Demand that both allocators gave the same; else the first differing lines."""
        if expected == got:
            return
        left = expected if isinstance(expected, str) else expected.decode("utf-8", "replace")
        right = got if isinstance(got, str) else got.decode("utf-8", "replace")
        diff = difflib.unified_diff(left.splitlines(), right.splitlines(), "glibc",
                                    self.tested.name, lineterm="", n=1)
        shown = [line[:200] for _, line in zip(range(40), diff)]
        raise Failure(f"{what} differs from that under glibc:\n" + "\n".join(shown))

    def run_both(self, what: str, argv: Sequence[str | Path], *,
                 stdin: bytes = b"", env: Mapping[str, str] | None = None, timeout: float = 300,
                 programs: Sequence[str] | None = None,
                 cwd: Path | None = None) -> tuple[Result, Result]:
        """The same command under both; standard output, standard error and status must agree, and
        there must be some output, or nothing was compared."""
        results = [self.run(argv, allocator, stdin=stdin, env=env, timeout=timeout,
                            programs=programs, cwd=cwd) for allocator in self.allocators]
        expected, got = results
        if not expected.stdout:
            raise Failure(f"{what} printed nothing under glibc: there is nothing to compare")
        self.compare(f"{what}: standard output", expected.stdout, got.stdout)
        self.compare(f"{what}: standard error", expected.stderr, got.stderr)
        self.note(what, expected.seconds, got.seconds)
        return expected, got

    def note(self, what: str, glibc_seconds: float, tested_seconds: float) -> None:
        print(f"{self.name}: {what}: glibc {glibc_seconds:.2f} s, {self.tested.name} "
              f"{tested_seconds:.2f} s, same output", flush=True)


def resolve_library(argument: str | None) -> Path:
    """The library to test, from --lib, CARREL_LIB or the release build; never a guess."""
    path = Path(argument or os.environ.get("CARREL_LIB") or DEFAULT_LIB).resolve()
    if not path.is_file():
        raise Failure(f"no library at {path}: run './dev build' first, or name one with --lib PATH")
    return path


@contextmanager
def temporary_folder(keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="carrel-apps-")).resolve()
    try:
        yield folder
    finally:
        if keep:
            print(f"kept {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def main(test: Callable[[App], None]) -> None:
    """Run a test's function as a program: exit status 0, or 1 with the reason on standard error."""
    script = Path(sys.argv[0])
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib", metavar="PATH", help="library to preload (default: CARREL_LIB, or "
                        "the release build's libcarrel.so)")
    parser.add_argument("--keep", action="store_true", help="leave the temporary folder in place")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    try:
        lib = resolve_library(arguments.lib)
        with temporary_folder(arguments.keep) as folder:
            test(App(script.stem, lib, folder))
    except Failure as failure:
        print(f"{script.stem}: FAILED: {failure}", file=sys.stderr)
        sys.exit(1)
    print(f"{script.stem}: passed")
