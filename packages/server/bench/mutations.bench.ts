/**
 * Mutations through a server and a real, durable Postgres with 1 and 16 clients, beside the bare `pg` driver on as many
 * connections that runs the same statements on the same tables.
 *
 * The server runs all the time, so the driver's commits are captured, decoded and applied too. Clients are in another process; each
 * keeps some mutations on their way, so what counts is what a server commits, and not how long an outcome takes back. Contestants
 * take turns. Every mutation must have left its row and its receipt.
 */
import * as PostgresCommitSignal from "@headwater/cdc/PostgresCommitSignal"
import * as PostgresWal from "@headwater/cdc/PostgresWal"
import * as Install from "@headwater/cdc/Install"
import * as Sql from "@headwater/core/Sql"
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, ManagedRuntime, Redacted } from "effect"
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { fileURLToPath } from "node:url"
import { Client } from "pg"
import { WebSocket } from "ws"
import { startPostgres } from "../../../test/postgres.ts"
import * as Headwater from "../src/Headwater.ts"
import * as PostgresWriter from "../src/PostgresWriter.ts"
import { Session } from "../src/Session.ts"
import * as Transport from "../src/Transport.ts"
import { check, handlers, median, report, Tasks } from "./support.ts"

const sizes = [1, 16]
const millis = 2000
const rounds = 5
/** Mutations of one client that are on their way at the same time. */
const window = 16

const payload = (id: number) => ({ id, projectId: `p${id % 500}`, title: `A title of usual length ${id}`, points: id % 13, updatedAt: String(1_700_000_000 + id) })

/** Sends mutations until time is up and all are answered; says how many there were. */
const clients = async ([port, count]: ReadonlyArray<string>) => {
  const all = await Promise.all(Array.from({ length: Number(count) }, async (_, i) => {
    const ws = new WebSocket(`ws://127.0.0.1:${port}/sync`, { perMessageDeflate: false })
    await once(ws, "open")
    const greeted = once(ws, "message")
    ws.send(JSON.stringify({
      type: "hello", protocol: 1, features: [], contract: { name: Tasks.contractName, hash: Tasks.hash }, client: `${process.pid} ${i}`, acknowledged: 0, subscriptions: []
    }))
    await greeted
    return { ws, seq: 0, answered: 0 }
  }))
  let nextId = 0
  let until = 0
  let finished = () => {}
  for (const one of all) {
    const fill = () => {
      while (one.seq - one.answered < window && performance.now() < until) {
        one.ws.send(JSON.stringify({ type: "mutate", seq: ++one.seq, name: "createTask", payload: payload(nextId++) }))
      }
      if (one.seq === one.answered && all.every(({ answered, seq }) => answered === seq)) finished()
    }
    Object.assign(one, { fill })
    one.ws.on("message", (data: Buffer) => {
      const message = JSON.parse(data.toString())
      if (message.type !== "frame" || message.receipts === undefined) return
      for (const { outcome, seq } of message.receipts) {
        if (outcome.type !== "success") throw new Error(JSON.stringify(outcome))
        one.answered = seq
      }
      if (one.answered % 64 === 0) one.ws.send(JSON.stringify({ type: "ack", seq: one.answered }))
      fill()
    })
    one.ws.on("close", () => process.exit(1))
  }
  setInterval(() => {
    for (const { ws } of all) ws.send("{\"type\":\"ping\"}")
  }, 10_000)
  process.on("message", ({ from }: { readonly from: number }) => {
    nextId = from
    until = performance.now() + millis
    finished = () => {
      finished = () => {}
      process.send!({ done: nextId - from })
    }
    for (const one of all) (one as unknown as { fill: () => void }).fill()
  })
  process.send!("connected")
}

