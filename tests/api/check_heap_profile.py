#!/usr/bin/env python3
"""check_heap_profile: heap profiles hold what a program allocated, within five standard errors.

Runs tests/api/programs/heap_profile.cc, which says what it allocates where, decodes the profiles
that it writes (gzip, then protobuf by the numbers of profile.proto), and compares.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pprof

INTERVAL = 64 * 1024


def fail(text: str) -> None:
    sys.exit(f"check_heap_profile: {text}")


def expect_near(what: str, found: float, true: float, size: int) -> None:
    """An estimate of how many blocks of `size` bytes there were."""
    sigma = pprof.standard_error(true, size, INTERVAL)
    if abs(found - true) > 5 * sigma + 0.5:
        fail(f"{what}: estimated {found:.0f} for {true:.0f}, standard error {sigma:.1f}")


def site_of(stack: list[int], sites: dict[int, str], low: int, high: int) -> str | None:
    """The first frame that lies in the section of known functions."""
    for address in stack:
        if low <= address < high:
            return sites[max(start for start in sites if start <= address)]
    return None


def main() -> None:
    program = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run([str(program), folder], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            fail(f"{program.name} ended with {run.returncode}: {run.stderr.strip()}")
        live = pprof.read(Path(folder) / "live.pb.gz")
        after_reset = pprof.read(Path(folder) / "after_reset.pb.gz")
        after_free = pprof.read(Path(folder) / "after_free.pb.gz")

    expected: dict[str, tuple[int, int, int]] = {}
    sites: dict[int, str] = {}
    low = high = grown_bytes = 0
    for line in run.stdout.splitlines():
        kind, *words = line.split()
        if kind == "range":
            low, high = int(words[0], 16), int(words[1], 16)
        elif kind == "site":
            sites[int(words[1], 16)] = words[0]
            expected[words[0]] = (int(words[2]), int(words[3]), int(words[4]))
        else:
            sites[int(words[1], 16)] = words[0]
            grown_bytes = int(words[2])

    if live.types != ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space",
                      "peak_objects", "peak_space", "freed_objects", "freed_space", "lifetime"]:
        fail(f"sample types are {live.types}")
    if live.period != INTERVAL or live.default_type != "inuse_space":
        fail(f"period {live.period}, default type {live.default_type}")
    main_mapping = [each for each in live.mappings.values() if each.file == str(program.resolve())]
    if not main_mapping or len(main_mapping[0].build_id) < 16:
        fail(f"no mapping of the program with a build id: {list(live.mappings.values())}")

    sums = live.sums(lambda stack: site_of(stack, sites, low, high))
    for name, (size, allocated, kept) in expected.items():
        values = sums.get(name)
        if values is None:
            fail(f"no sample of {name}")
        expect_near(f"{name}, allocated", values["alloc_objects"], allocated, size)
        expect_near(f"{name}, live", values["inuse_objects"], kept, size)
        expect_near(f"{name}, at the peak", values["peak_objects"], kept, size)
        gone = values["alloc_objects"] - values["inuse_objects"]
        if abs(values["freed_objects"] - gone) > 20:  # a sum of rounded numbers
            fail(f"{name}: {values['freed_objects']} freed, of those allocated {gone} are not live")
        for kind in ("alloc", "inuse"):
            if abs(values[f"{kind}_space"] - values[f"{kind}_objects"] * size) > size * 1000:
                fail(f"{name}: {values} do not fit blocks of {size} bytes")
    if abs(sums["grown"]["inuse_space"] - grown_bytes) > 5:
        fail(f"grown: {sums['grown']}, not {grown_bytes} live bytes")
    if "off" in sums:
        fail("allocations outside of the profile are in it")
    for stack in live.stacks():
        for address in stack:
            mapping = live.mapping_of(address)
            if mapping is not None and not mapping.start <= address < mapping.end:
                fail(f"location {address:#x} is not in its mapping")
            if mapping is not None and "libcarrel" in mapping.file:
                fail("carrel's own frames are in a stack")

    total = {name: sum(values[name] for values in after_reset.all_sums())
             for name in after_reset.types}
    if total["alloc_space"] != 0 or total["freed_space"] != 0:
        fail(f"allocations after a reset: {total}")
    before = sum(values["inuse_space"] for values in live.all_sums())
    if abs(total["inuse_space"] - before) > 0.02 * before:
        fail(f"a reset changed what is live: {total['inuse_space']}, was {before}")
    left = sum(values["inuse_space"] for values in after_free.all_sums())
    if left > 8 * INTERVAL:  # the C library's buffers and the like may have been sampled
        fail(f"{left} bytes live after all was freed")


main()
