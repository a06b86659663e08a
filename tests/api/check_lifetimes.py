#!/usr/bin/env python3
"""check_lifetimes: a heap profile's lifetimes are those of the blocks, and stand for all of them.

Runs tests/api/programs/lifetimes.cc, which frees what it allocates at five places after times that
it knows, decodes the profile that it writes, and compares: how many blocks were freed, within five
standard errors, and that no lifetime lies outside of what was measured.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pprof

INTERVAL = 16 * 1024


@dataclass
class Freed:
    objects: int = 0
    space: int = 0
    lifetime_us: int = 0
    by_bound: dict[int, int] = field(default_factory=dict)  # objects by lifetime_up_to, in ns


def fail(text: str) -> None:
    sys.exit(f"check_lifetimes: {text}")


def freed_by_site(profile: pprof.Profile, sites: dict[int, str], low: int,
                  high: int) -> dict[str, Freed]:
    result: dict[str, Freed] = {name: Freed() for name in sites.values()}
    for (locations, numbers), labels in zip(profile.samples, profile.labels, strict=True):
        values = dict(zip(profile.types, numbers, strict=True))
        bound = labels.get("lifetime_up_to")
        if (values["freed_objects"] != 0) != (bound is not None):
            fail(f"a sample with {values} and the labels {labels}")
        if bound is None:
            continue
        if any(values[f"{kind}_space"] for kind in ("alloc", "inuse", "peak")):
            fail(f"a sample of what was freed with {values}")
        for address in profile.stack(locations):
            if low <= address < high:
                entry = result[sites[max(start for start in sites if start <= address)]]
                entry.objects += values["freed_objects"]
                entry.space += values["freed_space"]
                entry.lifetime_us += values["lifetime"]
                entry.by_bound[bound] = entry.by_bound.get(bound, 0) + values["freed_objects"]
                break
    return result


def main() -> None:
    program = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "heap.pb.gz"
        run = subprocess.run([str(program), str(path)], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            fail(f"{program.name} ended with {run.returncode}: {run.stderr.strip()}")
        profile = pprof.read(path)
    lines = [line.split() for line in run.stdout.splitlines()]
    low, high = (int(word, 16) for word in lines[0][1:])
    sites = {int(words[2], 16): words[1] for words in lines[1:]}
    freed = freed_by_site(profile, sites, low, high)
    for words in lines[1:]:
        name, entry = words[1], freed[words[1]]
        size, count, least_ns, most_ns = (int(word) for word in words[3:])
        sigma = pprof.standard_error(count, size, INTERVAL)
        if abs(entry.objects - count) > 5 * sigma + 0.5:
            fail(f"{name}: {entry.objects} blocks freed, not {count}, standard error {sigma:.0f}")
        if abs(entry.space - entry.objects * size) > size * 1000:
            fail(f"{name}: {entry} does not fit blocks of {size} bytes")
        if count == 0:
            continue
        mean_us = entry.lifetime_us / entry.objects
        if not least_ns / 1000 - 1 <= mean_us <= most_ns / 1000 + 1:
            fail(f"{name}: {mean_us:.0f} us on average, measured {least_ns} to {most_ns} ns")
        for bound in entry.by_bound:
            if bound < least_ns or bound / 10 > most_ns:
                fail(f"{name}: lived up to {bound} ns, measured {least_ns} to {most_ns}")
    soon = sum(count for bound, count in freed["short"].by_bound.items() if bound <= 1_000_000)
    if soon < 0.9 * freed["short"].objects:
        fail(f"short: only {soon} of {freed['short'].objects} blocks lived up to a millisecond")


main()
