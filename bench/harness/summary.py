"""Turns samples into the tables that are printed, plotted and written as JSON.

Ratios are ours over theirs: below 1 is better for the base, which is carrel when it is there. A
run that did not finish counts with the time it was given, a lower bound, and is marked. A failed
run has no numbers and is listed. This does no formatting.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Callable, Mapping

from . import stats
from .allocators import CARREL, CARREL_AGAIN, Allocator
from .runner import Sample

Values = Mapping[int, float]


@dataclass
class Row:
    """What the summary needs to know of a workload or app."""

    name: str
    title: str
    kind: str
    floor_of: str

    @property
    def timed(self) -> bool:
        return self.kind in ("timed", "idle")


class Summary:
    """All tables over one campaign's samples."""

    def __init__(self, rows: list[Row], allocators: list[Allocator],
                 samples: list[Sample]) -> None:
        self.rows = rows
        self.allocators = allocators
        self.names = [allocator.name for allocator in allocators]
        self.base = CARREL if CARREL in self.names else (self.names[0] if self.names else "")
        # Whom the base is compared with: everybody else, without its own copy.
        self.peers = [a.name for a in allocators
                      if a.name not in (self.base, CARREL_AGAIN)]
        self.by_pair: dict[tuple[str, str], list[Sample]] = defaultdict(list)
        for sample in samples:
            self.by_pair[(sample.workload, sample.allocator)].append(sample)

    # Access by workload and allocator.

    def values(self, row: str, allocator: str, what: Callable[[Sample], float]) -> dict[int, float]:
        return {s.round: what(s) for s in self.by_pair[(row, allocator)] if s.status != "failed"}

    def seconds(self, row: str, allocator: str) -> dict[int, float]:
        return {r: v for r, v in self.values(row, allocator, lambda s: s.seconds).items() if v > 0}

    def rss(self, row: str, allocator: str) -> dict[int, float]:
        return {r: v for r, v in
                self.values(row, allocator, lambda s: float(s.rss_kib)).items() if v > 0}

    def faults(self, row: str, allocator: str) -> dict[int, float]:
        return self.values(row, allocator, lambda s: float(s.minor_faults + s.major_faults))

    def median(self, values: Values) -> float:
        return statistics.median(values.values()) if values else math.nan

    def status(self, row: str, allocator: str) -> str:
        """"ok", "dnf", "failed", or "absent" when it was not run."""
        samples = self.by_pair[(row, allocator)]
        for bad in ("failed", "dnf"):
            if any(sample.status == bad for sample in samples):
                return bad
        return "ok" if samples else "absent"

    def lowest(self, row: str, table: Callable[[str, str], Values]) -> str:
        """The peer with the lowest median that finished; empty when there is none."""
        medians = {name: self.median(table(row, name)) for name in self.peers
                   if self.status(row, name) == "ok"}
        known = {name: value for name, value in medians.items() if not math.isnan(value)}
        return min(known, key=known.__getitem__) if known else ""

    def timed_rows(self) -> list[Row]:
        return [row for row in self.rows if row.timed and self.seconds(row.name, self.base)]

    # Tables.

    def noise(self, row: str, table: Callable[[str, str], Values]) -> float:
        return stats.noise_of(stats.paired_ratio(table(row, CARREL_AGAIN), table(row, CARREL)))

    def comparison(self, row: Row, table: Callable[[str, str], Values]) -> dict[str, Any]:
        """One workload's medians and ratios for one quantity."""
        noise = self.noise(row.name, table)
        best = self.lowest(row.name, table)
        ours = table(row.name, self.base)
        cells: dict[str, Any] = {}
        for name in self.names:
            theirs = table(row.name, name)
            ratio = stats.paired_ratio(ours, theirs)
            cells[name] = {
                "status": self.status(row.name, name), "rounds": len(theirs),
                "median": stats.spread(list(theirs.values())).as_list(),
                "ratio": ratio.as_list(), "tie": stats.is_tie(ratio.value, noise),
            }
        to_best = stats.paired_ratio(ours, table(row.name, best)) if best else stats.spread([])
        return {"name": row.name, "title": row.title, "kind": row.kind, "noise": noise,
                "best": best, "to_best": to_best.as_list(),
                "tie_with_best": stats.is_tie(to_best.value, noise), "cells": cells}

    def geomeans(self, table: Callable[[str, str], Values]) -> dict[str, Any]:
        """Per allocator: the base over it, and it over the lowest peer of each workload."""
        rows = self.timed_rows()
        result: dict[str, Any] = {}
        for name in self.names:
            pairs = [(table(row.name, self.base), table(row.name, name)) for row in rows]
            against_best = []
            for row in rows:
                best = self.lowest(row.name, table)
                if best:
                    against_best.append((table(row.name, name), table(row.name, best)))
            result[name] = {
                "base_over": stats.geomean_of_ratios(pairs).as_list(),
                "over_best": stats.geomean_of_ratios(against_best).as_list(),
                "workloads": sum(1 for ours, theirs in pairs if set(ours) & set(theirs)),
                "of": len(rows),
                "dnf": [row.name for row in rows if self.status(row.name, name) == "dnf"],
                "failed": [row.name for row in rows if self.status(row.name, name) == "failed"],
            }
        return result

    def metric(self, row: str, allocator: str, name: str) -> float:
        """The median of one of a workload's own figures over its rounds."""
        found = [s.metrics[name] for s in self.by_pair[(row, allocator)]
                 if s.status == "ok" and name in s.metrics]
        return statistics.median(found) if found else math.nan

    def idle(self) -> list[dict[str, Any]]:
        """Resident memory while idle, for each idle workload and allocator."""
        tables = []
        for row in self.rows:
            if row.kind != "idle":
                continue
            cells = {}
            for name in self.names:
                samples = [s for s in self.by_pair[(row.name, name)] if s.status == "ok"]
                if not samples:
                    continue
                moments = sorted(int(key[7:-3]) for key in samples[0].metrics
                                 if key.startswith("rss_at_") and key.endswith("_ms"))
                at = {ms: self.metric(row.name, name, f"rss_at_{ms}_ms") for ms in moments}
                cells[name] = {"full": self.metric(row.name, name, "rss_full"),
                               "live": self.metric(row.name, name, "live_bytes"),
                               "end": self.metric(row.name, name, "rss_at_end"),
                               "lazy_free": self.metric(row.name, name, "lazy_free_at_end"),
                               "at": at}
            tables.append({"name": row.name, "title": row.title, "cells": cells})
        return tables

    def latency(self) -> dict[str, dict[str, float]]:
        points = ("p50", "p99", "p99_9", "p99_99", "max")
        return {name: {f"{what}_{point}": self.metric("latency", name, f"{what}_{point}_ns")
                       for what in ("malloc", "free", "timer") for point in points}
                | {f"{what}_over_1ms_own": self.metric("latency", name, f"{what}_over_1ms_own")
                   for what in ("malloc", "free")}
                for name in self.names if self.status("latency", name) == "ok"}

    def trivial(self) -> dict[str, float]:
        return {name: self.median(self.rss("trivial", name)) for name in self.names
                if self.rss("trivial", name)}

    def floors(self) -> list[dict[str, Any]]:
        """What the kernel alone, or a program's own allocator, takes for a workload."""
        found = []
        for row in self.rows:
            floor = self.median(self.seconds(row.name, "none"))
            if row.kind != "floor" or math.isnan(floor):
                continue
            over = {name: stats.paired_ratio(self.seconds(row.floor_of, name),
                                             self.seconds(row.name, "none")).as_list()
                    for name in self.names}
            found.append({"name": row.name, "title": row.title, "of": row.floor_of,
                          "seconds": floor, "over": over})
        return found

    def problems(self) -> list[dict[str, str]]:
        return [{"workload": s.workload, "allocator": s.allocator, "status": s.status,
                 "error": s.error}
                for samples in self.by_pair.values() for s in samples if s.status != "ok"]

    def overall_noise(self) -> dict[str, Any]:
        """The A/A pair over everything, and the middle and the widest of the workloads' spreads."""
        rows = self.timed_rows()
        widths = [(self.noise(row.name, self.seconds), row.name) for row in rows]
        widths = sorted((w, n) for w, n in widths if not math.isnan(w))
        pairs = [(self.seconds(r.name, CARREL_AGAIN), self.seconds(r.name, CARREL)) for r in rows]
        return {"geomean": stats.geomean_of_ratios(pairs).as_list(),
                "median_spread": math.exp(widths[len(widths) // 2][0]) - 1 if widths else math.nan,
                "widest_spread": math.exp(widths[-1][0]) - 1 if widths else math.nan,
                "widest": widths[-1][1] if widths else ""}

    def as_json(self) -> dict[str, Any]:
        rows = self.timed_rows()
        return {
            "base": self.base, "peers": self.peers,
            "time": [self.comparison(row, self.seconds) for row in rows],
            "rss": [self.comparison(row, self.rss) for row in rows],
            "faults": {row.name: {name: self.median(self.faults(row.name, name))
                                  for name in self.names} for row in rows},
            "geomean_time": self.geomeans(self.seconds), "geomean_rss": self.geomeans(self.rss),
            "noise": self.overall_noise(), "idle": self.idle(), "latency": self.latency(),
            "trivial": self.trivial(), "floors": self.floors(), "problems": self.problems(),
            "threads_256": {name: {"mops": self.metric("threads-256", name, "mops_per_second"),
                                   "rss_kib": self.median(self.rss("threads-256", name))}
                            for name in self.names if self.status("threads-256", name) == "ok"},
        }
