import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted } from "effect"
import * as fs from "node:fs"
import { Client } from "pg"
import { inject } from "vitest"
import { freshDatabase, startPostgres } from "../../../../test/postgres.ts"
import * as Lsn from "../../src/internal/lsn.ts"
import * as Pgoutput from "../../src/internal/pgoutput.ts"
import * as Replication from "../../src/internal/replication.ts"

const database = Effect.gen(function*() {
  const database = yield* Effect.acquireRelease(Effect.promise(() => freshDatabase()), (database) => Effect.promise(database.drop))
  const client = new Client({ connectionString: database.url })
  yield* Effect.acquireRelease(Effect.promise(() => client.connect()), () => Effect.promise(() => client.end()))
  const sql = (text: string) => Effect.promise(async () => (await client.query(text)).rows as Array<Record<string, string>>)
  return { ...database, sql }
})

/** Changed commits, as their inserted texts; `next` waits for one more. */
const collect = () => {
  const decoder = Pgoutput.make()
  const rows: Array<Pgoutput.Tuple> = []
  let sent = 0
  let wake = () => {}
  const until = (condition: () => boolean) =>
    Effect.callback<void>((resume) => {
      wake = () => condition() && resume(Effect.void)
      wake()
    })
  const handlers: Replication.Handlers = {
    onWal(bytes) {
      const message = decoder.decode(bytes)
      if (message.tag === "insert") rows.push(message.row)
      if (message.tag === "commit") sent = message.endLsn
      wake()
    },
    onSent(lsn) {
      sent = Math.max(sent, lsn)
      wake()
    }
  }
  return { handlers, rows, sent: () => sent, until }
}

const start = (slot: string) => `START_REPLICATION SLOT ${slot} LOGICAL 0/0 (proto_version '1', publication_names 'p')`

describe("replication", () => {
  it.live("streams commits, tells how far an idle server has come, and fails when its server process is ended", () =>
    Effect.gen(function*() {
      const { name, sql, url } = yield* database
      yield* sql(`create table t (id int primary key, v text); create table unpublished (id int); create publication p for table t`)
      const connection = yield* Replication.connect({ url: Redacted.make(url) })
      const [system] = yield* connection.query("IDENTIFY_SYSTEM")
      assert.strictEqual(system?.["dbname"], name)
      const [slot] = yield* connection.query(`CREATE_REPLICATION_SLOT ${name} LOGICAL pgoutput (SNAPSHOT 'nothing')`)
      assert.isAbove(Lsn.parse(slot!["consistent_point"]!), 0)
      const got = collect()
      const streaming = yield* Effect.forkChild(connection.stream(start(name), got.handlers))
      yield* sql(`insert into t values (1, 'a'), (2, repeat('x', 20000))`)
      yield* got.until(() => got.rows.length === 2)
      assert.deepEqual(got.rows, [["1", "a"], ["2", "x".repeat(20_000)]])

      yield* sql(`insert into unpublished values (1)`)
      const [now] = yield* sql(`select pg_current_wal_flush_lsn()::text as lsn`)
      yield* got.until(() => got.sent() >= Lsn.parse(now!["lsn"]!))

      connection.confirm(got.sent(), got.sent())
      const isConfirmed = `select 1 from pg_replication_slots where slot_name = '${name}' and confirmed_flush_lsn >= '${now!["lsn"]}'`
      while ((yield* sql(isConfirmed)).length === 0);
      yield* sql(`select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '${name}'`)
      const exit = yield* Fiber.await(streaming)
      assert.isTrue(Exit.isFailure(exit))
      const error = yield* Effect.flip(Fiber.join(streaming))
      assert.strictEqual(error._tag, "ReplicationError")
      assert.strictEqual(error.code, "57P01")

      // What was confirmed is not sent again.
      const again = yield* Replication.connect({ url: Redacted.make(url) })
      const rest = collect()
      yield* Effect.forkScoped(Effect.retry(again.stream(start(name), rest.handlers), { times: 0 }))
      yield* sql(`insert into t values (3, 'c')`)
      yield* rest.until(() => rest.rows.length > 0)
      assert.deepEqual(rest.rows, [["3", "c"]])
    }).pipe(Effect.scoped))

  it.live("names what is wrong: no such server, no such database, a wrong command", () =>
    Effect.gen(function*() {
      const server = inject("services").postgres
      const refused = yield* Effect.flip(Effect.scoped(Replication.connect({ host: "127.0.0.1", port: 1, username: "x" })))
      assert.include(refused.message, "127.0.0.1:1")
      const missing = yield* Effect.flip(Effect.scoped(Replication.connect({ url: Redacted.make(server), database: "nowhere" })))
      assert.strictEqual(missing.code, "3D000")
      const connection = yield* Replication.connect({ url: Redacted.make(server) })
      const wrong = yield* Effect.flip(connection.query("START_REPLICATION SLOT nowhere LOGICAL 0/0"))
      assert.strictEqual(wrong.code, "42704")
      // A refused command leaves the connection usable.
      assert.lengthOf(yield* connection.query("IDENTIFY_SYSTEM"), 1)
    }).pipe(Effect.scoped))

  it.live("proves who it is by each password method", () =>
    Effect.gen(function*() {
      const server = yield* Effect.acquireRelease(Effect.promise(() => startPostgres()), (server) => Effect.promise(server.stop))
      const sql = (text: string) =>
        Effect.promise(async () => {
          const admin = new Client({ connectionString: server.url() })
          await admin.connect()
          await admin.query(text)
          await admin.end()
        })
      for (const method of ["scram-sha-256", "md5", "password"]) {
        const encryption = method === "md5" ? "md5" : "scram-sha-256"
        yield* sql(`set password_encryption = '${encryption}'; create role "${method}" login replication password 'sécret'`)
        fs.writeFileSync(`${server.dataDir}/pg_hba.conf`, `host all postgres all trust\nhost all all all ${method}\n`)
        yield* sql(`select pg_reload_conf()`)
        const config = { url: Redacted.make(server.url()), username: method }
        const connection = yield* Replication.connect({ ...config, password: Redacted.make("sécret") })
        assert.lengthOf(yield* connection.query("IDENTIFY_SYSTEM"), 1, method)
        const wrong = yield* Effect.flip(Replication.connect({ ...config, password: Redacted.make("guess") }))
        assert.strictEqual(wrong.code, "28P01", method)
        const none = yield* Effect.flip(Replication.connect(config))
        assert.include(none.message, "password", method)
      }
    }).pipe(Effect.scoped))
})
