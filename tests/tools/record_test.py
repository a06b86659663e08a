#!/usr/bin/env python3
"""record_test: carrel run, doctor, record, trace and replay on real processes.

Each test is a function test_*; the arguments are the carrel program, the program `counted`, and
the test's name. What is asserted is exact where the program's doings are known, and never a time.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

CARREL = ""
COUNTED = ""
# A program that defines malloc for all of its process.
OWN = """#include <stddef.h>
static char heap[1 << 20]; static size_t used;
void* malloc(size_t n) { used += n + 15 & -16; return heap + used - n; }
void free(void* p) { (void)p; }
int main(void) { return 0; }
"""
# What decides alone which allocator a program gets; the tests set it themselves.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}


def carrel(*words: str, status: int | None = 0, timeout: int = 100) -> subprocess.CompletedProcess:
    done = subprocess.run([CARREL, *words], capture_output=True, text=True, timeout=timeout,
                          check=False, env=ENVIRONMENT)
    if status is not None and done.returncode != status:
        sys.exit(f"carrel {' '.join(words)}: status {done.returncode}, wanted {status}\n"
                 f"{done.stdout}{done.stderr}")
    return done


def require(condition: bool, what: object) -> None:
    if not condition:
        sys.exit(f"failed: {what}")


def info(trace: Path) -> dict:
    return json.loads(carrel("trace", "info", "--json", str(trace)).stdout)


def sizes(trace: Path) -> Counter:
    """(operation, size) to how often, of beginnings."""
    found: Counter = Counter()
    for line in carrel("trace", "info", "--events", str(trace)).stdout.splitlines():
        match = re.match(r"\S+ \d+ ([a-z ]+?) object=\d+ size=(\d+)", line)
        if match:
            found[match.group(1), int(match.group(2))] += 1
    return found


def check_counts(trace: Path, threads: int, rounds: int) -> None:
    found = sizes(trace)
    count = threads * rounds
    for operation, size in (("malloc", 100003), ("free", 100003), ("calloc", 7063), ("free", 7063),
                            ("malloc", 333), ("realloc begin", 333), ("realloc end", 33331),
                            ("free", 33331), ("new", 4441), ("delete sized", 4441),
                            ("aligned", 5557), ("free", 5557)):
        require(found[operation, size] == count,
                f"{operation} of {size}: {found[operation, size]}, not {count}")
    facts = info(trace)
    require(facts["threads"] == threads + 1, facts["threads"])
    require(facts["ops"]["thread create"] == threads, facts["ops"])
    require(facts["ops"]["thread exit"] == threads, facts["ops"])
    require(facts["ops"]["thread join"] == threads, facts["ops"])
    require(facts["crossing_objects"] >= count, facts["crossing_objects"])
    require(facts["notes"]["lost_ends"] == 0, facts["notes"])
    require(facts["notes"]["damaged_chunks"] == 0, facts["notes"])


def test_exact_counts(folder: Path) -> None:
    trace = folder / "t.crl"
    # The program's own exit status comes through.
    carrel("record", "-o", str(trace), "--", COUNTED, "4", "500", status=17)
    check_counts(trace, 4, 500)
    facts = info(trace)
    require(facts["complete"] and not facts["truncated"], facts)
    require(facts["exit_code"] == 17, facts["exit_code"])
    require(facts["allocator"]["name"] == "glibc", facts["allocator"])


def test_other_allocator(folder: Path) -> None:
    trace = folder / "t.crl"
    carrel("record", "--alloc", "carrel", "-o", str(trace), "--", COUNTED, "2", "100", status=17)
    check_counts(trace, 2, 100)
    require(info(trace)["allocator"]["name"] == "carrel", info(trace)["allocator"])


def test_killed_program(folder: Path) -> None:
    """kill -9 of the program loses nothing that it had done."""
    trace = folder / "t.crl"
    with subprocess.Popen([CARREL, "record", "-o", str(trace), "--", COUNTED, "3", "300", "hang"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as run:
        assert run.stdout is not None
        run.stdout.readline()  # its work is done
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text(encoding="ascii")
        os.kill(int(children.split()[0]), signal.SIGKILL)
        run.wait(100)
    check_counts(trace, 3, 300)
    require(info(trace)["exit_signal"] == signal.SIGKILL, info(trace)["exit_signal"])


def test_killed_recorder(folder: Path) -> None:
    """kill -9 of the recorder leaves a trace that can be read, and says that it was cut."""
    trace = folder / "t.crl"
    with subprocess.Popen([CARREL, "record", "-o", str(trace), "--", COUNTED, "2", "1000", "hang"],
                          stdout=subprocess.PIPE, env=ENVIRONMENT) as run:
        assert run.stdout is not None
        run.stdout.readline()
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text(encoding="ascii")
        time.sleep(3)  # chunks are written twice a second
        run.kill()
        run.wait(100)
        os.kill(int(children.split()[0]), signal.SIGKILL)
    facts = info(trace)
    require(not facts["complete"] and facts["truncated"], facts)
    require(facts["events"] > 0, facts)


def test_cut_file(folder: Path) -> None:
    trace = folder / "t.crl"
    carrel("record", "-o", str(trace), "--", COUNTED, "2", "500", status=17)
    whole = trace.read_bytes()
    trace.write_bytes(whole[: len(whole) * 2 // 3])
    facts = info(trace)
    require(facts["truncated"] and not facts["complete"], facts)
    trace.write_bytes(b"no trace at all, just words")
    require("is no trace" in carrel("trace", "info", str(trace), status=1).stderr, "wrong file")


def test_disk_limit(folder: Path) -> None:
    trace = folder / "t.crl"
    said = carrel("record", "--max-disk", "1", "-o", str(trace), "--", COUNTED, "2", "1000",
                  status=17)
    require("--max-disk" in said.stderr, said.stderr)
    require(info(trace)["truncated"], info(trace))
    # The limit holds for what is written, the little apart that closes the file.
    carrel("record", "-o", str(trace), "--", COUNTED, "32", "1000", status=17)
    whole = trace.stat().st_size
    carrel("record", "--max-disk", str(whole // 2), "-o", str(trace), "--", COUNTED, "32", "1000",
           status=17)
    closing = 16384
    require(whole > 4 * closing, whole)
    require(info(trace)["truncated"] and trace.stat().st_size < whole // 2 + closing, info(trace))


# write() fails for traces once they have so many bytes: a disk that fills up.
FULL = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
ssize_t write(int fd, const void* data, size_t size) {
  static ssize_t (*next)(int, const void*, size_t);
  static long written;
  if (!next) next = (ssize_t(*)(int, const void*, size_t))dlsym(RTLD_NEXT, "write");
  char link[64], path[512];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length > 4 && memcmp(path + length - 4, ".crl", 4) == 0) {
    if (written + (long)size > atol(getenv("FULL_AT"))) { errno = ENOSPC; return -1; }
    written += (long)size;
  }
  return next(fd, data, size);
}
"""


