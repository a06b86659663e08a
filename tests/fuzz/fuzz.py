#!/usr/bin/env python3
"""fuzz: builds the fuzzers with clang and runs them.

    fuzz.py [--minutes N] [TARGET...]   each for so long, with the committed corpus as the start
    fuzz.py --smoke TARGET...           the committed corpus, then some thousand runs; for tests
    fuzz.py --replay FILE TARGET        one input, as one that was found to fail
    fuzz.py --merge [TARGET...]         the best of both corpora becomes the committed one

Targets: heap, the default build against a model; names, options and controls.
Everything is built and found under build/fuzz, or BUILD/fuzz with --build BUILD: what fails in
TARGET/, its path printed; new inputs of a long run in TARGET/corpus.
"""

from __future__ import annotations

import argparse
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
class Target:
    """A fuzzer: its source, what it is compiled with, what it is run with."""

    source: str
    preset: str
    flags: list[str]
    longest: int
    smoke_runs: int
    options: list[str] = field(default_factory=list)


TARGETS = {
    "heap": Target("heap_fuzz.cc", "default", HEAP_FLAGS, 4096, 2000, ["-len_control=0"]),
    "names": Target("names_fuzz.cc", "default", STRICT_FLAGS, 512, 20000,
                    [f"-dict={HERE / 'names.dict'}"]),
}


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


def build(name: str, folder: Path) -> Path:
    target = TARGETS[name]
    program = folder / "fuzz"
    inputs = [path for top in ("src", "include", "tests/fuzz", "tests/stress")
              for path in (ROOT / top).rglob("*.[hc]*")]
    if program.exists() and program.stat().st_mtime > newest(inputs):
        return program
    common = [f"-I{ROOT}/include", f"-I{ROOT}/src", "-D_GNU_SOURCE", "-pthread", *target.flags]
    sources = [(HERE / target.source, ["-fsanitize=fuzzer-no-link"]), (core_unit(folder), [
        f"-I{ROOT}/src/config/presets/{target.preset}", "-fsanitize=fuzzer-no-link",
        "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-fno-builtin-malloc",
        "-Wno-unused-function"])]
    objects = []
    for path, more in sources:
        made = folder / f"{path.stem}.o"
        compile_to(folder, path, common + more, made)
        objects.append(str(made))
    subprocess.run([COMPILER, "-pthread", "-fsanitize=fuzzer", *target.flags, *objects,
                    "-o", str(program)], check=True)
    return program


def run(name: str, folder: Path, arguments: list[str], inputs: list[Path]) -> int:
    program = build(name, folder)
    target = TARGETS[name]
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
                                "CARREL_OPTIONS": "shards=2,cache_kib=1"}
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
    status = run(name, folder, ["-merge=1"], [best, committed, grown])
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--minutes", type=float, default=10, help="for each target")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--merge", action="store_true", help="renew the committed corpus")
    parser.add_argument("--replay", type=Path, metavar="FILE")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="default: build/")
    arguments = parser.parse_args()
    if shutil.which(COMPILER) is None:
        print(f"fuzz: {COMPILER} is missing; run ./dev setup", file=sys.stderr)
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
        if arguments.replay is not None:
            status = run(name, folder, [], [arguments.replay.resolve()])
        elif arguments.merge:
            status = merge(name, folder, committed, grown)
        elif arguments.smoke:
            status = smoke(name, folder, committed)
        else:
            seconds = max(1, int(arguments.minutes * 60))
            status = run(name, folder, [f"-max_total_time={seconds}", "-print_final_stats=1"],
                         [grown, committed])
        if status != 0:
            failed.append(name)
    if failed:
        print(f"fuzz: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
