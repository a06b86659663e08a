"""page: results as one HTML file that needs no other: tables and charts drawn as SVG.

Nothing in it runs; it only shows numbers that were also printed.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

COLOURS = {"carrel": "#c2410c", "mimalloc": "#2563eb", "mimalloc3": "#2563eb",
           "jemalloc": "#059669", "shipped": "#059669", "snmalloc": "#7c3aed",
           "system": "#525252", "glibc": "#525252"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 280, 64, 12, 12, 44

STYLE = """body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1000px;
  padding: 0 1rem; color: #1c1917; background: #fff }
figure { display: inline-block; margin: 0 1rem 1rem 0 } figcaption { font-weight: 600 }
svg { font-size: 11px } table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #e7e5e4 }
td:first-child, th:first-child { text-align: left } .key span { margin-right: 1.2rem }
pre { background: #f5f5f4; padding: .6rem } """


def colour(name: str) -> str:
    return COLOURS.get(name, "#a16207")


def key(names: list[str]) -> str:
    spans = "".join(f'<span style="color:{colour(name)}">&#9632; {escape(name)}</span>'
                    for name in names)
    return f'<p class="key">{spans}</p>'


def round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ..."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.9999)


def _frame(caption: str, y_label: str, top: float, body: str, x_labels: list[tuple[float, str]],
           x_label: str) -> str:
    lines = []
    for step in range(5):
        value = top * step / 4
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * step / 4
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                     f'stroke="#e7e5e4"/><text x="{LEFT - 6}" y="{y + 4:.1f}" '
                     f'text-anchor="end">{value:g}</text>')
    for x, text in x_labels:
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
                     f"{escape(text)}</text>")
    lines.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" '
                 f'text-anchor="middle">{escape(x_label)}</text>')
    return (f"<figure><figcaption>{escape(caption)}, {escape(y_label)}</figcaption>"
            f'<svg width="{WIDTH}" height="{HEIGHT}" role="img">{"".join(lines)}{body}</svg>'
            "</figure>")


def line_chart(caption: str, x_label: str, y_label: str, xs: list[float],
               series: dict[str, list[float]]) -> str:
    """One line for each name; the points of xs stand at equal distances."""
    top = round_up(max(max(values) for values in series.values()))
    at = [LEFT + 12 + (WIDTH - LEFT - RIGHT - 24) * i / max(1, len(xs) - 1)
          for i in range(len(xs))]
    body = []
    for name, values in series.items():
        points = [(x, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top)
                  for x, value in zip(at, values)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour(name)}" '
                    'stroke-width="2"/>')
        for (x, y), value in zip(points, values):
            body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour(name)}">'
                        f"<title>{escape(name)}: {value:.4g}</title></circle>")
    return _frame(caption, y_label, top, "".join(body),
                  [(x, f"{value:g}") for x, value in zip(at, xs)], x_label)


def bar_chart(caption: str, y_label: str, bars: dict[str, float]) -> str:
    top = round_up(max(bars.values()))
    room = (WIDTH - LEFT - RIGHT) / len(bars)
    body, labels = [], []
    for index, (name, value) in enumerate(bars.items()):
        height = (HEIGHT - TOP - BOTTOM) * value / top
        x, y = LEFT + room * index + room * 0.15, HEIGHT - BOTTOM - height
        body.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{room * 0.7:.1f}" '
                    f'height="{height:.1f}" fill="{colour(name)}"><title>{escape(name)}: '
                    f"{value:.4g}</title></rect>")
        labels.append((x + room * 0.35, name))
    return _frame(caption, y_label, top, "".join(body), labels, "")


def html_table(title: str, columns: list[str], rows: list[tuple[str, list[str]]]) -> str:
    head = "".join(f"<th>{escape(text)}" for text in ["", *columns])
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}' for text in [name, *cells])}</tr>"
                   for name, cells in rows)
    return f"<h3>{escape(title)}</h3><table><tr>{head}</tr>{body}</table>"


def write(path: Path, title: str, remarks: list[str], sections: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"<p>{escape(remark)}</p>" for remark in remarks)
    path.write_text(f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}'
                    f"</title><style>{STYLE}</style><h1>{escape(title)}</h1>{text}"
                    f"{''.join(sections)}</html>\n", encoding="utf-8")