def test_full_disk(folder: Path) -> None:
    """A trace that cannot be written on ends the recording, not the program, nor hangs either."""
    said = carrel("record", "-o", "/nowhere/t.crl", "--", COUNTED, "1", "10", status=1)
    require("choose another file" in said.stderr and said.stdout == "", said)
    for follow in ([], ["--follow-fork"]):
        said = carrel("record", *follow, "-o", "/dev/full", "--", COUNTED, "1", "10", status=1)
        require("No space left" in said.stderr, said.stderr)
    source, library = folder / "full.c", folder / "full.so"
    source.write_text(FULL, encoding="ascii")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    trace = folder / "t.crl"
    ENVIRONMENT["LD_PRELOAD"] = str(library)
    for room in (3000, 9000):
        ENVIRONMENT["FULL_AT"] = str(room)
        said = carrel("record", "--follow-fork", "-o", str(trace), "--", "sh", "-c",
                      f"{COUNTED} 2 1000; exit 5", status=5)
        require("No space left" in said.stderr and "the program goes on" in said.stderr,
                said.stderr)
        require("is truncated" in said.stderr, said.stderr)
    del ENVIRONMENT["LD_PRELOAD"]
    traces = [info(one) for one in folder.glob("*.crl")]
    require(any(facts["truncated"] and not facts["complete"] for facts in traces), traces)
    profile = folder / "profile"
    said = carrel("profile", "--once", "-o", str(profile), "--max-disk", "1", "--", COUNTED, "2",
                  "1000")
    note = json.loads((profile / "profile.json").read_text())["provenance"]["trace"]["note"]
    require("--max-disk" in note, note)


