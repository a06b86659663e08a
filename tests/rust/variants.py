#!/usr/bin/env python3
"""variants: the crates built in ways that the other tests don't use.

With core's unstable Allocator; where carrel doesn't run (as Miri would compile it); with an
installed library instead of the sources, and with wrong ones; features that exclude each other; and
what a program on carrel needs at run time: no C++ library.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import cargo

WHICH = ["-p", "carrel-select", "--example", "which", "--features", "carrel"]
SYS_GUARD = cargo.CRATES / "carrel-sys" / "src" / "guard.rs"


def separate(extra: dict[str, str]) -> dict[str, str]:
    """An environment with a target folder of its own, for builds that would invalidate others."""
    return cargo.environment({**extra, "CARGO_TARGET_DIR": str(cargo.target_dir() / "variants")})


def check_nightly() -> None:
    done = cargo.run(["cargo", "test", "--locked", "-p", "carrel", "--features", "nightly",
                      "--test", "nightly"], env=cargo.environment({"RUSTC_BOOTSTRAP": "1"}))
    cargo.check("2 passed" in done.stdout, f"the nightly tests did not run:\n{done.stdout}")


def check_fallback() -> None:
    flags = "--cfg miri -A explicit_builtin_cfgs_in_flags"
    done = cargo.run(["cargo", "run", "--locked", "-q", *WHICH],
                     env=separate({"RUSTFLAGS": flags}))
    cargo.check(done.stdout.startswith("system: system serves"),
                f"where carrel does not run: {done.stdout}")
    # Miri is no target: strict-target does not object to it.
    done = cargo.run(["cargo", "test", "--locked", "-q", "-p", "carrel", "--features",
                      "strict-target", "--test", "unsupported"],
                     env=separate({"RUSTFLAGS": flags}))
    cargo.check("3 passed" in done.stdout,
                f"the system's allocator does not serve for carrel:\n{done.stdout}")
    done = cargo.run(["cargo", "test", "--locked", "-q", "-p", "carrel", "--doc"],
                     env=separate({"RUSTFLAGS": flags, "RUSTDOCFLAGS": flags}))
    cargo.check("0 failed" in done.stdout and "0 passed" not in done.stdout,
                f"the examples fail where carrel does not run:\n{done.stdout}")


def check_guards() -> None:
    for target, count in (("x86_64-apple-darwin", 1), ("i686-unknown-linux-gnu", 1),
                          ("x86_64-pc-windows-msvc", 1), ("aarch64-unknown-linux-gnu", 0),
                          ("x86_64-unknown-linux-musl", 0)):
        errors = cargo.guard_errors(SYS_GUARD, target, "strict-target")
        cargo.check(len(errors) == count, f"strict-target on {target}: {errors}")
    for target, count in (("x86_64-unknown-linux-gnu", 0), ("x86_64-apple-darwin", 1)):
        errors = cargo.guard_errors(SYS_GUARD, target, "strict-target", miri=True)
        cargo.check(len(errors) == count, f"strict-target under Miri for {target}: {errors}")
    errors = cargo.guard_errors(SYS_GUARD, "x86_64-unknown-linux-gnu", "override",
                                "local-dynamic-tls")
    cargo.check(len(errors) == 1 and "exclude each other" in errors[0], f"guard: {errors}")


def check_installed(libraries: Path) -> None:
    place = {"CARREL_LIB_DIR": str(libraries), "CARREL_INCLUDE_DIR": str(cargo.ROOT / "include"),
             "CXX": "/nonexistent/compiler"}
    done = cargo.run(["cargo", "run", "--locked", "-q", *WHICH], env=separate(place))
    cargo.check(done.stdout.startswith("carrel: carrel serves"),
                f"with an installed library: {done.stdout}")
    with tempfile.TemporaryDirectory() as folder:
        build = ["cargo", "build", "--locked", "-q", "-p", "carrel-sys"]
        prefix = Path(folder) / "prefix"
        (prefix / "lib").mkdir(parents=True)
        (prefix / "lib" / "libcarrel-prefixed.a").symlink_to(libraries / "libcarrel-prefixed.a")
        (prefix / "include").symlink_to(cargo.ROOT / "include")
        # From the crate's folder, where build scripts run; an empty variable is none.
        away = os.path.relpath(prefix / "lib", cargo.CRATES / "carrel-sys")
        done = cargo.run(["cargo", "run", "--locked", "-q", *WHICH],
                         env=separate({**place, "CARREL_LIB_DIR": away, "CARREL_INCLUDE_DIR": ""}))
        cargo.check(done.stdout.startswith("carrel: carrel serves"),
                    f"a relative folder and no headers named: {done.stdout}")
        for name in ("CARREL_LIB_DIR", "CARREL_INCLUDE_DIR"):
            done = cargo.run(build, env=separate({**place, name: "/nonexistent"}), succeed=False)
            cargo.check(f"{name} is /nonexistent, which cannot be opened" in done.stderr,
                        f"a folder that is not there: {done.stderr}")
        done = cargo.run(build, env=separate({**place, "CARREL_LIB_DIR": folder}), succeed=False)
        cargo.check("no libcarrel-prefixed.a in it" in done.stderr, f"wrong folder: {done.stderr}")
        header = (cargo.ROOT / "include/carrel/carrel.h").read_text(encoding="utf-8")
        other = Path(folder) / "carrel" / "carrel.h"
        other.parent.mkdir()
        other.write_text(re.sub(r"(VERSION_MINOR) \d+", r"\1 99", header))
        done = cargo.run(build, env=separate({**place, "CARREL_INCLUDE_DIR": folder}),
                         succeed=False)
        cargo.check(".99, this crate is for" in done.stderr, f"wrong version: {done.stderr}")


def check_needs() -> None:
    cargo.run(["cargo", "build", "--locked", "-q", *WHICH])
    program = cargo.target_dir() / "debug" / "examples" / "which"
    listed = cargo.run(["readelf", "-dW", str(program)]).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", listed)
    cargo.check(bool(needed) and not [name for name in needed if "++" in name],
                f"the program needs {needed}")
    again = cargo.run(["cargo", "build", "--locked", "-v", *WHICH]).stderr
    cargo.check("Fresh carrel-sys" in again, f"built again for no reason:\n{again}")


def main() -> int:
    check_guards()
    check_nightly()
    check_fallback()
    check_needs()
    if "CARREL_TEST_LIBRARY" in os.environ:
        check_installed(Path(os.environ["CARREL_TEST_LIBRARY"]).parent)
    print("variants: nightly, fallback, installed library, guards")
    return 0


if __name__ == "__main__":
    sys.exit(main())
