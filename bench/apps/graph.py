"""Object graphs as a Python service makes them: built, walked, serialised and dropped.

Run with PYTHONMALLOC=malloc, so that every object comes from malloc. The argument is the number of
rounds; the printed checksum does not depend on the allocator.
"""

from __future__ import annotations

import json
import sys
import zlib


class Node:
    """A node of a random graph with a few attributes of different kinds."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"node-{number}"
        self.links: list[Node] = []
        self.facts = {"weight": number * 1.5, "tag": str(number * 7919 % 1000)}


def build(count: int, seed: int) -> list[Node]:
    nodes = [Node(number) for number in range(count)]
    state = seed
    for node in nodes:
        for _ in range(3):
            state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
            node.links.append(nodes[(state >> 33) % count])
    return nodes


def checksum(nodes: list[Node]) -> int:
    rows = [{"n": node.number, "to": [other.name for other in node.links], **node.facts}
            for node in nodes[::3]]
    text = json.dumps(rows)
    again = json.loads(text)
    words = {}
    for row in again:
        for name in row["to"]:
            words[name] = words.get(name, 0) + 1
    ranked = sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))
    return zlib.crc32(repr(ranked).encode()) ^ zlib.crc32(text.encode())


def main() -> None:
    rounds = int(sys.argv[1])
    total = 0
    kept: list[list[Node]] = []
    for number in range(rounds):
        nodes = build(9000, number)
        total ^= checksum(nodes)
        kept.append(nodes[:50])
        if len(kept) > 3:
            kept.pop(0)
    print(total)


if __name__ == "__main__":
    main()
