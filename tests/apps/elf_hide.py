"""Hides functions that an executable exports, so that a preloaded library's win: marks its dynamic
symbols hidden (ELF st_other). The shipped rustc exports its allocator's malloc family itself.

    python3 elf_hide.py FILE [SYMBOL ...]      default: the nine functions of rustc

changes FILE in place, so give it a copy. Reads 64-bit little-endian files only, and of those only
the dynamic symbols; the static symbol table is left as it is.
"""

from __future__ import annotations

import dataclasses
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

MALLOC_FAMILY = ("malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc",
                 "memalign", "valloc", "malloc_usable_size")

STV_HIDDEN = 2
VISIBILITY_MASK = 3
SHT_DYNSYM = 11
SHN_UNDEF = 0

# Fields of the file header, of a section header and of a symbol (the System V ABI, 64-bit).
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
SYMBOL_OTHER_OFFSET = 5


class ElfError(Exception):
    """Not a file that this module understands."""


@dataclasses.dataclass(frozen=True)
class Symbol:
    name: str
    defined: bool
    other: int
    offset: int  # of the symbol's entry in the file

    @property
    def visibility(self) -> int:
        return self.other & VISIBILITY_MASK


def parse_symbols(data: bytes, what: str) -> list[Symbol]:
    if len(data) < HEADER.size or data[:6] != b"\x7fELF\x02\x01":
        raise ElfError(f"{what} is not a 64-bit little-endian ELF file")
    header = HEADER.unpack_from(data)
    section_offset, entry_size, count = header[6], header[11], header[12]
    if section_offset == 0 or entry_size != SECTION.size:
        raise ElfError(f"{what} has no section headers: its dynamic symbols cannot be found")
    sections = [SECTION.unpack_from(data, section_offset + i * entry_size) for i in range(count)]
    symbols = []
    for section in sections:
        if section[1] != SHT_DYNSYM:
            continue
        offset, size, link = section[4], section[5], section[6]
        names = sections[link][4]
        for at in range(offset, offset + size, SYMBOL.size):
            name, _, other, index, _, _ = SYMBOL.unpack_from(data, at)
            end = data.index(b"\0", names + name)
            text = data[names + name:end].decode("utf-8", "replace")
            symbols.append(Symbol(text, index != SHN_UNDEF, other, at))
    return symbols


def dynamic_symbols(path: Path) -> list[Symbol]:
    return parse_symbols(path.read_bytes(), str(path))


def hide(path: Path, names: Iterable[str]) -> list[str]:
    """Mark the defined dynamic symbols of these names hidden, in place; returns those changed. The
    dynamic linker then passes them over, and the next object in its order wins."""
    wanted = set(names)
    data = bytearray(path.read_bytes())
    changed = []
    for symbol in parse_symbols(bytes(data), str(path)):
        if symbol.name in wanted and symbol.defined and symbol.visibility != STV_HIDDEN:
            data[symbol.offset + SYMBOL_OTHER_OFFSET] = \
                symbol.other & ~VISIBILITY_MASK | STV_HIDDEN
            changed.append(symbol.name)
    path.write_bytes(data)
    return changed


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print("usage: elf_hide.py FILE [SYMBOL ...]", file=sys.stderr)
        sys.exit(2)
    try:
        changed = hide(Path(sys.argv[1]), sys.argv[2:] or MALLOC_FAMILY)
    except (OSError, ElfError) as error:
        print(f"elf_hide.py: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"hidden in {sys.argv[1]}: {' '.join(changed) or 'nothing'}")


if __name__ == "__main__":
    main()
