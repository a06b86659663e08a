"""g++ compiling a heavy C++ file: the same object file as under glibc, and a program that runs."""

from compilers import compile_and_run
from harness import App, find, main


def test(app: App) -> None:
    compile_and_run(app, find("g++", "g++"), "cc1plus", "x86_64-linux-gnu-ld.bfd")


if __name__ == "__main__":
    main(test)
