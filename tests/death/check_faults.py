"""Checks what the hardened library does about memory faults: it explains those at its fences, with
stacks if asked, lets every other one end the process as it would have, and leaves programs alone
that handle faults themselves. Usage: check_faults.py PROGRAM SECURE_LIBRARY LIBRARY

The program is faults.c. Addresses in stacks are looked up by addr2line.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

FRAME = re.compile(r"^  #(\d+) 0x[0-9a-f]+ (\S+)\+(0x[0-9a-f]+)$")
TITLES = ("allocated here", "freed here", "touched here", "noticed here")


class Failure(Exception):
    """Something was not as it should be."""


def no_core_dump() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(program: Path, library: Path, case: str, options: str, folder: Path,
        **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), case], capture_output=True, text=True, timeout=60,
                          check=False, cwd=folder, preexec_fn=no_core_dump,
                          env={**os.environ, "LD_PRELOAD": str(library),
                               "CARREL_OPTIONS": options, **environment})


def expect(case: str, result: subprocess.CompletedProcess[str], status: int, stdout: str,
           stderr: str) -> None:
    """`stderr` is a regular expression."""
    if result.returncode != status or result.stdout != stdout or \
            re.fullmatch(stderr, result.stderr) is None:
        raise Failure(f"{case}: status {result.returncode}, expected {status}; "
                      f"stdout {result.stdout!r}, expected {stdout!r}; "
                      f"stderr {result.stderr!r}, expected {stderr!r}")


def functions_of(text: str, program: Path) -> dict[str, list[str]]:
    """The program's functions on each stack of a report, innermost first."""
    addresses: dict[str, list[str]] = {}
    title = ""
    frames = 0
    for line in text.splitlines():
        if line.removesuffix(":") in TITLES:
            title = line.removesuffix(":")
            addresses[title] = []
            frames = 0
        elif match := FRAME.match(line):
            if int(match[1]) != frames:
                raise Failure(f"frame {match[1]} out of order: {text}")
            frames += 1
            if match[2] == str(program):
                addresses[title].append(match[3])
        elif not line.startswith("carrel: error "):
            raise Failure(f"unexpected line {line!r}: {text}")
    stacks = {}
    for title, of_stack in addresses.items():
        found = subprocess.run(["addr2line", "-fie", str(program), *of_stack],
                               capture_output=True, text=True, check=True).stdout
        stacks[title] = found.splitlines()[::2]  # what was inlined, and into what
    return stacks


def check_stacks(case: str, text: str, program: Path, expected: dict[str, str]) -> None:
    stacks = functions_of(text, program)
    for title, function in expected.items():
        on_stack = stacks.pop(title, [])
        if function not in on_stack[:3] or "main" not in on_stack:
            raise Failure(f"{case}: expected {function} {title}, found {on_stack}: {text}")
    if stacks:
        raise Failure(f"{case}: unexpected stacks {list(stacks)}: {text}")


def check_handlers(program: Path, secure: Path, folder: Path) -> None:
    line = (r"carrel: error use-after-free: this address was (read|touched): pointer 0x[0-9a-f]+, "
            r"8 bytes into a freed sampled block of 100 bytes at 0x[0-9a-f]+\n")
    # Case, status, standard output, standard error.
    cases = (("after-free", -signal.SIGSEGV, "", line),
             ("own-handler-first", 0, "handled\n", ""),
             ("own-handler-later", 0, "handled\n", ""),
             ("handed-on", -signal.SIGSEGV, "handed on\n", line),
             ("handed-on-null", -signal.SIGSEGV, "handed on\n", ""),
             ("null", -signal.SIGSEGV, "", ""),
             ("raised", -signal.SIGSEGV, "", ""),
             ("stack", -signal.SIGSEGV, "", ""),
             ("system-call", 0, "EFAULT\n", ""))
    for case, status, stdout, stderr in cases:
        result = run(program, secure, case, "guard_sample=1", folder)
        expect(case, result, status, stdout, stderr)
    for case in ("after-free", "null"):
        result = run(program, secure, case, "guard_sample=1,explain_faults=0", folder)
        expect(f"{case} unexplained", result, -signal.SIGSEGV, "", "")


def check_reports(program: Path, secure: Path, default: Path, folder: Path) -> None:
    after_free = {"allocated here": "allocated_in_this_function",
                  "freed here": "freed_in_this_function",
                  "touched here": "touched_in_this_function"}
    double_free = {"allocated here": "allocated_in_this_function",
                   "freed here": "freed_in_this_function",
                   "noticed here": "freed_in_this_function"}
    invalid_free = {"noticed here": "freed_in_this_function"}
    cases = (("after-free", secure, after_free), ("double-free", secure, double_free),
             ("invalid-free", secure, invalid_free), ("invalid-free", default, invalid_free))
    for number, (case, library, stacks) in enumerate(cases):
        options = "guard_sample=1,report_stacks=" if library == secure else "report_stacks="
        result = run(program, library, case, options + "stderr", folder)
        check_stacks(f"{case} on stderr", result.stderr, program, stacks)
        result = run(program, library, case, options + "file", folder,
                     CARREL_REPORT_PREFIX=f"of{number}")
        files = list(folder.glob(f"of{number}.*.report"))
        if len(files) != 1 or result.stderr.count("\n") != 1:
            raise Failure(f"{case}: {len(files)} files, standard error {result.stderr!r}")
        text = files[0].read_text()
        if not text.startswith(result.stderr):
            raise Failure(f"{case}: the file begins not with {result.stderr!r}: {text}")
        check_stacks(f"{case} in a file", text, program, stacks)
    result = run(program, secure, "null", "guard_sample=1,report_stacks=file", folder)
    if list(folder.glob("carrel.*.report")) or result.stderr:
        raise Failure("a fault that is none of carrel's was reported")


def main() -> int:
    if len(sys.argv) != 4:
        sys.exit("usage: check_faults.py PROGRAM SECURE_LIBRARY LIBRARY")
    program, secure, default = (Path(argument).resolve() for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="carrel-faults-") as folder:
        try:
            check_handlers(program, secure, Path(folder))
            check_reports(program, secure, default, Path(folder))
        except Failure as failure:
            sys.exit(f"check_faults: {failure}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
