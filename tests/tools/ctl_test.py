#!/usr/bin/env python3
"""ctl_test: carrel ctl on processes that were started with CARREL_OPTIONS=control=1.

controlled.c knows nothing of carrel; the library is preloaded, or linked in statically.
redis-server is asked under load. Nothing here is about time.

    python3 ctl_test.py CARREL FOLDER-OF-PROGRAMS LIBCARREL LIBCARREL-SECURE TEST
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "api"), str(HERE.parent / "apps")]
import check_profile_options  # noqa: E402 (found by the line above)
import pprof  # noqa: E402

CARREL = ""
PROGRAMS = Path()
LIBRARY = Path()
SECURE = Path()
# Asks a process to change something, and prints the answer.
ASK = ("import socket, sys\n"
       "line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
       "line.connect('\\0carrel.' + sys.argv[1])\n"
       "line.send(b'write option.decay_ms 7')\n"
       "print(line.recv(4096).decode())\n")
PLAIN = {key: value for key, value in os.environ.items()
         if key not in ("LD_PRELOAD", "CARREL_OPTIONS", "CARREL_PROFILE_PREFIX")}


def require(condition: bool, what: object) -> None:
    if not condition:
        sys.exit(f"failed: {what}")


def run_ctl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CARREL, "ctl", *words], capture_output=True, text=True, timeout=200,
                          check=False, env=PLAIN)


def ctl(*words: str) -> str:
    """What it prints; it must succeed, and complain of nothing."""
    done = run_ctl(*words)
    require(done.returncode == 0 and not done.stderr, f"carrel ctl {' '.join(words)}: {done}")
    return done.stdout


def refused(*words: str, status: int, says: str) -> None:
    done = run_ctl(*words)
    require(done.returncode == status and done.stderr.count("\n") == 1 and says in done.stderr
            and not done.stdout, f"carrel ctl {' '.join(words)}: wanted {status}, {says!r}: {done}")


class Program:
    """controlled, which does what a line says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = str(process.pid)

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def do(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()


@contextlib.contextmanager
def running(options: str = "control=1", program: str = "controlled", library: Path | None = None,
            folder: str | None = None, environment: dict[str, str] | None = None
            ) -> Iterator[Program]:
    preload = {"LD_PRELOAD": str(library or LIBRARY)} if program == "controlled" else {}
    env = {**PLAIN, **preload, "CARREL_OPTIONS": options, **(environment or {})}
    with subprocess.Popen([str(PROGRAMS / program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=env, text=True, cwd=folder) as process:
        started = Program(process)
        require(started.answer() == "ready", "the program did not get ready")
        yield started
        assert process.stdin is not None and process.stderr is not None
        process.stdin.close()
        require(process.wait(60) == 0, f"the program ended with {process.returncode}")
        said = process.stderr.read()
        require(said == "", f"the program said {said!r}")


def line_to(pid: str) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.connect(f"\0carrel.{pid}")
    line.settimeout(60)
    return line


def say(line: socket.socket, request: bytes) -> str:
    line.send(request)
    return line.recv(4096).decode()


def thread_names(pid: str) -> list[str]:
    return [(task / "comm").read_text().strip() for task in Path(f"/proc/{pid}/task").iterdir()]


def test_list() -> None:
    """What the command lists of itself and of a process is the same, and every name can be read."""
    own = json.loads(ctl("--list", "--json"))
    text = ctl("--list").splitlines()
    require(len(text) == len(own) + 1, f"{len(text)} lines, {len(own)} controls")
    with running() as program:
        require(json.loads(ctl(program.pid, "--list", "--json")) == own, "the process's list")
        require(ctl(program.pid, "--list").splitlines() == text, "the process's list as text")
        for control in own:
            name = control["name"].replace("class.<i>", "class.3").replace("shard.<i>", "shard.0")
            if control["type"] != "action" and "<i>" not in name:
                require(ctl(program.pid, name).count("\n") == 1, name)
    by_name = {control["name"]: control for control in own}
    require(by_name["option.decay_ms"]["maximum"] == 20000, by_name["option.decay_ms"])
    require(by_name["option.huge_pages"]["words"] == ["never", "auto"], "words")
    require(by_name["heap.purge"]["type"] == "action", by_name["heap.purge"])


def profile_from_outside(program: str = "controlled") -> None:
    """Started, written and stopped from outside: what was leaked meanwhile is in the file."""
    with tempfile.TemporaryDirectory(prefix="carrel-ctl-") as name:
        with running(program=program, folder=name) as leaky:
            pid = leaky.pid
            require(leaky.do("leak 1000") == "done", "leak")
            require(int(ctl(pid, "stats.live_bytes")) >= 200_000, "live_bytes")
            require("carrel-control" in thread_names(pid), thread_names(pid))
            require(ctl(pid, "option.profile_interval_kib=64", "profile.active=1") == "", "started")
            require(leaky.do("leak 100000") == "done", "leak")
            require(ctl(pid, "profile.active", "profile.interval_bytes")
                    == "profile.active 1\nprofile.interval_bytes 65536\n", "active")
            require(ctl(pid, "profile.last_file") == "\n", "no file yet")
            file = ctl(pid, "profile.dump").strip()
            require(Path(file).parent.samefile(name), f"{file} is not in {name}")
            require(ctl(pid, "profile.last_file") == f"{Path(file).name}\n", "last_file")
            check_profile_options.expect_leak(Path(file), PROGRAMS / program)
            ctl(pid, "profile.active=0")
            require(ctl(pid, "profile.active") == "0\n", "stopped")
            before = ctl(pid, "profile.samples")
            require(leaky.do("leak 100000") == "done", "leak")
            require(ctl(pid, "profile.samples") == before, "samples after the stop")


def test_profile() -> None:
    profile_from_outside()
    # Nowhere to write to.
    with running(environment={"CARREL_PROFILE_PREFIX": "/nonexistent/heap"}) as program:
        refused(program.pid, "profile.dump", status=1, says="'profile.dump'")
        ctl(program.pid, "profile.active=1")
        refused(program.pid, "profile.dump", status=1, says="could not be written: error number 2")


def test_static() -> None:
    with running(program="controlled_static") as program:
        require(ctl(program.pid, "version").count(".") == 2, "version")
        ctl(program.pid, "heap.purge")
        child = program.do("fork")
        require(int(ctl(child, "stats.live_blocks")) > 0, "the child of a static program")


def test_static_musl() -> None:
    with running(program="controlled_musl") as program:
        require(ctl(program.pid, "version").count(".") == 2, "version")
        ctl(program.pid, "heap.purge", "option.decay_ms=100")
        child = program.do("fork")
        require(ctl(child, "option.decay_ms") == "100\n", "the child of a musl program")
        # C with musl has no unwinder, and so linked no index of its tables.
        refused(program.pid, "profile.active=1", status=1, says="cannot do that")


def test_json() -> None:
    with running() as program:
        found = json.loads(ctl(program.pid, "--json", "version", "option.huge_pages",
                               "option.decay_ms=70", "heap.purge", "class.2.block_bytes"))
        require([each["name"] for each in found] == [
            "version", "option.huge_pages", "option.decay_ms", "heap.purge",
            "class.2.block_bytes"], found)
        require([each["value"] for each in found][1:] == ["auto", 70, True, 32], found)


def test_fork() -> None:
    """Parent and child answer under their own numbers, each for its own heap."""
    with running() as program:
        ctl(program.pid, "option.decay_ms=300")
        children = [program.do("fork") for _ in range(3)]
        for i, child in enumerate(children):
            require(ctl(child, "option.decay_ms") == "300\n", "as it was at the fork")
            ctl(child, f"option.decay_ms={i + 1}")
            ctl(child, "profile.active=1", "heap.purge")
        require(ctl(program.pid, "option.decay_ms", "profile.active")
                == "option.decay_ms 300\nprofile.active 0\n", "the parent's own")
        for i, child in enumerate(children):
            require(ctl(child, "option.decay_ms") == f"{i + 1}\n", "the child's own")
            names = thread_names(child)
            require(names.count("carrel-control") == 1, names)


def test_close() -> None:
    """The program closes all files, opens its own in their place, and is none the worse."""
    with running() as program:
        ctl(program.pid, "version")
        waiting = line_to(program.pid)
        require(say(waiting, b"read option.decay_ms") == "ok 500", "before")
        require(program.do("close") == "done" and program.do("open") == "done", "files")
        folder = Path(f"/proc/{program.pid}/fd")
        files = {each.name: os.readlink(each) for each in folder.iterdir()}
        for _ in range(3):
            require(ctl(program.pid, "option.decay_ms") == "500\n", "afterwards")
        now = {each.name: os.readlink(each) for each in folder.iterdir()}
        require({name: file for name, file in now.items() if not file.startswith("socket:")}
                == {name: file for name, file in files.items() if not file.startswith("socket:")},
                f"the program's files: {files}, now {now}")
        waiting.close()


def test_raw() -> None:
    """What no carrel command sends."""
    with running() as program:
        with line_to(program.pid) as line:
            for request in (b"x", b"read", b"read ", b"write", b"run", b"list all", b"read a b",
                            b"\0", b"read stats.live_bytes\0", b"\xff" * 100, b"\n", b" ",
                            b"read " + b"x" * 2000, b"\x1b[31m", b"READ version"):
                answer = say(line, request)
                require(answer.startswith("error 1 not a request"), (request, answer))
            for request in (b"read " + b"x" * 500, b"run =", b"write x", b"run class..x"):
                answer = say(line, request)
                require(answer.startswith("error 2 "), (request, answer))
            require(say(line, b"write option.decay_ms").startswith("error 4 "), "no value")
            require(say(line, b"read version\n").startswith("ok "), "with a line's end")
        # Who goes away before the answer comes.
        for request in (b"list", b"read version", b"run heap.purge"):
            for _ in range(20):
                with line_to(program.pid) as line:
                    line.send(request)
        require(ctl(program.pid, "option.decay_ms") == "500\n", "as it was")


def test_silent() -> None:
    """More peers than there are places say nothing, or do not listen; one who asks is answered."""
    with running() as program:
        lines = [line_to(program.pid) for _ in range(20)]
        require(ctl(program.pid, "option.decay_ms") == "500\n", "beside the silent")
        deaf = line_to(program.pid)
        with contextlib.suppress(OSError):  # dropped when it takes no more
            deaf.setblocking(False)
            for _ in range(200):
                deaf.send(b"list")
        require(ctl(program.pid, "option.decay_ms") == "500\n", "beside the deaf")
        for line in [*lines, deaf]:
            line.close()


def test_refusals() -> None:
    with running() as program:
        pid = program.pid
        refused(pid, "stats.live_byte", status=2, says="nearest: 'stats.live_bytes'")
        refused(pid, "option.decay_ms=9", "option.decay=9", status=2,
                says="nearest: 'option.decay_ms'")
        refused(pid, "class.99.slabs", status=2, says="there is no such number")
        refused(pid, "option.decay_ms=20001", status=2, says="a whole number from 0 to 20000")
        refused(pid, "option.decay_ms=soon", status=2, says="a whole number from 0 to 20000")
        refused(pid, "profile.active=2", status=2, says="a whole number from 0 to 1")
        refused(pid, "heap.purge=1", status=2, says="another type")
        refused(pid, "stats.live_bytes=1", status=2, says="it cannot be written")
        refused(pid, "option.control=0", status=2, says="it cannot be written")
        refused(pid, "option.huge_pages=auto", status=2, says="it cannot be written")
        refused(pid, "=1", status=2, says="neither NAME nor NAME=VALUE")
        refused(pid, "option.decay_ms=", status=2, says="neither NAME nor NAME=VALUE")
        refused(pid, "x" * 600, status=2, says="is no control")
        refused(pid, "line\nline", status=2, says="is no control")
        refused(pid, "--list", "version", status=2, says="leave 'version' out")
        refused(pid, status=2, says="name a control")
        require(ctl(pid, "option.decay_ms") == "500\n", "nothing was changed")
    refused(status=2, says="--list")
    refused("redis", "version", status=2, says="no process's number")
    refused(program.pid, "version", status=1, says="there is no process")


def test_not_asked() -> None:
    """Processes that do not listen: without the option there is no thread and no file."""
    with running(options="purge_thread=0") as program:
        refused(program.pid, "version", status=1, says="start it with CARREL_OPTIONS=control=1")
        require(thread_names(program.pid) == ["controlled"], thread_names(program.pid))
        files = [os.readlink(each) for each in Path(f"/proc/{program.pid}/fd").iterdir()]
        require(not any(file.startswith("socket:") for file in files), files)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, env=PLAIN) as other:
        time.sleep(0.1)  # until it is cat
        refused(str(other.pid), "version", status=1, says="does not run on carrel")
    # Somebody else has the name.
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, env=PLAIN) as other:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as impostor:
            impostor.bind(f"\0carrel.{other.pid}")
            impostor.listen()
            refused(str(other.pid), "version", status=1, says=f"but process {os.getpid()}")


def test_another_user() -> None:
    """nobody may not ask root's process; root may ask nobody's."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        sys.exit(77)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

    def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*nobody, *command], capture_output=True, text=True, env=PLAIN,
                              cwd="/", timeout=100)

    with running() as program:
        done = as_nobody("/usr/bin/python3", "-c", ASK, program.pid)
        if done.returncode == 0:
            require("only the process's own user and root" in done.stdout, done)
        else:  # it may be turned away before it has asked
            require("BrokenPipe" in done.stderr or "ConnectionReset" in done.stderr, done)
        done = as_nobody(CARREL, "ctl", program.pid, "option.decay_ms=7")
        if "Permission denied" not in done.stderr:  # the command itself may not be theirs to run
            require(done.returncode == 1 and "root" in done.stderr, done)
        require(ctl(program.pid, "option.decay_ms") == "500\n", "nothing was changed")
    with tempfile.TemporaryDirectory(prefix="carrel-ctl-") as name:
        # nobody may not be allowed into the folder of the build.
        os.chmod(name, 0o755)
        library, binary = Path(name) / "libcarrel.so", Path(name) / "controlled"
        shutil.copy(LIBRARY, library)
        shutil.copy(PROGRAMS / "controlled", binary)
        with subprocess.Popen([*nobody, "env", f"LD_PRELOAD={library}", "CARREL_OPTIONS=control=1",
                               str(binary)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env=PLAIN, text=True, cwd="/") as process:
            theirs = Program(process)
            require(theirs.answer() == "ready", "nobody's program")
            ctl(theirs.pid, "option.decay_ms=7")
            done = as_nobody("/usr/bin/python3", "-c", ASK, theirs.pid)
            require(done.stdout == "ok\n", done)
            assert process.stdin is not None
            process.stdin.close()


def test_drops_root() -> None:
    """The C library's setuid reaches the thread, which then serves the new user."""
    if os.geteuid() != 0:
        sys.exit(77)
    script = ("import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534);"
              "print('ready', flush=True); sys.stdin.read()")
    with tempfile.TemporaryDirectory(prefix="carrel-ctl-") as name:
        os.chmod(name, 0o755)
        library = Path(name) / "libcarrel.so"
        shutil.copy(LIBRARY, library)
        env = {**PLAIN, "LD_PRELOAD": str(library), "CARREL_OPTIONS": "control=1"}
        with subprocess.Popen(["/usr/bin/python3", "-c", script], env=env, text=True, cwd="/",
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            program = Program(process)
            require(program.answer() == "ready", "the program did not get ready")
            require(thread_names(program.pid).count("carrel-control") == 1, "the thread")
            for task in Path(f"/proc/{program.pid}/task").iterdir():
                if (task / "comm").read_text().strip() == "carrel-purge":
                    continue  # no thread of the C library's: decision 0003
                require("\nUid:\t65534\t65534\t65534\t65534\n" in (task / "status").read_text(),
                        (task / "status").read_text())
            ctl(program.pid, "option.decay_ms=7")
            as_nobody = subprocess.run(
                ["/usr/bin/python3", "-c", ASK, program.pid], text=True, capture_output=True,
                env=PLAIN, cwd="/", user=65534, group=65534, extra_groups=[])
            require(as_nobody.stdout == "ok\n", as_nobody)
            assert process.stdin is not None
            process.stdin.close()


def test_container() -> None:
    """A process with a network and process numbers of its own, asked from outside."""
    inside = ["unshare", "--net", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run(
            [*inside, "true"], capture_output=True).returncode != 0:
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="carrel-ctl-") as name:
        command = [*inside, "env", f"LD_PRELOAD={LIBRARY}", "CARREL_OPTIONS=control=1",
                   str(PROGRAMS / "controlled")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=PLAIN,
                              text=True, cwd=name) as process:
            program = Program(process)
            require(program.answer() == "ready", "the program did not get ready")
            pid = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().strip()
            status = Path(f"/proc/{pid}/status").read_text()
            require(f"\nNSpid:\t{pid}\t1\n" in status, status)
            ctl(pid, "option.decay_ms=40", "profile.active=1")
            require(ctl(pid, "option.decay_ms") == "40\n", "set")
            require(Path(ctl(pid, "profile.dump").strip()).parent.samefile(name), "the file")
            assert process.stdin is not None
            process.stdin.close()


def test_prefixed() -> None:
    """A heap beside malloc listens from its first call on."""
    with running(program="own_functions", library=None) as program:
        require(int(ctl(program.pid, "stats.live_bytes")) >= 100_000, "live_bytes")
        require(ctl(program.do("fork"), "option.decay_ms") == "500\n", "the child")


def test_hardened() -> None:
    with running(library=SECURE) as program:
        require(program.do("leak 1000") == "done", "leak")
        require(int(ctl(program.pid, "stats.live_bytes")) >= 200_000, "live_bytes")
        ctl(program.pid, "heap.purge", "option.decay_ms=100")
        child = program.do("fork")
        require(ctl(child, "option.decay_ms") == "100\n", "the child")
        refused(program.pid, "profile.active=1", status=1, says="cannot do that")
        refused(program.pid, "profile.dump", status=1, says="cannot do that")


def test_redis() -> None:
    """A server under load, profiled for a while without its knowledge."""
    from redis import connect
    server, load = shutil.which("redis-server"), shutil.which("redis-benchmark")
    require(server is not None and load is not None,
            "redis-server is missing: run './dev setup', or install it with 'apt-get install "
            "redis-server redis-tools'")
    with tempfile.TemporaryDirectory(prefix="carrel-ctl-") as name:
        socket_file = Path(name) / "socket"
        env = {**PLAIN, "LD_PRELOAD": str(LIBRARY), "CARREL_OPTIONS": "control=1"}
        command = [str(server), "--port", "0", "--unixsocket", str(socket_file), "--save", "",
                   "--appendonly", "no", "--daemonize", "no", "--dir", name]
        with subprocess.Popen(command, env=env, cwd=name, stdout=subprocess.DEVNULL) as process:
            try:
                ask_redis(process, socket_file, str(load), Path(name), connect)
            finally:
                process.terminate()
            require(process.wait(60) == 0, f"redis-server ended with {process.returncode}")


class Waiting:
    """What connect() of tests/apps/redis.py wants of a server."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def wait_until(self, ready) -> None:
        until = time.monotonic() + 60
        while not ready():
            require(self.process.poll() is None and time.monotonic() < until, "redis-server")
            time.sleep(0.05)

    def fail(self, what: str) -> Exception:
        return RuntimeError(what)


def ask_redis(process: subprocess.Popen[bytes], socket_file: Path, load: str, folder: Path,
              connect) -> None:
    pid = str(process.pid)
    client = connect(Waiting(process), socket_file)
    with subprocess.Popen([load, "-s", str(socket_file), "-q", "-l", "-n", "20000", "-c", "8", "-P",
                           "8", "-r", "20000", "-d", "400", "-t", "set,get,lpush,lpop,hset"],
                          env=PLAIN, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as users:
        try:
            ctl(pid, "option.profile_interval_kib=32", "profile.active=1")
            until = time.monotonic() + 60
            looks = 0
            while looks < 10 or int(ctl(pid, "profile.samples")) < 100:
                looks += 1
                require(time.monotonic() < until, "a hundred samples")
                require(int(ctl(pid, "stats.live_bytes")) > 100_000, "live_bytes")
                purges = int(ctl(pid, "stats.purges"))
                ctl(pid, "heap.purge")
                require(int(ctl(pid, "stats.purges")) >= purges, "purges")
            file = Path(ctl(pid, "profile.dump").strip())
            require(file.parent.samefile(folder), file)
            ctl(pid, "profile.active=0")
        finally:
            users.terminate()
    profile = pprof.read(file)
    frames = [profile.mapping_of(address) for stack in profile.stacks() for address in stack]
    binaries = {Path(mapping.file).name for mapping in frames if mapping is not None}
    require(any(each.startswith("redis") for each in binaries), f"frames of {binaries}")
    require(not any(each.startswith("libcarrel") for each in binaries), f"frames of {binaries}")
    require(client.call("PING") == b"PONG", "the server still serves")
    client.close()


def main() -> int:
    global CARREL, PROGRAMS, LIBRARY, SECURE
    CARREL, PROGRAMS = sys.argv[1], Path(sys.argv[2])
    LIBRARY, SECURE = Path(sys.argv[3]), Path(sys.argv[4])
    globals()[f"test_{sys.argv[5]}"]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
