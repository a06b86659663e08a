"""How much code the static library adds to a small C program that allocates.

Links a program that calls malloc and free and nothing else of carrel's, as users do and with
--gc-sections, prints the size of .text less that of the same program on the C library alone, and
fails above the limits. Measures nothing of the shared library.
Usage: text_size.py COMPILER LIBRARY LIMIT_BYTES LIMIT_GC_BYTES
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
int main(void) {
  void* block = malloc(100);
  printf("%p\\n", block);
  free(block);
  return 0;
}
"""


def text_bytes(program: Path) -> int:
    """The size of the program's .text section."""
    said = subprocess.run(["size", "-A", str(program)], capture_output=True, text=True, check=True)
    return next(int(line.split()[1]) for line in said.stdout.splitlines()
                if line.startswith(".text "))


def main() -> int:
    if len(sys.argv) != 5:
        sys.exit("usage: text_size.py COMPILER LIBRARY LIMIT_BYTES LIMIT_GC_BYTES")
    compiler, library = sys.argv[1], Path(sys.argv[2]).resolve()
    if not library.exists():
        sys.exit(f"{library} does not exist: build the library first")
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "small.c"
        source.write_text(PROGRAM, encoding="ascii")
        for title, limit, flags in (("as it is", int(sys.argv[3]), []),
                                    ("with --gc-sections", int(sys.argv[4]),
                                     ["-Wl,--gc-sections"])):
            sizes = []
            for what in ([], [str(library)]):
                product = folder / f"small{len(what)}"
                subprocess.run([compiler, "-O2", str(source), "-o", str(product), *flags, *what],
                               check=True)
                subprocess.run([str(product)], stdout=subprocess.DEVNULL, check=True)
                sizes.append(text_bytes(product))
            added = sizes[1] - sizes[0]
            print(f"{library.name} {title}: {added} bytes of .text, limit {limit}")
            failed = failed or added > limit
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
