#!/usr/bin/env python3
"""bindings: the Rust declarations of carrel-sys say what carrel.h says.

Each function of bindings.rs is written as a C declaration after an #include of carrel.h: the C
compiler refuses one whose types differ. Functions of the header that are not bound are named. Each
name that libcarrel.so exports in libc's place must be kept by the feature `override`.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import cargo

FUNCTION = re.compile(r"pub fn (carrel_\w+)\(([^)]*)\)(?: -> ([^;]+))?;")
HEADER_FUNCTION = re.compile(r"\b(carrel_\w+)\([^;]*\)[^;]*;", re.DOTALL)
TYPES = {
    "usize": "size_t", "c_int": "int", "*mut c_void": "void*", "*const c_void": "const void*",
    "*const c_char": "const char*", "*mut c_char": "char*", "u64": "uint64_t", "u32": "uint32_t",
}
OWN = {"carrel_sys_owns"}  # carrel-sys' glue, in no header
SOURCES = cargo.CRATES / "carrel-sys" / "src"


def c_type(rust: str) -> str:
    if rust.strip() not in TYPES:
        cargo.die(f"no C type is known for `{rust.strip()}`; add it to TYPES")
    return TYPES[rust.strip()]


def declarations() -> dict[str, str]:
    """Each bound function as C."""
    text = (SOURCES / "bindings.rs").read_text(encoding="utf-8")
    found = {}
    for name, arguments, result in FUNCTION.findall(text):
        types = [c_type(part.split(":", 1)[1]) for part in arguments.split(",") if part.strip()]
        returned = c_type(result) if result else "void"
        found[name] = f"{returned} {name}({', '.join(types) or 'void'});"
    return found


def header_functions() -> set[str]:
    text = (cargo.ROOT / "include/carrel/carrel.h").read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    return set(HEADER_FUNCTION.findall(text))


def check_compiles(lines: list[str], expected: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "bindings.c"
        source.write_text("#include <carrel/carrel.h>\n" + "\n".join(lines) + "\n")
        done = cargo.run(["cc", "-std=c17", "-fsyntax-only", f"-I{cargo.ROOT / 'include'}",
                          str(source)], succeed=False)
    if expected and done.returncode != 0:
        cargo.die(f"bindings.rs and carrel.h disagree:\n{done.stderr}")
    cargo.check(expected or done.returncode != 0, "the compiler accepts a wrong declaration")


def check_overrides() -> int:
    exports = (cargo.ROOT / "src/api/exports.map").read_text(encoding="utf-8")
    exports = re.sub(r"/\*.*?\*/", " ", exports, flags=re.DOTALL)
    wanted = set(re.findall(r"(\w+);", exports.split("global:")[1].split("local:")[0]))
    wanted = {name for name in wanted if not name.startswith("carrel_")}
    text = (SOURCES / "overrides.rs").read_text(encoding="utf-8")
    kept = set(re.search(r"keep! \{(.*?)\}", text, re.DOTALL).group(1).split())
    cargo.check(kept == wanted, f"overrides.rs and exports.map differ: {sorted(kept ^ wanted)}")
    return len(kept)


def main() -> int:
    bound = declarations()
    wanted = header_functions()
    cargo.check(len(wanted) >= 13, f"only {sorted(wanted)} found in carrel.h")
    cargo.check(len(bound) >= 13, f"only {sorted(bound)} found in bindings.rs")
    missing, unknown = wanted - set(bound), set(bound) - wanted - OWN
    cargo.check(not unknown, f"bindings.rs has functions that carrel.h lacks: {sorted(unknown)}")
    check_compiles([line for name, line in bound.items() if name not in OWN], expected=True)
    check_compiles(["int carrel_malloc(size_t);"], expected=False)
    kept = check_overrides()
    if missing:
        print(f"bindings: carrel.h has functions that bindings.rs lacks: {sorted(missing)}")
    print(f"bindings: {len(wanted & set(bound))} functions as in carrel.h, {kept} names kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
