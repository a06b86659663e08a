"""servers: redis, PostgreSQL and the Rust web service, each with its load.

A load comes in bursts of a second or less, by clients that are processes of their own. One burst in
three ends by SIGKILL of its client in the middle of its work; the next one connects anew. What the
servers answer is checked against what must be there. Data sets are of bounded size, so that memory
that grows is nobody's data.
"""

from __future__ import annotations

import json
import os
import pwd
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "apps"), str(ROOT / "rust" / "bench")]
import common  # noqa: E402 (found by the line above)
from harness import App, find, unprivileged_user  # noqa: E402
from postgresql import BIN, PACKAGE, SETTINGS, Cluster, is_ready  # noqa: E402
from proof import Allocator, Failure  # noqa: E402
from redis import connect  # noqa: E402

KILLED_SHARE = 1 / 3
MOST_SECONDS = 300  # a client that takes longer hangs


class Load:
    """One server under load. Subclasses start it, and know a burst."""

    name = ""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.pid = 0
        self.counts = {"bursts": 0, "killed": 0, "reconnects": 0, "checks": 0}

    def burst(self) -> None:
        raise NotImplementedError

    def warm_up(self) -> None:
        """Fills what fills slowly, before the time begins."""

    def helpers(self) -> list[int]:
        """Clients that live as long as the server, whose processor time counts too."""
        return []

    def client(self, command: list[str], user: str | None = None, may_kill: bool = True) -> str:
        """Runs a client on the C library's allocator, perhaps not to its end; what it printed."""
        kill = may_kill and self.chance.random() < KILLED_SHARE
        environment = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "HOME")}
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       env=environment, user=user, cwd="/",
                                       group=pwd.getpwnam(user).pw_gid if user else None,
                                       extra_groups=[] if user else None)
            try:
                status = process.wait(self.chance.uniform(0.02, 0.5) if kill else MOST_SECONDS)
            except subprocess.TimeoutExpired:
                if not kill:
                    raise Failure(f"{self.name}: the client did not end within {MOST_SECONDS} s: "
                                  f"{' '.join(command)}") from None
                self.counts["killed"] += 1
                status = 0
            finally:
                process.kill()
                process.wait()
            out.seek(0)
            text = out.read().decode("utf-8", "replace")
        if status != 0:
            raise Failure(f"{self.name}: the client failed: {' '.join(command)}\n{text[-2000:]}")
        self.counts["bursts"] += 1
        return text


class Redis(Load):
    """Strings of our own against a model over one connection, redis-benchmark over others, a
    background save now and then, and a connection that is dropped with replies still to come."""

    name = "redis"
    KEYS = 10_000
    TESTS = "set,get,incr,hset,sadd,spop,zadd,zpopmin"

    @contextmanager
    def serve(self, app: App, allocator: Allocator) -> Iterator[Load]:
        folder = app.make_folder("redis")
        self.socket = folder / "socket"
        argv = [find("redis-server", "redis-server"), "--port", "0", "--unixsocket",
                str(self.socket), "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir",
                str(folder)]
        with app.serve(argv, allocator, cwd=folder) as server:
            self.own = connect(server, self.socket)
            server.prove_mapped()
            self.pid = server.pid
            self.model: dict[str, bytes] = {}
            self.change(2 * self.KEYS)
            yield self
            self.own.close()

    def value(self) -> bytes:
        return self.chance.randbytes(16) * int(2 ** self.chance.uniform(0, 8))

    def change(self, count: int) -> None:
        commands: list[tuple[str | bytes | int, ...]] = []
        for _ in range(count):
            key = f"own:{self.chance.randrange(self.KEYS)}"
            if self.chance.random() < 0.8:
                self.model[key] = self.value()
                commands.append(("SET", key, self.model[key]))
            else:
                self.model.pop(key, None)
                commands.append(("UNLINK", key))
        self.own.pipeline(commands)

    def check(self, count: int) -> None:
        keys = [f"own:{self.chance.randrange(self.KEYS)}" for _ in range(count)]
        for key, found in zip(keys, self.own.pipeline([("GET", key) for key in keys])):
            if found != self.model.get(key):
                raise Failure(f"redis: {key} holds another value than was set")
        self.counts["checks"] += count

    def drop_connection(self) -> None:
        self.own.socket.sendall(b"".join(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key)
                                         for key in map(str.encode, self.model)))
        self.own.close()
        self.own = type(self.own)(self.socket)
        self.counts["reconnects"] += 1

    def benchmark(self, requests: int, *more: str) -> list[str]:
        return [find("redis-benchmark", "redis-tools"), "-s", str(self.socket), "-q", "-P", "4",
                "-n", str(requests), "-r", "10000", "-t", self.TESTS, *more]

    def warm_up(self) -> None:
        self.client(self.benchmark(30_000, "-d", "300"), may_kill=False)

    def burst(self) -> None:
        self.client(self.benchmark(3000, "-c", str(self.chance.choice((5, 20, 50))), "-d",
                                   str(self.chance.choice((100, 300, 900)))))
        self.change(500)
        self.check(200)
        if self.chance.random() < 0.2:
            self.drop_connection()
        if self.chance.random() < 0.05:
            try:
                self.own.call("BGSAVE")
            except Exception as error:  # noqa: BLE001 (a save that still runs is an answer)
                if "in progress" not in str(error):
                    raise


