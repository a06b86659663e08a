// Live and resident bytes over time: a chart, a strip beneath it on which a range is brushed, and
// the range's own figures. Keys on the chart: arrows move, + and - zoom, Escape shows everything.

import uPlot from "uplot";
import type { Analysis } from "./document";
import { el, onWidth, section } from "./dom";
import * as format from "./format";
import { colour, onTheme } from "./theme";

const kMainHeight = 280;
const kStripHeight = 70;
// Ticks at round numbers of KiB, MiB, ...: 1, 2 or 5 times a power of 1024, and tens of it.
const kByteSteps = [0, 1, 2, 3, 4].flatMap((unit) =>
  [1, 2, 5, 10, 20, 50, 100, 200, 500].map((step) => step * 1024 ** unit));
// Room at the sides, the same for both charts, so that they line up.
const kPadding: uPlot.Padding = [8, 24, 0, 0];

interface Range { from: number; to: number }

function series(): uPlot.Series[] {
  const bytes = (_: uPlot, value: number | null): string =>
    value === null || value === undefined ? "–" : format.bytes(value);
  return [
    { label: "time", value: (_, value) => value === null ? "–" : format.seconds(value) },
    { label: "live", stroke: colour("--series-1"), width: 1.5, value: bytes,
      fill: colour("--series-1-soft") },
    { label: "resident", stroke: colour("--series-2"), width: 1.5, value: bytes, spanGaps: true },
  ];
}

function axes(): uPlot.Axis[] {
  const shared = { stroke: colour("--muted"), grid: { stroke: colour("--rule"), width: 1 },
    ticks: { stroke: colour("--rule"), width: 1 } };
  return [
    { ...shared, values: (_, splits) => splits.map((v) => format.seconds(v)) },
    { ...shared, size: 72, incrs: kByteSteps, values: (_, s) => s.map((v) => format.bytes(v)) },
  ];
}

function summary(analysis: Analysis, range: Range): string {
  const { seconds, live_bytes, rss_bytes } = analysis.timeline;
  const inside = seconds.map((_, i) => i)
    .filter((i) => seconds[i]! >= range.from && seconds[i]! <= range.to);
  if (inside.length === 0) return "no sample in this range";
  const live = inside.map((i) => live_bytes[i]!);
  const resident = inside.map((i) => rss_bytes[i]).filter((v): v is number => v !== null);
  const spread = (values: number[]): string =>
    `${format.bytes(Math.min(...values))} to ${format.bytes(Math.max(...values))}`;
  return `${format.seconds(range.from)} to ${format.seconds(range.to)}: live ${spread(live)}` +
    (resident.length ? `, resident ${spread(resident)}` : ", resident not sampled here");
}

export function timelineSection(analysis: Analysis): HTMLElement {
  const { timeline } = analysis;
  const data: uPlot.AlignedData = [timeline.seconds, timeline.live_bytes, timeline.rss_bytes];
  const all: Range = { from: timeline.seconds[0] ?? 0, to: timeline.seconds.at(-1) ?? 1 };
  let range: Range = { ...all };
  const { root, body, controls } = section("timeline", "Live and resident memory",
      "Live: bytes the program asked for and has not freed. Resident: what the process occupies. " +
      "Brush a range on the lower strip or drag in the chart; double-click shows everything.",
      () => format.tabbed([["seconds", "live_bytes", "live_blocks", "rss_bytes"],
        ...timeline.seconds.map((s, i) => [s, timeline.live_bytes[i]!, timeline.live_blocks[i]!,
          timeline.rss_bytes[i] ?? ""])]));
  const main = el("div", { class: "chart", tabindex: 0, role: "img", id: "timeline-main",
    "aria-label": "Live and resident bytes over time; arrows move, plus and minus zoom" });
  const strip = el("div", { class: "chart strip", id: "timeline-strip", "aria-hidden": "true" });
  const figures = el("p", { class: "figures", "aria-live": "polite", id: "timeline-range" });
  body.append(main, strip, figures);
  let chart: uPlot | undefined;
  let overview: uPlot | undefined;

  const apply = (next: Range, fromChart = false): void => {
    const width = Math.max(next.to - next.from, (all.to - all.from) / 1e4);
    const from = Math.max(all.from, Math.min(next.from, all.to - width));
    range = { from, to: Math.min(all.to, from + width) };
    if (!fromChart) chart?.setScale("x", { min: range.from, max: range.to });
    figures.textContent = summary(analysis, range);
    if (overview) {
      const left = overview.valToPos(range.from, "x");
      const right = overview.valToPos(range.to, "x");
      const whole = range.from <= all.from && range.to >= all.to;
      overview.setSelect({ left, width: whole ? 0 : right - left, top: 0,
        height: overview.over.clientHeight }, false);
    }
  };

  const draw = (width: number): void => {
    chart?.destroy();
    overview?.destroy();
    const kept = range;
    chart = new uPlot({
      width, height: kMainHeight, padding: kPadding, series: series(), axes: axes(),
      scales: { x: { time: false }, y: { range: (_, _min, max) => [0, (max || 1) * 1.05] } },
      hooks: {
        setScale: [(u, key) => {
          const { min, max } = u.scales[key]!;
          if (key === "x" && min != null && max != null && (min !== range.from || max !== range.to))
            apply({ from: min, to: max }, true);
        }],
      },
    }, data, main);
    overview = new uPlot({
      width, height: kStripHeight, padding: kPadding, series: series(),
      legend: { show: false },
      axes: [{ show: false }, { ...axes()[1]!, values: () => [], grid: { show: false },
        ticks: { show: false } }],
      scales: { x: { time: false }, y: { range: (_, _min, max) => [0, (max || 1) * 1.05] } },
      cursor: { drag: { x: true, y: false, setScale: false }, points: { show: false } },
      hooks: {
        setSelect: [(u) => {
          const { left, width: wide } = u.select;
          if (wide < 2) apply(all);
          else apply({ from: u.posToVal(left, "x"), to: u.posToVal(left + wide, "x") });
        }],
      },
    }, data, strip);
    apply(kept);
  };

  const move = (by: number, zoom: number): void => {
    const width = range.to - range.from;
    const wide = Math.min(all.to - all.from, width * zoom);
    const middle = (range.from + range.to) / 2 + by * width;
    apply({ from: middle - wide / 2, to: middle + wide / 2 });
  };
  const button = (id: string, label: string, act: () => void): HTMLElement =>
    el("button", { type: "button", id, class: "quiet", onclick: act }, label);
  controls.append(button("timeline-in", "Zoom in", () => move(0, 0.5)),
      button("timeline-out", "Zoom out", () => move(0, 2)),
      button("timeline-earlier", "Earlier", () => move(-0.5, 1)),
      button("timeline-later", "Later", () => move(0.5, 1)),
      button("timeline-all", "Show all", () => apply(all)));
  const keys: Record<string, () => void> = {
    ArrowLeft: () => move(-0.25, 1), ArrowRight: () => move(0.25, 1),
    "+": () => move(0, 0.5), "=": () => move(0, 0.5), "-": () => move(0, 2),
    Escape: () => apply(all),
  };
  main.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
  onWidth(body, draw);
  onTheme(() => { if (body.clientWidth > 0) draw(body.clientWidth); });
  return root;
}
