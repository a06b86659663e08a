#!/usr/bin/env python3
"""package: makes the .crate files as a registry would get them, and proves them.

In the repository carrel-sys and carrel-hook find their sources above them; a published crate
carries them in vendor/. This copies the workspace to a temporary folder, puts the sources and the
licences where they belong, and runs `cargo package` there, which builds each crate from its own
archive. Then a program outside the workspace is built from the archives alone and run. It
publishes nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRATES = ("carrel-sys", "carrel", "carrel-select", "carrel-hook")
HOOK = ("hook/channel.h", "hook/record.*", "hook/linked/*", "trace/event.h")
SOURCES = ("*.h", "*.hpp", "*.cc")
LIMIT_BYTES = 1 << 20  # of one archive; a registry's own limit is ten times that

PROGRAM = """//! Built from the packaged crates alone.
use carrel_hook::Recorded;
use carrel_select::{Selected, SELECTED};

#[global_allocator]
static GLOBAL: Recorded<Selected> = Recorded::new(SELECTED);

fn main() {
    let text = String::from("from the archives");
    assert_eq!(carrel::owns(text.as_ptr()), Some(true));
    println!("{}", carrel_select::prove());
}
"""


def die(message: str) -> None:
    sys.exit(f"package: {message}")


def cargo(arguments: list[str], cwd: Path, target: Path) -> str:
    program = shutil.which("cargo")
    if program is None:
        die("cargo is not installed; run ./dev setup")
    environment = {key: value for key, value in os.environ.items()
                   if not key.startswith("CARREL_")}
    done = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True,
                          check=False, env={**environment, "CARGO_TARGET_DIR": str(target)})
    if done.returncode != 0:
        die(f"`cargo {' '.join(arguments)}` failed\n{done.stdout}{done.stderr}")
    return done.stdout


def copy_workspace(workspace: Path) -> None:
    """The workspace with everything where a published crate has it."""
    shutil.copytree(ROOT / "rust", workspace,
                    ignore=shutil.ignore_patterns("target", "bench", "suites"))
    for crate in CRATES:
        for licence in ROOT.glob("LICENSE-*"):
            shutil.copy(licence, workspace / crate)
    for folder in ("src", "include"):
        for pattern in SOURCES:
            for source in (ROOT / folder).rglob(pattern):
                place = workspace / "carrel-sys" / "vendor" / source.relative_to(ROOT)
                if "fake" in place.parts:  # the operating system of the unit tests
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, place)


    for pattern in HOOK:
        for source in (ROOT / "tools/carrel").glob(pattern):
            place = (workspace / "carrel-hook/vendor" / source.relative_to(ROOT / "tools/carrel"))
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)


def check_archives(folder: Path, version: str) -> list[Path]:
    archives = [folder / f"{crate}-{version}.crate" for crate in CRATES]
    for archive, crate in zip(archives, CRATES):
        with tarfile.open(archive) as tar:
            names = {name.split("/", 1)[1] for name in tar.getnames()}
        wanted = {"Cargo.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "src/lib.rs"}
        if crate == "carrel-sys":
            wanted |= {"vendor/include/carrel/carrel.h", "vendor/src/api/c_api.cc", "build.rs"}
        if crate == "carrel-hook":
            wanted |= {"vendor/hook/record.cc", "vendor/trace/event.h", "build.rs"}
        if not wanted <= names:
            die(f"{archive.name} lacks {sorted(wanted - names)}")
        if archive.stat().st_size > LIMIT_BYTES:
            die(f"{archive.name} has {archive.stat().st_size} bytes; what got into it?")
        print(f"{archive.name}: {len(names)} files, {archive.stat().st_size / 1024:.0f} KiB")
    return archives


def prove(archives: list[Path], folder: Path, version: str, target: Path) -> str:
    """Builds and runs a program that knows only the unpacked archives."""
    for archive in archives:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    paths = {crate: folder / f"{crate}-{version}" for crate in CRATES}
    program = folder / "program"
    (program / "src").mkdir(parents=True)
    (program / "src/main.rs").write_text(PROGRAM)
    patches = "".join(f'{crate} = {{ path = "{path}" }}\n' for crate, path in paths.items())
    (program / "Cargo.toml").write_text(
        '[package]\nname = "program"\nversion = "0.0.0"\nedition = "2021"\n\n[dependencies]\n'
        f'carrel = "{version}"\ncarrel-select = {{ version = "{version}", '
        f'features = ["carrel"] }}\ncarrel-hook = "{version}"\n\n[patch.crates-io]\n{patches}\n'
        '[workspace]\n')
    shutil.copy(ROOT / "rust/Cargo.lock", program)  # the same versions of everything else
    return cargo(["run", "-q"], program, target).strip()


def main() -> int:
    parser = argparse.ArgumentParser(description="Make and prove the .crate files.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "crates")
    out = parser.parse_args().out.resolve()
    manifest = (ROOT / "rust/Cargo.toml").read_text(encoding="utf-8")
    version = manifest.split('version = "', 1)[1].split('"', 1)[0]
    with tempfile.TemporaryDirectory(prefix="carrel-package-") as name:
        folder = Path(name)
        copy_workspace(folder / "rust")
        chosen = [word for crate in CRATES for word in ("-p", crate)]
        cargo(["package", "--locked", *chosen], folder / "rust", folder / "target")
        archives = check_archives(folder / "target" / "package", version)
        said = prove(archives, folder / "unpacked", version, folder / "target")
        out.mkdir(parents=True, exist_ok=True)
        for archive in archives:
            shutil.copy(archive, out)
    if not said.startswith("carrel serves"):
        die(f"the program built from the archives says: {said}")
    print(f"package: a program built from them says: {said}; they are in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
