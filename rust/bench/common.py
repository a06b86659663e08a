"""common: what the Rust benchmarks share: cargo, children that are measured, tables, spreads.

It measures nothing by itself and knows no allocator's library.
"""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def die(message: str) -> None:
    sys.exit(f"{Path(sys.argv[0]).stem}: {message}")


def note(message: str) -> None:
    print(f"{Path(sys.argv[0]).stem}: {message}", file=sys.stderr, flush=True)


def target_dir() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "build" / "rust-bench"))


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith("CARREL_") and key not in ("RUSTFLAGS", "LD_PRELOAD")}
    return {**kept, "CARGO_TARGET_DIR": str(target_dir()), **(extra or {})}


def cargo(arguments: list[str], folder: Path = HERE, extra: dict[str, str] | None = None) -> str:
    program = shutil.which("cargo")
    if program is None:
        die("cargo is not installed; run ./dev setup")
    done = subprocess.run([program, *arguments], cwd=folder, env=environment(extra),
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        die(f"`cargo {' '.join(arguments)}` failed in {folder}\n{done.stderr[-4000:]}")
    return done.stdout


def build(arguments: list[str], place: Path, folder: Path = HERE) -> dict[str, Path]:
    """Builds, and copies the executables aside before the next allocator's replace them."""
    text = cargo([*arguments, "--locked", "--message-format", "json"], folder)
    place.mkdir(parents=True, exist_ok=True)
    found = {}
    for line in text.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            name = message["target"]["name"]
            found[name] = Path(shutil.copy(message["executable"], place / name))
    return found


def processor_seconds() -> float:
    """What all children so far have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def middle(values: list[float], digits: int = 2) -> str:
    """The median, and half the distance of the extremes as a percentage of it."""
    centre = median(values)
    if len(values) < 2 or centre == 0:
        return f"{centre:.{digits}f}"
    return f"{centre:.{digits}f} ±{50 * (max(values) - min(values)) / centre:.0f}%"


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(math.log(value) for value in values) / len(values))


def table(title: str, columns: list[str], rows: list[tuple[str, list[str]]]) -> None:
    print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for name, cells in rows:
        print(f"| {name} | {' | '.join(cells)} |")
    sys.stdout.flush()


def machine() -> str:
    """The machine in a line, for results that are passed on."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.split(":", 1)[1].strip() for line in info.splitlines()
              if line.startswith("model name")]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (f"{os.cpu_count()} CPUs ({models[0] if models else os.uname().machine}), Linux "
            f"{os.uname().release}; load average at the start {load}")
