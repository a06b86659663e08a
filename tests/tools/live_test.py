#!/usr/bin/env python3
"""live_test: carrel top and carrel snapshot on processes that run on carrel.

The program known_heap knows its heap: what carrel says of it from outside is held against its own
statistics and against every block that it holds. Its variants are linked with the shared library,
with the hardened one, and statically (glibc, stripped, and musl). Nothing here is about time.

    python3 live_test.py CARREL FOLDER-OF-PROGRAMS LIBCARREL TEST [ARGUMENT]
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import report_sample

CARREL = ""
PROGRAMS = Path()
LIBRARY = Path()
PLAIN = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
# Nothing changes while the program waits.
AT_REST = {**PLAIN, "CARREL_OPTIONS": "purge_thread=0,guard_sample=0"}
LETTERS = re.compile(r"(\d*)([LFC])")


def require(condition: bool, what: object) -> None:
    if not condition:
        sys.exit(f"failed: {what}")


def carrel(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([CARREL, *words], capture_output=True, text=True, timeout=200,
                          check=False, env=PLAIN)
    if done.returncode != status:
        sys.exit(f"carrel {' '.join(words)}: status {done.returncode}, wanted {status}\n"
                 f"{done.stdout}{done.stderr}")
    return done


@contextlib.contextmanager
def running(*command: str, env: dict[str, str] = AT_REST, address_space: int = 0
            ) -> Iterator[str]:
    """A program that says "ready" and waits; its process's number."""
    limits = ((lambda: resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space)))
              if address_space else None)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env,
                               preexec_fn=limits)
    assert process.stdin is not None and process.stdout is not None
    try:
        require(process.stdout.readline() == b"ready\n", f"{command} did not get ready")
        yield str(process.pid)
    finally:
        process.stdin.close()
        process.wait(60)


def read_known(file: Path) -> tuple[dict, set[int], set[int]]:
    statistics, blocks = file.read_text().split("blocks\n", 1)
    sets: dict[str, set[int]] = {"live": set(), "freed": set()}
    for line in blocks.splitlines():
        kind, address = line.split()
        sets[kind].add(int(address, 16))
    return json.loads(statistics), sets["live"], sets["freed"]


def slots(document: dict) -> Iterator[tuple[int, str]]:
    """Every slot and large block of a snapshot: its address and its state's letter."""
    base, granule = int(document["heap"]["base"], 16), document["heap"]["granule_bytes"]
    sizes = {entry["class"]: entry["block_bytes"] for entry in document["classes"]}
    for first, _, kind, _, *rest in document["spans"]:
        start = base + first * granule
        if kind == "large":
            yield start + rest[1], "L"
        elif kind == "guarded":
            yield from ((start + offset, "L") for offset, _ in rest[0])
        elif kind == "slab":
            slot = 0
            for count, letter in LETTERS.findall(rest[2]):
                for _ in range(int(count or 1)):
                    yield start + slot * sizes[rest[1]], letter
                    slot += 1


def check_totals(found: dict, own: dict) -> None:
    """Two sets of numbers of one heap at rest; what lies in huge pages only the system knows."""
    own = {name: value for name, value in own.items() if name != "huge_bytes"}
    require(set(found) == set(own), f"fields {sorted(set(found) ^ set(own))}")
    for name, value in own.items():
        # Pages of the records: a look at them may bring some in, filled with zeros.
        slack = 1 << 20 if "resident" in name else 0
        require(abs(found[name] - value) <= slack, f"{name}: {found[name]}, carrel says {value}")


def check_known(program: Path, env: dict[str, str] = AT_REST) -> dict:
    """Returns what top says."""
    with tempfile.TemporaryDirectory(prefix="carrel-live-") as name:
        file = Path(name) / "known"
        with running(str(program), str(file), env=env) as pid:
            own, live, freed = read_known(file)
            top = json.loads(carrel("top", "--once", "--json", pid).stdout)
            check_totals(top["totals"], own["totals"])
            for part in ("classes", "shards", "threads"):
                require(top[part] == own[part], f"{part}: {top[part]}\ncarrel says {own[part]}")
            require([arena["live_blocks"] for arena in top["arenas"]]
                    == [arena["live_blocks"] for arena in own["arenas"]], "arenas")
            text = carrel("top", "--once", pid).stdout
            require(f"process {pid}" in text and "512 B" in text, text)
            require(max(map(len, text.splitlines())) <= 80, text)
            check_snapshot(pid, Path(name), own, live, freed)
            return top


