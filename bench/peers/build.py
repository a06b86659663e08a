#!/usr/bin/env python3
"""Builds today's peer allocators into build/peers/lib*.so, ready for LD_PRELOAD.

Cargo fetches the engine sources inside the crates that Cargo.lock pins; each engine is then
compiled as its own project builds its preload library: its own override symbols, its default
configuration, initial-exec thread-local storage, the machine's C and C++ compiler at -O3. Nothing
forwards to an engine through a shim, so no peer pays an extra call. versions.json beside the
libraries says what was built. This does not build the peers that Debian packages: the harness finds
those by path.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

HERE = Path(__file__).resolve().parent
DEFAULT_OUT = HERE.parent.parent / "build" / "peers"

# What a preload library must answer for; an engine that leaves one out falls back to glibc's, which
# for these calls the engine's own malloc or realloc, or hands out memory the engine cannot free.
FAMILY = (
    "malloc free calloc realloc reallocarray memalign posix_memalign aligned_alloc valloc pvalloc "
    "malloc_usable_size _Znwm _Znam _ZdlPv _ZdaPv _ZdlPvm _ZnwmSt11align_val_t "
    "_ZdlPvSt11align_val_t"
).split()


class BuildError(Exception):
    """A peer could not be built; the message says what to do."""


@dataclass(frozen=True)
class Package:
    """One crate as cargo resolved it."""

    name: str
    version: str
    source: Path
    checksum: str


@dataclass(frozen=True)
class Context:
    """Where one engine is built, and with what."""

    work: Path
    out: Path
    cc: str
    cxx: str
    jobs: int
    log: Path


@dataclass(frozen=True)
class Peer:
    """A library to build: its name, the crate it comes from, and the recipe."""

    name: str
    crate: str
    note: str
    build: Callable[[Context, Package, Path], str]


def run(ctx: Context, command: list[str], cwd: Path | None = None,
        env: dict[str, str] | None = None) -> None:
    """Runs a command, its output into the peer's log."""
    with ctx.log.open("a") as log:
        log.write("$ " + " ".join(command) + "\n")
        log.flush()
        done = subprocess.run(command, cwd=cwd, stdout=log, stderr=subprocess.STDOUT,
                              env={**os.environ, **(env or {})}, check=False)
    if done.returncode:
        raise BuildError(f"`{command[0]}` failed; read {ctx.log}")


def compile_shared(ctx: Context, library: Path, sources: list[Path], flags: list[str]) -> None:
    run(ctx, [ctx.cc, "-shared", "-fPIC", "-O3", "-g", "-DNDEBUG", "-Wl,--build-id", *flags,
              *map(str, sources), "-pthread", "-o", str(library)])


def build_mimalloc(series: str, secure: bool) -> Callable[[Context, Package, Path], str]:
    """mimalloc's shared library as its CMake file describes it, default or secure.

    The crate leaves out a file that CMake file includes, so the list of sources is read from it
    and compiled with the flags it sets for a release build with the override on.
    """

    def build(ctx: Context, package: Package, library: Path) -> str:
        root = package.source / "c_src" / "mimalloc" / series
        listed = re.search(r"set\(mi_sources(.*?)\)", (root / "CMakeLists.txt").read_text(), re.S)
        if listed is None:
            raise BuildError(f"{root}/CMakeLists.txt names no mi_sources; update build.py")
        sources = [root / source for source in listed.group(1).split()]
        flags = ["-std=gnu11", "-DMI_SHARED_LIB", "-DMI_SHARED_LIB_EXPORT", "-DMI_MALLOC_OVERRIDE",
                 "-DMI_BUILD_RELEASE", "-fvisibility=hidden", "-ftls-model=initial-exec",
                 "-fno-builtin-malloc", f"-I{root / 'include'}"]
        if secure:
            flags.append("-DMI_SECURE=4")
        compile_shared(ctx, library, sources, flags)
        header = (root / "include" / "mimalloc.h").read_text()
        number = int(re.search(r"#define MI_MALLOC_VERSION\s+(\d+)", header).group(1))
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"

    return build