def test_full_temporary_folder(folder: Path) -> None:
    """What cannot be written beside the trace is an error of one line, not a signal."""
    trace, small = folder / "t.crl", folder / "small"
    carrel("record", "-o", str(trace), "--", COUNTED, "2", "1000", status=17)
    small.mkdir()
    # A file system of its own, in a name space of its own; where that is not allowed, the sentence
    # for it cannot be seen.
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=16k none {small}"
    if subprocess.run([*alone, mount], capture_output=True, check=False).returncode != 0:
        print("skipped: no file system may be mounted here")
        return
    for words in (f"replay --runs 1 {trace}", f"profile -o {folder}/p -- {COUNTED} 1 10"):
        done = subprocess.run([*alone, f"{mount} && head -c 20000 /dev/zero > {small}/filled; "
                               f"TMPDIR={small} exec {CARREL} {words}"], capture_output=True,
                              text=True, check=False, env=ENVIRONMENT, timeout=100)
        require("set TMPDIR to" in done.stderr, done)
        require(done.returncode in (0, 1), done)


def test_interrupted_program(folder: Path) -> None:
    """Ctrl-C that ends the recorded program does not cut the analysis short."""
    with subprocess.Popen([CARREL, "profile", "--once", "-o", str(folder), "--", COUNTED, "8",
                           "1000", "hang"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=ENVIRONMENT) as run:
        assert run.stdout is not None
        run.stdout.readline()
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=100)
        require(run.returncode == 0, run.returncode)
    document = json.loads((folder / "profile.json").read_text())
    require(document["provenance"]["trace"]["events"] > 65536, document["provenance"])
    require(document["provenance"]["trace"]["complete"], document["provenance"])
    require("signal 2" in document["program"]["failed"], document["program"])


def test_messages(folder: Path) -> None:
    """Mistakes on the command line: one line, exit status 2."""
    trace = folder / "t.crl"
    carrel("record", "-o", str(trace), "--", COUNTED, "1", "10", status=17)
    for words, part in ((["reply"], "there is no command 'reply'"),
                        (["doctor", "99999999999999999999"], "no process's number"),
                        (["record", "--max-disk", "much", "--", "true"], "is no size"),
                        (["advise", "--goal", "tail", str(trace)], "--goal tail needs real runs"),
                        (["trace", "trim", str(trace), "-o", "x", "--from", "-1"], "--from"),
                        (["replay", "--touch", "all", str(trace)], "not in {none,page,full}"),
                        (["record", "--nosuch", "--", "true"], "not expected: --nosuch;"),
                        (["export", str(trace), "--pprof", "--measure", "bytes"], "--folded")):
        said = carrel(*words, status=2)
        require(part in said.stderr and said.stderr.count("\n") == 1, said.stderr)
    with open("/dev/full", "w", encoding="ascii") as full:
        for words in (["trace", "info", str(trace)], ["--help"], ["trace", "info", "--help"]):
            done = subprocess.run([CARREL, *words], stdout=full, stderr=subprocess.PIPE, text=True,
                                  check=False)
            require(done.returncode == 1 and "No space left" in done.stderr, done)


