#!/usr/bin/env python3
"""symbols: checks what the built libraries export, need and carry.

libcarrel.so and libcarrel-secure.so export exactly the names of exported.txt, take from others only
those of undefined.txt, need only libc, and are laid out as cmake/carrel_flags.cmake asks (bound at
load, never unloaded, no text relocations, no executable stack, little thread-local storage).
libcarrel-prefixed.a overrides nothing and defines only names of carrel's own.
--update rewrites exported.txt and undefined.txt from the library; review the difference.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import repo

NAME = "symbols"
NEEDED = re.compile(
    r"^(libc\.so\.6|libc\.musl-\w+\.so\.1|ld-linux[\w.-]*\.so\.\d|libpthread\.so\.0)$")
# libc's own call the malloc that is in force; a second copy of them would only cost.
NEVER_EXPORTED = {"strdup", "strndup", "realpath", "cfree"}
# A library loaded late gets its initial-exec storage from the dynamic linker's small reserve
# (glibc: 1,664 bytes for all such libraries together).
TLS_LIMIT_BYTES = 1024
OWN_NAME = re.compile(r"^(carrel_\w+|_ZN?K?[A-Z]*6carrel\w*|_Z\w*N6carrel\w*|DW\.ref\.\w+)$")


def output(*command: str) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        repo.die(NAME, f"{command[0]} is not installed; run ./dev setup")
    if result.returncode != 0:
        repo.die(NAME, f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


def exported(library: Path) -> set[str]:
    lines = output("nm", "-D", "--defined-only", "--format=posix", str(library)).splitlines()
    return {line.split()[0].split("@")[0] for line in lines if line.strip()}


def undefined(library: Path) -> dict[str, str]:
    """Names that the library takes from others, each "strong" or "weak"."""
    result = {}
    for line in output("nm", "-D", "--undefined-only", "--format=posix", str(library)).splitlines():
        name, kind = line.split()[:2]
        result[name.split("@")[0]] = "weak" if kind in "wv" else "strong"
    return result


def committed_undefined() -> dict[str, str]:
    result = {}
    for number, line in repo.data_lines("undefined.txt"):
        words = line.split()
        if len(words) != 2 or words[1] not in ("strong", "weak"):
            repo.die(NAME, f"undefined.txt:{number}: expected 'name strong' or 'name weak'")
        result[words[0]] = words[1]
    return result


def check_exports(library: Path) -> list[str]:
    wanted = {line for _, line in repo.data_lines("exported.txt")}
    found = exported(library)
    problems = [f"exports {name}, which exported.txt does not list" for name in found - wanted]
    problems += [f"does not export {name}, which exported.txt lists" for name in wanted - found]
    problems += [f"must not export {name}" for name in found & NEVER_EXPORTED]
    return problems


def check_undefined(library: Path) -> list[str]:
    allowed = committed_undefined()
    problems = []
    for name, kind in undefined(library).items():
        if name not in allowed:
            problems.append(f"takes {name} ({kind}) from elsewhere; undefined.txt has no such line")
        elif allowed[name] == "weak" and kind == "strong":
            problems.append(f"takes {name} as strong; it must be weak: C programs have none")
    return problems


def check_layout(library: Path) -> list[str]:
    dynamic = output("readelf", "-dW", str(library))
    segments = output("readelf", "-lW", str(library))
    problems = []
    for needed in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
        if not NEEDED.match(needed):
            problems.append(f"needs {needed}; only libc may be needed")
    if not re.search(r"FLAGS_1\).*\bNOW\b", dynamic):
        problems.append("is not bound at load (-z now)")
    if not re.search(r"FLAGS_1\).*\bNODELETE\b", dynamic):
        problems.append("may be unloaded (-z nodelete)")
    if "TEXTREL" in dynamic:
        problems.append("has text relocations")
    if "GNU_RELRO" not in segments:
        problems.append("has no read-only relocated data (-z relro)")
    stack = re.search(r"GNU_STACK.*", segments)
    if stack is None or "E" in stack.group().split()[-2]:
        problems.append("asks for an executable stack")
    tls = re.search(r"^\s*TLS\s+\S+\s+\S+\s+\S+\s+\S+\s+(0x[0-9a-f]+)", segments, re.MULTILINE)
    size = int(tls.group(1), 16) if tls else 0
    if size > TLS_LIMIT_BYTES:
        problems.append(f"has {size} bytes of thread-local storage; {TLS_LIMIT_BYTES} is the limit")
    return problems


def check_prefixed(archive: Path) -> list[str]:
    overrides = {line for _, line in repo.data_lines("exported.txt")
                 if not line.startswith("carrel_")}
    problems = []
    for line in output("nm", "-A", "--defined-only", "--extern-only", "--format=posix",
                       str(archive)).splitlines():
        words = line.partition(": ")[2].split()
        if len(words) < 2:
            continue
        name, kind = words[:2]
        if name in overrides:
            problems.append(f"defines {name}; the prefixed library must override nothing")
        elif kind not in "WVu" and not OWN_NAME.match(name):
            # Weak names are inline functions and templates, the same in every program.
            problems.append(f"defines {name}, which is not a name of carrel's own")
    return problems


def update(library: Path) -> None:
    rewrite("exported.txt", sorted(exported(library)))
    rewrite("undefined.txt",
            [f"{name} {kind}" for name, kind in sorted(undefined(library).items())])


def rewrite(name: str, lines: list[str]) -> None:
    """Replaces the data, keeps the file's opening comment."""
    path = repo.CHECKS / name
    heading = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        heading.append(line)
    path.write_text("\n".join(heading + [""] + lines) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("build", type=Path, help="build directory, for example build/release")
    parser.add_argument("--update", action="store_true", help="rewrite the committed lists")
    arguments = parser.parse_args()
    library = arguments.build / "lib/libcarrel.so"
    archive = arguments.build / "lib/libcarrel-prefixed.a"
    for path in (library, arguments.build / "lib/libcarrel-secure.so", archive):
        if not path.exists():
            repo.die(NAME, f"{path} is missing; run ./dev build")
    if arguments.update:
        update(library)
    secure = arguments.build / "lib/libcarrel-secure.so"
    problems = [f"{one.name}: {problem}" for one in (library, secure)
                for check in (check_exports, check_undefined, check_layout)
                for problem in sorted(check(one))]
    problems += [f"{archive.name}: {problem}" for problem in sorted(set(check_prefixed(archive)))]
    return repo.finish(NAME, problems, f"{len(exported(library))} exported, "
                       f"{len(undefined(library))} taken from libc or optional")


if __name__ == "__main__":
    sys.exit(main())
