/**
 * Runs a task of the repository, right after a clone too: installs what is missing and goes on with the Node that the
 * repository pins. Plain JavaScript without dependencies, for Node 20 and later.
 */
import { spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { constants } from "node:os"
import path from "node:path"
import { fileURLToPath } from "node:url"

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const inRoot = (...parts) => path.join(root, ...parts)

/** Each is a list of commands; every argument after the task's name goes to the last one. */
const tasks = {
  bench: [["scripts/bench.mjs"]],
  build: [["node_modules/typescript/bin/tsc", "-b", "tsconfig.build.json"]],
  exports: [["scripts/exports.mjs"]],
  lint: [["scripts/lint.mjs"]],
  size: [["scripts/size.mjs"]],
  sql: [["examples/board/sql.ts"]],
  start: [["examples/board/start.ts"]],
  test: [["node_modules/vitest/vitest.mjs", "run"]],
  typecheck: [["node_modules/typescript/bin/tsc", "-p", "tsconfig.json"]]
}

const install = () => {
  const hash = createHash("sha256").update(readFileSync(inRoot("package-lock.json"))).digest("hex")
  const mark = inRoot("node_modules", ".headwater-lock")
  if (existsSync(mark) && readFileSync(mark, "utf8") === hash) return
  // npm writes this file last: without it there is nothing yet, or half of it.
  const how = existsSync(inRoot("node_modules", ".package-lock.json")) ? ["install", "--no-save"] : ["ci"]
  console.error(`Installing packages (npm ${how.join(" ")}) …`)
  const npm = process.env.npm_execpath
  const [command, ...args] = npm ? [process.execPath, npm] : [process.platform === "win32" ? "npm.cmd" : "npm"]
  const { status } = spawnSync(command, [...args, ...how, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"]
  })
  if (status !== 0) process.exit(status ?? 1)
  writeFileSync(mark, hash)
}

const findNode = () => {
  const platform = process.platform === "win32" ? "win" : process.platform
  const pinned = inRoot("node_modules", `node-${platform}-${process.arch}`, "bin", platform === "win" ? "node.exe" : "node")
  if (existsSync(pinned) && spawnSync(pinned, ["--version"]).status === 0) return pinned
  const [major, minor] = process.versions.node.split(".").map(Number)
  if (major > 22 || major === 22 && minor >= 19) return process.execPath
  console.error(`Headwater needs Node 22.19 or later; this is ${process.version}, and no newer one came with the packages.`)
  process.exit(1)
}

const run = (node, args) => new Promise((resolve) => {
  const env = { ...process.env, PATH: [path.dirname(node), inRoot("node_modules", ".bin"), process.env.PATH].join(path.delimiter) }
  const child = spawn(node, ["--conditions=source", "--disable-warning=ExperimentalWarning", ...args], { cwd: root, env, stdio: "inherit" })
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    // A terminal interrupts the child by itself: twice would mean to give up waiting for its end.
    process.on(signal, () => signal === "SIGINT" && process.stdin.isTTY || child.kill(signal))
  }
  child.once("exit", (code, signal) => resolve(code ?? 128 + constants.signals[signal]))
})

const [name, ...args] = process.argv.slice(2)
const commands = tasks[name]
if (!commands) {
  console.error(`usage: node scripts/run.mjs ${Object.keys(tasks).join(" | ")}`)
  process.exit(1)
}
install()
const node = findNode()
for (const [index, command] of commands.entries()) {
  const code = await run(node, [...command, ...(index === commands.length - 1 ? args : [])])
  if (code !== 0) process.exit(code)
}
