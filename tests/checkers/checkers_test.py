"""checkers_test: what Valgrind's memcheck, or AddressSanitizer, says of a program on carrel:
nothing of a correct one, the right thing of a mistake.

    checkers_test.py memcheck|asan PROGRAM      (blocks.c; for asan, built with it)

Without Valgrind it is skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

ERRORS = 9
# Tool: mistake: what it must say.
EXPECTED = {
    "memcheck": {
        "": [],
        "after-free": [r"Invalid read of size 1", r"3 bytes inside a block of size 1,234 free'd"],
        "overflow": [r"Invalid write of size 1", r"0 bytes after a block of size 1,234 alloc'd"],
        "leak": [r"1,234 bytes in 1 blocks are definitely lost"],
        "libc": [r"Invalid read of size 1", r"0 bytes inside a block of size 99 free'd"],
    },
    # Not leaks: where processes may not be traced, it cannot look for them.
    "asan": {
        "": [],
        "after-free": [r"heap-use-after-free", r"3 bytes inside of 1234-byte region"],
        "overflow": [r"heap-buffer-overflow", r"0 bytes .*after.* 1234-byte region|"
                                              r"0 bytes to the right of 1234-byte region"],
        "libc": [r"heap-use-after-free", r"0 bytes inside of 99-byte region"],
    },
}


def run(tool: str, program: str, mistake: str) -> subprocess.CompletedProcess[str]:
    command = [program, *([mistake] if mistake else [])]
    environment = dict(os.environ)
    if tool == "memcheck":
        command = ["valgrind", "-q", "--leak-check=full", f"--error-exitcode={ERRORS}", *command]
    else:
        environment["ASAN_OPTIONS"] = f"detect_leaks=0:exitcode={ERRORS}"
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=500,
                          env=environment)


def main() -> int:
    tool, program = sys.argv[1:]
    if tool == "memcheck" and shutil.which("valgrind") is None:
        print("valgrind is not installed; run ./dev setup")
        return 77
    wrong = 0
    for mistake, lines in EXPECTED[tool].items():
        done = run(tool, program, mistake)
        missing = [line for line in lines if not re.search(line, done.stderr)]
        if done.returncode != (ERRORS if lines else 0) or missing:
            wrong += 1
            print(f"{program} {mistake or '(correct)'}: status {done.returncode}; "
                  f"not said: {missing}\n{done.stderr}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
