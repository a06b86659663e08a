// Sections of a heap's snapshot: its numbers, how full the slabs of each size class are, and the
// slabs in which few live blocks keep most memory. The map of all granules is in heapmap.ts.

import type { Slab, SlabClass, Snapshot } from "./document";
import { choice, el, scroller, section } from "./dom";
import * as format from "./format";
import { grid } from "./grids";

const kTotals: [string, string, (v: number) => string, string][] = [
  ["live_bytes", "live", format.bytes, "in the program's hands, rounded up"],
  ["live_blocks", "live blocks", format.count, ""],
  ["cached_bytes", "cached", format.bytes, "free, in thread caches and kept spans"],
  ["free_slot_bytes", "free slots", format.bytes, "address space in slabs"],
  ["slab_bytes", "slabs", format.bytes, "address space"],
  ["large_bytes", "large blocks", format.bytes, "over 32 KiB each"],
  ["guarded_bytes", "sampled blocks", format.bytes, "each between guard pages"],
  ["free_bytes", "free spans", format.bytes, "address space"],
  ["heap_bytes", "heap", format.bytes, "address space in all"],
];

export function numbersSection(snapshot: Snapshot): HTMLElement {
  const { totals } = snapshot;
  const { root, body } = section("numbers", "In numbers",
      "What the heap holds. Address space costs nothing by itself; what is in memory is below.",
      () => format.tabbed(Object.entries(totals)));
  // Only a hardened heap has sampled blocks.
  const present = (key: string): boolean => key in totals &&
    (key !== "guarded_bytes" || totals[key] !== 0);
  body.append(el("dl", { class: "evidence" }, ...kTotals.filter(([key]) => present(key))
    .map(([key, title, show, basis]) => el("div", {}, el("dt", {}, title),
        el("dd", {}, show(totals[key]!)), el("dd", { class: "basis" }, basis)))));
  return root;
}

/** Parts of a whole side by side; the words of each are its title. */
function stack(whole: number, parts: [string, string, number][]): HTMLElement {
  return el("div", { class: "stack", role: "img", "aria-label": parts.map(([name, , value]) =>
    `${name} ${format.percent(value / Math.max(1, whole))}`).join(", ") },
  ...parts.filter(([, , value]) => value > 0).map(([name, look, value]) => el("span",
      { class: look, title: `${name}: ${format.percent(value / whole)}`,
        style: `width:${(100 * value / whole).toFixed(3)}%` })));
}

function slotsRow(c: SlabClass): HTMLElement {
  return el("tr", {}, el("th", { scope: "row" }, format.bytes(c.block_bytes)),
      el("td", { class: "number" }, format.count(c.slabs)),
      el("td", { class: "number" }, format.count(c.live_blocks)),
      el("td", { class: "number" }, format.count(c.cached_blocks)),
      el("td", { class: "number" }, format.count(c.free_slots)),
      el("td", { class: "number" }, format.percent(c.live_blocks / Math.max(1, c.slots))),
      el("td", { class: "bar" }, stack(c.slots, [["live", "live", c.live_blocks],
        ["cached", "cached", c.cached_blocks], ["free", "free", c.free_slots]])));
}

function memoryRow(c: SlabClass, largest: number): HTMLElement {
  const space = c.slabs * c.slab_bytes;
  const [resident, free] = [c.resident_bytes ?? 0, c.resident_free_bytes ?? 0];
  return el("tr", {}, el("th", { scope: "row" }, format.bytes(c.block_bytes)),
      el("td", { class: "number" }, format.bytes(space)),
      el("td", { class: "number" }, format.bytes(resident)),
      el("td", { class: "number" }, format.bytes(free)),
      el("td", { class: "number" }, format.count(c.empty_slabs)),
      el("td", { class: "bar" }, stack(largest, [
        ["in use", "live", resident - free], ["free and resident", "free", free]])));
}

const kSteps = ["< 10%", "< 20%", "< 30%", "< 40%", "< 50%", "< 60%", "< 70%", "< 80%", "< 90%",
  "< 100%", "full"];

