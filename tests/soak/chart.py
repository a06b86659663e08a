"""chart: memory over time as one SVG, a panel for each server. It draws what it is given and judges
nothing."""

from __future__ import annotations

import math
from html import escape

MIB = 2.0 ** 20
WIDTH, PANEL, LEFT, RIGHT, TOP, BOTTOM = 860, 220, 70, 14, 34, 34
LINES = {"rss": ("#a8a29e", "resident, shared pages counted in each process"),
         "pss": ("#2563eb", "resident, shared pages counted once"),
         "private": ("#c2410c", "of it private: heaps, stacks, data")}
MOST_POINTS = 600

Series = dict[str, list[float]]  # "seconds" and the names of LINES, in bytes


def round_up(value: float) -> float:
    """The next of 1, 2, 3, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(step * power for step in (1, 2, 3, 5, 10) if step * power >= value * 0.9999)


def panel(title: str, series: Series, y: float) -> str:
    seconds = series["seconds"]
    end = max(seconds[-1], 1e-9)
    step = -(-len(seconds) // MOST_POINTS)
    top = round_up(max(max(series[name]) for name in LINES) / MIB)
    high = PANEL - TOP - BOTTOM

    def across(at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * at / end

    def up(mib: float) -> float:
        return y + TOP + high * (1 - mib / top)

    parts = [f'<text x="{LEFT}" y="{y + TOP - 12}" font-weight="600">{escape(title)}</text>']
    for i in range(5):
        value = top * i / 4
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(value):.1f}" '
                     f'y2="{up(value):.1f}" stroke="#e7e5e4"/><text x="{LEFT - 6}" '
                     f'y="{up(value) + 4:.1f}" text-anchor="end">{value:g} MiB</text>')
        at = end * i / 4
        label = f"{at / 60:.0f} min" if end > 300 else f"{at:.0f} s"
        parts.append(f'<text x="{across(at):.1f}" y="{y + PANEL - BOTTOM + 16:.1f}" '
                     f'text-anchor="{"end" if i == 4 else "middle"}">{label}</text>')
        if i == 1:  # what is before is warm-up
            parts.append(f'<line x1="{across(at):.1f}" x2="{across(at):.1f}" y1="{up(0):.1f}" '
                         f'y2="{up(top):.1f}" stroke="#a8a29e" stroke-dasharray="3 3"/>')
    for name, (colour, _) in LINES.items():
        points = " ".join(f"{across(s):.1f},{up(value / MIB):.1f}"
                          for s, value in list(zip(seconds, series[name]))[::step])
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" '
                     'stroke-width="1.5"/>')
    return "".join(parts)


def svg(panels: dict[str, Series]) -> str:
    """`panels`: titles, in order, with their series."""
    height = PANEL * len(panels) + 30
    body = [panel(title, series, PANEL * i)
            for i, (title, series) in enumerate(panels.items())]
    x = float(LEFT)
    for colour, text in LINES.values():
        body.append(f'<rect x="{x}" y="{height - 22}" width="10" height="10" fill="{colour}"/>'
                    f'<text x="{x + 14}" y="{height - 13}">{escape(text)}</text>')
        x += 40 + 6.1 * len(text)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif" font-size="11" '
            f'role="img"><rect width="100%" height="100%" fill="#fff"/>{"".join(body)}</svg>\n')
