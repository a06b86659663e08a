// Where resident memory is, part by part, and which call sites' blocks keep the free part of it. Of
// a snapshot, or of the two moments of an analysis: when it was highest, and the program's end.

import type { Analysis, Frame, Pinned, Resident, ResidentMoment } from "./document";
import { choice, el, scroller, section, table } from "./dom";
import * as format from "./format";

const kFramesShown = 4;
const kSitesShown = 12;  // all are in the text that is copied

type Parts = Resident["parts"];

function partsOf(resident: Resident): Parts {
  return [...resident.parts, { label: "unexplained", bytes: resident.residue_bytes,
    basis: resident.residue_is ?? "what is left" }];
}

/** Each part begins where the one above it ends. What is nothing has no row. */
function waterfall(resident: Resident): HTMLElement {
  const parts = partsOf(resident).filter((p) => p.bytes !== 0 || p.label === "unexplained");
  let before = 0;
  const scale = Math.max(1, resident.rss_bytes,
      parts.reduce((sum, p) => sum + Math.max(0, p.bytes), 0));
  const rows = parts.map((part) => {
    const start = part.bytes >= 0 ? before : before + part.bytes;
    before += part.bytes;
    return el("tr", {}, el("th", { scope: "row" }, part.label),
        el("td", { class: "number" }, format.bytes(part.bytes)),
        el("td", { class: "number" }, format.percent(part.bytes / Math.max(1, resident.rss_bytes))),
        el("td", { class: "bar" }, el("span", { style:
          `margin-left:${Math.max(0, 100 * start / scale).toFixed(2)}%;` +
          `width:${(100 * Math.abs(part.bytes) / scale).toFixed(2)}%` })),
        el("td", { class: "basis" }, part.basis));
  });
  return scroller("Resident memory by part", el("table", { class: "bars" },
      el("caption", {}, "Resident memory by part"), el("tbody", {}, ...rows)));
}

/** "inner < its caller", the innermost first. */
function callSite(frames: Frame[], numbers: number[], most: number): string {
  return [...numbers].reverse().slice(0, most).map((n) => frames[n]!.function).join(" < ");
}

function sampling(pinned: Pinned, everyStack: boolean): string {
  if (pinned.sites.length === 0) {
    return "None of these blocks has a stack; carrel profile --stack-interval 0 takes every one.";
  }
  return everyStack ? `From the stacks of all ${format.count(pinned.samples)} blocks.`
    : `Estimated from the ${format.count(pinned.samples)} blocks whose stack was taken, each ` +
      "standing for others like it.";
}

/** Who keeps free memory from going back. */
function pinnedPart(pinned: Pinned, frames: Frame[], everyStack: boolean): HTMLElement {
  const out = el("div", { class: "pinned" });
  if (pinned.free_bytes === 0) return out;
  out.append(el("h3", {}, "What keeps free memory here"), el("p", { class: "figures" },
      `${format.bytes(pinned.free_bytes)} free, in ${format.count(pinned.places)} ` +
      `${pinned.unit}s, for the sake of ${format.count(pinned.live_blocks)} live blocks. ` +
      sampling(pinned, everyStack)));
  if (pinned.sites.length > 0) {
    out.append(table("Call sites by the free memory that their live blocks keep",
        ["kept", "live blocks", "call site"], pinned.sites.slice(0, kSitesShown).map((site) => [
          format.bytes(site.bytes), format.count(site.blocks),
          el("code", { title: callSite(frames, site.frames, site.frames.length) },
              callSite(frames, site.frames, kFramesShown))])));
  }
  if (pinned.worst && pinned.worst.length > 0) {
    out.append(table("Slabs in which few live blocks keep most",
        ["slab", "blocks of", "live", "free and resident", "allocated", "call sites"],
        pinned.worst.map((slab) => [el("code", {}, slab.address), format.bytes(slab.block_bytes),
          `${format.count(slab.live_blocks)} of ${format.count(slab.slots)}`,
          format.bytes(slab.free_bytes), slab.youngest_s > slab.oldest_s
            ? `${format.seconds(slab.oldest_s)} to ${format.seconds(slab.youngest_s)}`
            : format.seconds(slab.oldest_s),
          slab.sites.map((i) => callSite(frames, pinned.sites[i]!.frames, 1)).join(", ") || "–"])));
  }
  return out;
}

function asText(resident: Resident, pinned: Pinned | undefined, frames: Frame[]): string {
  const rows: (string | number)[][] = [["part", "bytes", "basis"],
    ...partsOf(resident).map((p) => [p.label, p.bytes, p.basis])];
  for (const site of pinned?.sites ?? []) {
    rows.push(["kept by", site.bytes, `${site.blocks} blocks, ` +
      callSite(frames, site.frames, site.frames.length)]);
  }
  return format.tabbed(rows);
}

export function residentSection(resident: Resident, how: string): HTMLElement {
  const { root, body } = section("resident", "Why this much is resident", how,
      () => asText(resident, undefined, []));
  body.append(waterfall(resident));
  return root;
}

/** The same of an analysis, with its moments and its call sites. */
export function momentsSection(analysis: Analysis): HTMLElement {
  const moments: [string, string, ResidentMoment][] = [];
  if (analysis.resident) moments.push(["highest", "At its highest", analysis.resident]);
  if (analysis.resident_at_end) moments.push(["end", "At the end", analysis.resident_at_end]);
  const frames = analysis.stacks?.frames ?? [];
  const everyStack = analysis.provenance.trace?.stack_interval === 0;
  let shown = moments[0]![2];
  const { root, body, controls } = section("resident", "Why this much is resident",
      "Resident memory by what it is for: counted in the pages themselves where a picture of them " +
      "was taken during the recording, and held against smaps.",
      () => asText(shown, shown.pinned, frames));
  const draw = (name: string): void => {
    shown = moments.find(([key]) => key === name)![2];
    const children = [el("p", { class: "figures" },
        `At ${format.seconds(shown.at_s)}, ${format.bytes(shown.rss_bytes)} were resident.`),
    waterfall(shown)];
    if (shown.pinned) children.push(pinnedPart(shown.pinned, frames, everyStack));
    body.replaceChildren(...children);
    root.dataset["moment"] = name;
  };
  if (moments.length > 1) {
    controls.append(choice("resident-moment", "When",
        moments.map(([key, title]) => [key, title]), draw));
  }
  draw(moments[0]![0]);
  return root;
}
