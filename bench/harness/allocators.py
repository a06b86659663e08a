"""Which allocators there are, where their libraries lie, and how to get one that is missing.

discover() sorts them into those that can be measured and those that are absent or whose preload did
not take over; nobody is left out without a sentence. It builds nothing: bench/peers/build.py does.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

CARREL = "carrel"
CARREL_AGAIN = "carrel-aa"
SECURE = "carrel-secure"
LIBRARY_DIRS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


@dataclass(frozen=True)
class Spec:
    """An allocator as this file knows it, present or not."""

    name: str
    group: str  # "ours", "secure", "peer", "older" or "hardened"
    patterns: tuple[str, ...]  # where its library may lie; {root}, {lib}, wildcards are filled in
    package: str  # the Debian package, or empty
    hint: str  # how to get it
    own_environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Allocator:
    """An allocator that can be measured."""

    name: str
    group: str
    library: Path | None  # what is preloaded; None: the C library's own
    installed: str  # where that was copied from
    version: str
    origin: str
    identity: str
    environment: dict[str, str]

    @property
    def is_ours(self) -> bool:
        return self.group == "ours"


@dataclass(frozen=True)
class Missing:
    """An allocator that is left out, and why."""

    name: str
    reason: str


def _peer(name: str, group: str = "peer") -> Spec:
    return Spec(name, group, (f"{{root}}/build/peers/lib{name}.so",), "",
                f"python3 bench/peers/build.py --only {name} (needs cargo: ./dev setup)")


def _debian(name: str, group: str, pattern: str, package: str) -> Spec:
    return Spec(name, group, (pattern,), package, f"apt-get install {package}")


SPECS = (
    Spec(CARREL, "ours", ("{root}/build/release/lib/libcarrel.so",), "", "./dev build"),
    Spec(CARREL_AGAIN, "ours", ("{root}/build/release/lib/libcarrel.so",), "", "./dev build"),
    Spec(SECURE, "secure", ("{root}/build/release/lib/libcarrel-secure.so",), "", "./dev build"),
    Spec("glibc", "peer", (), "libc6", ""),
    _peer("mimalloc3"),
    _peer("mimalloc2"),
    _peer("jemalloc"),
    _peer("snmalloc"),
    _peer("rpmalloc"),
    _debian("tcmalloc", "peer", "{lib}/libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
    _debian("tbbmalloc", "peer", "{lib}/libtbbmalloc_proxy.so.2", "libtbbmalloc2"),
    _debian("scudo", "peer",
            "/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.scudo_standalone-*.so",
            "libclang-rt-19-dev"),
    _debian("mimalloc-2.0.9", "older", "{lib}/libmimalloc.so.2.0", "libmimalloc2.0"),
    _debian("jemalloc-5.3.0", "older", "{lib}/libjemalloc.so.2", "libjemalloc2"),
    _peer("mimalloc3-secure", "hardened"),
    _peer("snmalloc-checks", "hardened"),
)

# What `--allocs` takes besides names.
GROUPS = {
    "default": ("ours", "peer", "older"),
    "current": ("ours", "peer"),
    "hardened": ("ours", "secure", "hardened"),
    "all": ("ours", "secure", "peer", "older", "hardened"),
}


def select(words: list[str]) -> list[Spec]:
    """The allocators that `--allocs` names, in the order above; ValueError for an unknown word."""
    names = {spec.name for spec in SPECS}
    wanted: set[str] = set()
    for word in words:
        if word in GROUPS:
            wanted |= {spec.name for spec in SPECS if spec.group in GROUPS[word]}
        elif word in names:
            wanted.add(word)
        else:
            known = ", ".join([*GROUPS, *(spec.name for spec in SPECS)])
            raise ValueError(f"no allocator '{word}'; known: {known}")
    if CARREL in wanted:
        wanted.add(CARREL_AGAIN)
    return [spec for spec in SPECS if spec.name in wanted]


def find_library(spec: Spec, root: Path) -> Path | None:
    for pattern in spec.patterns:
        for directory in LIBRARY_DIRS if "{lib}" in pattern else ("",):
            found = sorted(glob.glob(pattern.format(root=root, lib=directory)))
            if found:
                return Path(found[-1])
    return None


def snapshot(name: str, source: Path, directory: Path) -> Path:
    """A copy to measure: lib<name>.so in the run's own folder.

    Everybody runs from a copy made at the same time by the same means, so that the A/A pair differs
    in nothing but the name, a build during the run changes nothing, and the page cache holds all
    libraries alike (how it does decides how much of a library counts as resident).
    """
    copy = directory / f"lib{name}.so"
    shutil.copyfile(source, copy)
    return copy


def identity_of(library: Path) -> str:
    """The build id, or the beginning of a hash of the file when it carries none."""
    done = subprocess.run(["readelf", "-n", str(library)], capture_output=True, text=True,
                          check=False)
    found = re.search(r"Build ID: ([0-9a-f]+)", done.stdout)
    if found:
        return f"build id {found.group(1)[:16]}"
    return f"sha256 {hashlib.sha256(library.read_bytes()).hexdigest()[:16]}"


def package_version(package: str) -> str:
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True,
                          text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def probe(program: Path, environment: dict[str, str]) -> dict[str, str]:
    """Runs the probe under an allocator; a RuntimeError when it does not even run."""
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=20, check=False,
                          env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **environment})
    if done.returncode or "cannot be preloaded" in done.stderr:
        reason = done.stderr.strip().splitlines()
        raise RuntimeError(reason[-1] if reason else f"the probe ended with {done.returncode}")
    return json.loads(done.stdout)


def did_not_take(library: Path | None, answer: dict[str, str]) -> list[str]:
    """The symbols that do not resolve into the library although they should."""
    symbols = [symbol for symbol in answer if symbol != "version"]
    if library is None:
        return [s for s in symbols if answer[s] and not re.search(r"libc\.so|libstdc\+\+|/libc-",
                                                                  answer[s])]
    wanted = library.resolve()
    return [s for s in symbols if not answer[s] or Path(answer[s]).resolve() != wanted]


def describe(spec: Spec, found: Path | None, library: Path | None, answer: dict[str, str],
             root: Path) -> Allocator:
    version = answer.get("version", "").split("-")[0]
    origin = f"Debian {spec.package} {package_version(spec.package)}" if spec.package else ""
    record = root / "build/peers/versions.json"
    if found is not None and found.parent == record.parent and record.exists():
        entry = json.loads(record.read_text()).get(spec.name, {})
        version = entry.get("version", version)
        origin = f"{entry.get('crate', '')}, {entry.get('note', '')}; {entry.get('compiler', '')}"
    elif spec.group in ("ours", "secure"):
        origin = "this tree, again" if spec.name == CARREL_AGAIN else "this tree"
    if not version:
        version = package_version(spec.package).split("-")[0].split(":")[-1]
    environment = dict(spec.own_environment)
    if library is not None:
        environment["LD_PRELOAD"] = str(library)
    return Allocator(spec.name, spec.group, library, str(found or ""), version, origin,
                     identity_of(library) if library else "", environment)


def discover(specs: list[Spec], root: Path, probe_program: Path, directory: Path,
             carrel: Path | None = None) -> tuple[list[Allocator], list[Missing]]:
    """Those that can be measured and those that cannot, each with the reason.

    Libraries are copied into `directory`; `carrel` is another library to measure as carrel.
    """
    present: list[Allocator] = []
    missing: list[Missing] = []
    for spec in specs:
        found = carrel if carrel and spec.group == "ours" else find_library(spec, root)
        if found is None and spec.patterns:
            missing.append(Missing(spec.name, f"not found; get it with: {spec.hint}"))
            continue
        library = snapshot(spec.name, found, directory) if found else None
        environment = {"LD_PRELOAD": str(library)} if library else {}
        try:
            answer = probe(probe_program, environment)
        except (RuntimeError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
            missing.append(Missing(spec.name, f"a trivial program does not run on it: {error}"))
            continue
        elsewhere = did_not_take(library, answer)
        if elsewhere:
            missing.append(Missing(spec.name, "preloading it does not take over "
                                   + ", ".join(elsewhere)))
            continue
        present.append(describe(spec, found, library, answer, root))
    return present, missing
