// Numbers and bounds as text: the same words in figures, tables and copied text. No DOM.

const kUnits = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Bytes in the largest unit that leaves at least one whole digit: 1536 is "1.5 KiB". */
export function bytes(value: number): string {
  let unit = 0;
  let scaled = value;
  while (Math.abs(scaled) >= 1024 && unit < kUnits.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || Math.abs(scaled) >= 100 ? 0 : 1;
  return `${scaled.toFixed(digits)} ${kUnits[unit]}`;
}

/** Seconds in a unit that reads well: 0.0021 is "2.1 ms". */
export function seconds(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 1e-6) return `${(value * 1e9).toPrecision(3)} ns`;
  if (size < 1e-3) return `${trim(value * 1e6)} µs`;
  if (size < 1) return `${trim(value * 1e3)} ms`;
  if (size < 120) return `${trim(value)} s`;
  return `${trim(value / 60)} min`;
}

function trim(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/** A count with thousands separated. */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** A count that fits a small cell: 12345 is "12k". */
export function short(value: number): string {
  if (value < 1000) return String(Math.round(value));
  for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]] as [number, string][]) {
    if (value >= unit) {
      const scaled = value / unit;
      return `${scaled < 9.95 ? scaled.toFixed(1) : scaled.toFixed(0)}${name}`;
    }
  }
  return String(value);
}

/** A share as a percentage: 0.0312 is "3.1%". */
export function percent(share: number): string {
  return `${(share * 100).toFixed(Math.abs(share) >= 0.1 ? 0 : 1)}%`;
}

export function upperBytes(bound: number | null): string {
  return bound === null ? "larger" : `≤ ${bytes(bound)}`;
}

export function upperSeconds(bound: number | null): string {
  return bound === null ? "never freed" : `< ${seconds(bound)}`;
}

/** A value of a metric by the unit its name ends in. */
export function metric(name: string, value: number): string {
  if (name.endsWith("_bytes")) return bytes(value);
  if (name.endsWith("_s")) return seconds(value);
  if (name.endsWith("_ns")) return seconds(value / 1e9);
  return String(Number(value.toPrecision(4)));
}

const kMetricTitles: Record<string, string> = {
  cpu_s: "CPU time",
  wall_s: "wall time",
  peak_rss_bytes: "peak RSS",
  idle_rss_bytes: "RSS at the end",
  stall_s: "stall",
};

export function metricTitle(name: string): string {
  return kMetricTitles[name] ?? name.replaceAll("_", " ");
}

/** Rows as tab-separated text, which spreadsheets and issues take. */
export function tabbed(rows: (string | number)[][]): string {
  return rows.map((row) => row.join("\t")).join("\n") + "\n";
}
