"""protobuf: takes protocol buffers' wire format apart, with nothing but Python's library.

It knows numbers and bytes, the two wire types that profile.proto needs, and no schema.
"""

from __future__ import annotations

from collections.abc import Iterator

Field = tuple[int, int | bytes]


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("a number is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Iterator[Field]:
    """Each field's number with its number or its bytes, in the order of the message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
            yield key >> 3, value
        elif key & 7 == 2:
            size, at = varint(data, at)
            if at + size > len(data):
                raise ValueError("a field reaches beyond its message")
            yield key >> 3, data[at:at + size]
            at += size
        else:
            raise ValueError(f"wire type {key & 7} is not used by profile.proto")


def packed(data: bytes) -> list[int]:
    """The numbers of a packed repeated field."""
    values = []
    at = 0
    while at < len(data):
        value, at = varint(data, at)
        values.append(value)
    return values
