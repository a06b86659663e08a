#!/usr/bin/env python3
"""check_profile_options: programs that know nothing of carrel are profiled by options alone.

leaky.c is run with the library preloaded, or linked in statically, and CARREL_OPTIONS: the profile
at exit and the one on a signal are where they should be, and what leak_here leaked is in them; what
cannot be is said on standard error.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pprof

INTERVAL = 64 * 1024
BLOCKS = 100_000
BYTES = 200


def fail(text: str) -> None:
    sys.exit(f"check_profile_options: {text}")


def environment(options: str, library: Path | None, prefix: Path) -> dict[str, str]:
    result = {**os.environ, "CARREL_OPTIONS": options, "CARREL_PROFILE_PREFIX": str(prefix)}
    if library is not None:
        result["LD_PRELOAD"] = str(library)
    return result


def functions(program: Path) -> list[tuple[int, int, str]]:
    """Offset, size and name of each function of the program's symbol table."""
    listed = subprocess.run(["nm", "-S", "--defined-only", str(program)], capture_output=True,
                            text=True, check=True).stdout
    result = []
    for line in listed.splitlines():
        words = line.split()
        if len(words) == 4 and words[2] in "tT":
            result.append((int(words[0], 16), int(words[1], 16), words[3]))
    return result


def leaked_blocks(path: Path, program: Path) -> int:
    """Live blocks whose stacks lead through leak_here and main; fails if any lead nowhere."""
    profile = pprof.read(path)
    table = functions(program)
    blocks = 0
    for locations, values in profile.samples:
        live = dict(zip(profile.types, values, strict=True))["inuse_objects"]
        names = set()
        for address in profile.stack(locations):
            mapping = profile.mapping_of(address)
            if mapping is None or Path(mapping.file).name != program.name:
                continue
            # Symbols of a program that may lie anywhere are offsets in its file.
            places = {address, address - mapping.start + mapping.offset}
            names |= {name for start, size, name in table
                      if any(start <= place < start + size for place in places)}
        if "leak_here" in names:
            if "main" not in names:
                fail(f"a stack of leak_here without main: {names}")
            blocks += live
        elif live * BYTES > 10 * INTERVAL:
            fail(f"{live} live blocks elsewhere: {names}")
    return blocks


def expect_leak(path: Path, program: Path) -> None:
    found = leaked_blocks(path, program)
    sigma = pprof.standard_error(BLOCKS, BYTES, INTERVAL)
    if abs(found - BLOCKS) > 5 * sigma:
        fail(f"{path.name}: {found} blocks leaked, not {BLOCKS}, standard error {sigma:.0f}")


def run(program: Path, env: dict[str, str], says: str) -> None:
    result = subprocess.run([str(program)], env=env, capture_output=True, text=True, check=False)
    if result.returncode != 0 or says not in result.stderr:
        fail(f"{program.name} ended with {result.returncode} and said {result.stderr!r}, "
             f"not {says!r}")


def at_exit(program: Path, library: Path | None, prefix: Path) -> None:
    options = "profile=1,profile_at_exit=1,profile_interval_kib=64"
    run(program, environment(options, library, prefix), "bytes in")
    files = sorted(prefix.parent.glob(prefix.name + ".*.1.pb.gz"))
    if len(files) != 1:
        fail(f"files at exit: {files}")
    expect_leak(files[0], program)
    files[0].unlink()


def on_signal(program: Path, library: Path | None, prefix: Path) -> None:
    env = environment(f"profile=1,profile_signal={int(signal.SIGUSR2)},profile_interval_kib=64",
                      library, prefix)
    with subprocess.Popen([str(program), "wait"], env=env, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            fail("the program did not get ready")
        earlier = Path(f"{prefix}.{process.pid}.1.pb.gz")
        earlier.write_text("of an earlier program", encoding="utf-8")
        process.send_signal(signal.SIGUSR2)
        path = Path(f"{prefix}.{process.pid}.2.pb.gz")
        until = time.monotonic() + 30
        while time.monotonic() < until:
            time.sleep(0.05)
            try:
                pprof.read(path)
                break
            except (OSError, EOFError):
                continue  # not there, or not whole yet
        process.stdin.close()
        if process.wait(30) != 0:
            fail(f"after the signal the program ended with {process.returncode}")
    expect_leak(path, program)
    if earlier.read_text(encoding="utf-8") != "of an earlier program":
        fail("a file that was there was written over")
    path.unlink()
    earlier.unlink()


def with_a_file_cut_short(library: Path, prefix: Path) -> None:
    """What is mapped of a file that has no bytes any more must not end the program."""
    text = ("import mmap, os, signal, tempfile\n"
            "file = tempfile.TemporaryFile()\n"
            "file.truncate(8192)\n"
            "mapped = mmap.mmap(file.fileno(), 8192)\n"
            "file.truncate(0)\n"
            "os.kill(os.getpid(), signal.SIGUSR2)\n")
    env = environment(f"profile=1,profile_signal={int(signal.SIGUSR2)},profile_interval_kib=16",
                      library, prefix)
    result = subprocess.run([sys.executable, "-c", text], env=env, capture_output=True, text=True,
                            check=False)
    files = list(prefix.parent.glob(prefix.name + ".*.pb.gz"))
    if result.returncode != 0 or len(files) != 1:
        fail(f"python ended with {result.returncode}, {result.stderr!r}, files {files}")
    if not any(mapping.build_id for mapping in pprof.read(files[0]).mappings.values()):
        fail("no mapping has a build id")
    files[0].unlink()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=Path)
    parser.add_argument("--library", type=Path)
    parser.add_argument("--secure", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "heap"
        at_exit(args.program, args.library, prefix)
        on_signal(args.program, args.library, prefix)
        if args.library is not None:
            with_a_file_cut_short(args.library, prefix)
        nowhere = Path(folder) / "missing" / "heap"
        run(args.program, environment("profile=1,profile_at_exit=1", args.library, nowhere),
            "heap profile not written")
        run(args.program, environment("profile=1,profile_signal=9", args.library, prefix),
            "option ignored: profile_signal=9")
        if args.secure is not None:
            run(args.program, environment("profile=1", args.secure, prefix),
                "option ignored: profile=1: this build of the library")
        if left := list(Path(folder).iterdir()):
            fail(f"files that nobody asked for: {left}")


if __name__ == "__main__":
    main()
