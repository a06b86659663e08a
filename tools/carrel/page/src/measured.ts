// Allocators side by side with their intervals, latency curves, fidelity of the replay. What was not
// measured has no section.

import uPlot from "uplot";
import type { Analysis, Comparison, Interval, Measured } from "./document";
import { choice, el, onWidth, section, svg, table } from "./dom";
import * as format from "./format";
import { colour, onTheme } from "./theme";

function metricsOf(comparison: Comparison): string[] {
  const names = new Set<string>();
  for (const allocator of comparison.allocators)
    for (const name of Object.keys(allocator.metrics ?? {})) names.add(name);
  return ["cpu_s", "wall_s", "peak_rss_bytes"].filter((n) => names.has(n))
    .concat([...names].filter((n) => !["cpu_s", "wall_s", "peak_rss_bytes"].includes(n)));
}

function interval(metric: string, value: Interval | undefined): string {
  if (!value) return "–";
  return `${format.metric(metric, value.median)} ` +
    `(${format.metric(metric, value.low)} to ${format.metric(metric, value.high)})`;
}

function ratio(value: Interval | undefined): string {
  if (!value) return "–";
  return `${value.median.toFixed(3)} (${value.low.toFixed(3)} to ${value.high.toFixed(3)})`;
}

/** A dot with its interval on a scale shared by all rows; the band is the noise of A/A. */
function whisker(value: Interval | undefined, low: number, high: number, noise: number):
    SVGElement | null {
  if (!value) return null;
  const at = (v: number): number => 4 + 192 * (v - low) / (high - low);
  const parts: SVGElement[] = [];
  if (noise > 0) {
    parts.push(svg("rect", { class: "noise", x: at(1 - noise), y: 0, height: 20,
      width: Math.max(1, at(1 + noise) - at(1 - noise)) }));
  }
  parts.push(svg("line", { class: "one", x1: at(1), x2: at(1), y1: 0, y2: 20 }),
      svg("line", { class: "whisker", x1: at(value.low), x2: at(value.high), y1: 10, y2: 10 }),
      svg("circle", { class: "dot", cx: at(value.median), cy: 10, r: 4 }));
  return svg("svg", { class: "interval", viewBox: "0 0 200 20", width: 200, height: 20,
    role: "img", "aria-label": `ratio ${ratio(value)}` }, ...parts);
}

export function comparisonSection(id: string, title: string, how: string,
    comparison: Comparison): HTMLElement {
  const metrics = metricsOf(comparison);
  let metric = metrics[0] ?? "cpu_s";
  const { root, body, controls } = section(id, title, how, () => format.tabbed([
    ["allocator", "metric", "median", "low", "high", "ratio", "ratio low", "ratio high", "path"],
    ...comparison.allocators.flatMap((a) => a.failed ? [[a.name, `failed: ${a.failed}`]]
      : metrics.filter((m) => a.metrics?.[m]).map((m) => {
        const [v, r] = [a.metrics![m]!, a.ratios?.[m]];
        return [a.name, m, v.median, v.low, v.high, r?.median ?? "", r?.low ?? "", r?.high ?? "",
          a.path ?? ""];
      }))]));
  const draw = (): void => {
    const noise = comparison.noise?.[metric] ?? 0;
    const ratios = comparison.allocators.map((a) => a.ratios?.[metric])
      .filter((r): r is Interval => r !== undefined);
    const low = Math.min(0.9, 1 - noise, ...ratios.map((r) => r.low));
    const high = Math.max(1.1, 1 + noise, ...ratios.map((r) => r.high));
    const line = (a: Measured): (Node | string | null)[] => [
      el("span", { title: a.path ?? "" }, a.name,
          a.name === comparison.baseline ? el("small", {}, " baseline") : null),
      a.failed ? `failed: ${a.failed}` : interval(metric, a.metrics?.[metric]),
      ratio(a.ratios?.[metric]), whisker(a.ratios?.[metric], low, high, noise)];
    const sorted = [...comparison.allocators].sort((a, b) =>
      (a.ratios?.[metric]?.median ?? 1e9) - (b.ratios?.[metric]?.median ?? 1e9));
    const shown = table(`${format.metricTitle(metric)}, ${comparison.runs} runs each`,
        ["allocator", "median (95% interval)", `over ${comparison.baseline}`, "below 1 is better"],
        sorted.map(line));
    shown.dataset["metric"] = metric;
    body.replaceChildren(shown, el("p", { class: "how" }, noise > 0
      ? `Grey band: ${comparison.baseline} against itself differed by up to ` +
        `${format.percent(noise)}.` : ""));
  };
  controls.append(choice(`${id}-metric`, "Measure",
      metrics.map((m) => [m, format.metricTitle(m)]), (value) => {
        metric = value;
        draw();
      }));
  draw();
  return root;
}

