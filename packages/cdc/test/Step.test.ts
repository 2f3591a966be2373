/**
 * Steps as data: for fixed transactions both sources deliver what the golden files hold. `HEADWATER_UPDATE=1` writes them anew.
 *
 * Positions are left out, since each source counts in its own way; rows are in wire form, changes in the order of their keys.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Column from "@headwater/core/Column"
import * as ColumnType from "@headwater/core/ColumnType"
import type { Row } from "@headwater/core/Row"
import type { Step } from "@headwater/core/Step"
import * as Table from "@headwater/core/Table"
import type { Json } from "@headwater/core/Value"
import { Context, Effect, Layer, Queue, References, Stream } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { ChangeSource } from "../src/ChangeSource.ts"
import * as CommitSignal from "../src/CommitSignal.ts"
import * as Catalog from "../src/Catalog.ts"
import * as Install from "../src/Install.ts"
import * as PostgresTriggers from "../src/PostgresTriggers.ts"
import * as PostgresWal from "../src/PostgresWal.ts"
import { database, layerOf } from "./database.ts"

const Item = Table.make("app.items", {
  columns: {
    id: Column.int4,
    title: Column.text.named("item title"),
    isDone: Column.boolean.default(false),
    count: Column.int8.nullable(),
    ratio: Column.float8.nullable(),
    price: Column.numeric.nullable(),
    owner: Column.uuid.nullable(),
    at: Column.timestamptz.nullable(),
    data: Column.json().nullable(),
    kind: Column.enum("bug", "wish").nullable()
  },
  primaryKey: ["id"]
})

/** Each one transaction. */
const transactions = {
  "insert": `insert into app.items values
    (1, 'a "quoted" \\ title, 😀', true, 9223372036854775807, 'NaN', 1.00, 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '2026-01-31 12:00:00.123456+02', '{"b": [1, null], "a": "x"}', 'wish'),
    (2, '', false, null, null, null, null, null, null, null)`,
  "update": "update app.items set price = 1.0, ratio = '-Infinity' where id = 1",
  "several changes of one row are one": `insert into app.items values (3, 'c'); update app.items set "item title" = 'cc' where id = 3; update app.items set count = 1 where id = 2; update app.items set count = 2 where id = 2;
    insert into app.items values (4, 'd'); delete from app.items where id = 4`,
  "a key that moves is a delete and an insert": "update app.items set id = 30 where id = 3",
  "what a savepoint takes back is not there": "insert into app.items values (5, 'e'); savepoint s; delete from app.items; rollback to s; delete from app.items where id = 30",
  "truncate": "truncate app.items; insert into app.items values (6, 'f')"
}

const wire = (row: Row | null): Json =>
  row === null ? null : Object.fromEntries(Object.entries(Item.columns).map(([property, { type }]) => [property, row[property] === null ? null : ColumnType.toWire(type, row[property]!)]))

const asData = (step: Step): Json => ({
  transactions: step.transactions.length,
  truncated: step.truncated,
  changes: [...step.chunks].flat()
    .map(({ after, before, table }) => ({ table, before: wire(before), after: wire(after), key: Number((before ?? after)!["id"]) }))
    .toSorted((a, b) => a.key - b.key)
    .map(({ after, before, table }) => ({ table, before, after }))
})

const sources = {
  wal: (url: string) => PostgresWal.layer([Item]).pipe(Layer.provide(Layer.orDie(layerOf(url)))),
  triggers: (url: string) => PostgresTriggers.layer([Item]).pipe(Layer.provide([Layer.orDie(layerOf(url)), CommitSignal.layerMemory]))
}

describe.each(["wal", "triggers"] as const)("steps of %s", (source) => {
  it.live("are those of the golden files", () => Effect.gen(function*() {
    const db = yield* database()
    yield* db.sql(Catalog.ddl([Item]).join("\n"))
    yield* Install.install({ source, tables: [Item] }).pipe(Effect.provide(layerOf(db.url)), Effect.orDie)
    const quiet = Layer.succeed(References.MinimumLogLevel, "Error")
    const changes = Context.get(yield* Layer.build(sources[source](db.url).pipe(Layer.provide(quiet))), ChangeSource)
    const steps = yield* Queue.unbounded<Step>()
    yield* Effect.forkScoped(Stream.runForEach(changes.steps(yield* changes.position), (step) => Queue.offer(steps, step)))
    for (const [name, statements] of Object.entries(transactions)) {
      yield* db.sql(`begin; ${statements}; commit`)
      const step = asData(yield* Queue.take(steps))
      const file = new URL(`golden/steps/${name.replaceAll(" ", "-")}.json`, import.meta.url)
      if (process.env["HEADWATER_UPDATE"] === "1") writeFileSync(file, `${JSON.stringify(step, null, 2)}\n`)
      assert.deepStrictEqual(step, JSON.parse(readFileSync(file, "utf8")), name)
    }
  }))
})
