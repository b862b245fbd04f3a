// Builds the page into ../static (or the folder given): the same sources and the pinned esbuild give the same bytes.
// assets.json lists the SHA-256 of every source and of every built file, so that a test without node sees what is out of date.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync, version } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "..", "static");
const digest = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
const digests = (folder, names) => Object.fromEntries(names.map((name) => [name, digest(join(folder, name))]));

mkdirSync(out, { recursive: true });
buildSync({
  absWorkingDir: here,
  entryPoints: { wall: "src/main.ts", style: "src/wall.css" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  charset: "utf8",
  legalComments: "none",
  logLevel: "warning",
});
for (const name of ["index.html", "mark.svg"]) {
  writeFileSync(join(out, name), readFileSync(join(here, "src", name)));
}
const sources = readdirSync(join(here, "src")).sort().map((name) => `src/${name}`);
const assets = {
  esbuild: version,
  sources: digests(here, ["build.mjs", "package-lock.json", "package.json", ...sources, "tsconfig.json"]),
  built: digests(out, ["index.html", "mark.svg", "style.css", "wall.js"]),
};
writeFileSync(join(out, "assets.json"), `${JSON.stringify(assets, null, 2)}\n`);
