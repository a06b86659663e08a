#!/usr/bin/env python3
"""rustc: the Rust compiler on each allocator, compiling real crates.

The compiler is the one that `rustc` starts. As shipped it has jemalloc inside and exports malloc,
so that a preloaded library is not asked; the others run a copy of its executable in which those
symbols are hidden (the rest of the toolchain is the same files). Cargo builds what the crates
depend on, once; the compiler's own command for each crate is written down by a wrapper and then
repeated under every allocator, alone. Before anything is measured, the dynamic linker is asked
where malloc, free and operator new lead; after each run, the product must be the one that glibc's
run made, byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import generated
import page
from common import (HERE, ROOT, cargo, die, geometric_mean, machine, middle, note, table,
                    target_dir)

sys.path.insert(0, str(ROOT / "bench"))
from harness import elf_hide  # noqa: E402

PINNED = HERE / "rustc"
CRATES = ("syn", "regex_automata", "serde_json")  # the second holds most of regex
GENERATED = "generated"
MODES = ("check", "build")
MALLOC_FAMILY = {"malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc",
                 "memalign", "valloc", "malloc_usable_size"}
SHIPPED, GLIBC, CARREL = "shipped", "glibc", "carrel"
LIBRARIES = {CARREL: "build/release/lib/libcarrel.so", "mimalloc3": "build/peers/libmimalloc3.so",
             "snmalloc": "build/peers/libsnmalloc.so"}
HOW_TO_GET = {CARREL: "./dev build", "mimalloc3": "python3 bench/peers/build.py --only mimalloc3",
              "snmalloc": "python3 bench/peers/build.py --only snmalloc"}
PROOF_SYMBOLS = ("malloc", "free", "realloc", "_Znwm", "_ZdlPv")

# Writes the command for a wanted crate to a file, and runs the compiler as cargo asked.
WRAPPER = """#!{python}
import json, os, sys
arguments = sys.argv[1:]
name = arguments[arguments.index("--crate-name") + 1] if "--crate-name" in arguments else ""
if name in {names!r} and "--test" not in arguments:
    with open(os.path.join({folder!r}, name + ".json"), "w") as file:
        json.dump({{"arguments": arguments[1:], "environment": dict(os.environ),
                   "folder": os.getcwd()}}, file)
os.execv(arguments[0], arguments)
"""


@dataclass
class Compiler:
    """The compiler under one allocator."""

    name: str
    program: Path
    preload: Path | None

    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.preload)} if self.preload else {}


@dataclass
class Job:
    """One compilation, repeated under each allocator."""

    name: str
    arguments: list[str]  # of rustc, without the output folder
    environment: dict[str, str]
    folder: str


@dataclass
class Cost:
    """What one run took."""

    wall: float
    cpu: float
    peak_mib: float
    product: str  # a digest of what was made


def ask(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        die(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout.strip()


def find_toolchain() -> Path:
    """The sysroot of the compiler that `rustc` starts, which may be rustup's choice."""
    if shutil.which("rustc") is None:
        die("rustc is not installed; run ./dev setup")
    sysroot = Path(ask(["rustc", "--print", "sysroot"]))
    if not (sysroot / "bin" / "rustc").exists():
        die(f"no compiler in {sysroot}/bin, which rustc names as its home")
    return sysroot


