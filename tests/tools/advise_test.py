"""carrel profile, compare and advise from end to end, on small programs whose numbers are known and
on a few real ones. Allocators that must win or lose do so by a factor, so that a busy machine
changes nothing; that carrel can lose is tested with a slow allocator that bears its name.

    python3 advise_test.py --carrel build/release/bin/carrel
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

carrel: str
KEEP, SWITCH, INCONCLUSIVE = 0, 10, 20

# 10,000 blocks of 100 bytes, nine of ten freed; then a thread frees some of main's.
COUNTED = r"""
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
void* blocks[10000];
__attribute__((noinline)) void* make_block(void) {
  void* block = malloc(100);
  memset(block, 1, 100);
  return block;
}
void* release(void* unused) {
  for (int i = 1; i < 10000; i += 10) free(blocks[i]);
  return unused;
}
int main(void) {
  for (int i = 0; i < 10000; ++i) blocks[i] = make_block();
  for (int i = 2; i < 10000; ++i)
    if (i % 10 > 1) free(blocks[i]);
  pthread_t thread;
  pthread_create(&thread, 0, release, 0);
  pthread_join(thread, 0);
  return 0;
}
"""

# Allocates and little else: argument 1 is the number of rounds.
BUSY = r"""
#include <stdlib.h>
int main(int argc, char** argv) {
  void* volatile kept[64] = {0};
  long rounds = argc > 1 ? atol(argv[1]) : 1000000;
  for (long i = 0; i < rounds; ++i) {
    free(kept[i % 64]);
    kept[i % 64] = malloc(16 + i % 500);
  }
  return 0;
}
"""

# Four threads that allocate at once.
CROWDED = r"""
#include <pthread.h>
#include <stdlib.h>
void* work(void* unused) {
  void* volatile kept[64] = {0};
  for (long i = 0; i < 20000; ++i) {
    free(kept[i % 64]);
    kept[i % 64] = malloc(100);
  }
  return unused;
}
int main(void) {
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i) pthread_create(&threads[i], 0, work, 0);
  for (int i = 0; i < 4; ++i) pthread_join(threads[i], 0);
  return 0;
}
"""

# Computes and does not allocate.
IDLE = r"""
int main(void) {
  volatile double x = 1;
  for (long i = 0; i < 150000000; ++i) x = x * 1.0000001;
  return 0;
}
"""

# glibc's allocator made slow: what a bad allocator looks like.
SLOW = r"""
#include <stddef.h>
void* __libc_malloc(size_t); void __libc_free(void*);
void* __libc_calloc(size_t, size_t); void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
static void dawdle(void) { for (volatile int i = 0; i < 400; ++i) {} }
void* malloc(size_t n) { dawdle(); return __libc_malloc(n); }
void free(void* p) { dawdle(); __libc_free(p); }
void* calloc(size_t a, size_t b) { dawdle(); return __libc_calloc(a, b); }
void* realloc(void* p, size_t n) { dawdle(); return __libc_realloc(p, n); }
void* memalign(size_t a, size_t n) { return __libc_memalign(a, n); }
void* aligned_alloc(size_t a, size_t n) { return __libc_memalign(a, n); }
int posix_memalign(void** out, size_t a, size_t n) {
  *out = __libc_memalign(a, n);
  return *out ? 0 : 12;
}
"""

# One lock for all, whose holder sleeps at times.
LOCKED = "#include <pthread.h>\n#include <unistd.h>\n" + SLOW.replace(
    "static void dawdle(void) { for (volatile int i = 0; i < 400; ++i) {} }",
    """static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long calls;
