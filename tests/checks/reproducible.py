"""Builds the library once more, from a copy of the sources elsewhere, and compares it byte by byte.

Usage: reproducible.py BUILD_FOLDER
Holds the shared library and the archive against those of BUILD_FOLDER, with its compiler and build
type. Says nothing about other compilers: those that made BUILD_FOLDER are the ones compared.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from repo import ROOT

COPIED = ["CMakeLists.txt", "cmake", "include", "src"]
COMPARED = ["lib/libcarrel.so", "lib/libcarrel.a"]
SAME = ["CMAKE_BUILD_TYPE", "CMAKE_C_COMPILER", "CMAKE_CXX_COMPILER", "CMAKE_C_FLAGS",
        "CMAKE_CXX_FLAGS", "CMAKE_SHARED_LINKER_FLAGS"]


def settings(build: Path) -> list[str]:
    """The options that give another build the same compiler and flags."""
    cache = (build / "CMakeCache.txt").read_text()
    chosen = []
    for name in SAME:
        found = re.search(rf"^{name}:[A-Z]+=(.*)$", cache, re.MULTILINE)
        if found:
            chosen.append(f"-D{name}={found.group(1)}")
    return chosen


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:4])} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit("usage: reproducible.py BUILD_FOLDER")
    build = Path(sys.argv[1])
    missing = [name for name in COMPARED if not (build / name).exists()]
    if missing:
        sys.exit(f"{build / missing[0]} does not exist: build the libraries first (./dev build)")
    with tempfile.TemporaryDirectory(prefix="carrel-reproducible-") as folder:
        copy, again = Path(folder) / "a-copy", Path(folder) / "made"
        copy.mkdir()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name)
            else:
                shutil.copy(source, copy / name)
        run(["cmake", "-S", str(copy), "-B", str(again), "-DCARREL_BUILD_TESTS=OFF",
             "-DCARREL_BUILD_TOOLS=OFF", "-DCARREL_INSTALL=OFF", *settings(build)])
        run(["cmake", "--build", str(again), "--target", "carrel_shared", "carrel_static",
             "--parallel", "2"])
        differ = [name for name in COMPARED
                  if (build / name).read_bytes() != (again / name).read_bytes()]
    for name in differ:
        print(f"{name}: the same sources and the same compiler gave other bytes in another folder")
    if not differ:
        print(f"{', '.join(COMPARED)}: the same bytes twice")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
