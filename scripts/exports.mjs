/**
 * Derives each package's `exports` from its tree: `src/X.ts` and `src/<folder>/X.ts` become `./X`, `src/index.ts`
 * becomes `.`. What lies in a folder `internal` stays private, and so does a program (its first line starts with `#!`).
 *
 * Writes them into the `package.json` files. With `--check` it changes nothing, and fails where they differ.
 */
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

const rules = {
  differ: "exports-match-tree",
  types: "types-on-subpaths",
  unique: "unique-module-names"
}

/** The `exports` of the package in `dir`, and the names that two files claim. */
export const derive = (dir) => {
  const src = path.join(dir, "src")
  const files = fs.existsSync(src) ? fs.readdirSync(src, { recursive: true }).map((file) => file.split(path.sep).join("/")) : []
  const names = new Map()
  const problems = []
  for (const file of files.sort()) {
    if (!/(?<!\.d)\.tsx?$/.test(file) || file.split("/").includes("internal")) continue
    if (fs.readFileSync(path.join(src, file), "utf8").startsWith("#!")) continue
    const stem = file.replace(/\.tsx?$/, "")
    const name = stem === "index" ? "." : `./${path.basename(stem)}`
    if (names.has(name)) problems.push(`${rules.unique}: ${name} is both src/${names.get(name)} and src/${file}`)
    names.set(name, file)
  }
  const exports = {}
  for (const [name, file] of [...names].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const stem = file.replace(/\.tsx?$/, "")
    exports[name] = { source: `./src/${file}`, types: `./dist/${stem}.d.ts`, default: `./dist/${stem}.js` }
  }
  exports["./internal/*"] = null
  return { exports, problems }
}

/** What is wrong with the `exports` that stand in the package's manifest. */
export const check = (dir) => {
  const manifest = JSON.parse(fs.readFileSync(path.join(dir, "package.json"), "utf8"))
  const { exports, problems } = derive(dir)
  const actual = manifest.exports ?? {}
  for (const [name, target] of Object.entries(actual)) {
    if (target === null) continue
    const keys = Object.keys(target)
    if (typeof target.types !== "string") problems.push(`${rules.types}: ${manifest.name} exports ${name} without types`)
    else if (keys.indexOf("types") > keys.indexOf("default")) problems.push(`${rules.types}: ${manifest.name} exports ${name} with its types too late`)
  }
  if (JSON.stringify(actual) !== JSON.stringify(exports)) {
    problems.push(`${rules.differ}: the exports of ${manifest.name} differ from its tree: npm run exports`)
  }
  return problems
}

const write = (dir) => {
  const file = path.join(dir, "package.json")
  const before = fs.readFileSync(file, "utf8")
  const manifest = JSON.parse(before)
  const { exports, problems } = derive(dir)
  const after = JSON.stringify({ ...manifest, exports }, null, 2) + "\n"
  if (after !== before) {
    fs.writeFileSync(file, after)
    console.log(`${manifest.name}: ${Object.keys(exports).length - 1} public modules`)
  }
  return problems
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const packages = path.join(import.meta.dirname, "../packages")
  const act = process.argv.includes("--check") ? check : write
  const problems = fs.readdirSync(packages).flatMap((name) => act(path.join(packages, name)))
  for (const problem of problems) console.error(problem)
  if (problems.length > 0) process.exitCode = 1
}
