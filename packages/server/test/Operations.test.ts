import { Effect, Layer } from "effect"
import { once } from "node:events"
import * as net from "node:net"
import { assert, it } from "vitest"
import { freshDatabase } from "../../../test/postgres.ts"
import * as PostgresWriter from "../src/PostgresWriter.ts"
import { Writer } from "../src/Writer.ts"
import { Mailer } from "./board.ts"
import { type Client, connect, enter, hello, install, query, serve } from "./harness.ts"

const run = (client: Client, seq: number, name: string, payload: object) => {
  client.send({ type: "mutate", seq, name, payload })
  return client.outcome(seq)
}

it("a server that stops says goaway, finishes its transactions and lets go of its slot and lease", async () => {
  const server = await serve()
  const { database } = server
  const ann = await enter(server, "ann", [["tasks", { projectId: "p" }]])
  assert.lengthOf(await query(database.url, "select from headwater.servers"), 1)
  ann.send({ type: "mutate", seq: 1, name: "misbehave", payload: { what: "slow", id: 0 } })
  // Its transaction has begun.
  await ann.until(() => true)
  while ((await query(database.url, "select from pg_stat_activity where datname = current_database() and state = 'idle in transaction'")).length === 0);
  const stopped = server.close()
  await ann.message("goaway")
  assert.strictEqual((await ann.until(() => ann.closed())).code, 1001)
  await stopped
  assert.deepStrictEqual(await query(database.url, "select seq::int, rejected from headwater.receipts"), [{ seq: 1, rejected: false }])
  assert.lengthOf(await query(database.url, "select from headwater.servers"), 0)
  assert.lengthOf(await query(database.url, "select from pg_replication_slots where database = current_database()"), 0)
  await database.drop()
})

it("P4 conflicts with other transactions are tried again, and a mutation's effects happen once", async () => {
  const server = await serve()
  const ann = await enter(server, "ann")
  assert.strictEqual((await run(ann, 1, "misbehave", { what: "conflict", id: 0 })).type, "success")
  assert.deepStrictEqual(await server.query("select last_value::int from conflicts"), [{ last_value: 2 }])
  await server.stop()
})

/** Passes bytes on to Postgres; after a COMMIT was sent, with something else, it may lose the answer, and the connection with it. */
const proxyTo = async (target: string) => {
  const { hostname, port } = new URL(target)
  let loseNext: string | undefined
  let lost = 0
  const server = net.createServer((near) => {
    const far = net.connect(Number(port), hostname)
    near.on("data", (data) => {
      if (loseNext !== undefined && data.includes("COMMIT") && data.includes(loseNext)) {
        loseNext = undefined
        lost++
        far.removeAllListeners("data")
        far.once("data", () => near.destroy())
      }
      far.write(data)
    })
    far.on("data", (data) => near.write(data))
    for (const [one, other] of [[near, far], [far, near]] as const) {
      one.on("error", () => {})
      one.on("close", () => other.destroy())
    }
  }).listen(0, "127.0.0.1")
  await once(server, "listening")
  const url = new URL(target)
  url.port = String((server.address() as net.AddressInfo).port)
  return { url: url.href, lose: (about: string) => void (loseNext = about), lost: () => lost, close: () => server.close() }
}

it("P4 a COMMIT whose answer is lost is resolved by its receipt", async () => {
  const database = await freshDatabase()
  await install(database)
  const proxy = await proxyTo(database.url)
  const server = await serve({ database, databaseUrl: proxy.url })
  const ann = await enter(server, "ann")
  for (let seq = 1; seq <= 5; seq++) {
    proxy.lose(ann.hello.client)
    assert.deepStrictEqual(await run(ann, seq, "bumpAndMail", { id: "a" }), { type: "success", value: seq })
  }
  assert.strictEqual(proxy.lost(), 5)
  assert.deepStrictEqual(await server.query("select value from counters"), [{ value: 5 }])
  // A mail goes out when its commit is known of, which may be after its outcome arrived with the frame.
  const mailer = await server.runtime.runPromise(Mailer)
  while (mailer.sent.length < 5) await new Promise(setImmediate)
  assert.lengthOf(mailer.sent, 5)
  await server.close()
  proxy.close()
  await database.drop()
})

it("P10 clients stay, and converge, when the database ends all connections of the server", async () => {
  const server = await serve()
  const ann = await enter(server, "ann", [["tasks", { projectId: "p" }], ["topTasks", { projectId: "p" }]])
  for (let i = 1; i <= 3; i++) {
    await server.query("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
    await server.query("insert into app.tasks (id, project_id, title, rank) values ($1, 'p', $2, $3)", [100 + i, `t${i}`, i])
    assert.strictEqual((await run(ann, i, "setRank", { id: 1, rank: 100 + i })).type, "success")
    await ann.until(() => ann.rows(0)!.some((row) => row[0] === 1 && row[4] === 100 + i) && ann.rows(0)!.some((row) => row[0] === 100 + i))
    await ann.until(() => ann.rows(1)!.some((row) => row[4] === 100 + i))
  }
  assert.isUndefined(ann.closed())
  await server.stop()
})

it("who says nothing is sent away: before hello, and after", async () => {
  const server = await serve({ helloTimeout: "300 millis", heartbeat: "200 millis" })
  const silent = await connect(server.url)
  assert.deepInclude(await silent.message("error"), { code: "Unauthenticated", fatal: true })
  const ann = await enter(server, "ann")
  assert.strictEqual((await ann.message("welcome")).heartbeatMillis, 200)
  assert.strictEqual((await ann.until(() => ann.closed())).code, 1001)
  await server.stop()
})

it("mutations beyond those that may wait are not run, and say so", async () => {
  const server = await serve({ maxMutations: 2 })
  const ann = await connect(server.url)
  ann.send(hello("ann"))
  await ann.message("welcome")
  for (let seq = 1; seq <= 3; seq++) ann.send({ type: "mutate", seq, name: "misbehave", payload: { what: "slow", id: 0 } })
  assert.deepInclude(await ann.message("outcome"), { seq: 3 })
  assert.deepInclude((await ann.message("outcome")).reason, { _tag: "LimitExceeded" })
  await ann.outcome(2)
  assert.strictEqual((await run(ann, 3, "misbehave", { what: "nothing", id: 0 })).type, "success")
  await server.stop()
})

it("a part can be replaced by another layer", async () => {
  const names: Array<string> = []
  const readOnly = Layer.succeed(Writer, Writer.of({
    claim: () => Effect.succeed({ nextSeq: 1 }),
    write: (command) => Effect.sync(() => {
      names.push(command.name)
      return { _tag: "NotRun", reason: { _tag: "Forbidden", message: "This server only reads." } }
    }),
    receipts: PostgresWriter.receipts
  }))
  const server = await serve({ writer: readOnly })
  const ann = await enter(server, "ann", [["tasks", { projectId: "p" }]])
  ann.send({ type: "mutate", seq: 1, name: "setRank", payload: { id: 1, rank: 1 } })
  assert.deepInclude((await ann.message("outcome")).reason, { _tag: "Forbidden", message: "This server only reads." })
  await server.query("update app.tasks set title = 'read' where id = 1")
  await ann.until(() => ann.rows(0)![0]![2] === "read")
  assert.deepStrictEqual(names, ["setRank"])
  await server.stop()
})
