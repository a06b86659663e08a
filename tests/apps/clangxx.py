"""clang++ compiling a heavy C++ file: the object file that it makes under glibc, and a program that
runs."""

import os

from compilers import compile_and_run
from harness import App, find, main


def test(app: App) -> None:
    compiler = find("clang++", "clang")
    # One executable is driver and compiler, under whatever name it was started.
    compile_and_run(app, compiler, os.path.basename(os.path.realpath(compiler)),
                    "x86_64-linux-gnu-ld.bfd")


if __name__ == "__main__":
    main(test)
