"""PostgreSQL: initdb, pgbench over a unix socket, then queries that sort, join, aggregate and build
large values. What pgbench leaves depends on its seed alone, not on how its clients interleave."""

import time
from pathlib import Path

from harness import PROGRAMS, App, find, main, unprivileged_user
from proof import Allocator, Failure

BIN = "/usr/lib/postgresql/*/bin/"
PACKAGE = "postgresql"
SETTINGS = {
    "listen_addresses": "", "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
    "shared_buffers": "32MB", "work_mem": "16MB", "max_connections": "20", "autovacuum": "off",
    "max_parallel_workers_per_gather": "2", "min_parallel_table_scan_size": "0",
    "parallel_setup_cost": "0", "parallel_tuple_cost": "0", "jit": "off",
}


class Cluster:
    """One data folder, made and served under one allocator; clients run under it too."""

    def __init__(self, app: App, allocator: Allocator, user: str | None) -> None:
        self.app = app
        self.allocator = allocator
        self.user = user
        self.folder = app.make_folder(f"pg-{allocator.name}", owner=user)

    def run(self, program: str, *arguments: str, stdin: bytes = b"", extra: tuple[str, ...] = ()
            ) -> str:
        result = self.app.run([find(BIN + program, PACKAGE), *arguments], self.allocator,
                              stdin=stdin, cwd=self.folder, user=self.user,
                              programs=[program, *extra])
        return result.text

    def psql(self, script: str) -> str:
        return self.run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h",
                        str(self.folder), "-U", "postgres", "postgres", stdin=script.encode())

    def pgbench(self, *arguments: str) -> None:
        text = self.run("pgbench", "-h", str(self.folder), "-U", "postgres", *arguments, "postgres")
        if "-i" not in arguments and "number of failed transactions: 0 " not in text:
            raise Failure(f"{self.allocator.name}: pgbench lost transactions:\n{text}")

    def live(self) -> str:
        """initdb, start, load, query, stop; returns everything that the queries printed."""
        data = self.folder / "data"
        self.run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync",
                 "--locale=C", "--encoding=UTF8", extra=("postgres",))
        argv = [find(BIN + "postgres", PACKAGE), "-D", str(data), "-k", str(self.folder)]
        for name, value in SETTINGS.items():
            argv += ["-c", f"{name}={value}"]
        with self.app.serve(argv, self.allocator, cwd=self.folder, user=self.user) as server:
            pidfile = data / "postmaster.pid"
            server.wait_until(lambda: is_ready(pidfile))
            server.prove_mapped()
            self.pgbench("-i", "-q", "-s", "3")
            self.pgbench("-n", "-c", "4", "-j", "2", "-t", "500", "--random-seed=11")
            self.pgbench("-n", "-c", "4", "-j", "2", "-t", "800", "--random-seed=12", "-S", "-M",
                         "prepared")
            return self.psql((PROGRAMS / "queries.sql").read_text())


def is_ready(pidfile: Path) -> bool:
    try:
        lines = pidfile.read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


def test(app: App) -> None:
    user = unprivileged_user("postgres")
    if user is not None:
        app.readable_by_all()
        app.environment["HOME"] = "/"
    seconds, answers = [], []
    for allocator in app.allocators:
        start = time.monotonic()
        answers.append(Cluster(app, allocator, user).live())
        seconds.append(time.monotonic() - start)
    if len(answers[0].splitlines()) < 10:
        raise Failure(f"the queries answered too little to compare:\n{answers[0]}")
    app.compare("the queries' answers", *answers)
    app.note("PostgreSQL, pgbench and queries", *seconds)


if __name__ == "__main__":
    main(test)