def check_snapshot(pid: str, folder: Path, own: dict, live: set[int], freed: set[int]) -> None:
    file, packed = folder / "heap.json", folder / "heap.json.zst"
    text = carrel("snapshot", pid, "-o", str(file)).stdout
    require("not stopped" in text and max(map(len, text.splitlines())) <= 80, text)
    document = json.loads(file.read_text())
    totals = own["totals"]
    found = dict(document["totals"])
    found["large_bytes"] += found["guarded_bytes"]
    found["large_blocks"] += found["guarded_blocks"]
    for name in ("live_bytes", "live_blocks", "large_bytes", "large_blocks"):
        require(found[name] == totals[name], f"{name}: {found[name]}, carrel says {totals[name]}")
    if not document["provenance"]["library"]["hardened"]:  # where fenced blocks are kept, too
        require(document["totals"]["cached_bytes"] == totals["cached_bytes"], "cached_bytes")
    require(document["totals"]["heap_bytes"] == totals["mapped_bytes"], "heap_bytes")
    require(document["totals"]["free_bytes"] == totals["free_bytes"], "free_bytes")
    require(document["provenance"]["changed_slabs"] == 0, "slabs changed at rest")
    require(document["provenance"]["stray_blocks"] == 0, "cached blocks without a slot at rest")

    states: dict[str, set[int]] = {"L": set(), "C": set(), "F": set()}
    for address, letter in slots(document):
        states[letter].add(address)
    require(live <= states["L"], f"{len(live - states['L'])} live blocks are not called live")
    require(not freed & states["L"], f"{len(freed & states['L'])} freed blocks are called live")
    require(len(states["L"]) == totals["live_blocks"], "as many live slots as blocks")
    others = len(states["L"] - live)
    require(others < 100, f"{others} live blocks beside the program's own")

    cached = sum(entry["cached_blocks"] for entry in own["classes"])
    require(len(states["C"]) == cached, f"{len(states['C'])} cached slots of {cached}")
    granules = document["map"]["granules_per_cell"] * len(document["map"]["kinds"])
    require(granules * 65536 >= totals["mapped_bytes"], "the map covers the heap")
    check_cells(document)
    check_resident(document)

    carrel("snapshot", pid, "--stop", "-o", str(packed))
    require(packed.stat().st_size < file.stat().st_size / 2, "compressed")
    carrel("report", str(packed), "-o", str(folder / "r.html"))
    require('"carrel-snapshot"' in (folder / "r.html").read_text(), "the page holds the snapshot")


def check_cells(document: dict) -> None:
    """Each square of the map knows where it begins."""
    granules = [span[0] + i for span in document["spans"] for i in range(span[1])]
    cells = document["map"]
    require(cells["first_granules"] == granules[::cells["granules_per_cell"]], "addresses")
    for name in ("kinds", "live_percent", "resident_percent"):
        require(len(cells[name]) == len(cells["first_granules"]), name)


