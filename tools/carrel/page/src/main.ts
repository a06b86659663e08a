// Puts the page together: the verdict first, then what it rests on. Sections whose data is absent
// are left out, and so are their links.

import { embedded, type Analysis } from "./document";
import { el } from "./dom";
import { flameSection } from "./flame";
import * as format from "./format";
import { heatSection, sizesSection, threadsSection } from "./grids";
import { comparisonSection, fidelitySection, latencySection, residentSection } from "./measured";
import { themeButton } from "./theme";
import { timelineSection } from "./timeline";
import { provenanceSection, totalsSection, verdictSection } from "./verdict";

type Part = [id: string, link: string, present: boolean, make: () => HTMLElement];

function parts(a: Analysis): Part[] {
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
    ["resident", "Resident", a.resident !== undefined, () => residentSection(a)],
    ["flame", "Call sites", (a.stacks?.stacks.length ?? 0) > 0, () => flameSection(a)],
    ["sizes", "Sizes", true, () => sizesSection(a)],
    ["heat", "Size × lifetime", true, () => heatSection(a)],
    ["threads", "Threads", a.threads.length > 1, () => threadsSection(a)],
    ["provenance", "Provenance", true, () => provenanceSection(a)],
  ];
}

function start(): void {
  const analysis = embedded();
  const command = analysis.program.command.join(" ");
  document.title = `carrel: ${command}`;
  const shown = parts(analysis).filter(([, , present]) => present);
  const nav = el("nav", { "aria-label": "Sections" },
      ...shown.map(([id, link]) => el("a", { href: `#${id}` }, link)));
  const main = el("main", {});
  document.body.replaceChildren(
      el("a", { class: "skip", href: "#verdict" }, "Skip to the verdict"),
      el("header", {}, el("div", {}, el("h1", {}, el("span", { class: "brand" }, "carrel "),
          el("code", {}, command)),
      el("p", { class: "how" }, `${format.seconds(analysis.program.seconds)}, ` +
        `${format.count(analysis.totals["allocations"] ?? 0)} allocations, on ` +
        `${analysis.provenance.allocator?.name ?? "an unknown allocator"}`)), themeButton()),
      nav, main,
      el("footer", {}, "Drawn with uPlot (MIT) and d3-flame-graph (Apache-2.0); their notices are " +
        "at the end of this file's script."));
  for (const [, , , make] of shown) main.append(make());
  document.documentElement.dataset["ready"] = "yes";
}

start();