const kCurveColours = 7;

export function latencySection(analysis: Analysis): HTMLElement {
  const { quantiles, curves } = analysis.latency!;
  const operations = [...new Set(curves.map((c) => c.operation))];
  let operation = operations[0]!;
  const { root, body, controls } = section("latency", "Latency",
      "Time of single calls: the middle says little, the right end is what requests wait for.",
      () => format.tabbed([["allocator", "operation", ...quantiles.map((q) => `p${q * 100} ns`)],
        ...curves.map((c) => [c.allocator, c.operation, ...c.ns])]));
  const chartPlace = el("div", { class: "chart", role: "img", id: "latency-chart",
    "aria-label": "Latency by quantile, the table below has the numbers" });
  const tablePlace = el("div", {});
  body.append(chartPlace, tablePlace);
  let plot: uPlot | undefined;
  const name = (q: number): string => `p${Number((q * 100).toPrecision(6))}`;
  const draw = (width: number): void => {
    plot?.destroy();
    const shown = curves.filter((c) => c.operation === operation);
    const shared = { stroke: colour("--muted"), grid: { stroke: colour("--rule"), width: 1 } };
    plot = new uPlot({
      width, height: 260,
      scales: { x: { time: false }, y: { distr: 3 } },
      axes: [{ ...shared, splits: quantiles.map((_, i) => i),
        values: (_, at) => at.map((i) => name(quantiles[i] ?? 0)) },
      { ...shared, size: 64, values: (_, at) => at.map((v) => v ? format.seconds(v / 1e9) : "") }],
      series: [{ label: "quantile", value: (_, i) => i === null ? "–" : name(quantiles[i] ?? 0) },
        ...shown.map((c, i) => ({ label: c.allocator, width: 1.5, points: { show: true },
          stroke: colour(`--series-${(i % kCurveColours) + 1}`),
          value: (_: uPlot, v: number | null) => v === null ? "–" : format.seconds(v / 1e9) }))],
    }, [quantiles.map((_, i) => i), ...shown.map((c) => c.ns)], chartPlace);
    tablePlace.replaceChildren(table(`Latency of ${operation}`,
        ["allocator", ...quantiles.map(name)],
        shown.map((c) => [c.allocator, ...c.ns.map((v) => format.seconds(v / 1e9))])));
  };
  if (operations.length > 1) {
    controls.append(choice("latency-operation", "Call", operations.map((o) => [o, o]), (value) => {
      operation = value;
      draw(body.clientWidth);
    }));
  }
  onWidth(body, draw);
  onTheme(() => { if (body.clientWidth > 0) draw(body.clientWidth); });
  return root;
}

export function fidelitySection(analysis: Analysis): HTMLElement {
  const fidelity = analysis.fidelity!;
  const show = (unit: string, value: number): string => unit === "bytes" ? format.bytes(value)
    : unit === "s" ? format.seconds(value) : String(Number(value.toPrecision(4)));
  const { root, body } = section("fidelity", "Is the replay like the program?",
      "The trace replayed on the allocator it was recorded on, beside what was recorded. Out of " +
      "tolerance, the replay's numbers decide nothing.",
      () => format.tabbed([["what", "recorded", "replayed", "tolerance", "ok"],
        ...fidelity.checks.map((c) => [c.what, c.recorded, c.replayed, c.tolerance,
          String(c.ok)])]));
  const memoryToo = fidelity.within_memory ?? fidelity.within;
  body.append(el("p", { class: fidelity.within ? "headline good" : "headline bad" },
      !fidelity.within ? "Out of tolerance." : memoryToo ? "Within tolerance."
        : "Within tolerance for CPU time, not for memory."),
  table("Recorded against replayed", ["what", "recorded", "replayed", "difference", "tolerance", ""],
      fidelity.checks.map((c) => [c.what, show(c.unit, c.recorded), show(c.unit, c.replayed),
        c.recorded ? format.percent(c.replayed / c.recorded - 1) : "–",
        `± ${show(c.unit, c.tolerance)}`, c.ok ? "within" : "out"])));
  return root;
}
