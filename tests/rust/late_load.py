#!/usr/bin/env python3
"""late_load: Python, which has its own malloc, loads a Rust library that brings carrel along.

The library is used from Python's thread, from Python threads that end later, and from threads of
its own; then it is closed, and the threads that used it end: nothing may be left that leads into
memory that is gone. Its thread-local state may need none of the space that libc reserves at the
program's start.
"""

from __future__ import annotations

import _ctypes
import ctypes
import subprocess
import sys
import threading
from pathlib import Path

import cargo


def work(library: ctypes.CDLL, used: threading.Event, closed: threading.Event,
         results: list[int]) -> None:
    results.append(library.late_work(3000))
    used.set()
    closed.wait(60)  # the thread ends, and its cache goes back, after the library was closed


def main() -> int:
    cargo.run(["cargo", "build", "--locked", "-q", "-p", "carrel-checks-late"])
    path = cargo.target_dir() / "debug" / "libcarrel_checks_late.so"
    flags = subprocess.run(["readelf", "-dW", str(path)], capture_output=True, text=True,
                           check=True).stdout
    cargo.check("STATIC_TLS" not in flags, f"{path} needs reserved thread-local space")
    library = ctypes.CDLL(str(path))
    library.late_work.argtypes = [ctypes.c_size_t]
    library.late_work.restype = ctypes.c_size_t
    library.late_work_on_threads.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    library.late_work_on_threads.restype = ctypes.c_size_t
    library.late_owns.argtypes = [ctypes.c_void_p]
    cargo.check(library.late_work(3000) == 3000, "wrong results, or not carrel's memory")
    cargo.check(library.late_work_on_threads(4, 1000) == 4000, "wrong results on its own threads")
    mine = ctypes.create_string_buffer(100_000)
    cargo.check(library.late_owns(ctypes.addressof(mine)) == 0, "Python's memory became carrel's")

    closed = threading.Event()
    results: list[int] = []
    threads = []
    for _ in range(4):
        used = threading.Event()
        threads.append(threading.Thread(target=work, args=(library, used, closed, results)))
        threads[-1].start()
        used.wait(60)
    cargo.check(results == [3000] * 4, f"wrong results on Python's threads: {results}")
    _ctypes.dlclose(library._handle)
    cargo.check(str(path) in Path("/proc/self/maps").read_text(), "it was unmapped when closed")
    closed.set()
    for thread in threads:
        thread.join()
    print("late_load: worked, closed, threads ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
