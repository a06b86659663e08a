#!/usr/bin/env python3
"""choice: carrel-select gives the allocator that was asked for, or says why it cannot.

A program is built and run with each feature; two features at once are compile errors, and so is
jemalloc for MSVC: their text is compared with choice.txt (--update rewrites it). jemalloc takes
minutes of processor time to build: only --all runs it. No library for MSVC need be at hand: the
guard is expanded with that target's own cfg values by `rustc --target x86_64-pc-windows-msvc`,
without any crate, and what cargo would build there comes from `cargo metadata --filter-platform`.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path

import cargo

FEATURES = ("carrel", "carrel-secure", "mimalloc", "jemalloc", "system")
GOLDEN = Path(__file__).with_name("choice.txt")
MSVC = "x86_64-pc-windows-msvc"
LINUX = "x86_64-unknown-linux-gnu"
GUARD = cargo.CRATES / "carrel-select" / "src" / "guard.rs"


def run_example(feature: str, example: str) -> tuple[int, str]:
    command = ["cargo", "run", "--locked", "-q", "-p", "carrel-select", "--example", example]
    if feature:
        command += ["--features", feature]
    done = cargo.run(command, succeed=False)
    if done.returncode not in (0, 1) or ": " not in done.stdout:
        cargo.die(f"`{' '.join(command)}` failed:\n{done.stderr}")
    return done.returncode, done.stdout.strip()


def check_served(features: list[str]) -> None:
    for feature in ("", *features):
        status, text = run_example(feature, "which")
        name = feature or "system"
        cargo.check(status == 0 and text.startswith(f"{name}: {name} serves"),
                    f"feature '{feature}': {text}")
        cargo.check(name != "system" or "libc" in text, f"no libc named: {text}")
        print(f"  {feature or '(none)':9} {text}")
    for feature in ("carrel", "system"):  # a program with another allocator is seen through
        status, text = run_example(feature, "impostor")
        cargo.check(status == 1 and "unknown allocator" in text, f"not seen through: {text}")


def check_preloaded(library: Path) -> None:
    """The chosen `system` is whatever malloc is; the proof names the file."""
    program = cargo.target_dir() / "debug" / "examples" / "which"
    run_example("system", "which")
    done = cargo.run([str(program)], env=cargo.environment({"LD_PRELOAD": str(library)}))
    cargo.check(str(library) in done.stdout, f"the preloaded library is not named: {done.stdout}")


def errors() -> str:
    """What is said of each pair, and of jemalloc for MSVC: the golden file."""
    lines = []
    for pair in itertools.combinations(FEATURES, 2):
        found = cargo.guard_errors(GUARD, LINUX, *pair)
        cargo.check(len(found) == 1, f"{pair}: {found}")
        lines += found
    found = cargo.guard_errors(GUARD, MSVC, "jemalloc")
    cargo.check(len(found) == 1, f"jemalloc for MSVC: {found}")
    return "\n".join([*lines, *found]) + "\n"


def check_guard_is_compiled() -> None:
    """The texts above come from guard.rs alone: here cargo itself refuses a pair."""
    done = cargo.run(["cargo", "check", "--locked", "-q", "-p", "carrel-select", "--features",
                      "carrel,system"], succeed=False)
    cargo.check(done.returncode != 0 and "`carrel` and `system` are both on" in done.stderr,
                f"carrel and system compile together:\n{done.stderr}")


def jemalloc_packages(target: str) -> list[str]:
    done = cargo.run(["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform",
                      target, "--features", "carrel-select/jemalloc", "--manifest-path",
                      str(cargo.CRATES / "carrel-select" / "Cargo.toml")])
    nodes = json.loads(done.stdout)["resolve"]["nodes"]
    return sorted({node["id"] for node in nodes if "jemalloc" in node["id"]})


def check_msvc() -> None:
    for target, feature in ((MSVC, "mimalloc"), (LINUX, "jemalloc")):
        errors = cargo.guard_errors(GUARD, target, feature)
        cargo.check(not errors, f"{feature} is refused on {target}: {errors}")
    cargo.check(not jemalloc_packages(MSVC), "cargo would build jemalloc for MSVC")
    cargo.check(bool(jemalloc_packages(LINUX)), "no jemalloc on Linux either")


def main() -> int:
    text = errors()
    check_guard_is_compiled()
    if "--update" in sys.argv:
        GOLDEN.write_text(text, encoding="utf-8")
        return 0
    golden = GOLDEN.read_text(encoding="utf-8")
    cargo.check(text == golden, f"messages changed (--update accepts them):\n{text}")
    check_msvc()
    slow = () if "--all" in sys.argv else ("jemalloc",)
    check_served([name for name in FEATURES if name not in slow])
    if "CARREL_TEST_LIBRARY" in os.environ:
        check_preloaded(Path(os.environ["CARREL_TEST_LIBRARY"]))
    print(f"choice: {len(golden.splitlines())} choices refused, each allocator proved")
    return 0


if __name__ == "__main__":
    sys.exit(main())
