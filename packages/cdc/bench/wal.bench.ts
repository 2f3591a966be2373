/**
 * Rows per second from Postgres' log: `PostgresWal`, as steps of netted changes with canonical rows, beside a bare decoder
 * (`pg-logical-replication`, whose rows are texts) that reads the same commits at the same time. Each lives in a process
 * of its own; what counts is its CPU time. The sum of all ids is checked.
 *
 * And the time from a commit's acknowledgement at its writer to its step.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Column from "@headwater/core/Column"
import * as Table from "@headwater/core/Table"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { Client } from "pg"
import { LogicalReplicationService, PgoutputPlugin } from "pg-logical-replication"
import { freshDatabase, startPostgres } from "../../../test/postgres.ts"
import { ChangeSource } from "../src/ChangeSource.ts"
import * as Install from "../src/Install.ts"
import * as PostgresWal from "../src/PostgresWal.ts"

const Task = Table.make("tasks", {
  columns: { id: Column.int8, projectId: Column.text.named("project_id"), title: Column.text, points: Column.int4, updatedAt: Column.int8.named("updated_at") },
  primaryKey: ["id"]
})

const workloads = [
  { name: "1,000-row transactions", rows: 100_000, perTransaction: 1_000 },
  { name: "single-row transactions", rows: 20_000, perTransaction: 1 }
]
const rounds = 5

/** What a reader is told to expect, and what it answers once it has it. */
interface Expected {
  readonly rows: number
}
interface Seen {
  readonly sum: string
  readonly cpuMicros: number
  readonly millis: number
}

const reader = (subscribe: (onRow: (id: bigint) => void) => Promise<void>) => {
  let left = 0
  let sum = 0n
  let started = 0
  let before = process.cpuUsage()
  const onRow = (id: bigint) => {
    if (started === 0) started = performance.now()
    sum += id
    if (--left > 0) return
    const { system, user } = process.cpuUsage(before)
    process.send!({ sum: `${sum}`, cpuMicros: system + user, millis: performance.now() - started } satisfies Seen)
  }
  process.on("message", ({ rows }: Expected) => {
    left = rows
    sum = 0n
    started = 0
    before = process.cpuUsage()
    process.send!("ready")
  })
  void subscribe(onRow).then(() => process.send!("connected"))
}

const pgOf = (url: string) => PgClient.layer({ url: Redacted.make(url) })

const contestants: { readonly [name: string]: (url: string, onRow: (id: bigint) => void) => Promise<void> } = {
  PostgresWal: (url, onRow) =>
    new Promise((resolve) => {
      const source = PostgresWal.layer([Task]).pipe(Layer.provide(pgOf(url)), Layer.provide(Layer.succeed(References.MinimumLogLevel, "Error")))
      void Effect.runPromise(Effect.gen(function*() {
        const wal = yield* ChangeSource
        const start = yield* wal.position
        resolve()
        yield* Stream.runForEachArray(wal.steps(start), (steps) =>
          Effect.suspend(() => {
            for (const { chunks } of steps) for (const chunk of chunks) for (const { after } of chunk) onRow(after!["id"] as bigint)
            return wal.acknowledge(steps.at(-1)!.position)
          }))
      }).pipe(Effect.provide(source)))
    }),
  "pg-logical-replication": async (url, onRow) => {
    const slot = `bare_${process.pid}`
    const client = new Client({ connectionString: url })
    await client.connect()
    await client.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [slot])
    await client.end()
    const service = new LogicalReplicationService({ connectionString: url }, { acknowledge: { auto: true, timeoutSeconds: 1 } })
    service.on("data", (_, message) => {
      if (message.tag === "insert") onRow(BigInt(message.new["id"] as string))
    })
    service.on("error", (error) => {
      console.error(error)
      process.exit(1)
    })
    const started = new Promise<void>((resolve) => void service.on("start", () => resolve()))
    void service.subscribe(new PgoutputPlugin({ protoVersion: 1, publicationNames: ["headwater"] }), slot)
    await started
  }
}

const median = (numbers: ReadonlyArray<number>): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!

const next = async <A>(child: ChildProcess): Promise<A> => (await once(child, "message"))[0] as A

