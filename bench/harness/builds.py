"""Builds the library from sources that differ a little from what ships, to see what that costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-std=c++20", "-O2", "-g", "-fPIC", "-shared", "-fno-rtti", "-fvisibility=hidden",
         "-ftls-model=initial-exec", "-fno-builtin-malloc", "-fno-builtin-calloc",
         "-fno-builtin-realloc", "-fno-builtin-free", "-fno-stack-protector", "-fno-plt",
         "-fno-threadsafe-statics", "-fno-tree-slp-vectorize", "-w"]


def build_library(folder: Path, preset: Path, sources: Path = ROOT / "src") -> Path:
    """`preset` is the folder with the preset.h that says which Config is built."""
    library = folder / "lib.so"
    files = [*sources.glob("*/*.cc"), *sources.glob("os/linux/*.cc")]
    done = subprocess.run(["g++", *FLAGS, f"-Wl,--version-script={ROOT}/src/api/exports.map",
                           f"-I{sources}", f"-I{ROOT}/include", f"-I{preset}", *map(str, files),
                           "-o", str(library), "-pthread"], check=False)
    if done.returncode != 0:
        sys.exit(f"{library} was not built: see g++'s message above; is there room in TMPDIR?")
    return library
