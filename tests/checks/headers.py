#!/usr/bin/env python3
"""headers: checks that every header compiles by itself.

The public ones as strict C11, C17, C23 and C++ with all warnings, under gcc and, if installed,
clang; the internal ones as C++20 under gcc. "By itself" means as the only include of a file.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import shutil
import subprocess
import sys

import repo

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
C_STANDARDS = ["c11", "c17", "c2x"]
CXX_FOR_C_HEADERS = ["c++11", "c++17", "c++20"]


def compile_alone(command: list[str], header: str) -> str | None:
    """Compiles a file that only includes `header`; returns what went wrong, or None."""
    result = subprocess.run(command, input=f"#include {header}\n", text=True,
                            capture_output=True, check=False)
    if result.returncode == 0:
        return None
    return f"{header} alone fails under: {' '.join(command)}\n{result.stderr.rstrip()}"


def public_jobs() -> list[tuple[list[str], str]]:
    jobs = []
    include = ["-I", str(repo.ROOT / "include")]
    for c, cxx in (("gcc", "g++"), ("clang", "clang++")):
        if not shutil.which(c) or not shutil.which(cxx):
            print(f"note: {c} is not installed; headers not tried under it")
            continue
        for standard in C_STANDARDS:
            command = [c, f"-std={standard}", *STRICT, *include, "-x", "c", "-"]
            jobs.append((command, "<carrel/carrel.h>"))
        for standard in CXX_FOR_C_HEADERS:
            command = [cxx, f"-std={standard}", *STRICT, *include, "-x", "c++", "-"]
            jobs.append((command, "<carrel/carrel.h>"))
        command = [cxx, "-std=c++20", *STRICT, *include, "-x", "c++", "-"]
        jobs += [(command, "<carrel/carrel.hpp>"), (command, "<carrel/heap_layout.hpp>")]
    return jobs


def internal_jobs() -> list[tuple[list[str], str]]:
    root = repo.ROOT / "src"
    headers = [path.relative_to(root).as_posix() for path in repo.files()
               if path.is_relative_to(root) and path.suffix in {".h", ".hpp"}]
    command = ["g++", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
               "-fno-exceptions", "-fno-rtti", "-I", str(repo.ROOT / "include"),
               "-I", str(root), "-I", str(root / "config/presets/default"), "-x", "c++", "-"]
    return [(command, f'"{header}"') for header in headers]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="compilers at a time (default 2)")
    arguments = parser.parse_args()
    if not shutil.which("g++"):
        repo.die("headers", "g++ is not installed; run ./dev setup")
    jobs = public_jobs() + internal_jobs()
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = pool.map(lambda job: compile_alone(*job), jobs)
    problems = [problem for problem in results if problem]
    return repo.finish("headers", problems, f"{len(jobs)} compilations")


if __name__ == "__main__":
    sys.exit(main())
