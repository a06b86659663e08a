"""What carrel aims at, and whether a run reached it.

Only a run with every peer, every workload and at least seven rounds can settle a target; the caller
says so beside the table. This judges numbers that summary.py made and measures nothing.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

ROUNDS_TO_QUOTE = 7


@dataclass
class Verdict:
    """One aim: what, how much, what was measured, and whether that is enough."""

    what: str
    target: str
    measured: str
    met: bool | None  # None: not measured


def _ratio(what: str, value: float, limit: float, note: str = "") -> Verdict:
    if math.isnan(value):
        return Verdict(what, f"<= {limit:.2f}", "not measured", None)
    return Verdict(what, f"<= {limit:.2f}", f"{value:.3f}{note}", value <= limit)


def _best_single_peer(summary: dict[str, Any]) -> tuple[str, float]:
    """The peer with the lowest geometric mean of time, and carrel's mean over that peer's."""
    means = {name: summary["geomean_time"][name] for name in summary["peers"]}
    # A peer that failed somewhere has a mean over fewer workloads, which does not compare.
    most = max((mean["workloads"] for mean in means.values()), default=0)
    known = {name: mean["base_over"][0] for name, mean in means.items()
             if mean["workloads"] == most and not math.isnan(mean["base_over"][0])}
    if not known:
        return "", math.nan
    best = max(known, key=known.__getitem__)
    return best, known[best]


def _worst_workload(summary: dict[str, Any]) -> tuple[str, float]:
    known = [(row["to_best"][0], row["name"]) for row in summary["time"]
             if not math.isnan(row["to_best"][0])]
    return (max(known)[1], max(known)[0]) if known else ("", math.nan)


def _over_lowest(values: dict[str, float], base: str, peers: list[str]) -> tuple[float, str]:
    others = {name: values[name] for name in peers if not math.isnan(values.get(name, math.nan))}
    ours = values.get(base, math.nan)
    if not others or math.isnan(ours):
        return math.nan, ""
    lowest = min(others, key=others.__getitem__)
    return (ours / others[lowest] if others[lowest] else math.nan), lowest


def _idle_verdicts(summary: dict[str, Any]) -> list[Verdict]:
    verdicts = []
    base, peers = summary["base"], summary["peers"]
    for table in summary["idle"]:
        mine = table["cells"].get(base)
        if mine is None:
            continue
        if table["name"] == "burst-idle":
            after = mine["at"].get(1000, math.nan)
            share = after / mine["full"] if mine["full"] else math.nan
            verdicts.append(_ratio("idle RSS 1 s after a freed burst, share of peak", share, 0.03))
        else:
            ends = {name: cell["end"] / cell["live"] for name, cell in table["cells"].items()
                    if cell["live"]}
            value, lowest = _over_lowest(ends, base, peers)
            verdicts.append(_ratio("stragglers: RSS over live bytes after idling, to lowest peer",
                                   value, 1.0, f" of {lowest}'s ({ends.get(base, math.nan):.2f}"
                                   " times the live bytes)"))
    return verdicts


def _latency_verdicts(summary: dict[str, Any]) -> list[Verdict]:
    verdicts = []
    for call in ("malloc", "free"):
        for point, text in (("p99_9", "p99.9"), ("p99_99", "p99.99")):
            values = {name: cell[f"{call}_{point}"] for name, cell in summary["latency"].items()}
            value, lowest = _over_lowest(values, summary["base"], summary["peers"])
            verdicts.append(_ratio(f"{text} of {call}, to the lowest peer", value, 1.0,
                                   f" of {lowest}'s"))
    return verdicts


def _floor_verdicts(summary: dict[str, Any]) -> list[Verdict]:
    return [_ratio(f"{floor['of']}, to {floor['title']}", floor["over"][summary["base"]][0],
                   1.0 if floor["of"] == "rustc" else 1.1) for floor in summary["floors"]]


def judge(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Every aim that this kind of run can measure; empty when carrel was not among them."""
    base = summary["base"]
    if base != "carrel" or not summary["peers"]:
        return []
    best, over = _best_single_peer(summary)
    worst, worst_ratio = _worst_workload(summary)
    verdicts = [
        _ratio("geometric mean of time, to the best single peer", over, 0.94, f" of {best}'s"),
        _ratio("geometric mean of time, to each workload's best",
               summary["geomean_time"][base]["over_best"][0], 1.00),
        _ratio("worst single workload, to its best peer", worst_ratio, 1.08, f" ({worst})"),
        _ratio("geometric mean of peak RSS, to each workload's lowest",
               summary["geomean_rss"][base]["over_best"][0], 1.00),
    ]
    trivial = summary["trivial"]
    if base in trivial and "glibc" in trivial:
        above = trivial[base] - trivial["glibc"]
        verdicts.append(Verdict("trivial process: RSS above glibc's", "<= 256 KiB",
                                f"{above:.0f} KiB", above <= 256))
    verdicts += _idle_verdicts(summary) + _latency_verdicts(summary)
    threads = summary["threads_256"]
    if base in threads:
        rates = {n: c["mops"] for n, c in threads.items() if n in summary["peers"]}
        sizes = {n: c["rss_kib"] for n, c in threads.items()}
        if rates:
            top = max(rates, key=rates.__getitem__)
            value = threads[base]["mops"] / rates[top]
            verdicts.append(Verdict("256 threads: throughput, to the best peer", ">= 1.20",
                                    f"{value:.2f} of {top}'s", value >= 1.2))
        value, lowest = _over_lowest(sizes, base, summary["peers"])
        verdicts.append(_ratio("256 threads: RSS, to the smallest peer", value, 1.0,
                               f" of {lowest}'s"))
    return [asdict(verdict) for verdict in verdicts + _floor_verdicts(summary)]
