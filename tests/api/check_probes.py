"""The static probes of a library: in its notes, with two arguments each, and met by a debugger.

Not a test of the kernel's tracing, which containers often lack.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROBES = {"refill", "flush", "large", "extend", "purge"}


def noted(library: Path) -> dict[str, str]:
    """Probe names of the provider carrel with their arguments, as the file's notes say."""
    text = subprocess.run(
        ["readelf", "-nW", str(library)], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r"Provider: carrel\s+Name: (\S+)\s+.*\s+Arguments: (.*)", text)
    return dict(found)


def met(library: Path, program: Path) -> tuple[int, int, int]:
    """The argument count and arguments of the first refill, as gdb sees them."""
    commands = [
        "set breakpoint pending on",
        f"set exec-wrapper env LD_PRELOAD={library}",
        "break -probe-stap carrel:refill",
        "run",
        'printf "seen %d %d %d\\n", $_probe_argc, $_probe_arg0, $_probe_arg1',
        "kill",
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".gdb") as script:
        script.write("\n".join(commands) + "\n")
        script.flush()
        result = subprocess.run(
            ["gdb", "-nx", "-batch", "-x", script.name, "--args", str(program)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
        )
    seen = re.search(r"^seen (\d+) (\d+) (\d+)$", result.stdout, re.MULTILINE)
    if seen is None and "ptrace" in result.stdout + result.stderr:
        print("this machine lets gdb trace nothing")
        sys.exit(77)
    if seen is None:
        sys.exit(f"gdb met no probe:\n{result.stdout}{result.stderr}")
    return int(seen[1]), int(seen[2]), int(seen[3])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", type=Path)
    parser.add_argument("program", type=Path, help="any program that allocates")
    arguments = parser.parse_args()
    if shutil.which("gdb") is None:
        print("probes: gdb is missing; run ./dev setup", file=sys.stderr)
        return 1
    found = noted(arguments.library)
    if set(found) != PROBES:
        print(f"probes: {sorted(found)} in the notes, {sorted(PROBES)} expected")
        return 1
    if odd := {name: text for name, text in found.items() if len(text.split()) != 2}:
        print(f"probes: two arguments each are promised: {odd}")
        return 1
    count, size_class, slots = met(arguments.library, arguments.program)
    if count != 2 or not 1 <= size_class <= 62 or not 1 <= slots <= 512:
        print(f"probes: refill with {count} arguments: class {size_class}, {slots} slots")
        return 1
    print(f"probes: {len(found)} in the notes; refill of class {size_class}, {slots} slots")
    return 0


if __name__ == "__main__":
    sys.exit(main())
