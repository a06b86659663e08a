// Building blocks of the page: elements, sections with a "copy as text" button, switches that the
// keyboard reaches, tables. It knows nothing of allocators.

type Child = Node | string | null | undefined;
type Attributes = Record<string, string | number | boolean | (() => void) | undefined>;

/** An element with attributes and children; `onclick` takes a function. */
export function el<K extends keyof HTMLElementTagNameMap>(
    tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, String(value));
  }
  for (const child of children) if (child !== null && child !== undefined) element.append(child);
  return element;
}

export function svg(tag: string, attributes: Record<string, string | number> = {},
    ...children: Child[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  for (const child of children) if (child !== null && child !== undefined) element.append(child);
  return element;
}

const kCopyLabel = "Copy as text";

/** Copies `text()`; where the browser refuses, shows it selected, ready to be copied by hand. */
function copyButton(name: string, text: () => string, place: HTMLElement): HTMLButtonElement {
  const button = el("button", { type: "button", class: "quiet", "data-copy": name,
    "aria-label": `Copy ${name} as text` }, kCopyLabel);
  const shown = el("textarea", { readonly: true, hidden: true, rows: 8,
    "aria-label": `${name} as text` });
  place.append(shown);
  button.addEventListener("click", async () => {
    const copied = text();
    shown.value = copied;
    try {
      await navigator.clipboard.writeText(copied);
      shown.hidden = true;
      button.textContent = "Copied";
    } catch {
      shown.hidden = false;
      shown.focus();
      shown.select();
      button.textContent = "Select and copy";
    }
    window.setTimeout(() => { button.textContent = kCopyLabel; }, 2000);
  });
  return button;
}

export interface Section {
  root: HTMLElement;
  body: HTMLElement;
  controls: HTMLElement;
}

/** A section with a heading, one sentence on how to read it, and its figures as text. */
export function section(id: string, title: string, how: string, text: () => string): Section {
  const controls = el("div", { class: "controls" });
  const body = el("div", { class: "body" });
  const foot = el("div", { class: "foot" });
  const head = el("div", { class: "head" }, el("h2", { id: `${id}-title` }, title),
      copyButton(title, text, foot));
  const root = el("section", { id, "aria-labelledby": `${id}-title` }, head,
      el("p", { class: "how" }, how), controls, body, foot);
  return { root, body, controls };
}

/** One choice among several, as radio buttons: Tab reaches it, arrows change it. */
export function choice(name: string, legend: string, options: [string, string][],
    changed: (value: string) => void): HTMLFieldSetElement {
  const set = el("fieldset", { class: "choice", "data-choice": name },
      el("legend", {}, legend));
  options.forEach(([value, label], index) => {
    const input = el("input", { type: "radio", name, value, id: `${name}-${value}`,
      checked: index === 0 });
    input.addEventListener("change", () => { if (input.checked) changed(value); });
    set.append(input, el("label", { for: `${name}-${value}` }, label));
  });
  return set;
}

/** A table in a box of its own that scrolls sideways on narrow screens. */
export function table(caption: string, header: string[], rows: Child[][]): HTMLElement {
  const head = el("tr", {}, ...header.map((text) => el("th", { scope: "col" }, text)));
  const body = rows.map((row) => el("tr", {}, ...row.map((cell, column) =>
    column === 0 ? el("th", { scope: "row" }, cell) : el("td", {}, cell))));
  return scroller(caption, el("table", {}, el("caption", {}, caption), el("thead", {}, head),
      el("tbody", {}, ...body)));
}

export function scroller(label: string, content: Node): HTMLElement {
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, content);
}

/** Calls `draw` with the width of `element`, now and whenever it changes. */
export function onWidth(element: HTMLElement, draw: (width: number) => void): void {
  let last = 0;
  const look = (): void => {
    const width = Math.floor(element.clientWidth);
    if (width > 0 && width !== last) {
      last = width;
      draw(width);
    }
  };
  new ResizeObserver(look).observe(element);
  look();
}
