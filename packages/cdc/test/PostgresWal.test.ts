import { assert, describe, it } from "@effect/vitest"
import * as Column from "@headwater/core/Column"
import type { Change } from "@headwater/core/Change"
import type { CommitToken, Position } from "@headwater/core/Position"
import type { Range } from "@headwater/core/Range"
import type { Step } from "@headwater/core/Step"
import * as Table from "@headwater/core/Table"
import { type Cause, Context, Effect, Exit, Fiber, Layer, Queue, References, Scope, Stream } from "effect"
import { Client } from "pg"
import { inject } from "vitest"
import { freshDatabase } from "../../../test/postgres.ts"
import { ChangeSource, type ChangeSourceError } from "../src/ChangeSource.ts"
import * as Install from "../src/Install.ts"
import * as PostgresWal from "../src/PostgresWal.ts"
import { contract } from "./ChangeSourceContract.ts"
import { layerOf } from "./database.ts"

const Item = Table.make("items", {
  columns: { id: Column.int4, title: Column.text, body: Column.text.nullable() },
  primaryKey: ["id"]
})

const setup = `create table items (id int primary key, title text not null, body text)`

const databaseOn = (server?: string) =>
  Effect.gen(function*() {
    const database = yield* Effect.acquireRelease(
      Effect.promise(() => freshDatabase(server === undefined ? {} : { server })),
      (database) => Effect.promise(database.drop)
    )
    const connect = connectTo(database.url)
    const sql = yield* connect
    yield* sql(setup)
    yield* Effect.provide(Install.install({ source: "wal", tables: [Item] }), layerOf(database.url))
    return { ...database, sql, connect, source: sourceOf(database.url) }
  })

const connectTo = (url: string) =>
  Effect.gen(function*() {
    const client = new Client({ connectionString: url })
    client.on("error", () => {})
    yield* Effect.acquireRelease(Effect.promise(() => client.connect()), () => Effect.promise(() => client.end()))
    return (text: string) => Effect.promise(async () => (await client.query(text)).rows as Array<Record<string, string>>)
  })

const layer = (url: string, tables: ReadonlyArray<Table.Any>, options?: PostgresWal.Options) =>
  PostgresWal.layer(tables, options).pipe(Layer.provide(Layer.orDie(layerOf(url))))

const sourceOf = (url: string) => layer(url, [Item]).pipe(Layer.provide(Layer.succeed(References.MinimumLogLevel, "Error")))

contract({ source: "wal", layer, isDurable: false })

const database = databaseOn()

const steps = (source: ChangeSource["Service"], after?: Position) =>
  Effect.gen(function*() {
    const queue = yield* Queue.unbounded<Step, ChangeSourceError | Cause.Done>()
    yield* Effect.forkScoped(Stream.runIntoQueue(source.steps(after ?? (yield* source.position)), queue))
    return Queue.take(queue)
  })

const all: Range = {
  table: "items", source: "i", where: [], order: [], after: null, limit: null, bound: { parameters: {}, principal: {} }
}

const build = (source: Layer.Layer<ChangeSource, unknown>) => Effect.map(Layer.build(source), (context) => Context.get(context, ChangeSource))

const changes = (step: Step): ReadonlyArray<Change> => [...step.chunks].flat()

