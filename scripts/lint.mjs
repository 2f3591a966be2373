/**
 * Checks what the compiler does not: the code (oxlint), the direction of imports (oxlint, with the rules' own names in
 * its messages), the packages' exports, what a browser is made to load, and what nobody uses (knip).
 *
 * Takes the folder of another tree, such as a fixture that breaks a rule.
 */
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import * as clientImports from "./client-imports.mjs"
import * as exports from "./exports.mjs"

const repository = path.join(import.meta.dirname, "..")
const tree = path.resolve(process.argv[2] ?? repository)
const packages = fs.readdirSync(path.join(tree, "packages")).map((name) => path.join(tree, "packages", name))

const command = (...args) => new Promise((resolve) => {
  const child = spawn(process.execPath, args, { cwd: repository, stdio: ["ignore", "pipe", "pipe"] })
  let output = ""
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (output += text))
  child.once("close", (code) => resolve(code === 0 ? [] : [output.trim()]))
})

const problems = await Promise.all([
  command(
    "node_modules/oxlint/bin/oxlint", "--config", ".oxlintrc.json", "--type-aware", "--deny-warnings", "--report-unused-disable-directives",
    ...(tree === repository ? ["--ignore-pattern", "test/lint", "."] : [tree])
  ),
  fs.existsSync(path.join(tree, "package.json"))
    ? command(
      "node_modules/knip/bin/knip.js", "--no-progress", "--no-config-hints", "--directory", tree,
      "--config", path.join(repository, "knip.json")
    )
    : [],
  ...packages.filter((dir) => fs.existsSync(path.join(dir, "package.json"))).map(exports.check),
  ...packages.filter((dir) => path.basename(dir) === "client").map(clientImports.check)
])

for (const problem of problems.flat()) console.error(problem)
if (problems.flat().length > 0) process.exitCode = 1
