#!/usr/bin/env python3
"""run: the test suites of well-known crates, with carrel as the global allocator.

Cargo fetches the crates that Cargo.lock pins. Each source is copied; every test program of it (its
unit tests and each file under tests/) gets a global allocator and one test more, which fails unless
carrel serves it; then cargo runs them all. The crates' own code and tests are unchanged; tests that
bring an allocator of their own, doc tests and benchmarks are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROOF = "carrel_serves_this_program"

# What of a suite can run: regex' archive lacks the data of its integration tests.
PARTS = {"regex": ["--lib"]}

INJECTED = f"""
#[cfg(test)]
mod {PROOF} {{
    extern crate std;
    #[global_allocator]
    static GLOBAL: carrel::Carrel = carrel::Carrel;

    #[test]
    fn {PROOF}() {{
        let block = std::boxed::Box::new([0u8; 100]);
        assert_eq!(carrel::owns(block.as_ptr()), Some(true));
    }}
}}
"""


@dataclass
class Outcome:
    """What one crate's suite did."""

    name: str
    version: str
    proved: int  # test programs that carrel served
    unproved: int  # others that ran at least one test
    passed: int
    failed: int
    ignored: int
    seconds: float  # of processor time
    output: str


def die(message: str) -> None:
    sys.exit(f"suites: {message}")


def cargo(arguments: list[str], cwd: Path, target: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("cargo")
    if program is None:
        die("cargo is not installed; run ./dev setup")
    environment = {key: value for key, value in os.environ.items()
                   if not key.startswith("CARREL_")}
    return subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True,
                          check=False, env={**environment, "CARGO_TARGET_DIR": str(target),
                                            "CARGO_TERM_COLOR": "never"})


def pinned() -> list[str]:
    text = (HERE / "Cargo.toml").read_text(encoding="utf-8").split("[dependencies]", 1)[1]
    return re.findall(r"^([\w-]+) = \"=", text, re.MULTILINE)


def fetch(names: list[str], target: Path) -> dict[str, tuple[str, Path]]:
    """Version and source folder of each crate."""
    done = cargo(["metadata", "--locked", "--format-version", "1"], HERE, target)
    if done.returncode != 0:
        die(f"cargo could not fetch the pinned crates: {done.stderr.strip()}")
    packages = json.loads(done.stdout)["packages"]
    direct = {package["name"]: package for package in packages if package["name"] in names}
    return {name: (direct[name]["version"], Path(direct[name]["manifest_path"]).parent)
            for name in names}


def without_section(manifest: str, header: str) -> str:
    return re.sub(rf"^\[{header}\]\n(?:(?!\[).*\n?)*", "", manifest, flags=re.MULTILINE)


def prepare(source: Path, folder: Path) -> None:
    """Copies the crate and injects the allocator into each of its test programs."""
    shutil.copytree(source, folder)
    manifest = (folder / "Cargo.toml").read_text(encoding="utf-8")
    # Benchmarks are not run, and their framework is the largest of the dependencies.
    for header in (r"\[bench\]", r"dev-dependencies\.criterion"):
        manifest = without_section(manifest, header)
    manifest += (f'\n[dev-dependencies.carrel]\npath = "{ROOT / "rust" / "carrel"}"\n'
                 "\n[workspace]\n")
    (folder / "Cargo.toml").write_text(manifest, encoding="utf-8")
    tests = folder / "tests"
    programs = [folder / "src" / "lib.rs", *sorted(tests.glob("*.rs")),
                *sorted(tests.glob("*/main.rs"))]
    for program in programs:
        text = program.read_text(encoding="utf-8")
        if "#[global_allocator]" in text:  # it tests how the crate bears an allocator of its own
            text = ""
        program.write_text(text + INJECTED, encoding="utf-8")


def processor_seconds() -> float:
    """What all children so far have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_suite(name: str, version: str, source: Path, work: Path, target: Path) -> Outcome:
    folder = work / f"{name}-{version}"
    prepare(source, folder)
    before = processor_seconds()
    parts = PARTS.get(name, ["--lib", "--tests"])
    done = cargo(["test", *parts, "--no-fail-fast"], folder, target)
    seconds = processor_seconds() - before
    results = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored",
                         done.stdout, re.MULTILINE)
    passed, failed, ignored = (sum(int(row[i]) for row in results) for i in range(3))
    # A file under tests/ may hold nothing on this platform or without some feature.
    runs = re.split(r"^running (?=[1-9])", done.stdout, flags=re.MULTILINE)[1:]
    proved = sum(f"\ntest {PROOF}::{PROOF} ... ok\n" in run for run in runs)
    if done.returncode != 0 and failed == 0:
        failed = 1  # it did not compile, or was killed
    return Outcome(name, version, proved, len(runs) - proved, passed - proved, failed, ignored,
                   seconds, done.stdout + done.stderr)


def what_failed(output: str) -> str:
    """Each failed program's own report; without one, the end of the output."""
    reports = re.findall(r"^failures:\n.*?(?=^test result:)", output, re.MULTILINE | re.DOTALL)
    return "\n".join(reports) or output[-6000:]


def main() -> int:
    parser = argparse.ArgumentParser(description="Run well-known crates' tests on carrel.")
    parser.add_argument("crates", nargs="*", help=f"of: {', '.join(pinned())} (default: all)")
    names = parser.parse_args().crates or pinned()
    unknown = sorted(set(names) - set(pinned()))
    if unknown:
        parser.error(f"not pinned: {', '.join(unknown)}; known: {', '.join(pinned())}")
    default = ROOT / "build" / "release" / "rust"
    target = Path(os.environ.get("CARGO_TARGET_DIR", default)) / "suites"
    bad = 0
    with tempfile.TemporaryDirectory(prefix="carrel-suites-") as work:
        for name, (version, source) in fetch(names, target).items():
            outcome = run_suite(name, version, source, Path(work), target)
            whole = outcome.failed == 0 and outcome.passed > 0
            whole = whole and outcome.proved > 0 and outcome.unproved == 0
            bad += not whole
            print(f"{'ok  ' if whole else 'FAIL'} {name} {version}: {outcome.passed} passed, "
                  f"{outcome.failed} failed, {outcome.ignored} ignored; carrel served "
                  f"{outcome.proved} test programs, {outcome.unproved} others ran; "
                  f"{outcome.seconds:.0f} s of CPU", flush=True)
            if not whole:
                print(what_failed(outcome.output))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
