"""cargo: how the tests of the Rust crates run cargo. It tests nothing itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CRATES = ROOT / "rust"

# Just enough of a language for the guard's macros, for a target whose core library is absent.
BARE = """#![feature(no_core, rustc_attrs)]
#![no_core]
#[rustc_builtin_macro] #[macro_export] macro_rules! compile_error { ($($x:tt)*) => {}; }
#[rustc_builtin_macro] #[macro_export] macro_rules! concat { ($($x:tt)*) => {}; }
"""


def die(message: str) -> None:
    sys.exit(f"{Path(sys.argv[0]).stem}: {message}")


def check(condition: bool, message: str) -> None:
    if not condition:
        die(message)


def find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        die(f"{program} is not installed; run ./dev setup")
    return str(found)


def target_dir() -> Path:
    """Where cargo builds: given by ctest, else where ./dev test has it."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "build" / "release" / "rust"))


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """The caller's, without what would change the crates' build, plus `extra`."""
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith("CARREL_") and key not in ("RUSTFLAGS", "RUSTDOCFLAGS")}
    return {**kept, "CARGO_TARGET_DIR": str(target_dir()), "CARGO_TERM_COLOR": "never",
            **(extra or {})}


def run(command: list[str], cwd: Path = CRATES, env: dict[str, str] | None = None,
        succeed: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a command in the workspace; ends the test with its output if it fails and must not."""
    done = subprocess.run([find(command[0]), *command[1:]], cwd=cwd, env=env or environment(),
                          capture_output=True, text=True, check=False)
    if succeed and done.returncode != 0:
        die(f"`{' '.join(command)}` failed\n{done.stdout}{done.stderr}")
    return done


def guard_errors(guard: Path, target: str, *features: str, miri: bool = False) -> list[str]:
    """What a guard.rs says on a target of which no library is at hand: its cfg values are real."""
    chosen = [word for name in features for word in ("--cfg", f'feature="{name}"')]
    if miri:
        chosen += ["--cfg", "miri", "-A", "explicit_builtin_cfgs_in_flags"]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "guard.rs"
        body = guard.read_text(encoding="utf-8").replace("//!", "//")
        source.write_text(BARE + body)
        done = run(["rustc", "--edition", "2021", "--crate-type", "lib", "--target", target,
                    "--emit", "metadata", "--out-dir", folder, *chosen, str(source)],
                   env=environment({"RUSTC_BOOTSTRAP": "1"}), succeed=False)
    return re.findall(r"^error: (carrel-\w+: .*)$", done.stderr, re.MULTILINE)
