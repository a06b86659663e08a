// The documents as the page sees them: an analysis, whose contract is analysis/schema.md, or a
// snapshot, snapshot/schema.md. Types only, and where the document is in the page. It does not check
// the document: the program that wrote it did.

export interface Interval {
  median: number;
  low: number;
  high: number;
}

export interface Frame {
  function: string;
  file?: string;
  line?: number;
  module?: string;
}

export interface Stack {
  frames: number[];
  allocations: number;
  bytes: number;
  peak_bytes: number;
  leaked_bytes: number;
  temporary: number;
  allocator_ns?: number;
}

export interface Measured {
  name: string;
  path?: string;
  version?: string;
  build_id?: string;
  failed?: string;
  metrics?: Record<string, Interval>;
  ratios?: Record<string, Interval>;
}

export interface Comparison {
  baseline: string;
  runs: number;
  noise?: Record<string, number>;
  allocators: Measured[];
}

export interface Verdict {
  action: "keep" | "switch" | "inconclusive";
  goal: string;
  min_gain: number;
  headline: string;
  current: string;
  allocator: string;
  evidence: { label: string; value: string; basis: string }[];
  reasons: string[];
  doubts?: string[];
  use?: string;
}

/** Where resident memory is. */
export interface Resident {
  rss_bytes: number;
  parts: { label: string; bytes: number; basis: string }[];
  residue_bytes: number;
  residue_is?: string;
}

/** Free memory that cannot go back because live blocks lie among it. */
export interface Pinned {
  unit: "slab" | "page";
  free_bytes: number;
  places: number;
  live_blocks: number;
  samples: number;
  sites: { frames: number[]; blocks: number; bytes: number; samples: number }[];
  classes?: { block_bytes: number; slabs: number; live_blocks: number; free_bytes: number }[];
  worst?: { address: string; block_bytes: number; slots: number; live_blocks: number;
    free_bytes: number; requested_bytes: number; oldest_s: number; youngest_s: number;
    sites: number[] }[];
}

/** The same at one moment of a recording; by a picture of its pages where it says by what. */
export interface ResidentMoment extends Resident {
  at_s: number;
  at_end?: boolean;
  by?: "slabs" | "pages";
  pinned?: Pinned;
}

export interface Analysis {
  program: {
    command: string[];
    executable?: string;
    seconds: number;
    exit?: string;
    threads: number;
  };
  provenance: {
    carrel: string;
    recorded_at?: string;
    kernel?: string;
    cpus?: number;
    cpu_model?: string;
    huge_pages?: string;
    page_bytes?: number;
    allocator?: { name: string; path?: string; version?: string; build_id?: string };
    trace?: { path?: string; events: number; bytes: number; complete: boolean; note?: string;
      stack_interval?: number };
  };
  totals: Record<string, number>;
  timeline: {
    seconds: number[];
    live_bytes: number[];
    live_blocks: number[];
    rss_bytes: (number | null)[];
  };
  sizes: { upper_bytes: (number | null)[]; allocations: number[]; bytes: number[] };
  lifetimes: { upper_s: (number | null)[]; allocations: number[]; never_freed: number };
  size_lifetime: {
    upper_bytes: (number | null)[];
    upper_s: (number | null)[];
    allocations: number[][];
  };
  threads: { name: string; allocations: number; frees: number; bytes: number }[];
  thread_frees: { count: number[][] };
  stacks?: {
    frames: Frame[];
    stacks: Stack[];
    omitted_stacks: number;
    omitted_bytes: number;
    allocator_time?: { stacks: number; ns: number; omitted_ns: number };
  };
  cpu?: {
    in_allocator: Interval;
    samples: number;
    samples_in_allocator: number;
    period_us: number;
    cpu_s: number;
    seen: number;
    timed_share?: number;
    agree?: boolean;
    watched_calls?: number;
    sleeping_calls?: number;
    sleeping_time?: number;
  };
  resident?: ResidentMoment;
  resident_at_end?: ResidentMoment;
  comparison?: Comparison;
  replay?: Comparison;
  latency?: {
    quantiles: number[];
    curves: { allocator: string; operation: string; ns: number[] }[];
  };
  fidelity?: {
    within: boolean;
    within_memory?: boolean;
    checks: {
      what: string;
      unit: string;
      recorded: number;
      replayed: number;
      tolerance: number;
      ok: boolean;
    }[];
  };
  verdict?: Verdict;
}

export interface SlabClass {
  class: number;
  block_bytes: number;
  slab_bytes: number;
  slabs: number;
  empty_slabs: number;
  slots: number;
  live_blocks: number;
  cached_blocks: number;
  free_slots: number;
  resident_bytes?: number;
  resident_free_bytes?: number;
  occupancy: number[];
}

export interface Slab {
  address: string;
  owner: string;
  block_bytes: number;
  slots: number;
  live_blocks: number;
  cached_blocks: number;
  resident_bytes: number;
  resident_free_bytes: number;
  slot_states: string;
  first_live: string[];
}

/** Without the list of all spans, which stays in the file. What is resident is absent where the
    system did not tell. */
export interface Snapshot {
  schema: "carrel-snapshot";
  process: { pid: number; name: string; command: string };
  provenance: {
    carrel: string;
    taken_at: string;
    kernel: string;
    library: { path: string; version: string; hardened: boolean };
    copied_bytes: number;
    copy_ms: number;
    stopped_ms?: number;
    changed_slabs: number;
    stray_blocks: number;
    other_heaps: number;
  };
  heap: { base: string; granule_bytes: number; page_bytes: number };
  totals: Record<string, number>;
  resident?: Resident;
  classes: SlabClass[];
  map: {
    granules_per_cell: number;
    first_granules: number[];
    kinds: string;
    live_percent: number[];
    resident_percent?: number[];
  };
  worst: Slab[];
}

/** The document embedded in the page; throws when there is none. */
export function embedded(): Analysis | Snapshot {
  const text = document.getElementById("analysis")?.textContent ?? "";
  const parsed: unknown = JSON.parse(text);
  return parsed as Analysis | Snapshot;
}

export function isSnapshot(parsed: Analysis | Snapshot): parsed is Snapshot {
  return "schema" in parsed && parsed.schema === "carrel-snapshot";
}
