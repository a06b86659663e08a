// Figures that are tables: sizes, size by lifetime, thread by thread. A cell's shade follows the
// logarithm of its count, and its number is always there to be read.

import type { Analysis } from "./document";
import { choice, el, scroller, section } from "./dom";
import * as format from "./format";

/** A count as a shaded cell; zero stays blank. */
function cell(value: number, largest: number, title: string): HTMLTableCellElement {
  const share = value > 0 ? 0.08 + 0.92 * Math.log1p(value) / Math.log1p(largest) : 0;
  return el("td", { class: share > 0.62 ? "heat strong" : "heat", title,
    style: `--heat:${share.toFixed(3)}`, "data-value": value },
  value > 0 ? format.short(value) : "");
}

/** Counts by row and column, each in a shade of its own. */
export function grid(caption: string, corner: string, columns: string[], rows: string[],
    values: number[][]): HTMLElement {
  const largest = Math.max(1, ...values.flat());
  const head = el("tr", {}, el("th", { scope: "col" }, corner),
      ...columns.map((c) => el("th", { scope: "col" }, c)));
  const body = rows.map((row, y) => el("tr", {}, el("th", { scope: "row" }, row),
      ...columns.map((column, x) => cell(values[y]![x]!, largest,
          `${row}, ${column}: ${format.count(values[y]![x]!)}`))));
  return scroller(caption, el("table", { class: "grid" }, el("caption", {}, caption),
      el("thead", {}, head), el("tbody", {}, ...body)));
}

/** The columns and rows that hold anything, so that the grid stays small. */
function used(values: number[][]): { rows: number[]; columns: number[] } {
  const rows = values.map((_, y) => y).filter((y) => values[y]!.some((v) => v > 0));
  const columns = (values[0] ?? []).map((_, x) => x)
    .filter((x) => values.some((row) => row[x]! > 0));
  return { rows, columns };
}

function span(indices: number[]): number[] {
  if (indices.length === 0) return [];
  const [first, last] = [indices[0]!, indices.at(-1)!];
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

export function heatSection(analysis: Analysis): HTMLElement {
  const { upper_bytes, upper_s, allocations } = analysis.size_lifetime;
  const { root, body } = section("heat", "Size by lifetime",
      "How many blocks of each size lived how long. Short-lived small blocks profit from thread " +
      "caches; long-lived ones scattered among them are what fragments.",
      () => format.tabbed([["size", ...upper_s.map(format.upperSeconds)],
        ...allocations.map((row, y) => [format.upperBytes(upper_bytes[y]!), ...row])]));
  const { rows, columns } = used(allocations);
  const shownRows = span(rows);
  const shownColumns = span(columns);
  body.append(grid("Allocations by size and lifetime", "size",
      shownColumns.map((x) => format.upperSeconds(upper_s[x]!)),
      shownRows.map((y) => format.upperBytes(upper_bytes[y]!)),
      shownRows.map((y) => shownColumns.map((x) => allocations[y]![x]!))));
  return root;
}

export function sizesSection(analysis: Analysis): HTMLElement {
  const { sizes } = analysis;
  let key: "allocations" | "bytes" = "allocations";
  const { root, body, controls } = section("sizes", "Sizes", "What the program asks for.",
      () => format.tabbed([["size", "allocations", "bytes"], ...sizes.upper_bytes.map((b, i) =>
        [format.upperBytes(b), sizes.allocations[i]!, sizes.bytes[i]!])]));
  const draw = (): void => {
    const values = sizes[key];
    const largest = Math.max(1, ...values);
    const all = Math.max(1, values.reduce((sum, v) => sum + v, 0));
    const shown = span(values.map((_, i) => i).filter((i) => values[i]! > 0));
    const rows = shown.map((i) => el("tr", {},
        el("th", { scope: "row" }, format.upperBytes(sizes.upper_bytes[i]!)),
        el("td", { class: "number" }, key === "bytes" ? format.bytes(values[i]!)
          : format.count(values[i]!)),
        el("td", { class: "number" }, format.percent(values[i]! / all)),
        el("td", { class: "bar" }, el("span",
            { style: `width:${(100 * values[i]! / largest).toFixed(2)}%` }))));
    body.replaceChildren(scroller("Sizes", el("table", { class: "bars", "data-key": key },
        el("caption", {}, key === "bytes" ? "Bytes by size" : "Allocations by size"),
        el("tbody", {}, ...rows))));
  };
  controls.append(choice("sizes-key", "Measure",
      [["allocations", "Count"], ["bytes", "Bytes"]], (value) => {
        key = value as typeof key;
        draw();
      }));
  draw();
  return root;
}

export function threadsSection(analysis: Analysis): HTMLElement {
  const names = analysis.threads.map((t) => t.name);
  const values = analysis.thread_frees.count;
  const { root, body } = section("threads", "Who frees whose blocks",
      "Rows allocate, columns free. Off the diagonal a block crosses threads, which is what locks " +
      "and remote frees are spent on.",
      () => format.tabbed([["allocated by", ...names], ...values.map((row, y) =>
        [names[y]!, ...row])]));
  body.append(grid("Frees by allocating and by freeing thread", "allocated by", names, names,
      values));
  return root;
}