def test_fork_and_exec(folder: Path) -> None:
    trace = folder / "t.crl"
    said = carrel("record", "-o", str(trace), "--", "sh", "-c", f"{COUNTED} 1 50; true")
    require("not recorded (counted)" in said.stderr, said.stderr)
    carrel("record", "--follow-fork", "-o", str(trace), "--", "sh", "-c", f"{COUNTED} 1 50; true")
    others = list(folder.glob("t.*.crl"))
    counted = [one for one in others if ("malloc", 100003) in sizes(one)]
    require(len(counted) == 1, others)
    check_counts(counted[0], 1, 50)
    # A program that becomes another one: the trace is the other one's.
    carrel("record", "-o", str(trace), "--", "sh", "-c", f"exec {COUNTED} 1 50", status=17)
    check_counts(trace, 1, 50)
    # Followed, what it was before has a trace too, whose name is told; and a profile is about the
    # busier one of the two.
    said = carrel("record", "--follow-fork", "--json", "-o", str(trace), "--", COUNTED, "1", "50",
                  "exec", "true").stdout
    out = json.loads(said[said.index("\n") + 1:])  # the program's own line is the first
    files = {Path(process["file"]): process["events"] for process in out["processes"]}
    require(len(files) == 2 and all(file.is_file() for file in files), out)
    check_counts(max(files, key=lambda file: files[file]), 1, 50)
    profile = folder / "profile"
    carrel("profile", "--once", "-o", str(profile), "--", COUNTED, "1", "50", "exec", "true")
    check_counts(profile / "trace.crl", 1, 50)
    # A program whose own malloc comes first is named, not shown as one that hardly allocates. Of
    # this one calloc is seen, which it does not define.
    source, own = folder / "own.c", folder / "own"
    source.write_text("#include <stdlib.h>\n#include <unistd.h>\n" + OWN.replace(
        "return 0", "void* volatile block = calloc(1, 9); sleep(1); return block == 0"),
                      encoding="ascii")
    subprocess.run(["cc", "-rdynamic", "-fno-builtin", "-w", "-o", str(own), str(source)],
                   check=True)
    said = carrel("record", "--follow-fork", "-o", str(trace), "--", "sh", "-c", f"{own}; true")
    require("(own) exports malloc itself" in said.stderr, said.stderr)


def test_trim_and_anonymize(folder: Path) -> None:
    trace = folder / "t.crl"
    other = folder / "u.crl"
    carrel("record", "-o", str(trace), "--", COUNTED, "2", "200", status=17)
    carrel("trace", "anonymize", str(trace), "-o", str(other))
    require(sizes(other) == sizes(trace), "other sizes")
    words = carrel("trace", "info", str(other)).stdout
    require("counted" not in words, words)
    said = json.loads(carrel("trace", "anonymize", str(trace), "-o", str(other),
                             "--json").stdout)
    require(said == {"input": str(trace), "output": str(other), "events_made": 0,
                     "events_read": info(trace)["events"],
                     "events_written": info(other)["events"]}, said)
    carrel("trace", "trim", str(trace), "-o", str(other), "--to", "3600")
    require(sizes(other) == sizes(trace), "other sizes after trim")
    # Counts are those of the two files, whatever stretch it is.
    for stretch in (["--to", "3600"], ["--from", f"{info(trace)['peak_live_seconds']}"]):
        said = json.loads(carrel("trace", "trim", str(trace), "-o", str(other), "--json",
                                 *stretch).stdout)
        require(said["events_read"] == info(trace)["events"], said)
        require(said["events_written"] == info(other)["events"], said)
    require(said["events_made"] > 0, said)