describe("PostgresWal", () => {
  it.live("delivers each transaction as one netted step", () =>
    Effect.gen(function*() {
      const { source, sql } = yield* database
      const wal = yield* build(source)
      const next = yield* steps(wal)
      yield* sql(`insert into items values (1, 'a', null), (2, 'b', repeat('x', 20000))`)
      const first = yield* next
      assert.deepEqual(changes(first), [
        { table: "items", before: null, after: { id: 1, title: "a", body: null } },
        { table: "items", before: null, after: { id: 2, title: "b", body: "x".repeat(20_000) } }
      ])
      yield* sql(`begin; update items set title = 'c' where id = 2; update items set id = 3 where id = 1; insert into items values (4, '', ''); delete from items where id = 4; commit`)
      const second = yield* next
      assert.isAbove(second.position, first.position)
      assert.deepEqual(changes(second), [
        { table: "items", before: changes(first)[1]!.after, after: { id: 2, title: "c", body: "x".repeat(20_000) } },
        { table: "items", before: changes(first)[0]!.after, after: null },
        { table: "items", before: null, after: { id: 3, title: "a", body: null } }
      ])
    }).pipe(Effect.scoped))

  it.live("P2 a read is exact at the delivered position, whatever its snapshot saw", () =>
    Effect.gen(function*() {
      const { connect, source, sql } = yield* database
      const wal = yield* build(source)
      const next = yield* steps(wal)
      yield* sql(`insert into items values (1, 'a', null)`)
      const first = yield* next
      const reading = yield* wal.read([all])
      assert.deepEqual(reading.at(first.position)[0]!.rows, [{ id: 1, title: "a", body: null }])

      const slow = yield* connect
      yield* slow(`begin; insert into items values (2, 'slow', null)`)
      yield* sql(`insert into items values (3, 'fast', null)`)
      const second = yield* next
      const between = yield* wal.read([all])
      yield* slow(`commit`)
      const third = yield* next
      assert.deepEqual(between.at(second.position)[0]!.rows.map((row) => row["id"]), [1, 3])
      assert.deepEqual(between.at(third.position)[0]!.rows.map((row) => row["id"]), [1, 3, 2])
    }).pipe(Effect.scoped))

  it.live("a TRUNCATE is a barrier: what it took is gone in its step, and reads that saw it begin there", () =>
    Effect.gen(function*() {
      const { source, sql } = yield* database
      const wal = yield* build(source)
      const start = yield* wal.position
      yield* sql(`insert into items values (1, 'a', null)`)
      yield* sql(`begin; insert into items values (2, 'b', null); truncate items; insert into items values (3, 'c', null); commit`)
      // Nobody has been given the step yet.
      const waiting = yield* Effect.forkScoped(wal.read([all]))
      const next = yield* steps(wal, start)
      assert.deepEqual(changes(yield* next), [{ table: "items", before: null, after: { id: 1, title: "a", body: null } }])
      const step = yield* next
      assert.deepEqual(step.truncated, ["items"])
      assert.deepEqual(changes(step), [{ table: "items", before: null, after: { id: 3, title: "c", body: null } }])
      const reading = yield* Fiber.join(waiting)
      assert.isAbove(reading.from, start)
      assert.strictEqual(reading.from, step.position)
      assert.deepEqual(reading.at(step.position)[0]!.rows, [{ id: 3, title: "c", body: null }])
    }).pipe(Effect.scoped))

  it.live("P10 goes on without a gap when its server process is ended", () =>
    Effect.gen(function*() {
      const { name, source, sql } = yield* database
      const wal = yield* build(source)
      const next = yield* steps(wal)
      for (let id = 0; id < 30; id++) {
        if (id % 10 === 5) {
          yield* sql(`select pg_terminate_backend(active_pid) from pg_replication_slots where database = '${name}' and active_pid is not null`)
        }
        yield* sql(`insert into items values (${id}, '', null)`)
      }
      for (let id = 0; id < 30; id++) assert.deepEqual(changes(yield* next).map(({ after }) => after?.["id"]), [id])
    }).pipe(Effect.scoped))

  it.live("P10 begins again in the same epoch when its slot is lost, and says so once", () =>
    Effect.gen(function*() {
      const { name, source, sql } = yield* database
      const wal = yield* build(source)
      const { epoch } = wal
      const next = yield* steps(wal)
      yield* sql(`insert into items values (1, 'a', null)`)
      const first = yield* next
      const slots = `pg_replication_slots where database = '${name}'`
      // The source may be faster to use it again than we are to drop it.
      yield* Effect.promise(async () => {
        const client = new Client({ connectionString: inject("services").postgres })
        await client.connect()
        for (let dropped = false; !dropped;) {
          await client.query(`select pg_terminate_backend(active_pid) from ${slots} and active_pid is not null`)
          dropped = await client.query(`select pg_drop_replication_slot(slot_name) from ${slots}`).then(() => true, () => false)
        }
        await client.end()
      })
      const error = yield* Effect.flip(next as Effect.Effect<Step, ChangeSourceError>)
      assert.strictEqual(error.reason._tag, "PositionLost")
      assert.strictEqual(wal.epoch, epoch)

      const old = yield* Effect.flip(Stream.runCollect(wal.steps(first.position)))
      assert.strictEqual(old.reason._tag, "PositionLost")
      const position = yield* wal.position
      assert.isAbove(position, first.position)
      const again = yield* steps(wal)
      const reading = yield* wal.read([all])
      assert.deepEqual(reading.at(position)[0]!.rows, [{ id: 1, title: "a", body: null }])
      yield* sql(`insert into items values (2, 'b', null)`)
      assert.deepEqual(changes(yield* again).map(({ after }) => after?.["id"]), [2])
    }).pipe(Effect.scoped))

  it.live("resumes after any step that was not acknowledged, and refuses older ones", () =>
    Effect.gen(function*() {
      const { source, sql } = yield* database
      const wal = yield* build(source)
      const start = yield* wal.position
      for (let id = 0; id < 5; id++) yield* sql(`insert into items values (${id}, '', null)`)
      const all = yield* Stream.runCollect(Stream.take(wal.steps(start), 5))
      yield* wal.acknowledge(all[1]!.position)
      const again = yield* Stream.runCollect(Stream.take(wal.steps(all[2]!.position), 2))
      assert.deepEqual(again.map(({ position }) => position), all.slice(3).map(({ position }) => position))
      const error = yield* Effect.flip(Stream.runCollect(wal.steps(all[0]!.position)))
      assert.strictEqual(error.reason._tag, "PositionLost")
    }).pipe(Effect.scoped))

  it.live("drops its slot and lease when it ends, and those of servers that died ten minutes after their lease", () =>
    Effect.gen(function*() {
      const { name, source, sql } = yield* database
      const slots = Effect.map(sql(`select slot_name from pg_replication_slots where database = '${name}' order by 1`), (rows) => rows.map((row) => row["slot_name"]))
      const leases = Effect.map(sql(`select slot from headwater.servers order by 1`), (rows) => rows.map((row) => row["slot"]))
      for (const [slot, minutes] of [["died", 11], ["silent", 9]] as const) {
        yield* sql(`select pg_create_logical_replication_slot('${name}_${slot}', 'pgoutput');
          insert into headwater.servers (slot, lease_until) values ('${name}_${slot}', now() - interval '${minutes} minutes')`)
      }
      const scope = yield* Scope.make()
      yield* Scope.provide(build(source), scope)
      const held = yield* slots
      assert.lengthOf(held, 2)
      assert.deepEqual(yield* leases, held)
      assert.include(held, `${name}_silent`)
      yield* Scope.close(scope, Exit.void)
      assert.deepEqual(yield* slots, [`${name}_silent`])
      assert.deepEqual(yield* leases, [`${name}_silent`])
    }).pipe(Effect.scoped))

  it.live("P3 finds the position of a commit by its token", () =>
    Effect.gen(function*() {
      const { connect, source, sql } = yield* database
      const wal = yield* build(source)
      const next = yield* steps(wal)
      const { epoch } = wal
      const transaction = (statement: string, end = "commit") =>
        Effect.gen(function*() {
          yield* sql("begin")
          const [row] = yield* sql("select pg_current_xact_id()::text as transaction")
          yield* sql(statement)
          yield* sql(end)
          return { epoch, transaction: row!["transaction"]! }
        })
      const written = yield* transaction("insert into items values (1, '', null)")
      assert.strictEqual(yield* wal.positionOf(written), (yield* next).position)
      const [marked] = yield* sql("select * from headwater.commit_token()") as unknown as Effect.Effect<[CommitToken]>
      const step = yield* next
      assert.strictEqual(marked.epoch, epoch)
      assert.deepEqual(step.transactions, [marked.transaction])
      assert.strictEqual(yield* wal.positionOf(marked), step.position)

      // It left nothing in the log: any position that is reached after its commit includes it.
      const nothing = yield* transaction("select 1")
      assert.strictEqual(yield* wal.positionOf(nothing), step.position)
      const undone = yield* transaction("insert into items values (2, '', null)", "rollback")
      assert.strictEqual((yield* Effect.flip(wal.positionOf(undone))).reason._tag, "SourceUnavailable")
      const foreign = yield* Effect.flip(wal.positionOf({ ...written, epoch: "another" }))
      assert.strictEqual(foreign.reason._tag, "EpochChanged")

      const slow = yield* connect
      yield* slow("begin")
      const [open] = yield* slow("insert into items values (3, '', null) returning pg_current_xact_id()::text as transaction")
      const waiting = yield* Effect.forkScoped(wal.positionOf({ epoch, transaction: open!["transaction"]! }))
      yield* sql("insert into items values (4, '', null)")
      const before = yield* next
      yield* slow("commit")
      const position = yield* Fiber.join(waiting)
      assert.strictEqual(position, (yield* next).position)
      assert.isAbove(position, before.position)
    }).pipe(Effect.scoped))
})