class Postgres(Load):
    """Two sessions as old as the server that write at a low rate, bursts of short ones that
    write, sort and aggregate, and pgbench's own invariant: all changes add up."""

    name = "postgres"
    RATE = 4  # transactions a second of the two old sessions
    QUERIES = ("select count(*) from (select a.aid, md5(a.filler || a.aid) as m "
               "from pgbench_accounts a where a.aid < :top order by m) q;\n"
               "select jsonb_agg(to_jsonb(a))::text is null from pgbench_accounts a "
               "where a.aid < :top / 10;\n"
               "select bid, string_agg(aid::text, ',') from pgbench_accounts "
               "where aid < :top group by bid;\n")
    SUMS = ("select (select sum(abalance) from pgbench_accounts) = "
            "(select sum(tbalance) from pgbench_tellers) and "
            "(select sum(bbalance) from pgbench_branches) = "
            "(select coalesce(sum(delta), 0) from pgbench_history)")

    @contextmanager
    def serve(self, app: App, allocator: Allocator) -> Iterator[Load]:
        self.user = unprivileged_user("postgres")
        cluster = Cluster(app, allocator, self.user)
        self.folder = cluster.folder
        data = self.folder / "data"
        cluster.run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync",
                    "--locale=C", "--encoding=UTF8", extra=("postgres",))
        self.script = self.folder / "queries.sql"
        self.script.write_text("\\set top random(100, 20000)\n" + self.QUERIES, encoding="ascii")
        argv = [find(BIN + "postgres", PACKAGE), "-D", str(data), "-k", str(self.folder)]
        for name, value in {**SETTINGS, "autovacuum": "on", "max_connections": "40"}.items():
            argv += ["-c", f"{name}={value}"]
        with app.serve(argv, allocator, cwd=self.folder, user=self.user) as server:
            server.wait_until(lambda: is_ready(data / "postmaster.pid"))
            server.prove_mapped()
            self.pid = server.pid
            cluster.pgbench("-i", "-q", "-s", "1")
            self.old = subprocess.Popen(
                self.pgbench("-c", "2", "-R", str(self.RATE), "-T", "1000000", "-M", "prepared"),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                user=self.user, cwd="/",
                group=pwd.getpwnam(self.user).pw_gid if self.user else None,
                extra_groups=[] if self.user else None)
            try:
                yield self
            finally:
                # SIGINT is ignored in what was started in the background.
                self.old.terminate()
                try:
                    self.old.wait(MOST_SECONDS)
                except subprocess.TimeoutExpired:
                    self.old.kill()
                    self.old.wait()

    def helpers(self) -> list[int]:
        return [self.old.pid]

    def pgbench(self, *arguments: str) -> list[str]:
        return [find(BIN + "pgbench", PACKAGE), "-n", "-h", str(self.folder), "-U", "postgres",
                *arguments, "postgres"]

    def burst(self) -> None:
        if self.old.poll() is not None:
            raise Failure(f"postgres: the old sessions ended, status {self.old.returncode}")
        kind = self.chance.randrange(3)
        if kind == 0:  # a session for each transaction
            self.client(self.pgbench("-c", "4", "-t", "10", "-C"), self.user)
        elif kind == 1:
            self.client(self.pgbench("-c", "8", "-t", "40", "-M", "prepared"), self.user)
        else:
            self.client(self.pgbench("-c", "2", "-t", "3", "-f", str(self.script)), self.user)
        if self.counts["bursts"] % 5 == 0:
            done = subprocess.run(
                [find(BIN + "psql", PACKAGE), "-X", "-A", "-t", "-h", str(self.folder), "-U",
                 "postgres", "-c", self.SUMS, "postgres"], capture_output=True, text=True,
                check=False, cwd="/", timeout=MOST_SECONDS)
            if done.stdout.strip() != "t":
                raise Failure(f"postgres: changes do not add up: {done.stdout}{done.stderr}")
            self.counts["checks"] += 1


class Service(Load):
    """rust/examples/service, which has the allocator compiled in and proves it, under its own
    load generator, which looks at every answer."""

    name = "service"
    FEATURES = {"carrel": "carrel", "secure": "carrel,carrel/secure", "glibc": "system"}

    def build(self, alloc: str, release: bool) -> None:
        place = common.target_dir() / "soak" / alloc
        self.programs = common.build(
            ["build", *(["--release"] if release else []), "--features", self.FEATURES[alloc]],
            place, ROOT / "rust" / "examples" / "service")
        self.serves = self.FEATURES[alloc].split(",")[0]

    @contextmanager
    def serve(self, app: App, allocator: Allocator) -> Iterator[Load]:
        del allocator
        with (app.make_folder("service") / "log").open("w+", encoding="utf-8") as log:
            server = subprocess.Popen([str(self.programs["service"])], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=log, text=True,
                                      env=common.environment(), start_new_session=True)
            assert server.stdin is not None and server.stdout is not None
            try:
                words = server.stdout.readline().split()
                if len(words) != 2 or words[0] != self.serves:
                    raise Failure(f"the service built for {self.serves} opens with {words}")
                self.pid, self.port = server.pid, words[1]
                yield self
                if server.poll() is not None:
                    log.seek(0)
                    raise Failure(f"the service ended by itself: {log.read()[-2000:]}")
                server.stdin.close()
                if server.wait(60) != 0:
                    raise Failure(f"the service ended with status {server.returncode}")
            finally:
                server.kill()
                server.wait()

    def warm_up(self) -> None:
        self.client([str(self.programs["load"]), self.port, "64", "3"], may_kill=False)

    def burst(self) -> None:
        text = self.client([str(self.programs["load"]), self.port,
                            str(self.chance.choice((1, 8, 64, 200))), "0.5"])
        if text:
            self.counts["checks"] += json.loads(text)["requests"]


LOADS = {load.name: load for load in (Redis, Postgres, Service)}
