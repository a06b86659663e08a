"""processes: what a server's processes use: memory and processor time, from /proc. Linux only; it
starts and ends nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
FIELDS = {"Rss:": "rss", "Pss:": "pss", "Pss_Anon:": "private"}


@dataclass
class Memory:
    """Of all processes of a server, in bytes. What several share counts once in pss and private,
    in rss as often as it is mapped. `private` is what belongs to no file and to no shared memory:
    where heaps are."""

    rss: int = 0
    pss: int = 0
    private: int = 0
    processes: int = 0


def read(path: str) -> str:
    """Empty for a process that is gone by now."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def tree(root: int) -> list[int]:
    """The process and what descends from it."""
    found = [root]
    for pid in found:
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for task in tasks:
            found += [int(word) for word in read(f"/proc/{pid}/task/{task}/children").split()]
    return found


def memory(root: int) -> Memory:
    total = Memory()
    for pid in tree(root):
        text = read(f"/proc/{pid}/smaps_rollup")
        for line in text.splitlines():
            name, _, rest = line.partition(" ")
            if name in FIELDS:
                field = FIELDS[name]
                setattr(total, field, getattr(total, field) + int(rest.split()[0]) * 1024)
        total.processes += text != ""
    return total


def processor_seconds(root: int) -> float:
    """What the process, its living descendants, and its own children that ended have used."""
    ticks = 0
    for pid in tree(root):
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if len(fields) > 14:
            ticks += int(fields[11]) + int(fields[12])
            ticks += int(fields[13]) + int(fields[14])
    return ticks / TICKS


def lower_priority(root: int, nice: int) -> None:
    """For a server and its processes, where the kernel schedules sessions in groups: a server is a
    session of its own and does not inherit ours."""
    for pid in tree(root):
        try:
            Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")
        except OSError:
            return
