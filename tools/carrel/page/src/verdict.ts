// The top of the page: what to do, and the numbers that say so; and what program, machine and
// allocators the numbers are of.

import type { Analysis } from "./document";
import { el, section } from "./dom";
import * as format from "./format";

const kMarks: Record<string, string> = {
  keep: "Keep", switch: "Switch", inconclusive: "Inconclusive",
};

function verdictText(analysis: Analysis): string {
  const verdict = analysis.verdict;
  if (!verdict) return "no verdict\n";
  return [verdict.headline,
    ...verdict.evidence.map((e) => `${e.label}: ${e.value} (${e.basis})`),
    ...verdict.reasons, ...(verdict.doubts ?? []).map((d) => `Doubt: ${d}`),
    ...(verdict.use ? [`Use: ${verdict.use}`] : [])].join("\n") + "\n";
}

export function verdictSection(analysis: Analysis): HTMLElement {
  const verdict = analysis.verdict;
  const { root, body } = section("verdict", "Verdict", verdict
    ? `Goal: ${verdict.goal}. A change must be worth at least ${format.percent(verdict.min_gain)}.`
    : "This is a profile: nothing was compared. carrel advise runs the allocators and decides.",
  () => verdictText(analysis));
  root.classList.add(`verdict-${verdict?.action ?? "none"}`);
  if (!verdict) {
    if (analysis.cpu) body.append(el("p", { class: "headline" }, ceilingSentence(analysis)));
    return root;
  }
  body.append(el("p", { class: "headline" },
      el("span", { class: "mark" }, kMarks[verdict.action] ?? verdict.action),
      " ", verdict.headline));
  const evidence = el("dl", { class: "evidence" });
  for (const item of verdict.evidence) {
    evidence.append(el("div", {}, el("dt", {}, item.label), el("dd", {}, item.value),
        el("dd", { class: "basis" }, item.basis)));
  }
  body.append(evidence);
  body.append(el("ol", { class: "reasons" }, ...verdict.reasons.map((r) => el("li", {}, r))));
  if (verdict.doubts?.length) {
    body.append(el("h3", {}, "Doubts"),
        el("ul", {}, ...verdict.doubts.map((d) => el("li", {}, d))));
  }
  if (verdict.use) body.append(el("h3", {}, "To use it"), el("pre", {}, verdict.use));
  return root;
}

function ceilingSentence(analysis: Analysis): string {
  const share = analysis.cpu!.in_allocator;
  return `${format.percent(share.median)} of CPU time is in the allocator ` +
    `(${format.percent(share.low)} to ${format.percent(share.high)}): no faster allocator can save ` +
    "more by its own speed.";
}

const kTotalTitles: [string, string, (value: number) => string][] = [
  ["allocations", "allocations", format.count],
  ["allocated_bytes", "bytes requested", format.bytes],
  ["peak_live_bytes", "peak live", format.bytes],
  ["peak_rss_bytes", "peak RSS", format.bytes],
  ["temporary", "temporary", format.count],
  ["cross_thread_frees", "freed by another thread", format.count],
  ["leaked_bytes", "live at the end", format.bytes],
  ["reallocations", "reallocations", format.count],
];

export function totalsSection(analysis: Analysis): HTMLElement {
  const shown = kTotalTitles.filter(([key]) => key in analysis.totals);
  const { root, body } = section("totals", "In numbers",
      "What the whole run asked of its allocator.",
      () => format.tabbed(Object.entries(analysis.totals)));
  const list = el("dl", { class: "evidence" });
  if (analysis.cpu) {
    list.append(el("div", {}, el("dt", {}, "CPU in the allocator"),
        el("dd", {}, format.percent(analysis.cpu.in_allocator.median)),
        el("dd", { class: "basis" }, `${format.count(analysis.cpu.samples)} samples`)));
    if (analysis.cpu.watched_calls) {
      list.append(el("div", {}, el("dt", {}, "waits in the allocator"),
          el("dd", {}, `${format.percent(analysis.cpu.sleeping_calls ?? 0)} of calls`),
          el("dd", { class: "basis" }, `${format.percent(analysis.cpu.sleeping_time ?? 0)} of the ` +
            "time in all, the thread asleep")));
    }
  }
  for (const [key, title, show] of shown) {
    const value = analysis.totals[key]!;
    const of = analysis.totals["allocations"]!;
    const part = key === "temporary" || key === "cross_thread_frees"
      ? `${format.percent(value / Math.max(1, of))} of allocations` : "";
    list.append(el("div", {}, el("dt", {}, title), el("dd", {}, show(value)),
        el("dd", { class: "basis" }, part)));
  }
  body.append(list);
  return root;
}

function provenanceRows(analysis: Analysis): [string, string][] {
  const { program, provenance } = analysis;
  const { allocator, trace } = provenance;
  const rows: [string, string | undefined][] = [
    ["command", program.command.join(" ")],
    ["executable", program.executable],
    ["took", `${format.seconds(program.seconds)}, ${program.threads} threads`],
    ["ended", program.exit],
    ["recorded", provenance.recorded_at],
    ["allocator", allocator && [allocator.name, allocator.version, allocator.path,
      allocator.build_id && `build id ${allocator.build_id}`].filter(Boolean).join(", ")],
    ["trace", trace && `${format.count(trace.events)} events in ${format.bytes(trace.bytes)}` +
      `${trace.complete ? "" : ", incomplete"}${trace.note ? `; ${trace.note}` : ""}`],
    ["machine", [provenance.cpu_model, provenance.cpus && `${provenance.cpus} CPUs`,
      provenance.kernel, provenance.huge_pages && `huge pages: ${provenance.huge_pages}`]
      .filter(Boolean).join(", ")],
    ["carrel", provenance.carrel],
  ];
  return rows.filter((row): row is [string, string] => Boolean(row[1]));
}

export function provenanceSection(analysis: Analysis): HTMLElement {
  const rows = provenanceRows(analysis);
  const { root, body } = section("provenance", "Provenance",
      "What these numbers are of: without this they mean nothing.", () => format.tabbed(rows));
  const list = el("dl", { class: "facts" });
  for (const [name, value] of rows) list.append(el("dt", {}, name), el("dd", {}, value));
  body.append(list);
  return root;
}
