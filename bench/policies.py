#!/usr/bin/env python3
"""policies: what each policy of the hardened build costs.

Builds the library once as shipped, once hardened, and once more for each policy with that one
switched off, then counts the instructions of one malloc and free and measures processor time and
peak resident memory of a few workloads. A policy's cost is what its absence saves. Times are user
and system seconds of the process, the least of --runs, since other processes disturb less there.
Not part of ./dev bench: it builds a dozen libraries, which takes minutes.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))
from harness import workloads  # noqa: E402 (found by the line above)
from harness.builds import build_library  # noqa: E402

# What is left out, as fields set back to their defaults. Where others need it, they go too.
VARIANTS = {
    "carrel": None,
    "carrel-secure": {},
    "less check_sizes": {"check_sizes": "false"},
    "less canary_bytes": {"canary_bytes": "0"},
    "less verify_bytes": {"verify_bytes": "0"},
    "less zero_freed, verify_bytes, canary_bytes": {"zero_freed": "false", "verify_bytes": "0",
                                                    "canary_bytes": "0"},
    "less random_slots": {"random_slots": "false"},
    "less guarded_slots": {"guarded_slots": "0"},
    "less quarantine_bytes, guarded_slots": {"quarantine_bytes": "0", "guarded_slots": "0"},
    "less isolate_classes": {"isolate_classes": "false"},
    "less random_base_steps": {"random_base_steps": "0"},
    "less guard_metadata": {"guard_metadata": "false"},
    "less fenced_large": {"fenced_large": "0"},
    "less guard_large, fenced_large": {"guard_large": "false", "fenced_large": "0"},
    "only check_frees": {"check_sizes": "false", "canary_bytes": "0", "zero_freed": "false",
                         "verify_bytes": "0", "random_slots": "false", "quarantine_bytes": "0",
                         "isolate_classes": "false", "random_base_steps": "0",
                         "guard_metadata": "false", "guard_large": "false", "fenced_large": "0",
                         "guarded_slots": "0"},
}
DEFAULT_WORKLOADS = "hot-pair,fifo,replace-4k,replace-200k,binary-trees,string-map,large-blocks"


def preset(changes: dict[str, str] | None) -> str:
    """A preset.h: the default configuration, or the hardened one with fields changed."""
    lines = ["#pragma once", '#include "config/config.h"', "namespace carrel::core {",
             "constexpr Config changed_preset() {",
             f"  Config config = {'kDefault' if changes is None else 'kSecure'};"]
    lines += [f"  config.hardening.{field} = {value};" for field, value in (changes or {}).items()]
    if (changes or {}).get("guarded_slots") == "0":
        lines.append("  config.guard_sample = 0;")
    return "\n".join([*lines, "  return config;", "}",
                      "inline constexpr Config kPreset = changed_preset();",
                      "static_assert(validate(kPreset));", "}", ""])


def build(directory: Path, name: str, changes: dict[str, str] | None) -> Path:
    folder = directory / name.replace(" ", "-").replace(",", "")
    folder.mkdir()
    (folder / "preset.h").write_text(preset(changes), encoding="utf-8")
    return build_library(folder, folder)


def instructions(library: Path) -> str:
    """Of malloc(64) and free, cached, from the golden table's own measurement."""
    done = subprocess.run([sys.executable, str(ROOT / "tests/golden/golden.py"), "--peers",
                           f"it={library}"], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("malloc(64)+free ") and len(line.split()) > 2:
            return line.split()[-1]
    return "?"


def measure(library: Path, workload: workloads.Workload, scale: float,
            runs: int) -> tuple[float, int]:
    """The least processor seconds and the least peak KiB of `runs`."""
    program = ROOT / "build/release/bench" / workload.program
    if not program.exists():
        sys.exit(f"policies: {program} is missing; run ./dev bench --quick once")
    best = (math.inf, 1 << 62)
    for _ in range(runs):
        pid = os.posix_spawn(str(program), [str(program), *workload.arguments, "--scale",
                                            str(scale)],
                             {"LD_PRELOAD": str(library), "PATH": "/usr/bin:/bin"},
                             file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
        _, status, usage = os.wait4(pid, 0)
        if status != 0:
            sys.exit(f"policies: {workload.name} failed under {library.parent.name}")
        best = (min(best[0], usage.ru_utime + usage.ru_stime), min(best[1], usage.ru_maxrss))
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", default=DEFAULT_WORKLOADS)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", metavar="WORD", help="variants with WORD in the name")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    chosen = {w.name: w for w in workloads.WORKLOADS}
    names = arguments.workloads.split(",")
    print("| build | instructions of malloc(64)+free | time | RSS | " + " | ".join(names) + " |")
    print("|---" * (4 + len(names)) + "|")
    base: dict[str, tuple[float, int]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for variant, changes in VARIANTS.items():
            if variant != "carrel" and arguments.only not in variant:
                continue
            library = build(Path(directory), variant, changes)
            figures = {name: measure(library, chosen[name], arguments.scale, arguments.runs)
                       for name in names}
            base = base or figures
            ratios = [figures[name][0] / base[name][0] for name in names]
            memory = [figures[name][1] / base[name][1] for name in names]
            means = [math.exp(sum(map(math.log, values)) / len(values))
                     for values in (ratios, memory)]
            cells = [variant, instructions(library), *(f"{mean:.2f}" for mean in means),
                     *(f"{ratio:.2f}" for ratio in ratios)]
            print("| " + " | ".join(cells) + " |", flush=True)
    print("\ntime and RSS: geometric means over the workloads, and each workload's time, over the "
          "default build's")
    return 0


if __name__ == "__main__":
    sys.exit(main())
