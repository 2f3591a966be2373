/**
 * `npm start`: supervises the board's three processes, each started again when it dies: Postgres (unless DATABASE_URL names
 * one), the sync server, and the page.
 *
 * - `--install` installs Headwater in the Postgres that DATABASE_URL names; in the board's own it always does.
 * - `--source wal | triggers` insists on a change source.
 */
import { type ChildProcess, spawn } from "node:child_process"
import * as net from "node:net"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { dataDir, findRunning, type Settings, writeSettings } from "./settings.ts"

const { values } = parseArgs({ options: { install: { type: "boolean", default: false }, source: { type: "string", default: "auto" } } })
if (values.source !== "auto" && values.source !== "wal" && values.source !== "triggers") {
  console.error(`--source takes "wal", "triggers" or "auto", not "${values.source}"`)
  process.exit(1)
}

/** The preferred port, or another one where that is taken. */
const choosePort = (preferred: number) =>
  new Promise<number>((resolve) => {
    const probe = (port: number) => {
      const server = net.createServer()
      server.once("error", () => probe(0))
      server.listen(port, "127.0.0.1", () => {
        const chosen = (server.address() as net.AddressInfo).port
        server.close(() => resolve(chosen))
      })
    }
    probe(preferred)
  })

const given = process.env["DATABASE_URL"] || undefined
if (given !== undefined && !/^postgres(ql)?:\/\//.test(given)) {
  console.error(`DATABASE_URL is no Postgres URL ("postgres://user:password@host:5432/database"): ${JSON.stringify(given)}`)
  process.exit(1)
}
// A process of that number may be another one by now; the port tells.
const other = findRunning()
if (other !== null && await choosePort(other.pagePort) !== other.pagePort) {
  console.error(`The board runs already, at http://localhost:${other.pagePort}. For a second one name a folder for its data: BOARD_DATA=/tmp/second npm start`)
  process.exit(1)
}
const postgresPort = await choosePort(54329)
const settings: Settings = {
  supervisor: process.pid,
  databaseUrl: given ?? `postgres://postgres@127.0.0.1:${postgresPort}/postgres`,
  ownDatabase: given === undefined,
  install: given === undefined || values.install,
  source: values.source,
  pagePort: await choosePort(Number(process.env["PORT"] ?? 5173)),
  postgresPort,
  // Not 8787, where the documents' own server listens.
  syncPort: await choosePort(54328)
}
writeSettings(settings)

const here = path.dirname(fileURLToPath(import.meta.url))
let stopping = false
const running = new Map<string, ChildProcess>()

/** Exit code 78 (EX_CONFIG) means that trying again cannot help; nor does it where a process never came far. */
const supervise = (name: string, file: string, onReady?: () => void) => {
  let failures = 0
  let hasWorked = false
  const start = () => {
    const started = Date.now()
    const child = spawn(process.execPath, ["--conditions=source", "--disable-warning=ExperimentalWarning", path.join(here, file)], {
      env: process.env,
      // Out of reach of the terminal's Ctrl-C: this process ends them, in order.
      detached: true,
      stdio: ["ignore", "inherit", "inherit", "ipc"]
    })
    running.set(name, child)
    child.once("message", () => {
      if (!hasWorked) onReady?.()
      hasWorked = true
    })
    child.once("exit", (code, signal) => {
      running.delete(name)
      if (stopping) return
      if (code === 78) return void stop(1)
      failures = Date.now() - started > 5_000 ? 0 : failures + 1
      if (!hasWorked && failures === 3) {
        console.error(`[start] ${name} ended with ${signal ?? code} three times in a row: giving up, see above`)
        return void stop(1)
      }
      const wait = Math.min(100 * 2 ** failures, 5_000)
      console.error(`[start] ${name} ended with ${signal ?? code}; starting it again`)
      setTimeout(() => stopping || start(), wait)
    })
  }
  start()
}

const stop = (code: number) => {
  if (stopping) return
  stopping = true
  // The server first: it drains while Postgres is still there.
  const order = ["page", "server", "postgres"].map((name) => running.get(name)).filter((child) => child !== undefined)
  const next = () => {
    const child = order.shift()
    if (!child) return process.exit(code)
    child.once("exit", next)
    child.kill("SIGTERM")
  }
  next()
}
process.once("SIGINT", () => {
  console.error("\n[start] stopping")
  stop(0)
})
process.once("SIGTERM", () => stop(0))

let ready = 0
const onReady = () => {
  if (++ready !== 2) return
  console.log(`
  The board is at   http://localhost:${settings.pagePort}   (open it twice, as two people)

  Change a row from outside, in a second terminal:

    npm run sql -- "update cards set status = 'done' where title like 'Ferry%'"

  ${settings.ownDatabase ? `The data are in ${dataDir}` : "The data are in the database that DATABASE_URL names"}
`)
}
if (settings.ownDatabase) supervise("postgres", "postgres.ts")
supervise("server", "src/server/main.ts", onReady)
supervise("page", "page.ts", onReady)
