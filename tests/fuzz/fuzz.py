#!/usr/bin/env python3
"""fuzz: builds the fuzzers with clang and runs them, by libFuzzer or by AFL++.

    fuzz.py [--minutes N] [TARGET...]   each for so long, with the committed corpus as the start
    fuzz.py --engine afl ...            the same by AFL++; also --smoke and --replay
    fuzz.py --smoke TARGET...           the committed corpus, then some thousand runs; for tests
                                        (with AFL++ the corpus alone)
    fuzz.py --replay FILE TARGET        one input, as one that was found to fail
    fuzz.py --merge [TARGET...]         the best of both corpora becomes the committed one

Targets: heap and secure, the default and the hardened build against a model; names, options and
controls; trace, trace files.
Everything is built and found under build/fuzz, or BUILD/fuzz with --build BUILD: what fails in
TARGET/, its path printed; new inputs of a long run, of either engine, in TARGET/corpus.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "fuzz"
# The core's constraints on members of templates are too new for the clang 14 of Debian 12.
COMPILER = "clang++-19"
OVERRIDES = {"malloc.cc", "malloc_info.cc", "new.cc"}
# The heap under the fuzzer itself: undefined behaviour traps. AddressSanitizer would watch the
# fuzzer's own heap, which is another one.
HEAP_FLAGS = ["-fsanitize=undefined", "-fsanitize-trap=undefined"]
STRICT_FLAGS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


@dataclass
class Engine:
    """Who makes the inputs: what the sources are compiled with, what they are linked with."""

    flag: str
    link: list[str]


LIBFUZZER = Engine("-fsanitize=fuzzer-no-link", ["-fsanitize=fuzzer"])
# AFL++'s own compiler is clang 14. What its runtime needs of the code, any clang inserts; its
# driver calls LLVMFuzzerTestOneInput some thousand times in one process.
AFL_PARTS = Path("/usr/lib/afl")
AFL = Engine("-fsanitize-coverage=trace-pc-guard",
             [str(AFL_PARTS / "libAFLDriver.a"), str(AFL_PARTS / "afl-compiler-rt.o"), "-lstdc++"])


@dataclass
class Target:
    """A fuzzer: its source, what it is compiled with, what it is run with."""

    source: str
    preset: str  # of carrel itself, linked with it; empty: it is not
    flags: list[str]
    longest: int
    smoke_runs: int
    options: list[str] = field(default_factory=list)
    more_sources: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)


TARGETS = {
    "heap": Target("heap_fuzz.cc", "default", HEAP_FLAGS, 4096, 2000, ["-len_control=0"]),
    "names": Target("names_fuzz.cc", "default", STRICT_FLAGS, 512, 20000,
                    [f"-dict={HERE / 'names.dict'}"]),
    "secure": Target("heap_fuzz.cc", "secure", HEAP_FLAGS, 4096, 1000, ["-len_control=0"]),
    "trace": Target("trace_fuzz.cc", "", STRICT_FLAGS, 4096, 5000,
                    more_sources=[f"tools/carrel/trace/{name}.cc" for name in
                                  ("chunk_file", "encode", "event", "trace_reader",
                                   "trace_writer")],
                    libraries=["-lzstd", "-lfmt"]),
}


ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:abort_on_error=1:"
                               "symbolize=0",
               "CARREL_OPTIONS": "shards=2,cache_kib=1"}


def newest(paths: list[Path]) -> float:
    return max(path.stat().st_mtime for path in paths)


def core_unit(folder: Path) -> Path:
    """One file that includes the sources of the library that replaces nothing."""
    sources = sorted(path for pattern in ("*/*.cc", "os/linux/*.cc")
                     for path in (ROOT / "src").glob(pattern) if path.name not in OVERRIDES)
    text = "// All of carrel's own sources; made by fuzz.py.\n"
    text += "".join(f'#include "{path}"\n#undef CARREL_EXPORT\n' for path in sources)
    unit = folder / "carrel_unit.cc"
    if not unit.exists() or unit.read_text(encoding="utf-8") != text:
        unit.write_text(text, encoding="utf-8")
    return unit


def compile_to(folder: Path, source: Path, flags: list[str], made: Path) -> None:
    launcher = os.environ.get("CMAKE_CXX_COMPILER_LAUNCHER", "")
    command = [*launcher.split(), COMPILER, "-std=c++20", "-O1", "-g", *flags, "-c", str(source),
               "-o", str(made)]
    subprocess.run(command, check=True, cwd=folder)


def build(name: str, folder: Path, engine: Engine = LIBFUZZER) -> Path:
    """The fuzzer, in this folder, which is the engine's own."""
    target = TARGETS[name]
    program = folder / "fuzz"
    tops = ["tests/fuzz", *(["src", "include", "tests/stress"] if target.preset
                            else ["tools/carrel/trace", "tools/carrel/base"])]
    inputs = [path for top in tops for path in (ROOT / top).rglob("*.[hc]*")]
    if program.exists() and program.stat().st_mtime > newest(inputs):
        return program
    folder.mkdir(parents=True, exist_ok=True)
    common = ["-D_GNU_SOURCE", "-pthread", engine.flag, *target.flags]
    sources: list[tuple[Path, list[str]]] = [(HERE / target.source, [])]
    sources += [(ROOT / path, []) for path in target.more_sources]
    if target.preset:
        common += [f"-I{ROOT}/include", f"-I{ROOT}/src",
                   f"-I{ROOT}/src/config/presets/{target.preset}"]
        sources.append((core_unit(folder), [
            "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-fno-builtin-malloc",
            "-Wno-unused-function"]))
    else:
        common.append(f"-I{ROOT}/tools/carrel")
    objects = []
    for path, more in sources:
        made = folder / f"{path.stem}.o"
        compile_to(folder, path, common + more, made)
        objects.append(str(made))
    subprocess.run([COMPILER, "-pthread", *engine.link, *target.flags, *objects,
                    *target.libraries, "-o", str(program)], check=True)
    return program


