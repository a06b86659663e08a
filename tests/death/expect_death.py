"""Runs one death program and judges how it ended.

It must end by SIGABRT, with exactly one line on standard error, which names the expected
error code and the very pointer that the program said it would misuse. Says nothing about
misuse that is not noticed. Usage: expect_death.py CODE[|CODE...] PROGRAM [LIBRARY [OPTIONS]]
LIBRARY is preloaded, with OPTIONS. Codes of memory faults end in SIGSEGV instead, with a line that
names the block. CODE may be fault: then the program must die of one silently.
"""

import os
import re
import resource
import signal
import subprocess
import sys

# carrel: error <code>: <text>: pointer 0x<address>...
MESSAGE = re.compile(r"^carrel: error (?P<code>[a-z-]+): (?P<text>[^:]+): "
                     r"pointer (?P<pointer>0x[0-9a-f]+)\b.*$")
CODES = ("double-free", "invalid-free", "interior-pointer", "overflow", "underflow",
         "write-after-free", "size-mismatch", "alignment-mismatch", "use-after-free",
         "out-of-bounds", "fault")
FAULTS = ("use-after-free", "out-of-bounds")
BLOCK = re.compile(r" block of \d+ bytes at (0x[0-9a-f]+)$")


def no_core_dump() -> None:
    """A dying program leaves no core file behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    if len(sys.argv) not in (3, 4, 5):
        sys.exit("usage: expect_death.py CODE[|CODE...] PROGRAM [LIBRARY [OPTIONS]]")
    expected = sys.argv[1].split("|")
    unknown = [code for code in expected if code not in CODES]
    if unknown:
        sys.exit(f"unknown code {unknown[0]}; the codes are {', '.join(CODES)}")
    environment = dict(os.environ)
    if len(sys.argv) > 3:
        environment["LD_PRELOAD"] = sys.argv[3]
    if len(sys.argv) > 4:
        environment["CARREL_OPTIONS"] = sys.argv[4]
    result = subprocess.run([sys.argv[2]], capture_output=True, text=True, timeout=30,
                            env=environment, preexec_fn=no_core_dump, check=False)
    print(f"status {result.returncode}\nstdout: {result.stdout}stderr: {result.stderr}")
    misused = re.fullmatch(r"misused (0x[0-9a-f]+)\n", result.stdout)
    if misused is None:
        sys.exit("the program did not get as far as its misuse")
    if result.returncode == 0:
        sys.exit(f"the misuse went unnoticed; expected {sys.argv[1]} and SIGABRT")
    if expected == ["fault"]:
        if result.returncode not in (-signal.SIGSEGV, -signal.SIGBUS) or result.stderr:
            sys.exit(f"ended with status {result.returncode}, not silently by a memory fault")
        return 0
    if expected[0] in FAULTS and result.returncode != -signal.SIGSEGV:
        sys.exit(f"ended with status {result.returncode}, not by SIGSEGV")
    if expected[0] not in FAULTS and result.returncode != -signal.SIGABRT:
        sys.exit(f"ended with status {result.returncode}, not by SIGABRT")
    lines = result.stderr.splitlines()
    if len(lines) != 1:
        sys.exit(f"{len(lines)} lines on standard error, not one")
    message = MESSAGE.match(lines[0])
    if message is None:
        sys.exit(f"not of the form {MESSAGE.pattern}")
    if message["code"] not in expected:
        sys.exit(f"code {message['code']}, expected {sys.argv[1]}")
    named = message["pointer"]
    if expected[0] in FAULTS:
        block = BLOCK.search(lines[0])
        if block is None:
            sys.exit("the line does not end with the block")
        named = block[1]
    if int(named, 16) != int(misused[1], 16):
        sys.exit(f"names {named}, but {misused[1]} was misused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
