/** Runs the benchmarks, `packages/<package>/bench/<name>.bench.ts`: all, or those whose path contains an argument. */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"

const repository = path.join(import.meta.dirname, "..")
const wanted = process.argv.slice(2)
const files = fs.globSync("packages/*/bench/**/*.bench.ts", { cwd: repository }).sort()
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))

if (files.length === 0) console.log("No such benchmark")
for (const file of files) {
  console.log(`\n${file}`)
  const { status } = spawnSync(process.execPath, ["--conditions=source", "--expose-gc", file], { cwd: repository, stdio: "inherit" })
  if (status !== 0) process.exitCode = 1
}