def build_jemalloc(ctx: Context, package: Package, library: Path) -> str:
    """jemalloc's own configure and make, unprefixed, with its defaults (statistics and C++ on)."""
    tree = ctx.work / "jemalloc"
    shutil.copytree(package.source / "jemalloc", tree)
    for generated in (package.source / "configure").iterdir():
        shutil.copy2(generated, tree / generated.name)
    version = package.version.split("+", 1)[1]
    run(ctx, ["sh", "./configure", "--disable-doc", f"--with-version={version}"], cwd=tree,
        env={"CC": ctx.cc, "CXX": ctx.cxx, "LDFLAGS": "-Wl,--build-id"})
    run(ctx, ["make", f"-j{ctx.jobs}", "build_lib_shared"], cwd=tree)
    shutil.copy2(tree / "lib" / "libjemalloc.so.2", library)
    return version.split("-", 1)[0]


def build_snmalloc(checks: bool) -> Callable[[Context, Package, Path], str]:
    """snmalloc's own shim targets through its own CMake file."""

    def build(ctx: Context, package: Package, library: Path) -> str:
        target = "snmallocshim-checks" if checks else "snmallocshim"
        tree = ctx.work / target
        run(ctx, ["cmake", "-S", str(package.source / "upstream"), "-B", str(tree),
                  "-DCMAKE_BUILD_TYPE=Release", "-DSNMALLOC_BUILD_TESTING=OFF",
                  "-DSNMALLOC_NO_REALLOCARRAY=OFF", f"-DCMAKE_CXX_COMPILER={ctx.cxx}",
                  f"-DCMAKE_C_COMPILER={ctx.cc}", "-DCMAKE_SHARED_LINKER_FLAGS=-Wl,--build-id"])
        run(ctx, ["cmake", "--build", str(tree), f"-j{ctx.jobs}", "--target", target])
        shutil.copy2(tree / f"lib{target}.so", library)
        return package.version

    return build


def build_rpmalloc(ctx: Context, package: Package, library: Path) -> str:
    """rpmalloc's `rpmallocwrap` library: one source file with preload and override on."""
    root = package.source / "rpmalloc"
    compile_shared(ctx, library, [root / "rpmalloc" / "rpmalloc.c"],
                   ["-std=c11", "-D_GNU_SOURCE=1", "-DENABLE_PRELOAD=1", "-DENABLE_OVERRIDE=1",
                    "-DBUILD_DYNAMIC_LINK=1", "-funroll-loops", "-fno-builtin-malloc"])
    newest = re.search(r"^\d+\.\d+\.\d+", (root / "CHANGELOG").read_text(), re.M)
    if newest is None:
        raise BuildError(f"{root}/CHANGELOG names no version; update build.py")
    commit = package.version.split("+")[-1]
    return f"{newest.group(0)} ({commit})"


PEERS = (
    Peer("mimalloc3", "libmimalloc-sys", "mimalloc's third series, default build",
         build_mimalloc("v3", secure=False)),
    Peer("mimalloc2", "libmimalloc-sys", "mimalloc's second series, default build",
         build_mimalloc("v2", secure=False)),
    Peer("mimalloc3-secure", "libmimalloc-sys", "mimalloc's third series, MI_SECURE=4",
         build_mimalloc("v3", secure=True)),
    Peer("jemalloc", "tikv-jemalloc-sys", "own configure with defaults", build_jemalloc),
    Peer("snmalloc", "snmalloc-sys", "target snmallocshim", build_snmalloc(checks=False)),
    Peer("snmalloc-checks", "snmalloc-sys", "target snmallocshim-checks",
         build_snmalloc(checks=True)),
    Peer("rpmalloc", "rpmalloc-sys", "the first series, which the crate still carries",
         build_rpmalloc),
)


def find_cargo() -> str:
    cargo = shutil.which("cargo")
    if cargo is None:
        raise BuildError("cargo is missing, so " + ", ".join(peer.name for peer in PEERS)
                         + " are left out: apt-get install cargo-web, or run ./dev setup")
    return cargo