def check_resident(document: dict) -> None:
    resident = document["resident"]
    parts = {part["label"]: part["bytes"] for part in resident["parts"]}
    require(sum(parts.values()) + resident["residue_bytes"] == resident["rss_bytes"], resident)
    require(abs(resident["residue_bytes"]) <= max(1 << 20, resident["rss_bytes"] // 50),
            f"unexplained: {resident}")
    require(parts["live blocks"] > 10 << 20, f"live blocks in memory: {parts}")
    in_spans = sum(span[3] for span in document["spans"])
    in_heap = sum(parts.values()) - parts["metadata"] - parts["not the allocator's"]
    require(in_spans == in_heap, f"{in_spans} in spans, {in_heap} in parts")


def test_shared() -> None:
    check_known(PROGRAMS / "known_heap")


def test_hardened() -> None:
    check_known(PROGRAMS / "known_heap_secure")


def test_hardened_samples() -> None:
    """With blocks between guard pages, and bins whose floor is raised for the next of them."""
    sampled = 0
    for _ in range(3):
        top = check_known(PROGRAMS / "known_heap_secure", {
            **AT_REST, "CARREL_OPTIONS": "purge_thread=0,guard_sample=400"})
        sampled += top["guarded"]["live_blocks"]
    require(sampled > 10, f"{sampled} sampled blocks in three runs of 24,500")


def test_own_pool() -> None:
    """An arena's free memory is in its own pool, and counts for the arena."""
    with tempfile.TemporaryDirectory(prefix="carrel-live-") as name:
        file = Path(name) / "known"
        with running(str(PROGRAMS / "known_heap"), "own", str(file)) as pid:
            own, _, _ = read_known(file)
            top = json.loads(carrel("top", "--once", "--json", pid).stdout)
            check_totals(top["totals"], own["totals"])
            require(top["arenas"][0]["free_bytes"] >= 1 << 20, top["arenas"])
            document = json.loads(carrel("snapshot", "--json", pid).stdout)
            require(document["totals"]["live_bytes"] == own["totals"]["live_bytes"], "live")


def test_address_space() -> None:
    """Where the heap is mapped piece by piece, and its spans do not follow each other."""
    with running(str(PROGRAMS / "known_heap"), "/dev/null", address_space=1 << 30) as pid:
        document = json.loads(carrel("snapshot", pid, "--json").stdout)
        check_cells(document)
        spans = document["spans"]
        require(any(a[0] + a[1] != b[0] for a, b in zip(spans, spans[1:])), "gaps between spans")


def test_static() -> None:
    check_known(PROGRAMS / "known_heap_static")
    check_known(PROGRAMS / "known_heap_static_pie")


def test_static_musl() -> None:
    check_known(PROGRAMS / "known_heap_musl")


def test_stripped() -> None:
    with tempfile.TemporaryDirectory(prefix="carrel-live-") as name:
        program = Path(name) / "stripped"
        subprocess.run(["strip", "-s", "-o", program, PROGRAMS / "known_heap_static"], check=True)
        check_known(program)


def test_preloaded_python() -> None:
    """A real program, by the name of a library that is gone since."""
    with tempfile.TemporaryDirectory(prefix="carrel-live-") as name:
        library = Path(name) / "libcarrel.so"
        shutil.copy(LIBRARY, library)
        script = ("import sys; held = ['%d' % i * 40 for i in range(100000)];"
                  "print('ready', flush=True); sys.stdin.read()")
        with running("python3", "-c", script, env={**AT_REST, "LD_PRELOAD": str(library),
                                                   "PYTHONMALLOC": "malloc"}) as pid:
            library.unlink()
            top = json.loads(carrel("top", "--once", "--json", pid).stdout)
            require(top["totals"]["live_blocks"] > 100000, top["totals"])
            require(sum(c["live_blocks"] for c in top["classes"]) + top["totals"]["large_blocks"]
                    == top["totals"]["live_blocks"], "classes add up")
            looks = subprocess.Popen([CARREL, "top", "--interval", "0.1", "--json", pid],
                                     stdout=subprocess.PIPE, text=True, env=PLAIN)
            assert looks.stdout is not None
            lines = [json.loads(looks.stdout.readline()) for _ in range(3)]
            looks.send_signal(2)
            require(looks.wait(60) == 0, "Ctrl-C ends it well")
            require("rates" not in lines[0] and lines[2]["rates"]["refills"] == 0, lines[2])
            require("live blocks" in carrel("snapshot", pid).stdout, "the summary")


def test_other_version() -> None:
    with tempfile.TemporaryDirectory(prefix="carrel-live-") as name:
        library = Path(name) / "libcarrel.so"
        image = LIBRARY.read_bytes()
        require(image.count(b"carrelHL\x01\0\0\0") == 1, "one description in the library")
        library.write_bytes(image.replace(b"carrelHL\x01\0\0\0", b"carrelHL\x02\0\0\0"))
        with running("sh", "-c", "echo ready; cat", env={**AT_REST, "LD_PRELOAD": str(library)}
                     ) as pid:
            for command in ("top", "snapshot"):
                said = carrel(command, pid, status=1).stderr
                require("use the carrel command of that version" in said, said)


def test_refusals() -> None:
    with running("sh", "-c", "echo ready; cat") as pid:
        said = carrel("top", pid, status=1).stderr
        require(f"does not run on carrel; carrel doctor {pid}" in said, said)
    require("there is no process" in carrel("top", pid, status=1).stderr, "gone")
    require("no process's number" in carrel("snapshot", "redis", status=2).stderr, "no number")
    for command in ("top", "snapshot"):
        require("--top" in carrel(command, pid, "--top", "-1", status=2).stderr, "--top -1")
    said = carrel("report", __file__, "-o", "/dev/null", status=1).stderr
    require(said.count("\n") == 1, said)


def test_outputs() -> None:
    """Where a snapshot is written to, and a report read from."""
    with running(str(PROGRAMS / "known_heap"), "/dev/null") as pid:
        done = carrel("snapshot", pid, "-o", "/dev/null")
        require(done.stdout.startswith(f"process {pid}") and "KiB" in done.stderr, done)
        done = carrel("snapshot", pid, "-o", "-")
        require(json.loads(done.stdout)["process"]["pid"] == int(pid) and not done.stderr, done)
        require("name a file" in carrel("snapshot", pid, "-o", "", status=2).stderr, "empty")
    with tempfile.TemporaryDirectory(prefix="carrel-live-") as name:
        # What comes through a pipe can be read once only.
        document = json.dumps(report_sample.make_document())
        page = Path(name) / "page.html"
        subprocess.run([CARREL, "report", "/dev/stdin", "-o", page], input=document, text=True,
                       check=True, capture_output=True, env=PLAIN)
        require('"carrel-analysis"' in page.read_text(), "the page holds the analysis")


def test_resident_unknown() -> None:
    """/proc/PID/pagemap cannot be read: an empty file lies over it."""
    with running(str(PROGRAMS / "known_heap"), "/dev/null") as pid:
        pagemap = f"/proc/{pid}/task/{pid}/pagemap"
        blind = ["unshare", "--mount", "sh", "-c",
                 f'mount --bind /dev/null {pagemap} 2>/dev/null || exit 77; exec "$@"', "sh"]
        if shutil.which("unshare") is None or subprocess.run(
                [*blind, "true"], capture_output=True).returncode != 0:
            sys.exit(77)

        def look(*words: str) -> str:
            return subprocess.run([*blind, CARREL, *words], check=True, capture_output=True,
                                  text=True, env=PLAIN).stdout

        text = look("snapshot", pid)
        require("pagemap cannot be read" in text and "keep most free" not in text, text)
        document = json.loads(look("snapshot", pid, "--json"))
        require("resident" not in document and "resident_percent" not in document["map"]
                and not document["worst"], document.keys())
        require(all("resident_bytes" not in entry for entry in document["classes"]), "classes")
        require(all(span[3] is None for span in document["spans"]), "spans")
        top = json.loads(look("top", pid, "--once", "--json"))
        require(top["totals"]["resident_bytes"] is None, top["totals"])


def test_first_thread_gone() -> None:
    """Through another thread the process's memory can be read all the same."""
    with running(str(PROGRAMS / "known_heap"), "orphan") as pid:
        require(carrel("top", "--once", pid).stdout.startswith(f"process {pid}: "), "a name")
        top = json.loads(carrel("top", "--once", "--json", pid).stdout)
        require(top["totals"]["live_blocks"] >= 20000 and top["process"]["rss_bytes"] > 1 << 20,
                top["totals"])
        document = json.loads(carrel("snapshot", "--stop", "--json", pid).stdout)
        require(document["totals"]["live_blocks"] == top["totals"]["live_blocks"], "as many")
        require(document["resident"]["rss_bytes"] > 1 << 20, document["resident"])


def test_another_program() -> None:
    """The process execs while it is watched."""
    script = ("import os, sys; print('ready', flush=True); sys.stdin.readline();"
              "os.execvp('cat', ['cat'])")
    with running("python3", "-c", script, env={**AT_REST, "LD_PRELOAD": str(LIBRARY)}) as pid:
        top = subprocess.Popen([CARREL, "top", "--interval", "0.1", pid], env=PLAIN, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert top.stdout is not None
        require(top.stdout.readline().startswith(f"process {pid}"), "a first table")
        with open(f"/proc/{pid}/fd/0", "wb", buffering=0) as its_input:
            its_input.write(b"\n")
        _, said = top.communicate(timeout=100)
        require(top.returncode == 1 and "another program" in said, said)


def test_hostile_names() -> None:
    """A process's name, and a file that it maps, may hold anything."""
    with tempfile.TemporaryDirectory(prefix="carrel-live-") as name:
        file = Path(name) / "notes"
        file.write_bytes(cut_off_note())
        script = ("import ctypes, mmap, sys; f = open(sys.argv[1], 'rb');"
                  "m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ);"
                  "ctypes.CDLL(None).prctl(15, b'\\x1b[31mred\\x7f');"
                  "print('ready', flush=True); sys.stdin.read()")
        with running("python3", "-c", script, str(file), env=PLAIN) as pid:
            said = carrel("top", pid, status=1).stderr
            require("does not run on carrel" in said, said)
            require("( [31mred )" in said and "\x1b" not in said, repr(said))


def cut_off_note() -> bytes:
    """An ELF file whose one note is carrel's, and ends a byte too late."""
    note = struct.pack("<III8sq", 7, 8, 1, b"carrel\0", 0)
    start = 64 + 2 * 56
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, 0, 0, 64,
                         56, 2, 0, 0, 0)
    size = start + len(note)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, size, size, 4096)
    notes = struct.pack("<IIQQQQQQ", 4, 4, start, start, start, len(note) - 1, len(note) - 1, 4)
    return (header + load + notes + note).ljust(4096, b"\0")


