// The analysis document as the page sees it; analysis/schema.md is its contract. Types only, and
// where the document is in the page. It does not check the document: the program that wrote it did.

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
    trace?: { path?: string; events: number; bytes: number; complete: boolean; note?: string };
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
  stacks?: { frames: Frame[]; stacks: Stack[]; omitted_stacks: number; omitted_bytes: number };
  cpu?: {
    in_allocator: Interval;
    samples: number;
    samples_in_allocator: number;
    period_us: number;
    cpu_s: number;
    seen: number;
    timed_share?: number;
    agree?: boolean;
  };
  resident?: {
    at_s: number;
    rss_bytes: number;
    parts: { label: string; bytes: number; basis: string }[];
    residue_bytes: number;
  };
  comparison?: Comparison;
  replay?: Comparison;
  latency?: {
    quantiles: number[];
    curves: { allocator: string; operation: string; ns: number[] }[];
  };
  fidelity?: {
    within: boolean;
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

/** The document embedded in the page; throws when there is none. */
export function embedded(): Analysis {
  const text = document.getElementById("analysis")?.textContent ?? "";
  const parsed: unknown = JSON.parse(text);
  return parsed as Analysis;
}
