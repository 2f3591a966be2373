/** The board as a visitor starts it, in processes of its own; a test may kill them. */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { Client } from "pg"
import { freePort } from "../../../test/postgres.ts"

const here = fileURLToPath(new URL("..", import.meta.url))
const node = [process.execPath, "--conditions=source", "--disable-warning=ExperimentalWarning"] as const

export interface RunningBoard {
  readonly url: string
  readonly databaseUrl: string
  /** What the supervisor and its processes printed. */
  output(): string
  /** `npm run sql`. */
  sql(text: string): Promise<string>
  /** Rows, read past everything. */
  query(text: string): Promise<ReadonlyArray<{ readonly [column: string]: unknown }>>
  killServer(): void
  killPostgres(): void
  stop(): Promise<void>
}

export const startBoard = async (source: "wal" | "triggers"): Promise<RunningBoard> => {
  const dataDir = mkdtempSync(path.join(tmpdir(), "headwater-board-"))
  const env = { ...process.env, BOARD_DATA: dataDir, PORT: String(await freePort()), DATABASE_URL: undefined }
  const supervisor = spawn(node[0], [...node.slice(1), path.join(here, "start.ts"), "--source", source], { env, stdio: ["ignore", "pipe", "pipe"] })
  let output = ""
  for (const stream of [supervisor.stdout, supervisor.stderr]) stream.setEncoding("utf8").on("data", (text: string) => (output += text))
  const url = await until("the board's address", () => /http:\/\/localhost:\d+/.exec(output)?.[0], 30_000, () => output)
  const { databaseUrl } = JSON.parse(readFileSync(path.join(dataDir, "board.json"), "utf8"))
  return {
    url,
    databaseUrl,
    output: () => output,
    async sql(text) {
      const child = spawn(node[0], [...node.slice(1), path.join(here, "sql.ts"), text], { env, stdio: ["ignore", "pipe", "pipe"] })
      let printed = ""
      for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (part: string) => (printed += part))
      if (await exited(child) !== 0) throw new Error(printed)
      return printed
    },
    async query(text) {
      const client = new Client({ connectionString: databaseUrl })
      await client.connect()
      try {
        return (await client.query(text)).rows
      } finally {
        await client.end()
      }
    },
    killServer: () => process.kill(childOf(supervisor.pid!, "src/server/main.ts"), "SIGKILL"),
    killPostgres: () => process.kill(Number(readFileSync(path.join(dataDir, "postgres/postmaster.pid"), "utf8").split("\n")[0]), "SIGKILL"),
    async stop() {
      supervisor.kill("SIGTERM")
      await exited(supervisor)
      rmSync(dataDir, { recursive: true, force: true })
    }
  }
}

const exited = (child: ChildProcess) => new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)))

const childOf = (parent: number, script: string): number => {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const isChild = Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) === parent
      if (isChild && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(script)) return Number(pid)
    } catch {
      // Ended meanwhile.
    }
  }
  throw new Error(`No process runs ${script}`)
}

/** Waits for a condition: its first value that is neither undefined nor false. */
export const until = async <A>(
  what: string,
  read: () => A | undefined | false | Promise<A | undefined | false>,
  timeoutMillis = 20_000,
  context: () => string = () => ""
): Promise<A> => {
  const end = Date.now() + timeoutMillis
  for (;;) {
    const value = await read()
    if (value !== undefined && value !== false) return value
    if (Date.now() > end) throw new Error(`Waited in vain for ${what}\n${context()}`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}
