#!/usr/bin/env python3
"""hook CARREL: Rust programs that carry the recording hook are recorded, to the last event.

On the system's allocator, dynamic; on carrel inside the program; and on carrel in a static program,
into which nothing can be preloaded. A static program without the hook is refused, with the way out
named; one with it and an allocator asked for too. Without a recorder the program does its work.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import cargo

PACKAGE = "carrel-checks-hook"
THREADS, ROUNDS = 3, 200


def build(static: bool, *features: str) -> Path:
    """The program, in a folder of its own: what cargo puts into one is replaced by the next."""
    folder = cargo.target_dir() / ("hook-static" if static else "hook")
    command = ["cargo", "build", "--locked", "-q", "-p", PACKAGE, "--target-dir", str(folder)]
    for feature in features:
        command += ["--features", f"{PACKAGE}/{feature}"]
    extra = {}
    if static:  # of the host's own target: only a named one leaves build scripts as they are
        host = re.search(r"host: (\S+)", cargo.run(["rustc", "-vV"]).stdout)
        cargo.check(host is not None, "rustc -vV names no host")
        assert host is not None
        command += ["--target", host[1]]
        extra = {"RUSTFLAGS": "-C target-feature=+crt-static -C relocation-model=static"}
        folder = folder / host[1]
    cargo.run(command, env=cargo.environment(extra))
    return folder / "debug" / PACKAGE


def carrel(command: str, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    done = subprocess.run([command, *words], capture_output=True, text=True, check=False,
                          timeout=200, env=environment)
    cargo.check(done.returncode == status,
                f"carrel {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def check_events(command: str, trace: Path) -> None:
    found: Counter[tuple[str, int]] = Counter()
    for line in carrel(command, "trace", "info", "--events", str(trace)).stdout.splitlines():
        match = re.match(r"\S+ \d+ ([a-z ]+?) object=\d+ size=(\d+)", line)
        if match:
            found[match.group(1), int(match.group(2))] += 1
    for operation, size in (("malloc", 100003), ("free", 100003), ("calloc", 7063), ("free", 7063),
                            ("malloc", 333), ("realloc begin", 333), ("realloc end", 33331),
                            ("free", 33331), ("aligned", 5557), ("free", 5557)):
        count = found[operation, size]
        cargo.check(count == THREADS * ROUNDS,
                    f"{operation} of {size}: {count}, not {THREADS * ROUNDS}")


def check_recording(command: str, program: Path, allocator: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "t.crl"
        carrel(command, "record", "-o", str(trace), "--", str(program), str(THREADS), str(ROUNDS),
               status=17)
        check_events(command, trace)
        facts = json.loads(carrel(command, "trace", "info", "--json", str(trace)).stdout)
        cargo.check(facts["allocator"]["name"] == allocator, f"recorded on {facts['allocator']}")
        cargo.check(facts["threads"] == THREADS + 1, f"{facts['threads']} threads")
        cargo.check(facts["crossing_objects"] >= THREADS * ROUNDS, "nothing crossed threads")
        cargo.check(facts["notes"]["lost_ends"] == 0, f"{facts['notes']}")
        # Another allocator can do the same work; of the recorded one nothing is made up.
        out = json.loads(carrel(command, "replay", "--json", "--runs", "1", "--alloc", "glibc",
                                str(trace)).stdout)
        within = "cannot be replayed" not in out["fidelity"]["why_not"]
        cargo.check(within != allocator.endswith("(linked in)"), f"{out['fidelity']}")


def main() -> int:
    command = sys.argv[1]
    dynamic = build(False)
    done = subprocess.run([str(dynamic), "2", "10"], capture_output=True, text=True, check=False)
    cargo.check(done.returncode == 17 and not done.stderr, f"alone: {done}")
    check_recording(command, dynamic, "glibc")
    said = json.loads(carrel(command, "doctor", "--json", "--", str(dynamic)).stdout)
    cargo.check(said["carries_hook"], f"doctor: {said}")
    check_recording(command, build(False, "carrel"), "carrel (linked in)")
    static = build(True, "carrel")
    kind = subprocess.run(["readelf", "-lW", str(static)], capture_output=True, text=True,
                          check=True).stdout
    cargo.check("INTERP" not in kind, f"{static} is not static")
    check_recording(command, static, "carrel (linked in)")
    refused = carrel(command, "record", "--alloc", "carrel", "--", str(static), status=1).stderr
    cargo.check("only on the allocator that it has" in refused, refused)
    print("hook: dynamic, with an allocator inside, and static: every event was recorded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
