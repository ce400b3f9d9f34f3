// Fails the build when the script that the first view loads is over its budget, compressed. Called by npm run build.
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const budgetKib = 350;
const firstViews = ["shell", "home"];

const dist = resolve(dirname(fileURLToPath(import.meta.url)), "../dist");
const manifest = JSON.parse(readFileSync(join(dist, ".vite/manifest.json"), "utf8"));
const entry = Object.keys(manifest).find((key) => manifest[key].isEntry);
const seen = new Set();
const visit = (key) => {
  if (seen.has(key)) return;
  seen.add(key);
  for (const needed of manifest[key].imports ?? []) visit(needed);
};
visit(entry);
for (const view of firstViews) {
  const key = Object.keys(manifest).find((one) => manifest[one].isDynamicEntry && manifest[one].name === view);
  if (!key) throw new Error(`budget: ${view} is not a chunk of the build`);
  visit(key);
}
let total = 0;
for (const key of seen) {
  const size = gzipSync(readFileSync(join(dist, manifest[key].file))).length;
  total += size;
}
const kib = total / 1024;
console.log(`first view: ${kib.toFixed(0)} KiB of compressed script in ${seen.size} files (budget ${budgetKib} KiB)`);
if (kib > budgetKib) {
  console.error("budget: the first view loads too much; load what it does not show by a lazy import");
  process.exit(1);
}
