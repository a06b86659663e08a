#!/usr/bin/env python3
"""hook_test: programs with the recording hook linked in are recorded, static ones too.

Each test is a function test_*; the arguments are the carrel program, the static program `counted`
with the hook inside, the hook's archive, and the test's name. Rust programs: tests/rust/hook.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import record_test as base

STATIC = ""
ARCHIVE = Path()
SOURCE = Path(__file__).parent / "programs" / "counted.cc"
# Allocates nothing by itself: what its 100 strings take comes through strdup, out of the libc.
STRINGS = """#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
  char text[1013]; memset(text, 'x', sizeof(text)); text[1012] = 0;
  for (int i = 0; i < 100; ++i) free(strdup(text));
  return 9;
}
"""


def flags(language: str) -> list[str]:
    """What the pkg-config file of that name says, with the archive of this build."""
    name = "carrel-hook-c++.pc" if language == "c++" else "carrel-hook.pc"
    made = ARCHIVE.parent.parent / "tools/carrel/hook" / name
    line = next(line for line in made.read_text(encoding="utf-8").splitlines()
                if line.startswith("Libs:"))
    return line.removeprefix("Libs:").replace("${libdir}", str(ARCHIVE.parent)).split()


def note_is_in(program: Path) -> bool:
    notes = subprocess.run(["readelf", "-nW", str(program)], capture_output=True, text=True,
                           check=True).stdout
    return ".note.carrel.hook" in notes


def test_static_counts(folder: Path) -> None:
    """To the last event, as of the preloaded hook; without a recorder it is an ordinary program."""
    alone = subprocess.run([STATIC, "2", "50"], capture_output=True, text=True, check=False)
    base.require(alone.returncode == 17 and not alone.stderr, alone)
    trace = folder / "t.crl"
    base.carrel("record", "-o", str(trace), "--", STATIC, "4", "500", status=17)
    base.check_counts(trace, 4, 500)
    facts = base.info(trace)
    base.require(facts["complete"] and facts["exit_code"] == 17, facts)
    base.require(facts["allocator"]["name"] == "libc (linked in)", facts["allocator"])
    # strip leaves the note; whose malloc it is cannot be told then.
    stripped = folder / "stripped"
    subprocess.run(["strip", "-o", str(stripped), STATIC], check=True)
    base.carrel("record", "-o", str(trace), "--", str(stripped), "1", "100", status=17)
    base.check_counts(trace, 1, 100)
    base.require(base.info(trace)["allocator"]["name"] == "unknown (linked in)", base.info(trace))
    # Through a shell that becomes the program, and as one child of several.
    base.carrel("record", "-o", str(trace), "--", "sh", "-c", f"exec {STATIC} 2 100", status=17)
    base.check_counts(trace, 2, 100)
    base.carrel("record", "--follow-fork", "-o", str(trace), "--", "sh", "-c", f"{STATIC} 1 50; :")
    others = [path for path in folder.glob("t.*.crl") if "exec" not in path.name]
    base.require(len(others) == 1, others)
    base.check_counts(others[0], 1, 50)
    # Another allocator cannot take its place, and that is said.
    refused = base.carrel("record", "--alloc", "carrel", "--", STATIC, status=1).stderr
    base.require("only on the allocator that it has" in refused, refused)
    said = json.loads(base.carrel("doctor", "--json", "--", STATIC, status=1).stdout)
    base.require(said["carries_hook"] and "linked statically" in said["why"], said)
    # One without the hook is told of it.
    plain = folder / "plain"
    subprocess.run(["cc", "-static", "-x", "c", "-o", str(plain), "-"], input=STRINGS, text=True,
                   check=True)
    for command in ("record", "profile", "advise"):
        refused = base.carrel(command, "-o", str(folder / "no"), "--", str(plain), status=1).stderr
        base.require("carrel-hook" in refused, refused)
    said = json.loads(base.carrel("doctor", "--json", "--", str(plain), status=1).stdout)
    base.require("carrel-hook" in said["advice"] and not said["carries_hook"], said)


def test_static_profile(folder: Path) -> None:
    """Call sites by name, and no share of CPU time, which is said."""
    out = folder / "profile"
    said = base.carrel("profile", "-o", str(out), "--stack-interval", "0", "--", STATIC, "2", "100")
    base.require("without a share of CPU time" in said.stderr, said.stderr)
    folded = base.carrel("export", str(out), "--folded").stdout
    base.require("work" in folded and "main" in folded, folded[:2000])
    document = json.loads((out / "profile.json").read_text(encoding="utf-8"))
    base.require("cpu" not in document, document.keys())
    page = folder / "page.html"
    said = json.loads(base.carrel("report", "--json", str(out), "-o", str(page)).stdout)
    base.require(said == {"input": str(out), "output": str(page), "bytes": page.stat().st_size},
                 said)


def test_static_advice(folder: Path) -> None:
    """Replays on others are shown; of the allocator inside nothing is made up."""
    out = json.loads(base.carrel("advise", "--json", "--alloc", "glibc,carrel", "--", STATIC, "2",
                                 "1000", status=20).stdout)
    base.require("neither replayed nor exchanged" in out["verdict"]["headline"], out["verdict"])
    base.require("cpu" not in out and "comparison" not in out, out.keys())
    base.require(not out["fidelity"]["within"], out["fidelity"])
    base.require([one["name"] for one in out["replay"]["allocators"]] == ["glibc", "carrel"], out)
    trace = folder / "t.crl"
    base.carrel("record", "-o", str(trace), "--", STATIC, "1", "500", status=17)
    said = base.carrel("advise", "--alloc", "glibc,carrel", str(trace), status=20).stdout
    base.require("neither replayed nor exchanged" in said, said)


def test_linked_and_preloaded(folder: Path) -> None:
    """A dynamic program with the hook inside: the preloaded one leaves it the work."""
    program, trace = folder / "both", folder / "t.crl"
    subprocess.run(["c++", "-std=c++20", "-fno-builtin", "-o", str(program), str(SOURCE),
                    *flags("c++")], check=True)
    base.require(note_is_in(program), "no note")
    for name in ("glibc", "carrel"):
        base.carrel("record", "--alloc", name, "-o", str(trace), "--", str(program), "3", "100",
                    status=17)
        base.check_counts(trace, 3, 100)
        base.require(base.info(trace)["allocator"]["name"] == name, base.info(trace)["allocator"])


def test_other_libc(folder: Path) -> None:
    """A C program without a C++ runtime, on glibc and on musl."""
    source, trace = folder / "strings.c", folder / "t.crl"
    source.write_text(STRINGS, encoding="ascii")
    for compiler in ("gcc", "musl-gcc"):
        base.require(shutil.which(compiler) is not None, f"no {compiler}; run ./dev setup")
        program = folder / compiler
        subprocess.run([compiler, "-static", "-o", str(program), str(source), *flags("c")],
                       check=True)
        base.carrel("record", "-o", str(trace), "--", str(program), status=9)
        found = base.sizes(trace)
        base.require(found["malloc", 1013] == 100 and found["free", 1013] == 100, found)


def main() -> int:
    global STATIC, ARCHIVE
    base.CARREL, STATIC, archive, name = sys.argv[1:5]
    ARCHIVE = Path(archive).resolve()
    with tempfile.TemporaryDirectory() as folder:
        globals()["test_" + name](Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
