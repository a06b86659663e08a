#!/usr/bin/env python3
"""bindings: the Rust declarations of carrel-sys say what carrel.h says.

Functions, structures and constants of the Rust sources are written as C after an #include of
carrel.h: the C compiler refuses a function whose types differ, and static assertions compare the
structures' layout and the constants. Whatever the header declares must be bound, and each name that
libcarrel.so exports in libc's place be kept by the feature `override`.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import cargo

FUNCTION = re.compile(r"pub fn (carrel_\w+)\(([^)]*)\)(?: -> ([^;]+))?;")
STRUCT = re.compile(r"#\[repr\(C\)\][^{]*pub struct (carrel_\w+) \{(.*?)\n\}", re.DOTALL)
CONSTANT = re.compile(r"pub const (CARREL_\w+): \w+ = (\d+);")
HEADER_FUNCTION = re.compile(r"^CARREL_API[^;]*?\b(carrel_\w+)\(", re.MULTILINE)
HEADER_STRUCT = re.compile(r"typedef struct (carrel_\w+) \{")
HEADER_CONSTANT = re.compile(r"^\s+(CARREL_[A-Z_]+) = \d+", re.MULTILINE)
PLAIN = {"usize": "size_t", "c_int": "int", "c_uint": "unsigned", "c_char": "char", "u64":
         "uint64_t", "i64": "int64_t", "u32": "uint32_t", "c_void": "void"}
# Types that the header spells out where it uses them.
TYPEDEFS = {
    "carrel_write": "void (*carrel_write)(void*, const char*, size_t)",
    "carrel_visit": "int (*carrel_visit)(void*, void*, size_t)",
}
OWN = {"carrel_sys_owns"}  # carrel-sys' glue, in no header
SOURCES = cargo.CRATES / "carrel-sys" / "src"


def c_type(rust: str) -> str:
    """`*const *const c_char` as `const char* const*`."""
    rust = rust.strip()
    for start, qualifier in (("*const ", "const"), ("*mut ", "")):
        if rust.startswith(start):
            inner = c_type(rust[len(start):])
            if not qualifier:
                return inner + "*"
            return f"{inner} const*" if inner.endswith("*") else f"const {inner}*"
    if rust in PLAIN:
        return PLAIN[rust]
    if not rust.startswith("carrel_"):
        cargo.die(f"no C type is known for `{rust}`; add it to PLAIN")
    return rust


def rust_text() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(SOURCES.glob("*.rs")))


def header_text() -> str:
    text = (cargo.ROOT / "include/carrel/carrel.h").read_text(encoding="utf-8")
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


def functions(text: str) -> dict[str, str]:
    """Each bound function as a C declaration."""
    found = {}
    for name, arguments, result in FUNCTION.findall(text):
        types = [c_type(part.split(":", 1)[1]) for part in arguments.split(",") if part.strip()]
        returned = c_type(result) if result else "void"
        found[name] = f"{returned} {name}({', '.join(types) or 'void'});"
    return found


def structures(text: str) -> dict[str, list[str]]:
    """For each bound structure with fields, its mirror in C and the comparison with the header."""
    found = {}
    for name, body in STRUCT.findall(text):
        fields = re.findall(r"^    pub (?:r#)?(\w+): ([^\n]+),$", body, re.MULTILINE)
        if not fields:
            continue
        members = []
        for field, rust in fields:
            array = re.fullmatch(r"\[(\w+); (\d+)\]", rust)
            members.append(f"{c_type(array[1])} {field}[{array[2]}];" if array
                           else f"{c_type(rust)} {field};")
        mirror = f"struct mirror_{name}"
        found[name] = [
            f"{mirror} {{ {' '.join(members)} }};",
            f'_Static_assert(sizeof({mirror}) == sizeof({name}), "size of {name}");',
            *(f"_Static_assert(offsetof({mirror}, {field}) == offsetof({name}, {field}), "
              f'"{name}.{field}");' for field, _ in fields)]
    return found


def check_compiles(lines: list[str], expected: bool) -> None:
    opening = ["#include <carrel/carrel.h>",
               *(f"typedef {declaration};" for declaration in TYPEDEFS.values())]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "bindings.c"
        source.write_text("\n".join([*opening, *lines]) + "\n")
        done = cargo.run(["cc", "-std=c17", "-fsyntax-only", f"-I{cargo.ROOT / 'include'}",
                          str(source)], succeed=False)
    if expected and done.returncode != 0:
        cargo.die(f"the Rust declarations and carrel.h disagree:\n{done.stderr}")
    cargo.check(expected or done.returncode != 0, f"the compiler accepts {lines}")


def check_complete(what: str, bound: set[str], wanted: set[str]) -> None:
    missing, unknown = wanted - bound, bound - wanted
    cargo.check(not missing, f"carrel.h has {what} that carrel-sys lacks: {sorted(missing)}")
    cargo.check(not unknown, f"carrel-sys has {what} that carrel.h lacks: {sorted(unknown)}")


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
    text, header = rust_text(), header_text()
    bound, mirrors = functions(text), structures(text)
    constants = dict(CONSTANT.findall(text))
    wanted = set(HEADER_FUNCTION.findall(header))
    cargo.check(len(wanted) >= 25, f"only {sorted(wanted)} found in carrel.h")
    check_complete("functions", set(bound) - OWN, wanted)
    check_complete("structures", set(mirrors), set(HEADER_STRUCT.findall(header)))
    check_complete("constants", set(constants), set(HEADER_CONSTANT.findall(header)))
    check_compiles([line for name, line in bound.items() if name not in OWN]
                   + [line for lines in mirrors.values() for line in lines]
                   + [f'_Static_assert({name} == {value}, "{name}");'
                      for name, value in constants.items()], expected=True)
    # That the compiler would notice.
    check_compiles(["int carrel_malloc(size_t);"], expected=False)
    check_compiles(["_Static_assert(CARREL_READ_ONLY == 6, \"\");"], expected=False)
    kept = check_overrides()
    print(f"bindings: {len(wanted)} functions, {len(mirrors)} structures, {len(constants)} "
          f"constants as in carrel.h; {kept} names kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
