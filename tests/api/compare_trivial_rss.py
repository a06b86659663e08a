"""Compares the resident memory of a trivial process with and without a preloaded library.

Runs both by turns and compares means. Measures nothing but that one program.
Usage: compare_trivial_rss.py PROGRAM LIBRARY LIMIT_KIB [SIZES]
SIZES is passed to the program: how many blocks of different sizes it takes.
"""

import os
import statistics
import subprocess
import sys

# Address-space randomisation moves the windows in which the kernel maps file pages around a
# fault: single runs differ by 170 KiB, means of this many by about 10.
RUNS = 61


def resident_kib(program: list[str], library: str | None) -> int:
    """The KiB that one run of `program` prints about itself."""
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("LD_PRELOAD", "CARREL_OPTIONS")}
    if library is not None:
        environment["LD_PRELOAD"] = library
    result = subprocess.run(program, env=environment, capture_output=True, text=True,
                            timeout=20, check=False)
    if result.returncode != 0 or result.stderr:
        sys.exit(f"{program[0]} under {library or 'the C library'} ended with "
                 f"{result.returncode}: {result.stderr.strip()}")
    return int(result.stdout)


def main() -> int:
    if len(sys.argv) not in (4, 5):
        sys.exit("usage: compare_trivial_rss.py PROGRAM LIBRARY LIMIT_KIB [SIZES]")
    program, library, limit_kib = sys.argv[1:2] + sys.argv[4:], sys.argv[2], int(sys.argv[3])
    if not os.path.exists(library):
        sys.exit(f"{library} does not exist: build the library first")
    plain: list[int] = []
    preloaded: list[int] = []
    for _ in range(RUNS):
        plain.append(resident_kib(program, None))
        preloaded.append(resident_kib(program, library))
    above = statistics.fmean(preloaded) - statistics.fmean(plain)
    print(f"C library {statistics.fmean(plain):.0f} KiB ({min(plain)} to {max(plain)}), "
          f"preloaded {statistics.fmean(preloaded):.0f} KiB "
          f"({min(preloaded)} to {max(preloaded)}): {above:+.0f} KiB, limit {limit_kib}")
    return 0 if above <= limit_kib else 1


if __name__ == "__main__":
    sys.exit(main())
