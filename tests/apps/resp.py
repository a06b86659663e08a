"""A small client of the Redis protocol (RESP2) over a unix socket: pipelines, no retries."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

Value = bytes | int | None | list["Value"] | Exception


class ServerError(Exception):
    """An error reply."""


class Client:
    def __init__(self, path: Path, timeout: float = 60) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rb")

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def call(self, *words: str | bytes | int) -> Value:
        """One command; an error reply is raised."""
        self.socket.sendall(encode(words))
        reply = self.read()
        if isinstance(reply, ServerError):
            raise reply
        return reply

    def pipeline(self, commands: Iterable[tuple[str | bytes | int, ...]],
                 batch: int = 500) -> list[Value]:
        """Many commands, their replies in order; the first error reply is raised."""
        replies: list[Value] = []
        pending = bytearray()
        waiting = 0
        for words in commands:
            pending += encode(words)
            waiting += 1
            if waiting == batch:
                self.exchange(pending, waiting, replies)
                pending.clear()
                waiting = 0
        self.exchange(pending, waiting, replies)
        return replies

    def exchange(self, pending: bytes | bytearray, waiting: int, replies: list[Value]) -> None:
        self.socket.sendall(pending)
        for _ in range(waiting):
            reply = self.read()
            if isinstance(reply, ServerError):
                raise reply
            replies.append(reply)

    def read(self) -> Value:
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return ServerError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            if length < 0:
                return None
            data = self.stream.read(length + 2)
            if len(data) != length + 2:
                raise ConnectionError("the server closed the connection inside a value")
            return data[:-2]
        if kind == b"*":
            length = int(rest)
            return None if length < 0 else [self.read() for _ in range(length)]
        raise ConnectionError(f"no RESP2 reply: {line[:60]!r}")


def encode(words: tuple[str | bytes | int, ...]) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)