def proof(compiler: Compiler, sysroot: Path) -> dict[str, str]:
    """Where the dynamic linker leads the compiler's libraries for each symbol."""
    done = subprocess.run([str(compiler.program), "--sysroot", str(sysroot), "-vV"],
                          env={"LD_DEBUG": "bindings", "LD_BIND_NOW": "1", "PATH": "/usr/bin:/bin",
                               **compiler.environment()},
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        die(f"the compiler does not run on {compiler.name}: {done.stderr.strip()[-300:]}")
    found: dict[str, set[str]] = {}
    for user, target, symbol in re.findall(
            r"binding file (\S+) \[\d+\] to (\S+) \[\d+\]: normal symbol `(\w+)'", done.stderr):
        if symbol in PROOF_SYMBOLS and "librustc_driver" in user:
            found.setdefault(symbol, set()).add(Path(target).name)
    return {symbol: ", ".join(sorted(files)) for symbol, files in found.items()}


def check_proof(compiler: Compiler, sysroot: Path) -> None:
    found = proof(compiler, sysroot)
    if compiler.preload:
        wanted = {compiler.preload.name}
    else:
        wanted = {"rustc"} if compiler.name == SHIPPED else {"libc.so.6"}
    for symbol, place in found.items():
        # operator new stays the C++ library's where no preload has one; it calls malloc.
        own = symbol.startswith("_Z") and not compiler.preload
        if not own and place not in wanted:
            die(f"{compiler.name}: {symbol} leads to {place}; its allocator did not take over")
    if "malloc" not in found or "free" not in found:
        die(f"{compiler.name}: the dynamic linker says nothing of malloc and free")
    note(f"{compiler.name}: malloc leads to {found['malloc']}")


def prepare_compilers(names: list[str], sysroot: Path, folder: Path) -> list[Compiler]:
    original = sysroot / "bin" / "rustc"
    own = elf_hide.defined(original, MALLOC_FAMILY)
    copy = original
    if own:
        (folder / "bin").mkdir()
        (folder / "lib").symlink_to(sysroot / "lib")
        copy = folder / "bin" / "rustc"
        elf_hide.hide(original, copy, MALLOC_FAMILY)
    compilers = []
    for name in names:
        if name == SHIPPED:
            if not own:
                note(f"{original} has no allocator of its own: nothing is measured as shipped")
                continue
            compilers.append(Compiler(name, original, None))
            continue
        library = None
        if name in LIBRARIES:
            library = (ROOT / LIBRARIES[name]).resolve()
            if not library.exists():
                die(f"{LIBRARIES[name]} is missing; make it with: {HOW_TO_GET[name]}")
        compilers.append(Compiler(name, copy, library))
    for compiler in compilers:
        check_proof(compiler, sysroot)
    return compilers


def without_output_folder(arguments: list[str]) -> list[str]:
    """Also without what makes cargo's own messages, and without incremental state."""
    kept, skip = [], False
    for index, argument in enumerate(arguments):
        if skip:
            skip = False
        elif argument == "--out-dir":
            skip = True
        elif argument == "-C" and arguments[index + 1].startswith("incremental="):
            skip = True
        elif not argument.startswith(("--error-format", "--json", "--diagnostic-width")):
            kept.append(argument)
    return kept


def note_commands(sysroot: Path, mode: str) -> Path:
    """Cargo builds the pinned crates, and the wrapper notes the commands. What is there from an
    earlier run with the same compiler and the same crates is used again."""
    identity = ask([str(sysroot / "bin" / "rustc"), "-vV"]).encode()
    identity += (PINNED / "Cargo.lock").read_bytes() + (PINNED / "Cargo.toml").read_bytes()
    identity += WRAPPER.encode()
    name = f"rustc-{mode}-{hashlib.sha256(identity).hexdigest()[:12]}"
    folder = target_dir().resolve() / name
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        wrapper = folder / "wrapper"
        wrapper.write_text(WRAPPER.format(python=sys.executable, names=CRATES, folder=str(folder)),
                           encoding="utf-8")
        wrapper.chmod(0o755)
        note(f"cargo {mode} of the pinned crates, once")
        cargo([mode, "--release", "--locked"] if mode == "build" else [mode, "--locked"], PINNED,
              {"RUSTC": str(sysroot / "bin" / "rustc"), "RUSTC_WRAPPER": str(wrapper),
               "CARGO_TARGET_DIR": str(folder / "target")})
        (folder / "complete").touch()
    return folder


def crate_jobs(sysroot: Path, modes: list[str], crates: list[str]) -> list[Job]:
    jobs = []
    for mode in modes if crates else []:
        folder = note_commands(sysroot, mode)
        for crate in crates:
            noted = json.loads((folder / f"{crate}.json").read_text(encoding="utf-8"))
            jobs.append(Job(f"{crate} {mode}", without_output_folder(noted["arguments"]),
                            noted["environment"], noted["folder"]))
    return jobs


def generated_job(work: Path, lines: int) -> Job:
    count = generated.write(work / GENERATED, lines)
    return Job(f"{GENERATED} check ({count} lines)",
               ["--crate-name", GENERATED, "--crate-type", "lib", "--edition", "2021", "--emit",
                "metadata", str(work / GENERATED / "src" / "lib.rs")],
               dict(os.environ), str(work))


def digest(folder: Path) -> str:
    """Of the libraries and metadata in the folder, whatever their names."""
    found = sorted(file for file in folder.iterdir() if file.suffix in (".rlib", ".rmeta"))
    if not found:
        die(f"the compiler made nothing in {folder}")
    return hashlib.sha256(b"".join(file.read_bytes() for file in found)).hexdigest()


def run(compiler: Compiler, job: Job, sysroot: Path, out: Path) -> Cost:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    environment = {key: value for key, value in job.environment.items()
                   if key not in ("RUSTC_WRAPPER", "RUSTC", "LD_PRELOAD")
                   and not key.startswith("CARREL_")}
    command = [str(compiler.program), "--sysroot", str(sysroot), *job.arguments, "--out-dir",
               str(out)]
    with tempfile.TemporaryFile() as errors:
        started = time.monotonic()
        child = subprocess.Popen(command, cwd=job.folder, stdout=subprocess.DEVNULL, stderr=errors,
                                 env={**environment, **compiler.environment()})
        _, status, used = os.wait4(child.pid, 0)
        wall = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            errors.seek(0)
            die(f"{compiler.name}, {job.name}: the compiler ended with {child.returncode}\n"
                f"{errors.read().decode(errors='replace')[-2000:]}")
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, digest(out))


