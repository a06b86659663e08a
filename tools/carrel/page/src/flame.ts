// The flame graph: call sites by what they cost, switchable between measures. Frames are reachable
// by keyboard: Tab enters, arrows walk (up to the caller, down to the callee), Enter zooms.

import flamegraph from "d3-flame-graph";
import { select } from "d3-selection";
import type { Analysis, Frame, Stack } from "./document";
import { choice, el, onWidth, section } from "./dom";
import * as format from "./format";
import { onTheme } from "./theme";

interface Node {
  name: string;
  frame?: Frame;
  value: number;
  children: Node[];
}

interface Measure {
  key: keyof Stack & ("bytes" | "allocations" | "peak_bytes" | "leaked_bytes" | "temporary" |
    "allocator_ns");
  title: string;
  show: (value: number) => string;
}

const kMeasures: Measure[] = [
  { key: "bytes", title: "Bytes", show: format.bytes },
  { key: "allocations", title: "Count", show: format.count },
  { key: "peak_bytes", title: "At peak", show: format.bytes },
  { key: "leaked_bytes", title: "Live at end", show: format.bytes },
  { key: "temporary", title: "Temporary", show: format.count },
];
const kTime: Measure =
  { key: "allocator_ns", title: "Allocator time", show: (ns) => format.seconds(ns * 1e-9) };

/** The stacks as a tree, valued by one measure; equal functions of one parent are one node. */
function tree(analysis: Analysis, measure: Measure): Node {
  const { frames, stacks } = analysis.stacks!;
  const root: Node = { name: "all", value: 0, children: [] };
  const known = new Map<Node, Map<string, Node>>();
  for (const stack of stacks) {
    const value = stack[measure.key] ?? 0;
    if (value <= 0) continue;
    root.value += value;
    let at = root;
    for (const index of stack.frames) {
      const frame = frames[index]!;
      let children = known.get(at);
      if (!children) known.set(at, children = new Map<string, Node>());
      const key = `${frame.function}\n${frame.module ?? ""}`;
      let next = children.get(key);
      if (!next) {
        next = { name: frame.function, frame, value: 0, children: [] };
        children.set(key, next);
        at.children.push(next);
      }
      next.value += value;
      at = next;
    }
  }
  return root;
}

function hash(text: string): number {
  let value = 7;
  for (let i = 0; i < text.length; i += 1) value = (value * 31 + text.charCodeAt(i)) >>> 0;
  return value;
}

/** One hue a module, so that libraries are told apart; highlighted frames stand out. */
function shade(node: { data: Node; highlight?: boolean }): string {
  if (node.highlight) return "var(--flame-found)";
  const hue = hash(node.data.frame?.module ?? "") % 360;
  const light = 62 + (hash(node.data.name) % 14);
  return node.data.frame ? `hsl(${hue} 45% ${light}%)` : "var(--flame-root)";
}

function place(frame: Frame | undefined): string {
  if (!frame) return "";
  const line = frame.file ? ` ${frame.file}${frame.line ? `:${frame.line}` : ""}` : "";
  return `${line}${frame.module ? ` [${frame.module}]` : ""}`;
}

function folded(analysis: Analysis, measure: Measure): string {
  const { frames, stacks } = analysis.stacks!;
  return stacks.filter((s) => (s[measure.key] ?? 0) > 0).map((s) =>
    `${s.frames.map((f) => frames[f]!.function.replaceAll(";", ":")).join(";")} ` +
    `${s[measure.key]}`).join("\n") + "\n";
}

interface Drawn { data: Node; parent: Drawn | null; children?: Drawn[]; value: number }
type Group = SVGGElement & { __data__: Drawn };

