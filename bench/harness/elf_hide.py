"""Hides chosen dynamic symbols of an ELF executable, so that a preloaded library's win.

The shipped Rust compiler defines malloc and its family in its own executable, and the dynamic
linker looks there before it looks into a preload. Symbols marked hidden (the visibility in
st_other) are skipped by that search. This edits a copy; it understands 64-bit little-endian ELF
only, and nothing but the dynamic symbol table.
"""

from __future__ import annotations

import struct
from pathlib import Path

HEADER_SIZE = 64
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
DYNAMIC_SYMBOLS = 11
HIDDEN = 2
UNDEFINED_SECTION = 0


def _dynamic_symbols(image: bytes) -> list[tuple[int, str, int, int]]:
    """(offset of the entry, name, section index, st_other) of every dynamic symbol."""
    if image[:6] != b"\x7fELF\x02\x01" or len(image) < HEADER_SIZE:
        raise ValueError("not a 64-bit little-endian ELF file")
    section_offset, = struct.unpack_from("<Q", image, 0x28)
    entry_size, count = struct.unpack_from("<HH", image, 0x3A)
    sections = [SECTION.unpack_from(image, section_offset + i * entry_size) for i in range(count)]
    found = []
    for section in sections:
        _, kind, _, _, offset, size, link, _, _, _ = section
        if kind != DYNAMIC_SYMBOLS:
            continue
        names = sections[link][4]
        for at in range(offset, offset + size, SYMBOL.size):
            name, _, other, index, _, _ = SYMBOL.unpack_from(image, at)
            end = image.index(b"\0", names + name)
            found.append((at, image[names + name:end].decode(), index, other))
    return found


def defined(path: Path, names: set[str]) -> set[str]:
    """Which of the names the file defines and shows to the dynamic linker."""
    return {name for _, name, index, other in _dynamic_symbols(path.read_bytes())
            if name in names and index != UNDEFINED_SECTION and other & 3 != HIDDEN}


def hide(source: Path, target: Path, names: set[str]) -> set[str]:
    """Writes a copy with the named definitions hidden; the names that were."""
    image = bytearray(source.read_bytes())
    hidden = set()
    for at, name, index, other in _dynamic_symbols(bytes(image)):
        if name in names and index != UNDEFINED_SECTION:
            image[at + 5] = (other & ~3) | HIDDEN
            hidden.add(name)
    target.write_bytes(image)
    target.chmod(0o755)
    return hidden
