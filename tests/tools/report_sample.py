"""A made-up analysis document with every section, for tests of the page and the exporters.

The numbers are drawn from a fixed seed: same document every time. It is not a measurement.
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

MODULES = ["/usr/bin/server", "/lib/libc.so.6", "/lib/libparse.so.1", "/lib/libssl.so.3"]
SIZES: list[int | None] = [16, 32, 64, 128, 256, 512, 1024, 4096, 16384, 65536, 1 << 20, None]
LIFETIMES: list[float | None] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, None]


def interval(middle: float, spread: float) -> dict[str, float]:
    return {"median": middle, "low": middle * (1 - spread), "high": middle * (1 + spread)}


def make_stacks(chance: random.Random) -> dict[str, Any]:
    frames = [{"function": f"{area}::{verb}<std::string, {n}>(request const&)",
               "file": f"{area}.cc", "line": 10 * n + 1, "module": MODULES[n % len(MODULES)]}
              for area in ("parse", "session", "cache", "store") for n, verb in
              enumerate(("begin", "read", "append", "grow", "copy", "finish"))]
    frames.insert(0, {"function": "main", "file": "main.cc", "line": 7, "module": MODULES[0]})
    stacks = []
    for _ in range(120):
        depth = chance.randint(2, 9)
        count = int(10 ** chance.uniform(1, 5))
        size = int(2 ** chance.uniform(4, 14))
        peak = int(count * size * chance.random() * 0.2)
        stacks.append({"frames": [0] + [chance.randrange(1, len(frames)) for _ in range(depth)],
                       "allocations": count, "bytes": count * size, "peak_bytes": peak,
                       "leaked_bytes": peak // 7 if chance.random() < 0.2 else 0,
                       "temporary": int(count * chance.random()),
                       "allocator_ns": int(count * chance.uniform(20, 900))})
    time = {"stacks": 4100, "ns": sum(s["allocator_ns"] for s in stacks), "omitted_ns": 0}
    return {"frames": frames, "stacks": stacks, "omitted_stacks": 31, "omitted_bytes": 52000,
            "allocator_time": time}


def make_timeline(chance: random.Random) -> dict[str, Any]:
    seconds, live, blocks, rss = [], [], [], []
    value = 2e6
    resident = 6e6
    for i in range(400):
        value = max(1e6, value + chance.uniform(-2.2e6, 2.6e6))
        resident = max(resident * 0.999, value * 1.25 + 5e6)
        seconds.append(round(i * 0.031, 4))
        live.append(int(value))
        blocks.append(int(value / 180))
        rss.append(int(resident) if i % 2 == 0 else None)
    return {"seconds": seconds, "live_bytes": live, "live_blocks": blocks, "rss_bytes": rss}


def make_allocators(chance: random.Random) -> list[dict[str, Any]]:
    allocators: list[dict[str, Any]] = []
    for name, cpu, rss in (("glibc", 1.0, 1.0), ("carrel", 0.91, 0.83), ("mimalloc", 0.93, 1.2),
                           ("jemalloc", 0.96, 0.95), ("tcmalloc", 0.95, 1.3)):
        metrics = {"cpu_s": interval(4.1 * cpu, 0.01), "wall_s": interval(3.2 * cpu, 0.02),
                   "peak_rss_bytes": interval(61e6 * rss, 0.004)}
        ratios = {"cpu_s": interval(cpu, 0.012), "wall_s": interval(cpu, 0.02),
                  "peak_rss_bytes": interval(rss, 0.005)}
        allocators.append({"name": name, "path": f"/usr/lib/lib{name}.so", "version": "1.0",
                           "build_id": f"{chance.getrandbits(64):016x}", "metrics": metrics,
                           "ratios": ratios})
    allocators.append({"name": "scudo", "path": "/usr/lib/libscudo.so",
                       "failed": "the program ended with signal 11"})
    return allocators


def make_moment(at_end: bool) -> dict[str, Any]:
    kept = 21_000_000 if at_end else 4_000_000
    live = 20_000_000 if at_end else 61_000_000
    sites = [{"frames": [0, 3 + i, 9 + i], "blocks": 900 // (i + 1), "bytes": kept // (i + 2),
              "samples": 12 - i} for i in range(4)]
    worst = [{"address": f"0x7f12345{i}0000", "block_bytes": 224, "slots": 292,
              "live_blocks": 1 + i, "free_bytes": 61_440 - 1000 * i,
              "requested_bytes": 200 * (1 + i), "oldest_s": 0.5 + i, "youngest_s": 0.5 + 2 * i,
              "sites": [i % 4]} for i in range(6)]
    parts = [("live, as requested", live), ("rounding", live // 12), ("thread caches", 40_000),
             ("free slots", kept), ("dirty spans", 1_500_000), ("metadata", 300_000),
             ("stacks and own mappings", 700_000), ("files and code", 9_000_000)]
    return {"at_s": 12.3 if at_end else 8.2, "at_end": at_end, "by": "slabs",
            "rss_bytes": sum(size for _, size in parts) + 20_480,
            "live_blocks": 210_000, "requested_bytes": live + 4096,
            "blocks_only_in_trace": 0, "blocks_only_in_heap": 1,
            "parts": [{"label": label, "bytes": size, "basis": "counted for the test"}
                      for label, size in parts],
            "residue_bytes": 20_480, "residue_is": "pages that changed between the looks",
            "pinned": {"unit": "slab", "free_bytes": kept, "places": 330, "live_blocks": 2400,
                       "samples": 42, "sites": sites, "worst": worst,
                       "classes": [{"block_bytes": 224, "slabs": 330, "live_blocks": 2400,
                                    "free_bytes": kept}]}}


def make_document() -> dict[str, Any]:
    chance = random.Random(7)
    heat = [[int(10 ** chance.uniform(0, 6)) if abs(x - 2 - y / 3) < 3 else 0
             for x in range(len(LIFETIMES))] for y in range(len(SIZES))]
    names = ["main", "worker 1", "worker 2", "worker 3"]
    frees = [[int(10 ** chance.uniform(2, 6)) if x == y or chance.random() < 0.5 else 0
              for x in range(4)] for y in range(4)]
    per_size = [sum(row) for row in heat]
    noise = {"cpu_s": 0.012, "wall_s": 0.02, "peak_rss_bytes": 0.004}
    comparison = {"baseline": "glibc", "runs": 7, "noise": noise,
                  "allocators": make_allocators(chance)}
    quantiles = [0.5, 0.9, 0.99, 0.999, 0.9999]
    curves = [{"allocator": name, "operation": operation,
               "ns": [round(base * factor) for factor in (1, 1.6, 5, 40, 900)]}
              for name, base in (("glibc", 21), ("carrel", 12), ("mimalloc", 13))
              for operation in ("malloc", "free")]
    return {
        "schema": "carrel-analysis", "version": 1,
        "program": {"command": ["server", "--config", "</script><b>sample & test"],
                    "executable": MODULES[0], "seconds": 12.4, "exit": "exited with status 0",
                    "threads": 4},
        "provenance": {"carrel": "0.1.0", "recorded_at": "2026-01-02T03:04:05Z",
                       "kernel": "Linux 6.1", "cpus": 4, "cpu_model": "Sample CPU",
                       "huge_pages": "madvise", "page_bytes": 4096,
                       "allocator": {"name": "glibc", "path": "/lib/libc.so.6", "version": "2.36",
                                     "build_id": "0123abcd"},
                       "trace": {"path": "trace.crl", "events": 8_123_456, "bytes": 21_000_000,
                                 "complete": True, "note": ""}},
        "totals": {"allocations": sum(per_size), "frees": sum(per_size) - 900,
                   "reallocations": 4021, "allocated_bytes": 9_400_000_000,
                   "peak_live_bytes": 61_000_000, "peak_live_blocks": 400_000, "peak_at_s": 8.1,
                   "leaked_blocks": 900, "leaked_bytes": 310_000, "temporary": sum(per_size) // 3,
                   "cross_thread_frees": 123_456, "unknown_frees": 3,
                   "peak_rss_bytes": 81_000_000},
        "timeline": make_timeline(chance),
        "sizes": {"upper_bytes": SIZES, "allocations": per_size,
                  "bytes": [n * (s or 4 << 20) for n, s in zip(per_size, SIZES, strict=True)]},
        "lifetimes": {"upper_s": LIFETIMES, "never_freed": 900,
                      "allocations": [sum(row[x] for row in heat) for x in range(len(LIFETIMES))]},
        "size_lifetime": {"upper_bytes": SIZES, "upper_s": LIFETIMES, "allocations": heat},
        "threads": [{"name": name, "allocations": 1000, "frees": 990, "bytes": 123456}
                    for name in names],
        "thread_frees": {"count": frees},
        "stacks": make_stacks(chance),
        "cpu": {"in_allocator": interval(0.113, 0.08), "samples": 5123, "samples_in_allocator": 579,
                "period_us": 1000, "cpu_s": 5.2, "seen": 0.98, "timed_share": 0.109, "agree": True},
        "resident": make_moment(at_end=False),
        "resident_at_end": make_moment(at_end=True),
        "comparison": comparison,
        "replay": comparison,
        "latency": {"quantiles": quantiles, "curves": curves},
        "fidelity": {"within": True, "checks": [
            {"what": "peak RSS", "unit": "bytes", "recorded": 81e6, "replayed": 79e6,
             "tolerance": 12e6, "ok": True},
            {"what": "allocator time", "unit": "s", "recorded": 0.58, "replayed": 0.55,
             "tolerance": 0.15, "ok": True}]},
        "verdict": {"action": "switch", "exit_code": 10, "goal": "cpu", "min_gain": 0.03,
                    "headline": "Use carrel: 9% less CPU time and 17% less memory than glibc.",
                    "current": "glibc", "allocator": "carrel", "kind": "thread-caching",
                    "evidence": [
                        {"label": "most that can be saved", "value": "11.3%",
                         "basis": "579 of 5,123 samples were in the allocator"},
                        {"label": "carrel over glibc, CPU", "value": "0.910",
                         "basis": "7 runs each, 95% interval 0.899 to 0.921"}],
                    "reasons": ["Allocation is a measured part of this program's CPU time.",
                                "carrel was the fastest of 5 in real runs, beyond the noise."],
                    "doubts": ["The machine was busy: A/A differs by 1.2%."],
                    "use": "LD_PRELOAD=/usr/lib/libcarrel.so server"},
    }


if __name__ == "__main__":
    json.dump(make_document(), sys.stdout, indent=1)
