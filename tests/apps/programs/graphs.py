"""Builds and drops large object graphs, with threads and a forked child; prints digests only."""

import gc
import hashlib
import json
import os
import pickle
import random
import re
import threading
import zlib


class Node:
    __slots__ = ("key", "left", "right", "payload")

    def __init__(self, key: int, payload: object) -> None:
        self.key, self.payload = key, payload
        self.left: "Node | None" = None
        self.right: "Node | None" = None


def insert(root: Node, key: int, payload: object) -> None:
    while True:
        side = "left" if key < root.key else "right"
        below = getattr(root, side)
        if below is None:
            setattr(root, side, Node(key, payload))
            return
        root = below


def tree(seed: int, size: int) -> int:
    chance = random.Random(seed)
    root = Node(500_000, None)
    for _ in range(size):
        key = chance.randrange(1_000_000)
        insert(root, key, [key] * (key % 9))
    total, stack = 0, [root]
    while stack:
        node = stack.pop()
        total = (total * 31 + node.key + len(node.payload or ())) % (1 << 61)
        stack += [n for n in (node.left, node.right) if n is not None]
    return total


def digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def main() -> None:
    print("trees", [tree(seed, 20_000) for seed in range(4)])

    chance = random.Random(7)
    live: dict[int, object] = {}
    for i in range(400_000):
        live[chance.randrange(30_000)] = (i, "x" * chance.randrange(200), [i] * chance.randrange(5))
    print("dictionary", digest(sorted(live.items())))

    records = [{"id": i, "name": f"name {i % 977}", "tags": [str(j) for j in range(i % 7)]}
               for i in range(40_000)]
    text = json.dumps(records)
    assert json.loads(text) == pickle.loads(pickle.dumps(records))
    print("json", len(text), digest(zlib.crc32(zlib.compress(text.encode(), 6))))
    print("text", digest(re.sub(r"(\d)(\d+)", r"\2\1", text)))

    rings = []
    for i in range(30_000):
        ring: list[object] = [i]
        ring.append({"self": ring})
        rings.append(ring)
    del rings, ring
    print("rings", gc.collect() >= 30_000)

    buffer = bytearray()
    for i in range(300_000):
        buffer += b"%d," % i
    print("buffer", len(buffer), digest(bytes(buffer)))

    results: dict[int, int] = {}
    threads = [threading.Thread(target=lambda s=s: results.update({s: tree(s, 8_000)}))
               for s in range(10, 18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("threads", sorted(results.items()))

    print("before the child", flush=True)
    child = os.fork()
    if child == 0:
        print("child", tree(99, 20_000), flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("child's status", status)


if __name__ == "__main__":
    main()