static void dawdle(void) {
  pthread_mutex_lock(&lock);
  if (++calls % 32 == 0) usleep(100);
  pthread_mutex_unlock(&lock);
}""")


def run(*arguments: str, expected: tuple[int, ...] = (0,), **options: Any) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    result = subprocess.run([carrel, *arguments], capture_output=True, text=True, check=False,
                            env=environment, **options)
    if result.returncode not in expected:
        raise AssertionError(f"{arguments} exited with {result.returncode}, not {expected}:\n"
                             f"{result.stdout}\n{result.stderr}")
    return result.stdout if 0 in expected or SWITCH in expected else result.stderr


class Tools(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix="carrel-advise-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        for name, source in (("counted", COUNTED), ("busy", BUSY), ("idle", IDLE),
                             ("crowded", CROWDED)):
            cls.compile(name, source, "-O1", "-g", "-pthread")
        (cls.folder / "slow").mkdir()
        cls.slow = cls.compile("slow/libcarrel.so", SLOW, "-O1", "-shared", "-fPIC",
                               "-fno-builtin")
        cls.locked = cls.compile("slow/liblocked.so", LOCKED, "-O1", "-shared", "-fPIC",
                                 "-fno-builtin", "-pthread")

    @classmethod
    def compile(cls, name: str, source: str, *flags: str) -> str:
        out = cls.folder / name
        subprocess.run(["cc", "-x", "c", "-", *flags, "-o", str(out)], input=source, text=True,
                       check=True)
        return str(out)

    def program(self, name: str) -> str:
        return str(self.folder / name)

    def profile(self, *command: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
        folder = self.folder / "profile"
        run("profile", "--stack-interval", "0", *options, "-o", str(folder), "--", *command)
        document = json.loads((folder / "profile.json").read_text())
        shutil.rmtree(folder)
        return document

    def test_a_profile_counts_what_the_program_did(self) -> None:
        document = self.profile(self.program("counted"))
        totals = document["totals"]
        self.assertTrue(10000 <= totals["allocations"] <= 10040, totals)
        self.assertTrue(9000 <= totals["frees"] <= 9040, totals)
        self.assertTrue(1000 <= totals["leaked_blocks"] <= 1040, totals)
        self.assertEqual(totals["cross_thread_frees"] // 100, 10, totals)
        self.assertTrue(1_000_000 <= totals["peak_live_bytes"] <= 1_200_000, totals)
        self.assertEqual(totals["unknown_frees"], 0)
        index = next(i for i, bound in enumerate(document["sizes"]["upper_bytes"]) if bound == 128)
        self.assertGreaterEqual(document["sizes"]["allocations"][index], 10000)
        self.assertEqual(document["program"]["exit"], "exited with status 0")
        self.assertTrue(document["provenance"]["trace"]["complete"])
        self.assertGreaterEqual(document["totals"]["peak_rss_bytes"], 1_000_000)

    def test_call_sites_have_names_and_lines(self) -> None:
        section = self.profile(self.program("counted"))["stacks"]
        frames = section["frames"]
        stack = max(section["stacks"], key=lambda s: s["allocations"])
        names = [frames[i]["function"] for i in stack["frames"]]
        self.assertEqual(names[-2:], ["main", "make_block"])
        self.assertEqual(stack["allocations"], 10000)
        self.assertEqual(stack["bytes"], 1_000_000)
        self.assertEqual(stack["leaked_bytes"], 100_000)
        self.assertEqual(stack["peak_bytes"], 1_000_000)
        self.assertGreater(frames[stack["frames"][-1]]["line"], 1)

    def test_the_ceiling_tells_an_allocating_program_from_another(self) -> None:
        busy = self.profile(self.program("busy"), "5000000")["cpu"]
        self.assertGreater(busy["in_allocator"]["median"], 0.3)
        self.assertGreater(busy["calls"], 5_000_000)
        idle = self.profile(self.program("idle"))["cpu"]
        self.assertLess(idle["in_allocator"]["high"], 0.1)
        self.assertEqual(idle["processes"], 1)
        self.assertEqual((busy["watched_calls"], idle["watched_calls"]), (0, 0))

    def test_threads_that_wait_for_each_other_in_the_allocator_are_seen(self) -> None:
        crowded = self.program("crowded")
        locked = self.profile(crowded, options=("--alloc", f"locked={self.locked}"))["cpu"]
        slow = self.profile(crowded, options=("--alloc", f"slow={self.slow}"))["cpu"]
        self.assertGreater(min(locked["watched_calls"], slow["watched_calls"]), 200)
        self.assertGreater(locked["sleeping_calls"], 0.01)
        self.assertGreater(locked["sleeping_time"], 0.2)
        self.assertLess(slow["sleeping_calls"], locked["sleeping_calls"] / 3)

    def test_nothing_to_win_is_keep(self) -> None:
        out = run("advise", "--alloc", f"glibc,carrel={self.slow}", "--min-gain", "5%", "--json",
                  "--", self.program("idle"), expected=(KEEP,))
        document = json.loads(out)
        self.assertEqual(document["verdict"]["action"], "keep")
        self.assertIn("most that a free allocator could save",
                      [e["label"] for e in document["verdict"]["evidence"]])
        self.assertNotIn("comparison", document)

    def test_carrel_is_advised_against_when_it_loses(self) -> None:
        """A slow allocator under carrel's name, in use: the advice is to leave it."""
        kept = self.folder / "advice"
        out = run("advise", "--alloc", f"carrel={self.slow},glibc", "--runs", "5", "-o", str(kept),
                  "--json", "--", self.program("busy"), "300000", expected=(SWITCH,))
        verdict = json.loads(out)["verdict"]
        self.assertEqual((verdict["current"], verdict["allocator"]), ("carrel", "glibc"))
        self.assertEqual(verdict["exit_code"], SWITCH)
        # The same numbers, asked again with a gain that nobody reaches.
        again = run("advise", "--from", str(kept), "--min-gain", "99.9%", expected=(KEEP,))
        self.assertIn("Keep carrel", again)
        page = self.folder / "report.html"
        run("report", str(kept), "-o", str(page))
        self.assertIn(verdict["headline"], page.read_text())

    def test_carrel_is_not_recommended_when_it_would_lose(self) -> None:
        out = run("advise", "--alloc", f"glibc,carrel={self.slow}", "--runs", "5", "--json", "--",
                  self.program("busy"), "300000", expected=(KEEP, INCONCLUSIVE))
        self.assertEqual(json.loads(out)["verdict"]["allocator"], "glibc")

    def test_a_trace_is_replayed_on_what_it_was_recorded_on(self) -> None:
        trace = self.folder / "slow.crl"
        run("record", "-o", str(trace), "--alloc", f"carrel={self.slow}", "--",
            self.program("busy"), "50000")
        kept = self.folder / "traced"
        document = json.loads(run("advise", "--json", "-o", str(kept), str(trace),
                                  expected=(KEEP, SWITCH, INCONCLUSIVE)))
        baseline, *others = document["replay"]["allocators"]
        self.assertEqual((baseline["name"], baseline["path"]), ("carrel", self.slow))
        self.assertEqual(document["verdict"]["current"], "carrel")
        self.assertNotIn("carrel", [one["name"] for one in others])
        system = next(one for one in others if one["name"] == "glibc")
        self.assertLess(system["ratios"]["wall_s"]["high"], 0.9)

    def test_an_allocator_that_the_program_brings_along_is_the_baseline(self) -> None:
        linked = self.folder / "linked"
        subprocess.run(["cc", "-x", "c", "-", "-x", "none", self.slow, "-O1", "-o", str(linked)],
                       input=BUSY, text=True, check=True)
        document = json.loads(run("advise", "--json", "--runs", "2", "--alloc", "glibc,jemalloc",
                                  "--", str(linked), "100000",
                                  expected=(KEEP, SWITCH, INCONCLUSIVE)))
        self.assertEqual(document["verdict"]["current"], "carrel")
        for section in ("replay", "comparison"):
            baseline, other = document[section]["allocators"]
            self.assertEqual((baseline["name"], baseline["path"]), ("carrel", self.slow), section)
            self.assertLess(other["ratios"]["wall_s"]["high"], 0.9, section)

    def test_what_was_gathered_survives_an_allocator_that_fails(self) -> None:
        """The document is there before the real runs begin."""
        once = self.write("once.sh", f"{self.program('busy')} 300000\n"
                          'test -n "$CARREL_GAUGE$CARREL_HOOK" || kill -SEGV $$\n')
        kept = self.folder / "kept"
        run("advise", "--alloc", "glibc,jemalloc", "--runs", "2", "-o", str(kept), "--", "/bin/sh",
            str(once), expected=(1,))
        self.assertIn("replay", json.loads((kept / "profile.json").read_text()))

    def test_a_failing_program_is_a_doubt(self) -> None:
        document = json.loads(run("advise", "--json", "--min-gain", "90%", "--", "/bin/sh", "-c",
                                  f"{self.program('idle')}; exit 3", expected=(KEEP,)))
        self.assertIn("status 3", document["verdict"]["doubts"][0])

    def test_compare_puts_the_slow_one_behind(self) -> None:
        out = run("compare", "--alloc", f"glibc,slow={self.slow}", "--runs", "3", "--json", "--",
                  self.program("busy"), "300000")
        slow = json.loads(out)["allocators"][1]
        self.assertGreater(slow["ratios"]["cpu_s"]["low"], 1.3)
        self.assertEqual(len(slow["runs"]["cpu_s"]), 3)

    def test_peak_memory_is_the_programs_own(self) -> None:
        out = run("compare", "--alloc", "glibc", "--runs", "2", "--json", "--", "/bin/true")
        peak = json.loads(out)["allocators"][0]["metrics"]["peak_rss_bytes"]["median"]
        self.assertLess(peak, 4 << 20)

    def test_a_metric_of_the_programs_own_is_compared(self) -> None:
        out = run("compare", "--alloc", "glibc", "--runs", "2", "--metric-cmd", "echo 42", "--json",
                  "--", "/bin/true")
        self.assertEqual(json.loads(out)["allocators"][0]["runs"]["metric"], [42, 42])

    def test_real_programs_are_profiled(self) -> None:
        rows = "with recursive n(i) as (select 1 union all select i+1 from n where i < 50000) "
        for command in (
                [shutil.which("sqlite3") or "sqlite3", ":memory:", rows +
                 "select count(distinct hex(i)) from n"],
                ["/usr/bin/python3.11", "-c", "print(len({str(i): [i] for i in range(100000)}))"],
                ["g++", "-x", "c++", "-c", "-o", "/dev/null",
                 str(self.write("a.cc", "#include <map>\nint f() { return 1; }\n"))]):
            with self.subTest(command[0]):
                document = self.profile(*command)
                self.assertGreater(document["totals"]["allocations"], 1000)
                self.assertGreater(document["totals"]["peak_rss_bytes"],
                                   document["totals"]["peak_live_bytes"] // 2)
                self.assertGreater(len(document["stacks"]["stacks"]), 10)
                named = [f for f in document["stacks"]["frames"] if "+0x" not in f["function"]]
                self.assertGreater(len(named), 3)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def test_mistakes_get_one_line_that_says_what_to_do(self) -> None:
        for status, arguments, words in (
                (2, ["advise"], "give the program after --"),
                (2, ["advise", "--min-gain", "lots", "--", "/bin/true"], "give a percentage"),
                (1, ["advise", "--", "/nowhere/program"], "check the path"),
                (1, ["profile", "-o", "/proc/nowhere", "--", "/bin/true"], "choose another folder"),
                (2, ["profile", "-o", "", "--", "/bin/true"], "-o needs the name of a folder"),
                (2, ["profile", "--no-such-option"], "--help after the command shows how"),
                (1, ["compare", "--alloc", "glibc,nosuch", "--", "/bin/true"], "nosuch")):
            error = run(*arguments, expected=(status,))
            self.assertIn(words, error)
            self.assertEqual(error.count("\n"), 1, error)

    def test_a_program_that_ends_by_a_signal_is_named(self) -> None:
        error = run("compare", "--alloc", "glibc", "--runs", "2", "--", "/bin/sh", "-c",
                    "kill -SEGV $$", expected=(1,))
        self.assertIn("signal 11", error)

    def test_a_program_that_crashes_is_profiled_up_to_there(self) -> None:
        folder = self.folder / "crashed"
        out = run("profile", "-o", str(folder), "--", "/bin/sh", "-c", "kill -SEGV $$")
        self.assertIn("signal 11", out)
        document = json.loads((folder / "profile.json").read_text())
        self.assertIn("signal 11", document["program"]["failed"])
        self.assertNotIn("cpu", document)
        self.assertGreater(document["totals"]["allocations"], 0)

    def test_every_process_is_profiled_when_asked_for(self) -> None:
        folder = self.folder / "processes"
        out = run("profile", "--once", "--follow-fork", "-o", str(folder), "--", "/bin/sh", "-c",
                  f"{self.program('counted')}; {self.program('idle')}; true")
        names = {}
        for document in folder.glob("process-*/profile.json"):
            program = json.loads(document.read_text())["program"]
            names[Path(program["command"][0]).name] = document
            self.assertIn(str(document), out)
            self.assertEqual(len(list(document.parent.glob("*.crl"))), 1)
        main = json.loads((folder / "profile.json").read_text())
        self.assertEqual(Path(main["program"]["command"][0]).name, "counted")
        self.assertIn("sh", names)
        page = folder / "page.html"
        run("report", str(names["sh"].parent), "-o", str(page))
        self.assertGreater(page.stat().st_size, 100_000)

    def test_a_program_that_fails_alike_everywhere_is_told(self) -> None:
        done = subprocess.run([carrel, "compare", "--alloc", "glibc", "--runs", "2", "--",
                               "/bin/sh", "-c", "exit 3"], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("exited with status 3 in every run", done.stderr)

    def test_a_static_program_is_refused_with_the_reason(self) -> None:
        static = self.compile("static", "int main(void) { return 0; }", "-static")
        error = run("advise", "--", static, expected=(1,))
        self.assertIn("static", error)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--carrel", required=True)
    arguments, rest = parser.parse_known_args()
    carrel = arguments.carrel
    unittest.main(argv=[sys.argv[0], *rest])