def measure(compilers: list[Compiler], jobs: list[Job], sysroot: Path, rounds: int, work: Path,
            order: random.Random) -> dict[tuple[str, str], list[Cost]]:
    costs: dict[tuple[str, str], list[Cost]] = {}
    for turn in range(rounds):
        for job in jobs:
            for compiler in order.sample(compilers, len(compilers)):
                cost = run(compiler, job, sysroot, work / "out")
                costs.setdefault((job.name, compiler.name), []).append(cost)
            made = {c.product for of in compilers for c in costs[job.name, of.name]}
            if len(made) != 1:
                die(f"{job.name}: what the compiler makes differs between allocators or runs")
        note(f"round {turn + 1} of {rounds} done")
    return costs


def report(costs: dict[tuple[str, str], list[Cost]], names: list[str], jobs: list[Job],
           rounds: int, path: Path, remarks: list[str]) -> None:
    sections = [page.key(names)]
    kinds = (("wall", "wall time, seconds", 2), ("cpu", "processor time, seconds", 2),
             ("peak_mib", "peak resident memory, MiB", 0))
    for field, title, digits in kinds:
        def values(job: Job, name: str) -> list[float]:
            return [getattr(cost, field) for cost in costs[job.name, name]]

        rows = [(job.name, [middle(values(job, name), digits) for name in names]) for job in jobs]
        base = SHIPPED if SHIPPED in names else names[0]
        means = {name: geometric_mean([median(values(job, name)) / median(values(job, base))
                                       for job in jobs]) for name in names}
        rows.append((f"geometric mean over {base}", [f"{means[name]:.3f}" for name in names]))
        full = f"{title}, median of {rounds} rounds"
        table(full, names, rows)
        sections += [page.bar_chart(title.split(",")[0], f"over {base}", means),
                     page.html_table(full, names, rows)]
    page.write(path, "carrel: the Rust compiler", remarks, sections)
    note(f"the page is {path}")


def main() -> int:
    known = (SHIPPED, GLIBC, "mimalloc3", "snmalloc", CARREL)
    parser = argparse.ArgumentParser(prog="./dev bench-rustc",
                                     description="The Rust compiler on each allocator.")
    parser.add_argument("--allocs", default=",".join(known), help="of " + ",".join(known))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lines", type=int, default=100_000, help="of the generated crate")
    parser.add_argument("--crates", default=",".join((*CRATES, GENERATED)),
                        help="of " + ",".join((*CRATES, GENERATED)))
    parser.add_argument("--modes", default=",".join(MODES),
                        help="of the pinned crates: " + ",".join(MODES) + "; the generated one is "
                        "checked")
    parser.add_argument("--seed", type=int, default=1, help="of the order of runs")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "rust-bench-results")
    options = parser.parse_args()
    names, crates = options.allocs.split(","), options.crates.split(",")
    modes = options.modes.split(",")
    for words, choice in ((names, known), (crates, (*CRATES, GENERATED)), (modes, MODES)):
        for word in words:
            if word not in choice:
                parser.error(f"'{word}' is unknown; one of: {', '.join(choice)}")
    rounds = max(1, options.rounds)
    where = machine()
    sysroot = find_toolchain()
    version = ask([str(sysroot / "bin" / "rustc"), "--version"])
    print(f"{where}\n{version}")
    with tempfile.TemporaryDirectory(prefix="carrel-rustc-") as folder:
        work = Path(folder)
        toolchain = work / "toolchain"
        toolchain.mkdir()
        compilers = prepare_compilers(names, sysroot, toolchain)
        jobs = crate_jobs(sysroot, modes, [crate for crate in crates if crate != GENERATED])
        if GENERATED in crates:
            jobs.append(generated_job(work, options.lines))
        costs = measure(compilers, jobs, sysroot, rounds, work, random.Random(options.seed))
    report(costs, [compiler.name for compiler in compilers], jobs, rounds,
           options.out / "rustc.html",
           [where, version, f"{rounds} rounds, interleaved; one compiler at a time, as cargo calls "
            "it. shipped is the toolchain as it is, on its own jemalloc; the others are a copy "
            "whose malloc is hidden, with the allocator preloaded. ± is half the distance between "
            "the extremes."])
    return 0


if __name__ == "__main__":
    sys.exit(main())