def test_replay(folder: Path) -> None:
    trace = folder / "t.crl"
    carrel("record", "-o", str(trace), "--", COUNTED, "4", "500", status=17)
    out = json.loads(carrel("replay", str(trace), "--alloc", "glibc,carrel", "--runs", "2",
                            "--json").stdout)
    facts = info(trace)
    require(out["plan"]["allocations"] == facts["objects"], out["plan"])
    require(out["plan"]["threads"] == 5, out["plan"])
    live = [check for check in out["fidelity"]["checks"] if check["what"] == "peak live bytes"]
    require(len(live) == 1 and live[0]["recorded"] == facts["peak_live_bytes"], live)
    for one in out["replay"]["allocators"]:
        require("failed" not in one, one)
        require(len(one["runs"]["wall_s"]) == 2, one["runs"])
        # 2000 blocks of 100,003 bytes live at once, a byte of each page touched.
        require(one["metrics"]["peak_rss_bytes"]["median"] > 190e6, one["metrics"])
        require(one["refused"] == 0, one)
    broken = "inert=" + os.path.realpath("/lib/x86_64-linux-gnu/libm.so.6")
    if Path(broken.split("=")[1]).exists():
        out = json.loads(carrel("replay", str(trace), "--alloc", f"glibc,{broken}", "--runs", "1",
                                "--json").stdout)
        require("did not take" in out["replay"]["allocators"][1]["failed"], out["replay"])


def test_run(folder: Path) -> None:
    require(carrel("run", "--alloc", "carrel", "--", "sh", "-c", "exit 7", status=7) is not None,
            "run")
    out = folder / "run.json"
    said = carrel("run", "--json", str(out), "--", "sh", "-c", "echo mine; exit 3", status=3).stdout
    require(said == "mine\n", said)  # standard output is the program's alone
    facts = json.loads(out.read_text())
    require(facts["allocator"]["name"] == "carrel" and facts["served"], facts)
    require(facts["malloc"] == facts["allocator"]["path"], facts)
    require(facts["command"] == ["sh", "-c", "echo mine; exit 3"], facts)
    carrel("run", "--json", str(folder / "no" / "x"), "--", "true", status=1)
    said = carrel("run", "--alloc", "carrel", "--", "sh", "-c", "echo $LD_PRELOAD").stdout
    require(said.strip().endswith("libcarrel.so"), said)
    # Another program in the same process must take it too: one with a malloc of its own does not.
    source, own = folder / "own.c", folder / "own"
    source.write_text(OWN, encoding="ascii")
    subprocess.run(["cc", "-rdynamic", "-fno-builtin", "-w", "-o", str(own), str(source)],
                   check=True)
    said = carrel("run", "--", "sh", "-c", f"exec {own}", status=125)
    require("malloc comes from" in said.stderr and f"-- {own.resolve()} says why" in said.stderr,
            said.stderr)
    carrel("run", "--", "sh", "-c", f"{own}; exit 4", status=4)  # a child is its own affair
    require("no allocator 'nosuch'" in carrel("run", "--alloc", "nosuch", "--", "true",
                                              status=1).stderr, "unknown allocator")
    require("no program" in carrel("run", "--", "no-such-program", status=1).stderr, "program")


def test_inert_preload(folder: Path) -> None:
    """A library that is loaded and serves nothing is not taken for an allocator."""
    source = folder / "inert.c"
    library = folder / "libinert.so"
    source.write_text("int inert_library(void) { return 1; }\n", encoding="ascii")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    said = carrel("run", "--alloc", f"inert={library}", "--", "true", status=125)
    require("malloc comes from" in said.stderr, said.stderr)
    said = carrel("doctor", "--alloc", f"inert={library}", "--", "true", status=1)
    require("inert preload" in said.stdout, said.stdout)
    out = json.loads(carrel("compare", "--json", "--runs", "2", "--alloc",
                            f"glibc,carrel,inert={library}", "--", "true").stdout)
    glibc, taken, inert = out["allocators"]
    require("failed" not in glibc and "failed" not in taken, out)
    require("did not take: malloc comes from" in inert["failed"], inert)