/** Makes frames of `holder` focusable, one at a time in the tab order, and lets arrows walk. */
function makeWalkable(holder: HTMLElement, say: (d: Drawn) => string): void {
  const groups = (): Group[] => [...holder.querySelectorAll<Group>("g.frame")];
  const label = (): void => {
    const all = groups();
    for (const group of all) {
      group.setAttribute("role", "button");
      group.setAttribute("aria-label", say(group.__data__));
      if (!group.hasAttribute("tabindex")) group.setAttribute("tabindex", "-1");
    }
    if (!all.some((g) => g.getAttribute("tabindex") === "0"))
      all[0]?.setAttribute("tabindex", "0");
  };
  new MutationObserver(label).observe(holder, { childList: true, subtree: true });
  label();
  const focus = (target: Drawn | null | undefined): void => {
    const group = groups().find((g) => g.__data__ === target);
    if (!group) return;
    for (const other of groups()) other.setAttribute("tabindex", other === group ? "0" : "-1");
    group.focus();
  };
  holder.addEventListener("keydown", (event) => {
    const group = (event.target as Element).closest("g.frame") as Group | null;
    if (!group) return;
    const at = group.__data__;
    const row = at.parent?.children ?? [];
    const largest = (nodes: Drawn[] | undefined): Drawn | undefined =>
      nodes && [...nodes].sort((a, b) => b.value - a.value)[0];
    const keys: Record<string, () => void> = {
      ArrowUp: () => focus(at.parent),
      ArrowDown: () => focus(largest(at.children)),
      ArrowLeft: () => focus(row[row.indexOf(at) - 1]),
      ArrowRight: () => focus(row[row.indexOf(at) + 1]),
      Enter: () => group.dispatchEvent(new MouseEvent("click", { bubbles: true })),
    };
    const act = keys[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
}

export function flameSection(analysis: Analysis): HTMLElement {
  let measure = kMeasures[0]!;
  const { root, body, controls } = section("flame", "Call sites",
      "Wide means much. Callers are above callees; colours tell libraries apart. Click, or Enter, " +
      "zooms into a frame.", () => folded(analysis, measure));
  const { omitted_stacks: omitted, omitted_bytes: omittedBytes, allocator_time: time } =
    analysis.stacks!;
  const measures = time ? [...kMeasures, kTime] : kMeasures;
  const holder = el("div", { class: "flame", id: "flame-chart" });
  const details = el("p", { class: "figures", id: "flame-details", "aria-live": "polite" });
  body.append(details, holder);
  if (omitted > 0) {
    body.append(el("p", { class: "how" }, `${format.count(omitted)} rarer stacks, ` +
      `${format.bytes(omittedBytes)}, are left out here.`));
  }
  if (time) {
    body.append(el("p", { class: "how" }, `Allocator time is from a run of its own, by ` +
      `${format.count(time.stacks)} stacks of timed calls, each standing for the time since the ` +
      `one before; frees have their place in it too.` + (time.omitted_ns > 0
        ? ` ${format.seconds(time.omitted_ns * 1e-9)} are left out.` : "")));
  }
  let chart: ReturnType<typeof flamegraph> | undefined;
  let total = 0;
  const say = (d: Drawn): string => `${d.data.name}${place(d.data.frame)}: ` +
    `${measure.show(d.data.value)}, ${format.percent(d.data.value / Math.max(1, total))}`;

  const draw = (width: number): void => {
    const data = tree(analysis, measure);
    total = data.value;
    holder.replaceChildren();
    details.textContent = total > 0
      ? `${measure.title}: ${measure.show(total)} in all` : "Nothing to show for this measure.";
    holder.dataset["measure"] = measure.key;
    if (total === 0) return;
    chart = flamegraph().width(width).cellHeight(20).minFrameSize(1).inverted(true)
      .transitionDuration(0).selfValue(false).sort(true)
      .setColorMapper(shade).setLabelHandler(say)
      .setDetailsHandler((text: string | null) => { if (text) details.textContent = text; })
      .onClick((d: Drawn) => { details.textContent = say(d); });
    select(holder).datum(data).call(chart);
  };
  makeWalkable(holder, say);
  holder.addEventListener("focusin", (event) => {
    const group = (event.target as Element).closest("g.frame") as Group | null;
    if (group) details.textContent = say(group.__data__);
  });
  const redraw = (): void => { if (body.clientWidth > 0) draw(body.clientWidth); };
  const find = el("input", { type: "search", placeholder: "Find a function", id: "flame-find",
    "aria-label": "Find a function in the flame graph" });
  find.addEventListener("input", () => {
    if (find.value) chart?.search(find.value);
    else chart?.clear();
  });
  controls.append(
      choice("flame-measure", "Measure", measures.map((m) => [m.key, m.title]), (key) => {
        measure = measures.find((m) => m.key === key)!;
        redraw();
      }),
      find, el("button", { type: "button", class: "quiet", id: "flame-reset", onclick: redraw },
          "Show all"));
  onWidth(body, draw);
  onTheme(redraw);
  return root;
}
