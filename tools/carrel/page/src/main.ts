// Puts the page together, of an analysis or of a snapshot: what matters first, then what it rests
// on. Sections whose data is absent are left out, and so are their links.

import { embedded, isSnapshot, type Analysis, type Snapshot } from "./document";
import { el } from "./dom";
import { flameSection } from "./flame";
import * as format from "./format";
import { heatSection, sizesSection, threadsSection } from "./grids";
import { mapSection } from "./heapmap";
import { comparisonSection, fidelitySection, latencySection } from "./measured";
import { momentsSection, residentSection } from "./resident";
import { classesSection, numbersSection, originSection, worstSection } from "./snapshot";
import { themeButton } from "./theme";
import { timelineSection } from "./timeline";
import { provenanceSection, totalsSection, verdictSection } from "./verdict";

type Part = [id: string, link: string, present: boolean, make: () => HTMLElement];

function analysisParts(a: Analysis): Part[] {
  return [
    ["verdict", "Verdict", true, () => verdictSection(a)],
    ["totals", "Numbers", true, () => totalsSection(a)],
    ["comparison", "Allocators", a.comparison !== undefined, () => comparisonSection("comparison",
        "Allocators, on the program itself",
        "Runs of the program in turning order, each in a fresh process.", a.comparison!)],
    ["replay", "Replay", a.replay !== undefined, () => comparisonSection("replay",
        "Allocators, replaying the trace",
        "The program's allocations alone, without the program. It predicts; the program decides.",
        a.replay!)],
    ["fidelity", "Fidelity", a.fidelity !== undefined, () => fidelitySection(a)],
    ["latency", "Latency", (a.latency?.curves.length ?? 0) > 0, () => latencySection(a)],
    ["timeline", "Over time", a.timeline.seconds.length > 1, () => timelineSection(a)],
    ["resident", "Resident", a.resident !== undefined || a.resident_at_end !== undefined,
      () => momentsSection(a)],
    ["flame", "Call sites", (a.stacks?.stacks.length ?? 0) > 0, () => flameSection(a)],
    ["sizes", "Sizes", true, () => sizesSection(a)],
    ["heat", "Size × lifetime", true, () => heatSection(a)],
    ["threads", "Threads", a.threads.length > 1, () => threadsSection(a)],
    ["provenance", "Provenance", true, () => provenanceSection(a)],
  ];
}

function snapshotParts(s: Snapshot): Part[] {
  return [
    ["numbers", "Numbers", true, () => numbersSection(s)],
    ["resident", "Resident", s.resident !== undefined, () => residentSection(s.resident!,
        `${format.bytes(s.resident!.rss_bytes)} of the process are resident, by smaps; carrel's ` +
        "parts are counted page by page, slot by slot.")],
    ["classes", "Size classes", s.classes.length > 0, () => classesSection(s)],
    ["map", "Map", s.map.kinds.length > 0, () => mapSection(s)],
    ["worst", "Worst slabs", s.worst.length > 0, () => worstSection(s)],
    ["provenance", "Provenance", true, () => originSection(s)],
  ];
}

function build(command: string, how: string, all: Part[]): void {
  document.title = `carrel: ${command}`;
  const shown = all.filter(([, , present]) => present);
  const [first, name] = shown[0]!;
  const nav = el("nav", { "aria-label": "Sections" },
      ...shown.map(([id, link]) => el("a", { href: `#${id}` }, link)));
  const main = el("main", {});
  document.body.replaceChildren(
      el("a", { class: "skip", href: `#${first}` }, `Skip to the ${name.toLowerCase()}`),
      el("header", {}, el("div", {}, el("h1", {}, el("span", { class: "brand" }, "carrel "),
          el("code", {}, command)), el("p", { class: "how" }, how)), themeButton()),
      nav, main,
      el("footer", {}, "Drawn with uPlot (MIT) and d3-flame-graph (Apache-2.0); their notices are " +
        "at the end of this file's script."));
  for (const [, , , make] of shown) main.append(make());
  document.documentElement.dataset["ready"] = "yes";
}

function start(): void {
  const parsed = embedded();
  if (isSnapshot(parsed)) {
    build(parsed.process.command || parsed.process.name, `process ${parsed.process.pid} on carrel ` +
      `${parsed.provenance.library.version}, ${parsed.provenance.taken_at}`, snapshotParts(parsed));
    return;
  }
  build(parsed.program.command.join(" "), `${format.seconds(parsed.program.seconds)}, ` +
    `${format.count(parsed.totals["allocations"] ?? 0)} allocations, on ` +
    `${parsed.provenance.allocator?.name ?? "an unknown allocator"}`, analysisParts(parsed));
}

start();
