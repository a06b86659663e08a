"""redis-server: our own data set, checked against a model, before and after redis-benchmark's load,
a background save by a forked child, a reload, and lazy freeing by its background thread."""

import hashlib
import random
import time
from pathlib import Path

from harness import App, Server, find, main
from proof import Allocator, Failure
from resp import Client, ServerError

KEYS = 20_000
BENCHMARK_TESTS = ("ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,"
                   "mset")


def connect(server: Server, path: Path) -> Client:
    def ready() -> bool:
        try:
            Client(path).close()
            return True
        except OSError:
            return False

    server.wait_until(ready)
    client = Client(path)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if client.call("PING") == b"PONG":
                return client
        except ServerError:  # still loading
            time.sleep(0.05)
    raise server.fail("redis-server answers no PING")


def fill_strings(client: Client) -> dict[str, bytes]:
    """Set, append to, shorten and delete strings of 1 byte to 8 KiB; returns what must be there."""
    chance = random.Random(20)
    model: dict[str, bytes] = {}
    commands: list[tuple[str | bytes | int, ...]] = []
    for _ in range(4 * KEYS):
        key = f"own:{chance.randrange(KEYS)}"
        kind = chance.random()
        if kind < 0.6:
            value = chance.randbytes(int(2 ** chance.uniform(0, 13)))
            model[key] = value
            commands.append(("SET", key, value))
        elif kind < 0.8:
            extra = chance.randbytes(chance.randrange(1, 200))
            model[key] = model.get(key, b"") + extra
            commands.append(("APPEND", key, extra))
        else:
            model.pop(key, None)
            commands.append(("UNLINK" if kind < 0.9 else "DEL", key))
    client.pipeline(commands)
    return model


def fill_structures(client: Client) -> None:
    """Every data type in its small and its large encoding."""
    chance = random.Random(21)
    commands: list[tuple[str | bytes | int, ...]] = []
    for i in range(30_000):
        group = chance.randrange(60)
        word = chance.randbytes(chance.randrange(1, 100)).hex()
        commands += [
            ("HSET", f"hash:{group}", f"f{chance.randrange(700)}", word),
            ("SADD", f"set:{group}", word[:6]),
            ("ZADD", f"zset:{group}", chance.randrange(100_000), word[:8]),
            ("RPUSH", f"list:{group}", word),
        ]
        if i % 3 == 0:
            commands += [("LPOP", f"list:{group}"), ("HDEL", f"hash:{group}", f"f{i % 700}"),
                         ("XADD", f"stream:{group}", f"{i + 1}-1", "field", word),
                         ("PFADD", f"pf:{group}", word),
                         ("SETBIT", f"bits:{group}", chance.randrange(200_000), 1)]
    client.pipeline(commands)
    script = ("local t = {} for i = 1, 2000 do t[i] = string.rep(KEYS[1], i % 17) end "
              "redis.call('SET', KEYS[1], table.concat(t, ',')) return #t")
    for i in range(50):
        if client.call("EVAL", script, 1, f"lua:{i}") != 2000:
            raise Failure("a Lua script returned something else than it computes")


def check_strings(client: Client, model: dict[str, bytes], when: str) -> None:
    keys = [f"own:{i}" for i in range(KEYS)]
    values = client.pipeline([("GET", key) for key in keys])
    wrong = [key for key, value in zip(keys, values) if value != model.get(key)]
    if wrong:
        raise Failure(f"{len(wrong)} of {KEYS} keys hold a wrong value {when}, first {wrong[0]}")


def structures_digest(client: Client) -> str:
    """One digest of everything but strings of the benchmark's, in an order of our own."""
    names = [f"{kind}:{i}" for kind in ("hash", "set", "zset", "list", "stream", "pf", "bits")
             for i in range(60)] + [f"lua:{i}" for i in range(50)]
    digests = client.call("DEBUG", "DIGEST-VALUE", *names)
    assert isinstance(digests, list)
    return hashlib.sha256(b"".join(d for d in digests if isinstance(d, bytes))).hexdigest()


def save_in_background(client: Client, server: Server) -> None:
    client.call("BGSAVE")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        info = client.call("INFO", "persistence")
        assert isinstance(info, bytes)
        if b"rdb_bgsave_in_progress:0" in info:
            if b"rdb_last_bgsave_status:ok" not in info:
                raise server.fail("the background save failed")
            return
        time.sleep(0.05)
    raise server.fail("the background save did not finish")


def load(app: App, allocator: Allocator) -> str:
    """A whole life of a server; returns the digest of the data that it ended with."""
    folder = app.make_folder(f"redis-{allocator.name}")
    path = folder / "socket"
    argv = [find("redis-server", "redis-server"), "--port", "0", "--unixsocket", str(path),
            "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", str(folder),
            "--enable-debug-command", "local"]
    with app.serve(argv, allocator, cwd=folder) as server:
        client = connect(server, path)
        server.prove_mapped()
        model = fill_strings(client)
        fill_structures(client)
        check_strings(client, model, "after filling")
        before = structures_digest(client)

        app.run([find("redis-benchmark", "redis-tools"), "-s", path, "-q", "-n", "20000", "-c",
                 "20", "-P", "8", "-r", "10000", "-d", "300", "-t", BENCHMARK_TESTS], allocator)
        check_strings(client, model, "after redis-benchmark")
        save_in_background(client, server)
        client.call("DEBUG", "RELOAD")
        check_strings(client, model, "after a reload")
        after = structures_digest(client)
        app.compare("redis data after the load", before, after)

        errors = client.call("INFO", "errorstats")
        assert isinstance(errors, bytes)
        if b"errorstat_" in errors:
            raise server.fail(f"the server counted errors: {errors.decode()}")
        client.call("FLUSHALL", "ASYNC")
        if client.call("DBSIZE") != 0:
            raise server.fail("keys are left after FLUSHALL")
        client.pipeline([("SET", f"own:{i}", "again") for i in range(1000)])
        client.close()
        return before


def test(app: App) -> None:
    app.glibc = app.glibc_first  # Debian links redis with jemalloc
    seconds, digests = [], []
    for allocator in app.allocators:
        start = time.monotonic()
        digests.append(load(app, allocator))
        seconds.append(time.monotonic() - start)
    app.compare("the digest of the data", *digests)
    app.note("redis-server and redis-benchmark", *seconds)


if __name__ == "__main__":
    main(test)
