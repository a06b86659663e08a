"""Prints a result for a terminal: plain tables, one line a workload.

It formats what summary.py and targets.py computed and decides nothing itself.
"""

from __future__ import annotations

import math
from typing import Any, Iterable

MIB = 1024.0 * 1024.0


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """Columns padded to their widest cell; the first to the left, the others to the right."""
    everything = [header, *rows]
    widths = [max(len(row[i]) for row in everything) for i in range(len(header))]
    lines = []
    for row in everything:
        cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def number(value: float, digits: int = 2) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def percent(interval: list[float]) -> str:
    """Half the interval's width as a percentage of the value; nothing where there is no spread."""
    value, low, high = interval
    if math.isnan(value) or value == 0 or low == high:
        return ""
    return f"±{100 * (high - low) / 2 / value:.0f}%"


def ratio_cell(cell: dict[str, Any]) -> str:
    """A ratio with its spread: ~ is a tie, < a bound from a peer that did not finish."""
    if cell["status"] in ("failed", "absent") or math.isnan(cell["ratio"][0]):
        return {"failed": "failed", "absent": "-"}.get(cell["status"], "-")
    mark = "<" if cell["status"] == "dnf" else ""
    text = f"{mark}{cell['ratio'][0]:.2f}{'~' if cell['tie'] else ''} {percent(cell['ratio'])}"
    return text.rstrip()


def comparison(rows: list[dict[str, Any]], base: str, columns: list[str], unit: str,
               scale: float) -> str:
    header = ["workload", f"{base} {unit}", "A/A", "best peer", "to best", *columns]
    body = []
    for row in rows:
        mine = row["cells"][base]["median"][0] / scale
        noise = "-" if math.isnan(row["noise"]) else f"±{100 * (math.exp(row['noise']) - 1):.0f}%"
        to_best = f"{number(row['to_best'][0])}{'~' if row['tie_with_best'] else ''}"
        body.append([row["name"], number(mine, 3 if scale == 1 else 1), noise, row["best"] or "-",
                     to_best, *(ratio_cell(row["cells"][name]) for name in columns)])
    return table(header, body)


def geomeans(result: dict[str, Any]) -> str:
    base = result["base"]
    header = ["allocator", f"time: {base} over it", "time: it over best",
              f"peak RSS: {base} over it", "RSS: it over lowest", "workloads", "trouble"]
    body = []
    for name, time in result["geomean_time"].items():
        rss = result["geomean_rss"][name]
        trouble = [f"{row} did not finish" for row in time["dnf"]]
        trouble += [f"{row} failed" for row in time["failed"]]
        body.append([name] + [f"{number(cell[0], 3)} {percent(cell)}" for cell in
                              (time["base_over"], time["over_best"], rss["base_over"],
                               rss["over_best"])]
                    + [f"{time['workloads']}/{time['of']}", "; ".join(trouble) or "none"])
    return table(header, body)


def idle(tables: list[dict[str, Any]]) -> str:
    parts = []
    for entry in tables:
        if not entry["cells"]:
            continue
        moments = sorted({ms for cell in entry["cells"].values() for ms in cell["at"]})
        header = ["allocator", "full", *(f"{ms / 1000:g} s" for ms in moments), "lazy free",
                  "end/full", "end/live"]
        body = []
        for name, cell in entry["cells"].items():
            live = cell["end"] / cell["live"] if cell["live"] else math.nan
            body.append([name, number(cell["full"] / MIB, 1),
                         *(number(cell["at"].get(ms, math.nan) / MIB, 1) for ms in moments),
                         number(cell["lazy_free"] / MIB, 1),
                         f"{100 * cell['end'] / cell['full']:.1f}%", number(live)])
        parts.append(f"{entry['name']}: resident MiB while idle ({entry['title']})\n"
                     + table(header, body))
    return "\n\n".join(parts)