const throughput = async (url: string, sql: Client) => {
  const readers = await Promise.all(Object.keys(contestants).map(async (name) => {
    const child = fork(fileURLToPath(import.meta.url), [name, url])
    await next(child)
    return { name, child }
  }))
  let written = 0
  for (const { name, perTransaction, rows } of workloads) {
    const results = readers.map(() => ({ cpu: [] as Array<number>, perSecond: [] as Array<number> }))
    for (let round = 0; round <= rounds; round++) {
      await Promise.all(readers.map(async ({ child }) => {
        const ready = next(child)
        child.send({ rows } satisfies Expected)
        await ready
      }))
      const seen = readers.map(({ child }) => next<Seen>(child))
      await sql.query(`do $$ begin for i in 1..${rows / perTransaction} loop
        insert into tasks select ${written} + (i - 1) * ${perTransaction} + g, 'p' || g % 500, 'a title of usual length ' || g, g % 13, 1700000000 + g from generate_series(1, ${perTransaction}) g;
        commit; end loop; end $$`)
      for (const [i, { cpuMicros, millis, sum }] of (await Promise.all(seen)).entries()) {
        if (BigInt(sum) !== BigInt(rows) * BigInt(2 * written + rows + 1) / 2n) throw new Error(`${readers[i]!.name} saw other rows`)
        // The first round warms up.
        if (round === 0) continue
        results[i]!.cpu.push(cpuMicros / rows)
        results[i]!.perSecond.push(rows / millis * 1_000)
      }
      written += rows
    }
    const bare = median(results[1]!.cpu)
    const table = readers.map(({ name }, i) => ({
      contestant: name,
      "CPU µs per row": Number(median(results[i]!.cpu).toFixed(2)),
      "rows/s of CPU": Math.round(1e6 / median(results[i]!.cpu)),
      "beside bare": Number((bare / median(results[i]!.cpu)).toFixed(2)),
      "rows/s while written": Math.round(median(results[i]!.perSecond))
    }))
    for (const row of table) console.log(JSON.stringify({ bench: `change stream, ${name}`, ...row }))
    console.table(table)
  }
  for (const { child } of readers) child.kill()
}

const latency = async (url: string, sql: Client) => {
  const lags: Array<number> = []
  await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const wal = yield* ChangeSource
    let arrived: ((millis: number) => void) | undefined
    yield* Effect.forkScoped(Stream.runForEachArray(wal.steps(yield* wal.position), (steps) =>
      Effect.suspend(() => {
        arrived?.(performance.now())
        return wal.acknowledge(steps.at(-1)!.position)
      })))
    for (let id = -1; id >= -1_000; id--) {
      lags.push(yield* Effect.promise(async () => {
        const step = new Promise<number>((resolve) => void (arrived = resolve))
        await sql.query("insert into tasks values ($1, 'p', 'a title', 1, 1)", [id])
        const committed = performance.now()
        return await step - committed
      }))
    }
  })).pipe(Effect.provide(PostgresWal.layer([Task]).pipe(Layer.provide(pgOf(url)), Layer.provide(Layer.succeed(References.MinimumLogLevel, "Error"))))))
  lags.sort((a, b) => a - b)
  const row = { "p50 ms": Number(lags[500]!.toFixed(3)), "p99 ms": Number(lags[990]!.toFixed(3)) }
  console.log(JSON.stringify({ bench: "commit acknowledged to step", ...row }))
  console.table([row])
}

const main = async () => {
  const server = await startPostgres()
  const database = await freshDatabase({ server: server.url() })
  const sql = new Client({ connectionString: database.url })
  await sql.connect()
  await sql.query("create table tasks (id bigint primary key, project_id text not null, title text not null, points int not null, updated_at bigint not null)")
  await Effect.runPromise(Effect.provide(Install.install({ source: "wal", tables: [Task] }), pgOf(database.url)))
  await throughput(database.url, sql)
  await latency(database.url, sql)
  await sql.end()
  await server.stop()
}

const [name, url] = process.argv.slice(2)
if (name !== undefined && url !== undefined) reader((onRow) => contestants[name]!(url, onRow))
else await main()
