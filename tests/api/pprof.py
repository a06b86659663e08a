"""pprof: reads a gzipped profile.proto, with nothing but Python's library."""

from __future__ import annotations

import gzip
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from protobuf import fields, packed  # noqa: E402


@dataclass
class Mapping:
    start: int = 0
    end: int = 0
    offset: int = 0
    file: str = ""
    build_id: str = ""


@dataclass
class Profile:
    types: list[str] = field(default_factory=list)
    default_type: str = ""
    period: int = 0
    samples: list[tuple[list[int], list[int]]] = field(default_factory=list)
    labels: list[dict[str, int]] = field(default_factory=list)  # of each sample
    locations: dict[int, tuple[int, int]] = field(default_factory=dict)  # mapping, address
    mappings: dict[int, Mapping] = field(default_factory=dict)

    def stack(self, locations: list[int]) -> list[int]:
        return [self.locations[each][1] for each in locations]

    def stacks(self) -> Iterator[list[int]]:
        for locations, _ in self.samples:
            yield self.stack(locations)

    def mapping_of(self, address: int) -> Mapping | None:
        for mapping, at in self.locations.values():
            if at == address:
                return self.mappings.get(mapping)
        return None

    def all_sums(self) -> Iterator[dict[str, int]]:
        for _, values in self.samples:
            yield dict(zip(self.types, values, strict=True))

    def sums(self, name_of: Callable[[list[int]], str | None]) -> dict[str, dict[str, int]]:
        """The samples' values, added up by what a stack is called."""
        result: dict[str, dict[str, int]] = {}
        for locations, values in self.samples:
            name = name_of(self.stack(locations))
            if name is None:
                continue
            entry = result.setdefault(name, dict.fromkeys(self.types, 0))
            for kind, value in zip(self.types, values, strict=True):
                entry[kind] += value
        return result


def read(path: Path) -> Profile:
    data = gzip.decompress(path.read_bytes())
    profile = Profile()
    texts = [value.decode() for number, value in fields(data)
             if number == 6 and isinstance(value, bytes)]
    if texts[0] != "":
        raise ValueError("the first string is not empty")
    for number, value in fields(data):
        if isinstance(value, int):
            if number == 12:
                profile.period = value
            elif number == 14:
                profile.default_type = texts[value]
            continue
        if number not in (1, 2, 3, 4):
            continue
        inner = dict(fields(value))
        if number == 1:
            profile.types.append(texts[inner[1]])
        elif number == 2:
            profile.samples.append((packed(inner.get(1, b"")), packed(inner[2])))
            labels = [dict(fields(each)) for at, each in fields(value) if at == 3]
            profile.labels.append({texts[each[1]]: each[3] for each in labels})
        elif number == 3:
            profile.mappings[inner[1]] = Mapping(inner[2], inner[3], inner.get(4, 0),
                                                 texts[inner[5]], texts[inner.get(6, 0)])
        elif number == 4:
            profile.locations[inner[1]] = (inner.get(2, 0), inner[3])
    return profile


def standard_error(count: float, size: int, interval: int) -> float:
    """Of an estimate of `count` blocks of `size` bytes each."""
    probability = -math.expm1(-size / interval)
    return math.sqrt(count * (1 - probability) / probability)