def test_wrappers(folder: Path) -> None:
    """What a wrapper becomes is what was measured: when that takes nothing, it is said."""
    # Whether a process may be traced here is asked of the system as carrel asks it.
    asked = ("import ctypes, sys; kTraceMe = 0; "
             "sys.exit(0 if ctypes.CDLL(None).ptrace(kTraceMe, 0, None, None) == 0 else 1)")
    if subprocess.run([sys.executable, "-c", asked], check=False).returncode != 0:
        print("skipped: no process may be traced here, and then this is left out")
        return
    source, static = folder / "static.c", folder / "static"
    source.write_text("#include <stdlib.h>\nint main(void) { for (volatile long i = 0;"
                      " i < 40000000; ++i); free(malloc(9)); return 0; }\n", encoding="ascii")
    subprocess.run(["cc", "-static", "-o", str(static), str(source)], check=True)
    wrapper = folder / "wrapper"
    wrapper.write_text(f"#!/bin/sh\nexec {static}\n", encoding="ascii")
    wrapper.chmod(0o755)
    words = ["--alloc", "glibc,carrel", "--runs", "2"]
    for command in ([str(wrapper)], ["sh", "-c", f"{static}; exit 0"]):
        out = json.loads(carrel("compare", "--json", *words, "--", *command).stdout)
        glibc, other = out["allocators"]
        require("failed" not in glibc and "linked statically" in other["failed"], out)
    said = carrel("advise", "--alloc", "glibc,carrel", "--", str(wrapper), status=1).stderr
    require("no verdict: the work is done by" in said, said)
    # One that does take it is measured, through a shell that becomes it or waits for it.
    loop = "import sys; print(sum(len(str(i)) for i in range(200000)))"
    for command in (f"exec python3 -c '{loop}'", f"python3 -c '{loop}'; exit 0"):
        said = carrel("compare", "--json", *words, "--", "sh", "-c", command).stdout
        out = json.loads(said)
        require(all("failed" not in one for one in out["allocators"]), out)
    # It empties its environment before it becomes the program: nothing is preloaded there.
    command = f"exec env -i {sys.executable} -c '{loop}'"
    out = json.loads(carrel("compare", "--json", *words, "--", "sh", "-c", command).stdout)
    require("whose malloc comes from" in out["allocators"][1]["failed"], out)


def test_doctor(folder: Path) -> None:
    source = folder / "own.c"
    source.write_text(OWN, encoding="ascii")
    own = folder / "own"
    subprocess.run(["cc", "-rdynamic", "-fno-builtin", "-w", "-o", str(own), str(source)],
                   check=True)
    said = carrel("doctor", "--alloc", "carrel", "--", str(own), status=1).stdout
    require("exports malloc itself" in said, said)
    static = folder / "static"
    source.write_text("int main(void) { return 0; }\n", encoding="ascii")
    subprocess.run(["cc", "-static", "-o", str(static), str(source)], check=True)
    require("linked statically" in carrel("doctor", "--", str(static), status=1).stdout, "static")
    require("linked statically" in carrel("run", "--", str(static), status=1).stderr, "run static")
    answer = json.loads(carrel("doctor", "--json", "--alloc", "carrel", "--", "true").stdout)
    require(answer["served"] and answer["allocator"] == "carrel", answer)
    with subprocess.Popen(["sleep", "100"], env=ENVIRONMENT) as process:
        time.sleep(0.5)
        answer = json.loads(carrel("doctor", "--json", str(process.pid)).stdout)
        process.kill()
    require(answer["allocator"] == "glibc", answer)


def test_fixed_address(folder: Path) -> None:
    """An executable at a fixed address that takes malloc's address has a stub by that name, which
    does not serve malloc."""
    source, program = folder / "fixed.c", folder / "fixed"
    source.write_text("#include <stdlib.h>\nint main(void) {\n"
                      "void* (*volatile take)(size_t) = malloc; free(take(10)); return 9; }\n",
                      encoding="ascii")
    subprocess.run(["cc", "-no-pie", "-fno-pie", "-o", str(program), str(source)], check=True)
    carrel("run", "--alloc", "carrel", "--", str(program), status=9)
    answer = json.loads(carrel("doctor", "--json", "--alloc", "carrel", "--", str(program)).stdout)
    require(answer["served"] and answer["allocator"] == "carrel", answer)
    require(Path(answer["bindings"]["malloc"]).name.startswith("libcarrel.so"), answer)


def main() -> int:
    global CARREL, COUNTED
    CARREL, COUNTED, name = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as folder:
        globals()["test_" + name](Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
