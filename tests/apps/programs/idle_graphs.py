"""The demo's Python program: builds and drops large object graphs, prints a digest and "idle", and
stays idle until its standard input ends."""

import random
import sys


class Node:
    """A node of a graph that refers back to itself through its neighbours."""

    def __init__(self, key: int, chance: random.Random) -> None:
        self.key = key
        self.name = f"node {key} {'x' * chance.randrange(60)}"
        self.near: list["Node"] = []
        self.seen = {"at": key * 1.5, "tags": [str(key)] * (key % 5)}


def build(seed: int, size: int) -> list[Node]:
    chance = random.Random(seed)
    nodes = [Node(key, chance) for key in range(size)]
    for node in nodes:
        node.near = [nodes[chance.randrange(size)] for _ in range(4)]
    return nodes


def walk(nodes: list[Node]) -> int:
    return sum(len(neighbour.name) for node in nodes for neighbour in node.near)


def main() -> None:
    rounds, size = (int(word) for word in sys.argv[1:3])
    kept: list[str] = []
    total = 0
    for seed in range(rounds):
        nodes = build(seed, size)
        total += walk(nodes)
        kept += [node.name for node in nodes[::500]]  # a few stragglers of every graph
        for node in nodes:
            node.near.clear()  # so that nothing waits for the cycle collector
        del nodes, node
    print(f"graphs {total} {len(kept)}")
    print("idle", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
