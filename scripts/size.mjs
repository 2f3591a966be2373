/**
 * Measures what an application would ship: bundles each `size/<name>.ts`, minified and gzipped, and fails if one exceeds
 * its budget.
 */
import { build } from "esbuild"
import * as fs from "node:fs"
import * as path from "node:path"
import { gzipSync } from "node:zlib"

/** In bytes. What has none is only reported. */
const budgets = { promise: 45_000 }

const dir = path.join(import.meta.dirname, "size")
const names = fs.existsSync(dir) ? fs.readdirSync(dir).filter((file) => file.endsWith(".ts")).map((file) => path.basename(file, ".ts")) : []

for (const name of Object.keys(budgets)) if (!names.includes(name)) console.log(`${name}: there is no scripts/size/${name}.ts yet, nothing measured`)
for (const name of names) {
  const { outputFiles: [{ contents }] } = await build({
    entryPoints: [path.join(dir, `${name}.ts`)],
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    platform: "browser",
    target: "es2022",
    conditions: ["source"]
  })
  const size = gzipSync(contents, { level: 9 }).length
  const budget = budgets[name]
  const verdict = budget === undefined ? "" : size > budget ? `, over its budget of ${budget / 1000} KB` : ` of ${budget / 1000} KB`
  console.log(`${name}: ${(size / 1000).toFixed(1)} KB${verdict}`)
  if (size > budget) process.exitCode = 1
}