def fetch() -> dict[str, Package]:
    """Has cargo fetch the pinned crates and says where their sources lie."""
    command = [find_cargo(), "metadata", "--locked", "--format-version", "1",
               "--manifest-path", str(HERE / "Cargo.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError("cargo could not fetch the pinned crates: " + done.stderr.strip())
    lock = tomllib.loads((HERE / "Cargo.lock").read_text())
    checksums = {entry["name"]: entry.get("checksum", "") for entry in lock["package"]}
    return {entry["name"]: Package(entry["name"], entry["version"],
                                   Path(entry["manifest_path"]).parent,
                                   checksums.get(entry["name"], ""))
            for entry in json.loads(done.stdout)["packages"]}


def exported(library: Path) -> set[str]:
    done = subprocess.run(["nm", "-D", "--defined-only", str(library)], capture_output=True,
                          text=True, check=True)
    return {line.split()[-1].split("@")[0] for line in done.stdout.splitlines()}


def first_instructions(library: Path) -> dict[str, str]:
    """How malloc and free begin, so that a hidden forwarding call is seen in versions.json."""
    done = subprocess.run(["nm", "-D", "--defined-only", str(library)], capture_output=True,
                          text=True, check=True)
    shown: dict[str, str] = {}
    for line in done.stdout.splitlines():
        address, _, name = line.split()[:3]
        if name.split("@")[0] not in ("malloc", "free"):
            continue
        start = int(address, 16)
        code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", f"--start-address={start}",
                               f"--stop-address={start + 24}", str(library)],
                              capture_output=True, text=True, check=True).stdout
        steps = [row.split("\t", 1)[1] for row in code.splitlines()
                 if re.match(r"\s+[0-9a-f]+:\t", row)]
        shown[name.split("@")[0]] = " ; ".join(" ".join(step.split("#")[0].split())
                                               for step in steps[:3])
    return shown


def recipe_hash(peer: Peer, compiler: str) -> str:
    """Changes whenever the peer would be built otherwise: pins, recipe or compiler."""
    choices = [repr(cell.cell_contents) for cell in peer.build.__closure__ or ()]
    parts = [(HERE / "Cargo.lock").read_text(), inspect.getsource(compile_shared),
             inspect.getsource(peer.build), *choices, compiler]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [""])[0]


def build_all(out: Path, names: list[str], jobs: int, force: bool) -> int:
    out.mkdir(parents=True, exist_ok=True)
    record = out / "versions.json"
    known = json.loads(record.read_text()) if record.exists() else {}
    cc, cxx = os.environ.get("CC", "cc"), os.environ.get("CXX", "c++")
    compiler = first_line([cc, "--version"])
    wanted = [peer for peer in PEERS if not names or peer.name in names]
    stale = [peer for peer in wanted
             if force or known.get(peer.name, {}).get("recipe") != recipe_hash(peer, compiler)
             or not (out / f"lib{peer.name}.so").exists()]
    packages = fetch() if stale else {}
    failures = 0
    for peer in stale:
        library = out / f"lib{peer.name}.so"
        work = out / "work" / peer.name
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        ctx = Context(work, out, cc, cxx, jobs, out / f"{peer.name}.log")
        ctx.log.write_text("")
        started = time.monotonic()
        try:
            # Built aside and moved into place, so that nobody runs on half a library.
            fresh = work / library.name
            version = peer.build(ctx, packages[peer.crate], fresh)
            os.replace(fresh, library)
        except BuildError as error:
            print(f"peers: {peer.name} is left out: {error}", file=sys.stderr)
            known.pop(peer.name, None)
            library.unlink(missing_ok=True)
            failures += 1
            continue
        finally:
            shutil.rmtree(work, ignore_errors=True)
        names_found = exported(library)
        known[peer.name] = {
            "version": version, "note": peer.note, "library": library.name, "compiler": compiler,
            "crate": f"{peer.crate} {packages[peer.crate].version}",
            "crate_sha256": packages[peer.crate].checksum, "recipe": recipe_hash(peer, compiler),
            "not_exported": [name for name in FAMILY if name not in names_found],
            "first_instructions": first_instructions(library),
        }
        print(f"peers: {peer.name} {version} built in {time.monotonic() - started:.0f} s",
              file=sys.stderr)
        record.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    record.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the peer allocators for ./dev bench.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--only", default="", help="comma-separated peers: "
                        + ",".join(peer.name for peer in PEERS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--force", action="store_true", help="build what is up to date as well")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name]
    unknown = sorted(set(names) - {peer.name for peer in PEERS})
    if unknown:
        parser.error(f"no such peer: {', '.join(unknown)}; see --help for the names")
    for tool in ("cmake", "make", "nm", "objdump"):
        if shutil.which(tool) is None:
            print(f"peers: {tool} is missing: run ./dev setup", file=sys.stderr)
            return 1
    try:
        return 1 if build_all(options.out, names, options.jobs, options.force) else 0
    except BuildError as error:
        print(f"peers: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
