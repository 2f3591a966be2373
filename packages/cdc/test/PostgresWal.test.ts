import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import * as Column from "@headwater/core/Column"
import type { Change } from "@headwater/core/Change"
import type { Step } from "@headwater/core/Step"
import * as Table from "@headwater/core/Table"
import { Effect, Layer, Queue, Redacted, Stream } from "effect"
import { Client } from "pg"
import { freshDatabase } from "../../../test/postgres.ts"
import { ChangeSource } from "../src/ChangeSource.ts"
import * as PostgresWal from "../src/PostgresWal.ts"

const Item = Table.make("items", {
  columns: { id: Column.int4, title: Column.text, body: Column.text.nullable() },
  primaryKey: ["id"]
})

const database = Effect.gen(function*() {
  const database = yield* Effect.acquireRelease(Effect.promise(() => freshDatabase()), (database) => Effect.promise(database.drop))
  const connect = Effect.gen(function*() {
    const client = new Client({ connectionString: database.url })
    yield* Effect.acquireRelease(Effect.promise(() => client.connect()), () => Effect.promise(() => client.end()))
    return (text: string) => Effect.promise(async () => (await client.query(text)).rows as Array<Record<string, string>>)
  })
  const sql = yield* connect
  yield* sql(`create table items (id int primary key, title text not null, body text); alter table items replica identity full;
    create publication headwater for table items`)
  const pg = PgClient.layer({ url: Redacted.make(database.url), maxConnections: 4 })
  const source = PostgresWal.layer([Item]).pipe(Layer.provide(pg))
  return { ...database, sql, connect, source }
})

const steps = (source: ChangeSource["Service"]) =>
  Effect.gen(function*() {
    const queue = yield* Queue.unbounded<Step>()
    yield* Effect.forkScoped(Stream.runForEach(source.steps(yield* source.position), (step) => Queue.offer(queue, step)))
    return Queue.take(queue)
  })

const changes = (step: Step): ReadonlyArray<Change> => [...step.chunks].flat()

describe("PostgresWal", () => {
  it.live("delivers each transaction as one netted step", () =>
    Effect.gen(function*() {
      const { source, sql } = yield* database
      const wal = yield* Effect.map(Layer.build(source), (context) => ChangeSource.pipe(Effect.provide(context))).pipe(Effect.flatten)
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
})
