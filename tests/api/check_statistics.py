"""Reads the statistics in JSON and in Prometheus' format back and checks their figures.

The JSON is parsed by the standard library; the metrics by the rules of Prometheus' text format
0.0.4 that concern them: one HELP and one TYPE line before a metric's samples, legal names and
labels, counters that end in _total. Usage: check_statistics.py PROGRAM
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

SMALL_BLOCKS = 10000
LARGE_BYTES = 32 << 20
SAMPLE = re.compile(r'^([a-z_:][a-z0-9_:]*)(?:\{([a-z_]+)="([^"\\]*)"\})? (\d+)$')


def output(program: str, number: int) -> str:
    result = subprocess.run([program, str(number)], capture_output=True, text=True, timeout=60,
                            check=False)
    if result.returncode != 0:
        sys.exit(f"{program} {number} ended with {result.returncode}: {result.stderr.strip()}")
    return result.stdout


def expect(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"statistics: {what}")


def check_json(text: str) -> int:
    document = json.loads(text)
    expect(document["schema"] == "carrel-statistics", "schema is not carrel-statistics")
    expect(document["schema_version"] == 1, "schema_version is not 1")
    totals, classes = document["totals"], document["classes"]
    expect(set(document) == {"schema", "schema_version", "carrel_version", "totals", "classes",
                             "shards", "threads", "arenas", "options"},
           f"members {sorted(document)}")
    expect(totals["live_blocks"] >= SMALL_BLOCKS + 1, "fewer live blocks than the program holds")
    expect(totals["large_bytes"] == LARGE_BYTES, f"large_bytes {totals['large_bytes']}")
    held = next(entry for entry in classes if entry["block_bytes"] == 512)
    expect(SMALL_BLOCKS <= held["live_blocks"] < SMALL_BLOCKS + 100, f"512-byte class {held}")
    live = sum(entry["live_blocks"] * entry["block_bytes"] for entry in classes)
    expect(live + totals["large_bytes"] == totals["live_bytes"], "classes don't add up to live")
    expect(len(document["shards"]) == totals["shards"], "as many shards as totals says")
    expect(len(document["threads"]) == totals["threads"], "as many threads as totals says")
    expect(len(document["arenas"]) == totals["arenas"], "as many arenas as totals says")
    cached = sum(thread["cached_bytes"] for thread in document["threads"])
    expect(cached == totals["cached_bytes"], f"threads cache {cached}")
    expect(document["options"]["huge_pages"] in ("auto", "never"), "options.huge_pages")
    return len(totals)


def check_prometheus(text: str) -> int:
    expect(text.endswith("\n"), "the last line is not ended")
    types: dict[str, str] = {}
    helped: set[str] = set()
    samples: dict[tuple[str, str], int] = {}
    closed: set[str] = set()
    current = ""
    for line in text.splitlines():
        words = line.split(" ", 3)
        if line.startswith("# HELP "):
            expect(words[2] not in helped and len(words[3]) > 10, f"HELP: {line}")
            helped.add(words[2])
            continue
        if line.startswith("# TYPE "):
            expect(words[2] in helped and words[2] not in types, f"TYPE: {line}")
            expect(words[3] in ("gauge", "counter"), line)
            expect((words[3] == "counter") == words[2].endswith("_total"), line)
            types[words[2]] = words[3]
            closed.add(current)
            current = words[2]
            continue
        match = SAMPLE.match(line)
        expect(match is not None, f"no sample: {line!r}")
        assert match is not None
        expect(match.group(1) == current and current not in closed, f"out of place: {line}")
        key = (match.group(1), match.group(3) or "")
        expect(key not in samples, f"twice: {line}")
        samples[key] = int(match.group(4))
    expect(samples[("carrel_large_bytes", "")] == LARGE_BYTES, "carrel_large_bytes")
    expect(samples[("carrel_class_live_blocks", "16")] >= SMALL_BLOCKS, "the 512-byte class")
    expect(types["carrel_refills_total"] == "counter", "carrel_refills_total")
    return len(types)


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit("usage: check_statistics.py PROGRAM")
    program = sys.argv[1]
    totals = check_json(output(program, 1))
    metrics = check_prometheus(output(program, 2))
    print(f"statistics: {totals} totals in JSON, {metrics} metrics for Prometheus")
    return 0


if __name__ == "__main__":
    sys.exit(main())
