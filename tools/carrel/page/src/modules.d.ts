// Types of what is bundled but has none: only what the page calls.

declare module "d3-flame-graph" {
  import type { Selection } from "d3-selection";
  interface FlameGraph {
    (selection: Selection<any, any, null, undefined>): void;
    width(pixels: number): FlameGraph;
    cellHeight(pixels: number): FlameGraph;
    minFrameSize(pixels: number): FlameGraph;
    inverted(on: boolean): FlameGraph;
    transitionDuration(ms: number): FlameGraph;
    selfValue(on: boolean): FlameGraph;
    sort(on: boolean): FlameGraph;
    setColorMapper(mapper: (node: any) => string): FlameGraph;
    setLabelHandler(label: (node: any) => string): FlameGraph;
    setDetailsHandler(show: (text: string | null) => void): FlameGraph;
    onClick(handler: (node: any) => void): FlameGraph;
    search(term: string): void;
    clear(): void;
  }
  export default function flamegraph(): FlameGraph;
}

declare module "*.css" {
  const text: string;
  export default text;
}