def run(name: str, folder: Path, arguments: list[str], inputs: list[Path]) -> int:
    program = build(name, folder)
    target = TARGETS[name]
    environment = os.environ | ENVIRONMENT
    command = [str(program), f"-max_len={target.longest}", *target.options,
               f"-artifact_prefix={folder}/", "-timeout=60", *arguments,
               *[str(each) for each in inputs]]
    return subprocess.run(command, env=environment, cwd=folder).returncode


def empty_folder(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return path


def merge(name: str, folder: Path, committed: Path, grown: Path) -> int:
    """The smallest set of inputs that reaches what all of them reach."""
    committed.mkdir(parents=True, exist_ok=True)
    best = empty_folder(folder / "best")
    status = run(name, folder, ["-set_cover_merge=1"], [best, committed, grown])
    chosen = sorted(best.iterdir())
    if status == 0 and chosen:
        for path in committed.iterdir():
            path.unlink()
        for path in chosen:
            shutil.copy(path, committed / path.name[:16])
    return status


def smoke(name: str, folder: Path, committed: Path) -> int:
    status = run(name, folder, ["-runs=0"], sorted(committed.iterdir()))
    # New inputs go to the first folder: not to the committed one.
    return status or run(name, folder, [f"-runs={TARGETS[name].smoke_runs}", "-seed=1",
                                        "-max_total_time=15", "-print_final_stats=1"],
                         [empty_folder(folder / "scratch"), committed])


def afl_files(name: str, folder: Path, inputs: list[Path]) -> int:
    """The fuzzer as AFL++ has it on these inputs, without AFL++."""
    program = build(name, folder / "afl", AFL)
    done = subprocess.run([str(program), *[str(path) for path in inputs]], cwd=folder / "afl",
                          env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode != 0 or "Execution successful" not in done.stdout + done.stderr:
        print(done.stdout + done.stderr, file=sys.stderr)
        return done.returncode or 1
    print(f"{name}: {len(inputs)} inputs, as AFL++ runs them")
    return 0


def afl_statistics(found: Path) -> dict[str, str]:
    lines = (found / "fuzzer_stats").read_text(encoding="utf-8").splitlines()
    return {key.strip(): value.strip() for key, _, value in
            (line.partition(":") for line in lines)}


def afl_fuzz(name: str, folder: Path, seconds: int, committed: Path, grown: Path) -> int:
    """Both corpora are the start; what reaches more is added to the grown one."""
    place = folder / "afl"
    program = build(name, place, AFL)
    start = empty_folder(place / "start")
    for path in [*committed.iterdir(), *grown.iterdir()]:
        shutil.copy(path, start / path.name)
    shutil.rmtree(place / "found", ignore_errors=True)
    # No terminal, no processor of its own, no look at how the system writes cores; what an input
    # costs varies much, since the heap's threads end and begin.
    environment = os.environ | ENVIRONMENT | {
        "AFL_NO_UI": "1", "AFL_NO_AFFINITY": "1", "AFL_SKIP_CPUFREQ": "1", "AFL_NO_COLOR": "1",
        "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1", "AFL_FORKSRV_INIT_TMOUT": "60000"}
    words = TARGETS[name].options
    dictionary = [part for word in words if word.startswith("-dict=")
                  for part in ("-x", word.removeprefix("-dict="))]
    status = subprocess.run(["afl-fuzz", "-i", str(start), "-o", str(place / "found"), "-V",
                             str(seconds), "-t", "10000+", "-G", str(TARGETS[name].longest),
                             *dictionary, "--", str(program)], env=environment,
                            cwd=place).returncode
    found = place / "found" / "default"
    if status != 0 or not (found / "fuzzer_stats").exists():
        return status or 1
    new = [path for path in (found / "queue").iterdir()
           if path.is_file() and ",orig:" not in path.name]
    for path in new:
        data = path.read_bytes()
        (grown / hashlib.sha1(data).hexdigest()).write_bytes(data)
    numbers = afl_statistics(found)
    crashes = sorted((found / "crashes").glob("id:*"))
    for path in crashes:
        print(f"fails: {path}")
    print(f"{name}: {numbers['execs_done']} executions, {numbers['execs_per_sec']} a second, "
          f"{len(new)} new inputs, {len(crashes)} crashes, {numbers['saved_hangs']} hangs, "
          f"stability {numbers['stability']}")
    return 1 if crashes else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--minutes", type=float, default=10, help="for each target")
    parser.add_argument("--engine", choices=("libfuzzer", "afl"), default="libfuzzer")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--merge", action="store_true", help="renew the committed corpus")
    parser.add_argument("--replay", type=Path, metavar="FILE")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="default: build/")
    arguments = parser.parse_args()
    with_afl = arguments.engine == "afl"
    for program in [COMPILER, *(["afl-fuzz"] if with_afl else [])]:
        if shutil.which(program) is None:
            print(f"fuzz: {program} is missing; run ./dev setup", file=sys.stderr)
            return 2
    if with_afl and arguments.merge:
        print("fuzz: --merge is libFuzzer's; what AFL++ found is merged too", file=sys.stderr)
        return 2
    unknown = [each for each in arguments.targets if each not in TARGETS]
    if unknown:
        print(f"fuzz: no target {unknown[0]}; they are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    failed = []
    for name in arguments.targets or list(TARGETS):
        committed = HERE / "corpus" / name
        folder = arguments.build.resolve() / "fuzz" / name
        grown = folder / "corpus"
        grown.mkdir(parents=True, exist_ok=True)
        seconds = max(1, int(arguments.minutes * 60))
        if with_afl and (arguments.replay is not None or arguments.smoke):
            inputs = [arguments.replay.resolve()] if arguments.replay else sorted(
                committed.iterdir())
            status = afl_files(name, folder, inputs)
        elif with_afl:
            status = afl_fuzz(name, folder, seconds, committed, grown)
        elif arguments.replay is not None:
            status = run(name, folder, [], [arguments.replay.resolve()])
        elif arguments.merge:
            status = merge(name, folder, committed, grown)
        elif arguments.smoke:
            status = smoke(name, folder, committed)
        else:
            status = run(name, folder, [f"-max_total_time={seconds}", "-print_final_stats=1"],
                         [grown, committed])
        if status != 0:
            failed.append(name)
    if failed:
        print(f"fuzz: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
