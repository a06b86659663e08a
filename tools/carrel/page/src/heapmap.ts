// The fragmentation map: the heap's granules in the order of their addresses, a square each, coloured
// by what they hold, how much of it is live, or how much is in memory. The pointer or the arrow keys
// pick a square, whose words stand below.

import type { Snapshot } from "./document";
import { choice, el, onWidth, section } from "./dom";
import * as format from "./format";
import { colour, onTheme } from "./theme";

const kKinds: Record<string, [name: string, colour: string]> = {
  s: ["slab", "--series-1"],
  l: ["large block", "--series-2"],
  k: ["kept span", "--series-5"],
  g: ["sampled blocks between guard pages", "--series-3"],
  f: ["free", "--rule"],
  u: ["unknown", "--series-6"],
};
const kLeastSide = 6;
const kMostSide = 16;

type View = "kind" | "live" | "resident";

export function mapSection(snapshot: Snapshot): HTMLElement {
  const { kinds, live_percent, resident_percent, granules_per_cell, first_granules } = snapshot.map;
  const cellBytes = granules_per_cell * snapshot.heap.granule_bytes;
  // Spans need not follow each other: each cell says where it begins.
  const address = (i: number): string => "0x" + (BigInt(snapshot.heap.base) +
    BigInt(first_granules[i]!) * BigInt(snapshot.heap.granule_bytes)).toString(16);
  const { root, body, controls } = section("map", "Fragmentation map",
      `Each square is ${format.bytes(cellBytes)} of the heap, in the order of addresses. ` +
      "Pale squares among full ones are memory that is held by little.",
      () => format.tabbed([["address", "kind", "live %", "resident %"],
        ...[...kinds].map((k, i) => [address(i), kKinds[k]?.[0] ?? k, live_percent[i]!,
          resident_percent?.[i] ?? ""])]));
  const canvas = el("canvas", { id: "map-canvas", tabindex: 0, role: "img",
    "aria-label": "Map of the heap; arrow keys pick a square, which is described below" });
  const words = el("p", { class: "figures", id: "map-cell", "aria-live": "polite" });
  const legend = el("p", { class: "figures", id: "map-legend" });
  body.append(canvas, words, legend);
  let view: View = "kind";
  let columns = 1;
  let side = kLeastSide;
  let picked = 0;

  const share = (i: number): number =>
    (view === "live" ? live_percent[i]! : resident_percent?.[i] ?? 0) / 100;

  const draw = (): void => {
    const rows = Math.ceil(kinds.length / columns);
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(columns * side * scale);
    canvas.height = Math.round(rows * side * scale);
    canvas.style.width = `${columns * side}px`;
    canvas.style.height = `${rows * side}px`;
    const pen = canvas.getContext("2d");
    if (pen === null) return;
    pen.scale(scale, scale);
    const looks = Object.fromEntries(Object.entries(kKinds).map(([k, [, c]]) => [k, colour(c)]));
    const [empty, full] = [colour("--rule"), colour("--series-1")];
    for (let i = 0; i < kinds.length; ++i) {
      const [x, y] = [(i % columns) * side, Math.floor(i / columns) * side];
      if (view === "kind") {
        pen.fillStyle = looks[kinds[i]!] ?? empty;
        pen.fillRect(x, y, side - 1, side - 1);
      } else {
        pen.fillStyle = empty;
        pen.fillRect(x, y, side - 1, side - 1);
        pen.globalAlpha = share(i);
        pen.fillStyle = full;
        pen.fillRect(x, y, side - 1, side - 1);
        pen.globalAlpha = 1;
      }
    }
    pen.strokeStyle = colour("--ink");
    pen.lineWidth = 2;
    pen.strokeRect((picked % columns) * side, Math.floor(picked / columns) * side, side - 1,
        side - 1);
    canvas.dataset["view"] = view;
    words.textContent = `${address(picked)}: ${kKinds[kinds[picked]!]?.[0] ?? "unknown"}, ` +
      `${live_percent[picked]}% live` +
      (resident_percent === undefined ? "" : `, ${resident_percent[picked]}% in memory`);
    legend.replaceChildren(...(view === "kind"
      ? Object.entries(kKinds).filter(([k]) => kinds.includes(k)).map(([k, [name, c]]) =>
        el("span", { class: "key" }, el("i", { style: `background:var(${c})` }),
            `${name} ${format.percent([...kinds].filter((x) => x === k).length / kinds.length)}`))
      : [el("span", { class: "key" }, el("i", { style: "background:var(--rule)" }),
          view === "live" ? "nothing live" : "nothing in memory"),
      el("span", { class: "key" }, el("i", { style: "background:var(--series-1)" }),
          view === "live" ? "all live" : "all in memory")]));
  };
  const pick = (cell: number): void => {
    picked = Math.max(0, Math.min(kinds.length - 1, cell));
    draw();
  };
  canvas.addEventListener("click", (event) => pick(
      Math.floor(event.offsetY / side) * columns + Math.floor(event.offsetX / side)));
  canvas.addEventListener("keydown", (event) => {
    const step: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns,
      ArrowDown: columns };
    const by = step[event.key];
    if (by === undefined) return;
    event.preventDefault();
    pick(picked + by);
  });
  controls.append(choice("map-view", "Colour by",
      [["kind", "What it holds"], ["live", "Live share"],
        ...(resident_percent === undefined ? [] : [["resident", "In memory"] as [string, string]]),
      ], (value) => {
        view = value as View;
        draw();
      }));
  onWidth(body, (width) => {
    // As large as lets everything be seen at once, within reason.
    side = Math.max(kLeastSide, Math.min(kMostSide,
        Math.floor(Math.sqrt(width * 480 / Math.max(1, kinds.length)))));
    columns = Math.max(1, Math.floor(width / side));
    draw();
  });
  onTheme(() => draw());
  return root;
}