export function classesSection(snapshot: Snapshot): HTMLElement {
  const classes = [...snapshot.classes].sort((a, b) =>
    b.slabs * b.slab_bytes - a.slabs * a.slab_bytes);
  const { root, body, controls } = section("classes", "Occupancy by size class",
      "How much of each class's slabs is live. Free slots serve new blocks of their class only, " +
      "until their slab is entirely free.",
      () => format.tabbed([["block bytes", "slabs", "empty slabs", "slots", "live", "cached",
        "free", "resident bytes", "of it free", ...kSteps],
      ...classes.map((c) => [c.block_bytes, c.slabs, c.empty_slabs, c.slots, c.live_blocks,
        c.cached_blocks, c.free_slots, c.resident_bytes ?? "", c.resident_free_bytes ?? "",
        ...c.occupancy])]));
  const header = (names: string[]): HTMLElement => el("thead", {}, el("tr", {},
      ...names.map((name) => el("th", { scope: "col" }, name))));
  const draw = (view: string): void => {
    if (view === "slabs") {
      body.replaceChildren(grid("Slabs by the share of their slots that is live", "blocks of",
          kSteps, classes.map((c) => format.bytes(c.block_bytes)),
          classes.map((c) => c.occupancy)));
    } else if (view === "memory") {
      const largest = Math.max(1, ...classes.map((c) => c.resident_bytes ?? 0));
      body.replaceChildren(scroller("Memory by size class", el("table", { class: "bars" },
          el("caption", {}, "Memory by size class"),
          header(["blocks of", "address space", "resident", "of it free", "empty slabs", ""]),
          el("tbody", {}, ...classes.map((c) => memoryRow(c, largest))))));
    } else {
      body.replaceChildren(scroller("Slots by size class", el("table", { class: "bars" },
          el("caption", {}, "Slots by size class"),
          header(["blocks of", "slabs", "live", "cached", "free", "occupied", ""]),
          el("tbody", {}, ...classes.map(slotsRow)))));
    }
    root.dataset["view"] = view;
  };
  const known = classes.some((c) => c.resident_bytes !== undefined);
  controls.append(choice("classes-view", "Show", [["slots", "Slots"],
    ...(known ? [["memory", "Memory"] as [string, string]] : []),
    ["slabs", "Slabs by fullness"]], draw));
  draw("slots");
  return root;
}

/** "12L3FC" as runs. */
export function runs(states: string): [string, number][] {
  return [...states.matchAll(/(\d*)([LFC])/g)].map(([, count, state]) =>
    [state!, count ? Number(count) : 1]);
}

/** What a letter of the slot states stands for, and the class of its looks. */
const kStates: Record<string, string> = { L: "live", C: "cached", F: "free" };

function slabRow(slab: Slab): HTMLElement {
  const kept = slab.resident_free_bytes / Math.max(1, slab.live_blocks);
  return el("tr", {}, el("th", { scope: "row" }, el("code", {}, slab.address)),
      el("td", {}, slab.owner), el("td", { class: "number" }, format.bytes(slab.block_bytes)),
      el("td", { class: "number" }, `${format.count(slab.live_blocks)} of ` +
        format.count(slab.slots)),
      el("td", { class: "number" }, format.bytes(slab.resident_free_bytes)),
      el("td", { class: "number" }, format.bytes(kept)),
      el("td", { class: "bar" }, stack(slab.slots, runs(slab.slot_states)
        .map(([state, count]) => [kStates[state]!, kStates[state]!, count]))),
      el("td", {}, el("code", {}, slab.first_live.join(" "))));
}

export function worstSection(snapshot: Snapshot): HTMLElement {
  const { worst } = snapshot;
  const { root, body } = section("worst", "What pins the worst slabs",
      "Slabs in which few live blocks keep most free slots in memory, by what each block keeps. " +
      "Their addresses tell gdb (carrel ptr ADDRESS) and a heap profile whose they are.",
      () => format.tabbed([["slab", "owner", "block bytes", "live", "cached", "slots",
        "free and resident", "slot states", "first live blocks"],
      ...worst.map((s) => [s.address, s.owner, s.block_bytes, s.live_blocks, s.cached_blocks,
        s.slots, s.resident_free_bytes, s.slot_states, s.first_live.join(" ")])]));
  body.append(scroller("The worst slabs", el("table", { class: "bars" },
      el("caption", {}, "The worst slabs"),
      el("thead", {}, el("tr", {}, ...["slab", "owner", "blocks of", "live", "free and resident",
        "for each live block", "slots", "first live blocks"].map((name) =>
        el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...worst.map(slabRow)))));
  return root;
}

export function originSection(snapshot: Snapshot): HTMLElement {
  const { process, provenance, heap } = snapshot;
  const rows: [string, string][] = [
    ["process", `${process.pid}, ${process.command || process.name}`],
    ["library", `carrel ${provenance.library.version}` +
      `${provenance.library.hardened ? ", hardened" : ""}, ${provenance.library.path}`],
    ["taken", provenance.taken_at],
    ["records", `${format.bytes(provenance.copied_bytes)} copied in ` +
      `${format.seconds(provenance.copy_ms / 1e3)}; ` + (provenance.stopped_ms === undefined
      ? "the process was not stopped"
      : `the process stood still for ${format.seconds(provenance.stopped_ms / 1e3)}`)],
    ["changed meanwhile", `${format.count(provenance.changed_slabs)} slabs, ` +
      `${format.count(provenance.stray_blocks)} cached blocks`],
    ["heap", `at ${heap.base}, granules of ${format.bytes(heap.granule_bytes)}, pages of ` +
      format.bytes(heap.page_bytes)],
    ["kernel", provenance.kernel],
    ["carrel", provenance.carrel],
  ];
  const { root, body } = section("provenance", "Provenance",
      "What these numbers are of: without this they mean nothing.", () => format.tabbed(rows));
  const list = el("dl", { class: "facts" });
  for (const [name, value] of rows) list.append(el("dt", {}, name), el("dd", {}, value));
  body.append(list);
  return root;
}
