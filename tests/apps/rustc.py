"""The shipped rustc compiling a crate: the same library, metadata and diagnostics as under glibc.

A rustc that exports an allocator of its own from its executable (rustup's) wins over a preload, so
a copy of that executable is used in which those symbols are hidden; its libraries stay where they
are. Debian's takes malloc from outside and is used as it is. Every rustc found is tested."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import elf_hide
from harness import PROGRAMS, App, find, main
from proof import Allocator, Failure

CRATE = PROGRAMS / "crate"
FLAGS = ("--edition", "2021", "-O", "-C", "debuginfo=1", "-C", "codegen-units=4")


def find_toolchains() -> list[Path]:
    """The sysroot of each distinct rustc: Debian's, and the one on PATH (perhaps rustup's shim)."""
    sysroots: dict[Path, None] = {}
    for rustc in (find("rustc", "rustc-web"), shutil.which("rustc")):
        if rustc is None:
            continue
        printed = subprocess.run([rustc, "--print", "sysroot"], capture_output=True, text=True,
                                 check=False)
        if printed.returncode != 0:
            raise Failure(f"'{rustc} --print sysroot' fails: {printed.stderr.strip()}")
        sysroots[Path(printed.stdout.strip()).resolve()] = None
    return list(sysroots)


def prepare(app: App, sysroot: Path) -> tuple[Path, bool]:
    """The executable to run, and whether it is a copy with its allocator hidden."""
    original = sysroot / "bin" / "rustc"
    own = [s.name for s in elf_hide.dynamic_symbols(original)
           if s.defined and s.name in elf_hide.MALLOC_FAMILY]
    if not own:
        return original, False
    home = app.make_folder(f"rustc-{sysroot.name}")
    (home / "bin").mkdir()
    (home / "lib").symlink_to(sysroot / "lib")  # the executable looks for ../lib
    copy = home / "bin" / "rustc"
    shutil.copy(original, copy)
    hidden = elf_hide.hide(copy, own)
    if sorted(hidden) != sorted(own):
        raise Failure(f"{original} exports {own}, of which only {hidden} could be hidden")
    return copy, True


def build(app: App, rustc: Path, sysroot: Path, allocator: Allocator) -> tuple[list[str], float]:
    """Compile the library and its program; returns what must agree."""
    folder = app.make_folder("build")  # one name for both: files may hold it
    common: list[str | Path] = [rustc, "--sysroot", sysroot, *FLAGS, "--out-dir", folder]
    library = app.run([*common, "--crate-type", "rlib", "--crate-name", "carrel_test_crate",
                       "--emit", "link,metadata", CRATE / "lib.rs"], allocator, cwd=folder)
    program = app.run([*common, "--crate-type", "bin", "--extern",
                       f"carrel_test_crate={folder / 'libcarrel_test_crate.rlib'}",
                       CRATE / "main.rs"], allocator, cwd=folder)
    run = app.run([folder / "main"], allocator, cwd=folder)
    agreed = [library.stderr.decode(), program.stderr.decode(), run.text]
    for name in ("libcarrel_test_crate.rlib", "libcarrel_test_crate.rmeta"):
        data = (folder / name).read_bytes()
        if len(data) < 10_000:
            raise Failure(f"{allocator.name}: rustc made {name} of only {len(data)} bytes")
        agreed.append(f"{name} {len(data)} {hashlib.sha256(data).hexdigest()}")
    if run.text.count("\n") != 4:
        raise Failure(f"{allocator.name}: the compiled program printed {run.text!r}")
    shutil.rmtree(folder)
    return agreed, library.seconds + program.seconds


def test(app: App) -> None:
    for sysroot in find_toolchains():
        rustc, copied = prepare(app, sysroot)
        (expected, before), (got, after) = [build(app, rustc, sysroot, a) for a in app.allocators]
        app.compare(f"what {sysroot}'s rustc made", "\n".join(expected), "\n".join(got))
        how = "a copy with its own malloc hidden" if copied else "as it is"
        app.note(f"rustc of {os.path.basename(sysroot)} ({how})", before, after)


if __name__ == "__main__":
    main(test)