def latency(tables: dict[str, dict[str, float]]) -> str:
    points = ("p50", "p99", "p99_9", "p99_99", "max")
    header = ["allocator"]
    for what in ("malloc", "free", "timer"):
        header += [f"{what} {point.replace('_', '.')}" for point in points]
    header += ["malloc >1 ms", "free >1 ms"]
    body = [[name, *(number(cell[f"{what}_{point}"], 0) for what in ("malloc", "free", "timer")
                     for point in points),
             *(number(cell[f"{what}_over_1ms_own"], 0) for what in ("malloc", "free"))]
            for name, cell in tables.items()]
    return table(header, body) + ("\n>1 ms counts calls during which the kernel did not take the "
                                  "processor away")


def faults(tables: dict[str, dict[str, float]], names: list[str]) -> str:
    body = [[row, *(number(cells[name], 0) for name in names)] for row, cells in tables.items()]
    return table(["workload", *names], body)


def versions(document: dict[str, Any]) -> str:
    lines = []
    for a in document["allocators"]:
        lines.append(f"{a['name']} {a['version']}: {a['library'] or 'the C library itself'} "
                     f"({a['identity'] or a['origin']})")
        if a["identity"]:
            lines.append(f"    from {a['origin']}")
    lines += [f"left out: {m['name']}: {m['reason']}" for m in document["missing"]]
    lines += [f"left out: program {m['name']}: {m['reason']}" for m in document["absent_apps"]]
    return "\n".join(lines)


def verdicts(entries: list[dict[str, Any]]) -> str:
    words = {True: "reached", False: "missed", None: "-"}
    return table(["aim", "target", "measured", ""],
                 [[v["what"], v["target"], v["measured"], words[v["met"]]] for v in entries])


def render(document: dict[str, Any]) -> str:
    """The whole report."""
    result, machine, run = document["summary"], document["machine"], document["run"]
    base, names = result["base"], [a["name"] for a in document["allocators"]]
    columns = [name for name in names if name != base]
    parts = [
        "machine: " + ", ".join(f"{key} {value}" for key, value in machine.items()),
        "run: " + ", ".join(f"{key} {value}" for key, value in run.items()),
        versions(document),
    ]
    if base != "carrel":
        parts.append(f"carrel is not among the allocators: everything is relative to {base}")
    if result["time"]:
        parts += [
            f"Time. {base} over each allocator, below 1: {base} is faster. ~ lies inside the A/A "
            "spread (a tie), < is a bound from one that did not finish\n"
            + comparison(result["time"], base, columns, "s", 1),
            f"Peak resident memory. {base} over each allocator, below 1: {base} is smaller\n"
            + comparison(result["rss"], base, columns, "MiB", 1024),
            "Page faults, median\n" + faults(result["faults"], names),
            "Geometric means over workloads and apps\n" + geomeans(result),
        ]
    noise = result["noise"]
    if not math.isnan(noise["median_spread"]):
        parts.append(f"Noise floor: carrel over its own copy {number(noise['geomean'][0], 3)} "
                     f"({number(noise['geomean'][1], 3)} to {number(noise['geomean'][2], 3)}) over "
                     f"all; one workload ±{100 * noise['median_spread']:.0f}% in the middle, "
                     f"±{100 * noise['widest_spread']:.0f}% at worst ({noise['widest']})")
    if result["idle"]:
        parts.append(idle(result["idle"]))
    if result["latency"]:
        parts.append("Latency of single calls, nanoseconds; the timer's own cost is not "
                     "subtracted\n" + latency(result["latency"]))
    if result["trivial"]:
        parts.append("Trivial process: peak resident KiB\n" + table(
            list(result["trivial"]), [[number(v, 0) for v in result["trivial"].values()]]))
    for floor in result["floors"]:
        cells = ", ".join(f"{name} {number(over[0])}" for name, over in floor["over"].items())
        parts.append(f"{floor['of']} over {floor['title']} ({floor['seconds']:.3f} s): {cells}")
    if document["targets"]:
        parts.append("Aims\n" + verdicts(document["targets"]))
        if not document["quotable"]:
            parts.append("These numbers are for orientation: " + document["why_not_quotable"])
    for problem in result["problems"]:
        parts.append(f"{problem['status']}: {problem['workload']} on {problem['allocator']}: "
                     f"{problem['error']}")
    if document["not_reached"]:
        parts.append("not run for lack of time: " + ", ".join(document["not_reached"]))
    return "\n\n".join(parts) + "\n"