/** The statements of a mutation, in their order, as a driver's user would run them. */
const bare = async (url: string, connections: number) => {
  const all = await Promise.all(Array.from({ length: connections }, async (_, i) => {
    const client = new Client({ connectionString: url })
    await client.connect()
    for (const [name, value] of Object.entries(Sql.sessionSettings)) await client.query(`SET ${name} = '${value}'`)
    const name = `driver ${i} of ${connections}`
    await client.query("INSERT INTO headwater.clients (client, identity) VALUES ($1, '')", [name])
    return { client, name, seq: 0 }
  }))
  return {
    run: async (from: number) => {
      let nextId = from
      const until = performance.now() + millis
      await Promise.all(all.map(async (one) => {
        while (performance.now() < until) {
          const { id, points, projectId, title, updatedAt } = payload(nextId++)
          const seq = ++one.seq
          const query = (name: string, text: string, values: ReadonlyArray<unknown> = []) => one.client.query({ name, text, values: [...values] })
          await query("begin", "BEGIN")
          await query("take", `UPDATE headwater.clients SET last_seq = $2::int8, acknowledged = greatest(acknowledged, least($3::int8, $2::int8 - 1))
WHERE client = $1 AND last_seq = $2::int8 - 1 AND identity = $4 RETURNING acknowledged::text`, [one.name, seq, 0, ""])
          await query("savepoint", "SAVEPOINT headwater")
          await query("insert", `INSERT INTO tasks AS t0 (id, "projectId", title, points, "updatedAt") VALUES ($1::integer, $2::text, $3::text, $4::integer, $5::bigint)
RETURNING t0.id::text, t0."projectId"::text, t0.title::text, t0.points::text, t0."updatedAt"::text`, [id, projectId, title, points, updatedAt])
          await query("constraints", "SET CONSTRAINTS ALL IMMEDIATE")
          await query("store", "INSERT INTO headwater.receipts (client, seq, mutation, hash, outcome, rejected, trace) VALUES ($1, $2::int8, $3, $4, $5, $6::boolean, $7)", [
            one.name, seq, "createTask", "0123456789abcdef012345", "{\"type\":\"success\",\"value\":null}", false, null
          ])
          await query("commit", "COMMIT")
        }
      }))
      return nextId - from
    },
    end: () => Promise.all(all.map(({ client }) => client.end()))
  }
}

const main = async () => {
  const postgres = await startPostgres({ settings: { fsync: "on", full_page_writes: "on" } })
  const url = postgres.url()
  const admin = new Client({ connectionString: url })
  await admin.connect()
  await admin.query(`create table tasks (id int primary key, "projectId" text not null, title text not null, points int not null, "updatedAt" bigint not null)`)
  const tables = Object.values(Tasks.tables)
  const pg = PgClient.layer({ url: Redacted.make(url), maxConnections: 8 })
  await Effect.runPromise(Effect.provide(Install.install({ source: "wal", tables }), pg))
  const runtime = ManagedRuntime.make(Headwater.layer(Tasks, { messagesPerSecond: 100_000 }).pipe(
    Layer.provide([handlers, PostgresWal.layer(tables), PostgresWriter.layerWith({ connections: 16 })]),
    Layer.provide(PostgresCommitSignal.layer),
    Layer.provide(pg)
  ))
  const session = Context.get(await runtime.context(), Session)
  const http = createServer().listen(0, "127.0.0.1")
  await once(http, "listening")
  Transport.attach(session, http, {})
  const port = String((http.address() as AddressInfo).port)

  let nextId = 0
  const rows = []
  for (const size of sizes) {
    const child: ChildProcess = fork(fileURLToPath(import.meta.url), ["clients", port, String(size)])
    await once(child, "message")
    const driver = await bare(url, size)
    const perSecond = { headwater: [] as Array<number>, driver: [] as Array<number> }
    for (let round = 0; round <= rounds; round++) {
      for (const name of round % 2 === 0 ? ["headwater", "driver"] as const : ["driver", "headwater"] as const) {
        const from = nextId
        const started = performance.now()
        let done: number
        if (name === "driver") done = await driver.run(from)
        else {
          const answer = once(child, "message")
          child.send({ from })
          ;[{ done }] = await answer as [{ readonly done: number }]
        }
        const took = performance.now() - started
        nextId += done
        const count = async () => (await admin.query("select (select count(*)::int from tasks) as tasks, (select coalesce(sum(last_seq), 0)::int from headwater.clients) as taken")).rows[0]
        // The log shows a commit a moment before snapshots do.
        let stored = await count()
        for (let tries = 0; stored.tasks < nextId && tries < 10; tries++) stored = await count()
        check(`${name}: ${stored.tasks} rows and ${stored.taken} numbers for ${nextId} mutations`, stored.tasks === nextId && stored.taken === nextId)
        if (round > 0) perSecond[name].push(done / took * 1000)
      }
    }
    const [headwater, direct] = [median(perSecond.headwater), median(perSecond.driver)]
    rows.push({ clients: size, "headwater, tx/s": Math.round(headwater), "pg, tx/s": Math.round(direct), "of the driver": `${Math.round(headwater / direct * 100)} %` })
    child.kill()
    await driver.end()
  }
  report("mutations on a durable Postgres", rows)
  await runtime.dispose()
  http.close()
  await admin.end()
  await postgres.stop()
  process.exit(0)
}

await (process.argv[2] === "clients" ? clients(process.argv.slice(3)) : main())
