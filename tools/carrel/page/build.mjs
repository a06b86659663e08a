// Bundles the page into one HTML file without references to anything outside it. The analysis
// document's place is marked by the text {{analysis}}, which carrel report fills in.
//
//   node build.mjs OUT.html

import { build } from "esbuild";
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2];
if (!out) {
  console.error("usage: node build.mjs OUT.html");
  process.exit(2);
}

const result = await build({
  absWorkingDir: here,
  entryPoints: ["src/main.ts"],
  bundle: true,
  write: false,
  loader: { ".css": "empty" },
  format: "iife",
  target: "es2020",
  minifyWhitespace: true,
  minifySyntax: true,
  // The flame graph tells its own nodes by the name of their constructor.
  minifyIdentifiers: false,
  legalComments: "eof",
  logLevel: "warning",
});
const script = result.outputFiles[0].text.replaceAll("</script", "<\\/script");

const sheets = await Promise.all([
  readFile(join(here, "node_modules/uplot/dist/uPlot.min.css"), "utf8"),
  readFile(join(here, "src/style.css"), "utf8"),
]);

const notices = await Promise.all(["uplot", "d3-flame-graph"].map(async (name) =>
  `${name}\n\n${await readFile(join(here, "node_modules", name, "LICENSE"), "utf8")}`));
const notice = notices.join("\n\n").replaceAll("*/", "* /").replaceAll("</", "< /");

const page = (await readFile(join(here, "page.html"), "utf8"))
  .replace("{{style}}", () => sheets.join("\n"))
  .replace("{{script}}", () => `${script}\n/*\n${notice}\n*/`);
for (const forbidden of [/\bsrc\s*=\s*["']?https?:/, /@import/]) {
  if (forbidden.test(page)) {
    console.error(`the page refers to something outside itself: ${forbidden}`);
    process.exit(1);
  }
}
await writeFile(out, page);
