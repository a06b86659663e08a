"""CPython with every object on malloc (PYTHONMALLOC=malloc): a selection of its own test modules,
each test case with the outcome that it has under glibc, and a script of ours."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from harness import PROGRAMS, App, find, main, need_file
from proof import Allocator, Failure

# Chosen for what they do to memory (containers, buffers, the collector, threads, fork, C modules),
# and for not depending on the clock or the network.
MODULES = """
    list dict set tuple bytes unicode deque array memoryview sort itertools collections
    ordered_dict gc weakref weakset finalization threading thread threading_local threadedtempfile
    queue json re pickle marshal zlib struct mmap fork1 subprocess memoryio ast compile coroutines
    generators exceptions tracemalloc ctypes descr functools decimal long pyexpat xml_etree_c
    hashlib copy interpreters
""".split()


def outcomes(report: Path) -> list[str]:
    """Each test case and what became of it, in a fixed order."""
    found = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        bad = sorted(child.tag for child in case if child.tag in ("failure", "error", "skipped"))
        found.append(f"{case.get('name')} {case.get('status')} {' '.join(bad) or 'ok'}")
    return sorted(found)


def run_tests(app: App, python: str, allocator: Allocator) -> tuple[list[str], float]:
    folder = app.make_folder(f"cpython-{allocator.name}")
    report = folder / "report.xml"
    result = app.run([python, "-m", "test", "-j2", "--timeout", "240", "--junit-xml", report,
                      *(f"test_{name}" for name in MODULES)], allocator, cwd=folder, timeout=600)
    return outcomes(report), result.seconds


def test(app: App) -> None:
    python = find("python3.11", "python3.11")
    need_file("/usr/lib/python3.11/test/test_dict.py", "libpython3.11-testsuite")
    app.environment.update(PYTHONMALLOC="malloc", PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1")
    app.run_both("graphs.py", [python, PROGRAMS / "graphs.py"])
    (expected, before), (got, after) = [run_tests(app, python, a) for a in app.allocators]
    if len(expected) < 100 * len(MODULES):
        raise Failure(f"only {len(expected)} test cases ran in {len(MODULES)} modules")
    app.compare("the outcome of CPython's tests", "\n".join(expected), "\n".join(got))
    app.note(f"{len(expected)} test cases of CPython's own", before, after)


if __name__ == "__main__":
    main(test)
