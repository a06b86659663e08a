// Light and dark: the system's choice until the reader makes one. Charts are drawn with colours read
// from the style sheet, so they are told when the theme changes.

import { el } from "./dom";

const kOrder = ["auto", "light", "dark"];
const listeners: (() => void)[] = [];

/** Calls `listener` whenever the colours change. */
export function onTheme(listener: () => void): void {
  listeners.push(listener);
}

/** The value of a custom property of the style sheet, such as "--ink". */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function announce(): void {
  for (const listener of listeners) listener();
}

export function themeButton(): HTMLButtonElement {
  let at = 0;
  const button = el("button", { type: "button", class: "quiet", id: "theme" });
  const show = (): void => {
    button.textContent = `Theme: ${kOrder[at]}`;
    if (kOrder[at] === "auto") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = kOrder[at];
    announce();
  };
  button.addEventListener("click", () => {
    at = (at + 1) % kOrder.length;
    show();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", announce);
  show();
  return button;
}
