#!/usr/bin/env python3
"""model: drives the checker of carrel's threads, and shows that it finds what it should.

    model.py                    every scenario, further than the smoke test goes
    model.py --mutants [NAME]   with a fault put into the code, each of which must be found
    model.py --orders           with each memory order of the code weakened in turn: which are found

A mutant is a copy of src/ with one text replaced; one scenario file is compiled with it and linked
in front of the others. It doesn't judge the code itself: carrel_model does.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "model"
ORDERS = ["relaxed", "consume", "acquire", "release", "acq_rel", "seq_cst"]


class Mutant(NamedTuple):
    name: str
    scenario: str
    source: str  # of the scenario
    file: str  # under src/
    old: str
    new: str
    quick: bool = False  # also in the tests


MUTANTS = [
    Mutant("unlock_relaxed", "lock", "locks", "os/mutex.h",
           "exchange(kFree, std::memory_order_release)",
           "exchange(kFree, std::memory_order_relaxed)", True),
    Mutant("lost_wake", "lock", "locks", "os/mutex.h",
           "while (word_.exchange(kContended,", "while (word_.exchange(kHeld,"),
    Mutant("helper_looks_no_more", "helper", "purge", "heap/purger.h",
           "if (!work || helper_running_.exchange(true)) return;",
           "if (helper_running_.exchange(work) || !work) return;\n      return;"),
    Mutant("helper_without_fence", "helper", "purge", "heap/purger.h",
           "      std::atomic_thread_fence(std::memory_order_seq_cst);\n", ""),
    Mutant("freed_relaxed", "helper", "purge", "mem/span_pool.h",
           "touched_granules_.fetch_add(span->touched_count, std::memory_order_seq_cst);",
           "touched_granules_.fetch_add(span->touched_count, std::memory_order_relaxed);", True),
    Mutant("sweep_request_relaxed", "helper_sweep", "purge", "heap/purger.h",
           "kSweepEveryTicks, std::memory_order_seq_cst);",
           "kSweepEveryTicks, std::memory_order_relaxed);"),
    Mutant("pool_purge_during_fork", "fork_purge", "process", "mem/span_pool.h",
           "      LockGuard out_of_the_pool(purging_);\n", "", True),
    Mutant("sweep_during_fork", "fork_purge", "process", "heap/purger.h",
           "      LockGuard slots_held(context_.pool.purging());\n", ""),
    Mutant("fork_locks_out_of_rank", "fork_use", "process", "heap/heap_slow.h",
           "  pool_.lock();\n  metadata_.lock();\n", "  metadata_.lock();\n  pool_.lock();\n"),
    Mutant("large_claimed_twice", "large_twice", "blocks", "heap/large_objects.h",
           "!span->state.change(SpanState::kLarge, SpanState::kKept)",
           "span->state != SpanState::kLarge ||\n"
           "        (span->state = SpanState::kKept, false)"),
    Mutant("kept_popped_twice", "kept", "purge", "cache/kept_spans.h",
           "place.exchange(0, std::memory_order_relaxed);",
           "place.load(std::memory_order_relaxed);\n      place.store(0);"),
    Mutant("kept_relaxed", "kept", "purge", "cache/kept_spans.h",
           "std::memory_order_release);", "std::memory_order_relaxed);", True),
    Mutant("slot_freed_twice", "secure_twice", "blocks", "slab/slot_guard.h",
           "    return record.exchange(kFree, std::memory_order_relaxed) == value;\n",
           "    const std::uint32_t was = record.load(std::memory_order_relaxed);\n"
           "    record.store(kFree, std::memory_order_relaxed);\n    return was == value;\n"),
    Mutant("two_set_up", "first_use", "process", "heap/heap_slow.h",
           "if (state_.compare_exchange_strong(expected, kBusy, std::memory_order_acquire)) "
           "return true;",
           "expected = state_.load(std::memory_order_acquire);\n"
           "    if (expected == kUntouched) {\n      state_.store(kBusy);\n"
           "      return true;\n    }"),
    Mutant("ready_relaxed", "first_use", "process", "heap/heap_slow.h",
           "state_.store(kReady, std::memory_order_release);",
           "state_.store(kReady, std::memory_order_relaxed);", True),
    Mutant("release_without_lock", "purge_pool", "purge", "mem/span_pool.h",
           '    LockGuard guard(lock_);\n    Report<Os>::check(span->state >= SpanState::kLarge',
           '    Report<Os>::check(span->state >= SpanState::kLarge'),
    Mutant("flush_without_lock", "remote_free", "blocks", "slab/slab_bin.h",
           "    std::uint32_t kept = 0;\n    lock_.lock_counting(contended_);\n",
           "    std::uint32_t kept = 0;\n    lock_.try_lock();\n"),
    Mutant("arena_free_without_lock", "arena", "blocks", "heap/arena.h",
           "    LockGuard guard(lock_);\n    if (CARREL_UNLIKELY(!owns(span))) "
           "Report<Os>::double_free(block);\n",
           "    if (CARREL_UNLIKELY(!owns(span))) Report<Os>::double_free(block);\n"),
]


def fail(message: str) -> int:
    print(f"model: {message}", file=sys.stderr)
    return 2


def checker(build: Path, arguments: list[str], program: Path | None = None) -> tuple[int, str]:
    run = subprocess.run([program or build / "tests/model/carrel_model", *arguments],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return run.returncode, run.stdout


def mutated_source(mutant: Mutant, folder: Path) -> Path:
    source = folder / "src"
    shutil.copytree(ROOT / "src", source)
    path = source / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    return source


def build_mutant(build: Path, mutant: Mutant, folder: Path) -> Path:
    source = mutated_source(mutant, folder)
    scenario = HERE / f"scenarios_{mutant.source}.cc"
    commands = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    entry = next(each for each in commands if each["file"] == str(scenario))
    command = [str(source) if each == str(ROOT / "src") else each.replace(
        f"-I{ROOT}/src", f"-I{source}") for each in shlex.split(entry["command"])]
    made = folder / "mutant.o"
    command[command.index("-o") + 1] = str(made)
    subprocess.run(command, cwd=entry["directory"], check=True)
    objects = sorted((build / "tests/model").rglob("*.o"))
    program = folder / "carrel_model"
    wraps = [f"-Wl,--wrap={name}" for name in ("memset", "memcpy", "memmove")]
    # The templates of the first object are those that are used.
    rest = [str(each) for each in objects if each.name != f"scenarios_{mutant.source}.cc.o"]
    compiler = command[1] if Path(command[0]).name == "ccache" else command[0]
    subprocess.run([compiler, "-no-pie", *wraps, str(made), *rest, "-o", str(program)], check=True)
    return program


def run_mutants(build: Path, names: list[str], quick: bool, seconds: int) -> int:
    known = [each.name for each in MUTANTS]
    if unknown := [name for name in names if name not in known]:
        return fail(f"no mutant is called {unknown[0]}; they are {', '.join(known)}")
    # All of them, also those that are not run: the code moves on.
    for each in MUTANTS:
        found = (ROOT / "src" / each.file).read_text(encoding="utf-8").count(each.old)
        if found != 1:
            return fail(f"{each.name}: src/{each.file} has changed: the text to replace occurs "
                        f"{found} times; mend the list in model.py")
    chosen = [each for each in MUTANTS if not names or each.name in names]
    missed = 0
    for mutant in chosen:
        if quick and not mutant.quick:
            continue
        with tempfile.TemporaryDirectory(prefix="carrel-model-") as folder:
            program = build_mutant(build, mutant, Path(folder))
            options = ["--scenario", mutant.scenario, "--seconds", str(seconds)]
            for bounds in (["1", "1"], ["2", "1"], ["2", "2"]):
                status, text = checker(
                    build, [*options, "--preemptions", bounds[0], "--stale", bounds[1]], program)
                if status != 0:
                    break
        reason = next((line[6:].strip() for line in text.splitlines() if line.startswith("FAIL")),
                      "nothing was noticed")
        print(f"{'found ' if status == 1 else 'MISSED'}  {mutant.name:30} {reason}", flush=True)
        missed += status != 1
    return 1 if missed else 0


def place_of(program: Path, pc: str) -> str:
    """The line of src/ that a return address belongs to, below the standard library's."""
    address = hex(int(pc, 16) - 1)
    text = subprocess.run(["addr2line", "-Cife", str(program), address], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.splitlines()
    for function, where in zip(text[::2], text[1::2]):
        path = where.split(" ")[0]
        if "/src/" in path and "base/relaxed.h" not in path:
            return f"{path.split('/src/')[-1]} {function.split('(')[0].split('::')[-1]}"
    return ""


def run_orders(build: Path, seconds: int) -> int:
    program = build / "tests/model/carrel_model"
    status, text = checker(build, ["--sites", "--quiet", "--preemptions", "1", "--stale", "0"])
    if status != 0:
        return fail(f"the code fails as it is:\n{text}")
    places: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.startswith("site "):
            continue
        _, pc, operation, order = line.split()
        place = place_of(program, pc)
        if place:
            key = f"{place.replace(':', ' ', 1)} {operation} {ORDERS[int(order)]}"
            places.setdefault(key, []).append(pc)
    found = 0
    for place, pcs in sorted(places.items()):
        status, text = checker(build, ["--weaken", ",".join(pcs), "--seconds", str(seconds)])
        names = [line.split()[1].rstrip(":") for line in text.splitlines()
                 if line.startswith("FAIL")]
        found += status == 1
        print(f"{'found by ' + ', '.join(names[:3]) if names else 'not missed':44}  {place}",
              flush=True)
    print(f"{found} of {len(places)} orders, made relaxed, lead to a failure")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--mutants", nargs="*", metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="the mutants that the tests run")
    parser.add_argument("--orders", action="store_true")
    parser.add_argument("--scenario", help="only this one")
    parser.add_argument("--preemptions", default="3")
    parser.add_argument("--stale", default="2")
    parser.add_argument("--seconds", type=int, default=60, help="of each scenario")
    arguments = parser.parse_args()
    if not (arguments.build / "tests/model/carrel_model").exists():
        return fail("the checker is not built; run ./dev build, or ninja carrel_model")
    if arguments.mutants is not None:
        return run_mutants(arguments.build, arguments.mutants, arguments.quick, arguments.seconds)
    if arguments.orders:
        return run_orders(arguments.build, min(arguments.seconds, 5))
    options = ["--preemptions", arguments.preemptions, "--stale", arguments.stale,
               "--seconds", str(arguments.seconds)]
    if arguments.scenario:
        options += ["--scenario", arguments.scenario]
    return subprocess.run([arguments.build / "tests/model/carrel_model", *options]).returncode


if __name__ == "__main__":
    sys.exit(main())
