"""memcached with four threads, under eight clients of ours that check every value they get back."""

import dataclasses
import hashlib
import random
import socket
import threading
import time
from pathlib import Path

from harness import App, find, main, unprivileged_user
from proof import Allocator, Failure

CLIENTS = 8
OPERATIONS = 6_000
KEYS = 400


class Connection:
    """memcached's text protocol, one command at a time."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rb")

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def ask(self, command: bytes) -> bytes:
        self.socket.sendall(command)
        return self.stream.readline().rstrip(b"\r\n")

    def store(self, verb: str, key: str, value: bytes) -> bytes:
        head = f"{verb} {key} 0 0 {len(value)}\r\n".encode()
        return self.ask(head + value + b"\r\n")

    def get(self, key: str) -> bytes | None:
        line = self.ask(b"get %s\r\n" % key.encode())
        if line == b"END":
            return None
        if not line.startswith(b"VALUE "):
            raise Failure(f"memcached answered a get with {line[:80]!r}")
        value = self.stream.read(int(line.split()[3]) + 2)[:-2]
        if self.stream.readline() != b"END\r\n":
            raise Failure("memcached's value is not followed by END")
        return value

    def statistics(self) -> dict[str, str]:
        self.socket.sendall(b"stats\r\n")
        found: dict[str, str] = {}
        while (line := self.stream.readline().rstrip(b"\r\n")) != b"END":
            _, name, value = line.decode().split(" ", 2)
            found[name] = value
        return found


@dataclasses.dataclass
class Client:
    """One client with keys of its own: what it stored is what it must find."""

    number: int
    path: Path
    digest: str = ""
    error: BaseException | None = None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # reported by the main thread
            self.error = error

    def work(self) -> None:
        connection = Connection(self.path)
        chance = random.Random(self.number)
        model: dict[str, bytes] = {}
        for step in range(OPERATIONS):
            key = f"client{self.number}:{chance.randrange(KEYS)}"
            kind = chance.random()
            if kind < 0.35:
                value = chance.randbytes(int(2 ** chance.uniform(0, 15)))
                self.demand(connection.store("set", key, value), b"STORED", step)
                model[key] = value
            elif kind < 0.45 and key in model and len(model[key]) < 60_000:
                extra = chance.randbytes(chance.randrange(1, 300))
                self.demand(connection.store("append", key, extra), b"STORED", step)
                model[key] += extra
            elif kind < 0.55:
                reply = connection.ask(b"delete %s\r\n" % key.encode())
                self.demand(reply, b"DELETED" if key in model else b"NOT_FOUND", step)
                model.pop(key, None)
            elif connection.get(key) != model.get(key):
                raise Failure(f"client {self.number}, step {step}: {key} holds a wrong value")
        state = hashlib.sha256()
        for key in sorted(model):
            if connection.get(key) != model[key]:
                raise Failure(f"client {self.number}: {key} holds a wrong value at the end")
            state.update(key.encode() + model[key])
        connection.close()
        self.digest = f"{len(model)} keys {state.hexdigest()}"

    def demand(self, reply: bytes, expected: bytes, step: int) -> None:
        if reply != expected:
            raise Failure(f"client {self.number}, step {step}: {reply!r} instead of {expected!r}")


def churn(path: Path) -> None:
    """Far more than the memory limit, so that items are evicted; what is left must be right."""
    connection = Connection(path)
    chance = random.Random(99)
    kept: dict[str, int] = {}
    block = chance.randbytes(600_000)
    for i in range(1_500):
        key, size = f"big:{i}", chance.randrange(1_000, 500_000)
        if connection.store("set", key, block[:size]) != b"STORED":
            raise Failure(f"memcached refused a value of {size} bytes")
        kept[key] = size
    found = 0
    for key, size in kept.items():
        value = connection.get(key)
        if value is not None:
            found += 1
            if value != block[:size]:
                raise Failure(f"{key} holds a wrong value after evictions")
    evictions = int(connection.statistics()["evictions"])
    connection.close()
    if found == 0 or evictions == 0:
        raise Failure(f"{found} of the large values are left after {evictions} evictions: nothing "
                      "was checked")


def load(app: App, allocator: Allocator, user: str | None) -> str:
    folder = app.make_folder(f"memcached-{allocator.name}", owner=user)
    path = folder / "socket"
    argv = [find("memcached", "memcached"), "-s", str(path), "-a", "0777", "-t", "4", "-m", "128",
            "-U", "0", "-c", "64"] + (["-u", user] if user else [])
    with app.serve(argv, allocator, cwd=folder) as server:
        server.wait_until(path.exists)
        clients = [Client(number, path) for number in range(CLIENTS)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.prove_mapped()
        for client in clients:
            if client.error is not None:
                raise server.fail(f"{allocator.name}: {client.error}")
        churn(path)
        return "\n".join(client.digest for client in clients)


def test(app: App) -> None:
    user = unprivileged_user("nobody")
    if user is not None:
        app.readable_by_all()
    seconds, digests = [], []
    for allocator in app.allocators:
        start = time.monotonic()
        digests.append(load(app, allocator, user))
        seconds.append(time.monotonic() - start)
    app.compare("what the clients hold", *digests)
    app.note("memcached -t 4, 8 clients", *seconds)


if __name__ == "__main__":
    main(test)