def test_ends_meanwhile() -> None:
    """top ends with its process."""
    with tempfile.TemporaryDirectory(prefix="carrel-live-") as name:
        with running(str(PROGRAMS / "known_heap"), str(Path(name) / "known")) as pid:
            top = subprocess.Popen([CARREL, "top", "--interval", "0.1", pid], env=PLAIN, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert top.stdout is not None
            require(top.stdout.readline().startswith(f"process {pid}"), "a first table")
        _, said = top.communicate(timeout=100)
        require(top.returncode == 0 and f"process {pid} has ended" in said, said)


def test_another_user() -> None:
    """Of nobody, who may not read root's memory."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        sys.exit(77)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*nobody, CARREL, "--version"], capture_output=True).returncode != 0:
        sys.exit(77)  # it cannot even be read
    with running(str(PROGRAMS / "known_heap"), "/dev/null") as pid:
        done = subprocess.run([*nobody, CARREL, "top", "--once", pid], capture_output=True,
                              text=True, env=PLAIN)
        require(done.returncode == 1 and "run this as root" in done.stderr, done)


def test_stop_time(mib: str = "64") -> None:
    """Prints how long a process of so many MiB in small blocks stands still, and what a copy
    without a stop takes. It judges neither: a busy machine may stop anybody at any time."""
    with running(str(PROGRAMS / "known_heap"), "fill", mib) as pid:
        for words in (["--stop"], ["--stop"], ["--stop"], []):
            document = json.loads(carrel("snapshot", *words, "--json", pid).stdout)
            origin, heap = document["provenance"], document["totals"]["heap_bytes"] / (1 << 30)
            print(f"{heap:.2f} GiB of heap, {document['totals']['live_blocks']} live blocks: "
                  f"{origin['copied_bytes'] / (1 << 20):.1f} MiB of records copied in "
                  f"{origin['copy_ms']:.2f} ms, " + (
                      f"stopped for {origin['stopped_ms']:.2f} ms, "
                      f"{origin['stopped_ms'] / heap:.2f} ms per GiB" if words else "not stopped"))
            require(not words or origin["stopped_ms"] >= origin["copy_ms"], origin)
            live = (int(mib) << 20) // 48 * 2 // 3
            require(abs(document["totals"]["live_blocks"] - live) < 1000, document["totals"])


def main() -> int:
    global CARREL, PROGRAMS, LIBRARY
    CARREL, PROGRAMS, LIBRARY = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    globals()[f"test_{sys.argv[4]}"](*sys.argv[5:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
