import { assert, it } from "@effect/vitest"
import * as Column from "@headwater/core/Column"
import * as Table from "@headwater/core/Table"
import { Effect } from "effect"
import { afterAll } from "vitest"
import { type Postgres, startPostgres } from "../../../test/postgres.ts"
import * as Catalog from "../src/Catalog.ts"
import { database, layerOf, type TestDatabase } from "./database.ts"

const All = Table.make("all_types", {
  columns: {
    id: Column.uuid.generated(),
    text: Column.text,
    short: Column.int4,
    long: Column.int8.default(5n),
    float: Column.float8.nullable(),
    exact: Column.numeric.default("1.50"),
    yes: Column.boolean.default(true),
    at: Column.timestamptz.generated(),
    data: Column.json().default({ a: "it's" }),
    state: Column.enum("open", "it's done").default("open").named("the state")
  },
  primaryKey: ["id"]
})

const problems = (db: TestDatabase, tables: ReadonlyArray<Table.Any>, source: Catalog.Source = "triggers") =>
  Catalog.check(tables, source).pipe(
    Effect.as([] as ReadonlyArray<string>),
    Effect.catch(({ reason }) => reason._tag === "CatalogMismatch"
      ? Effect.succeed(reason.problems.map(({ column, message, table }) => `${table}${column === null ? "" : `.${column}`}: ${message}`))
      : Effect.die(reason)),
    Effect.provide(layerOf(db.url))
  )

it.live("what ddl creates fits what was declared, on both sources", () => Effect.gen(function*() {
  const db = yield* database()
  const Other = Table.make("app.Other", { columns: { a: Column.text, b: Column.int4 }, primaryKey: ["b", "a"] })
  yield* db.sql(Catalog.ddl([All, Other]).join("\n"))
  assert.deepStrictEqual(yield* problems(db, [All, Other], "wal"), [])
  assert.deepStrictEqual(yield* problems(db, [All, Other], "triggers"), [])
  const [row] = yield* db.sql(`insert into all_types (text, short) values ('a', 1) returning long, exact, yes, data::text, "the state" as state`)
  assert.deepStrictEqual({ ...row }, { long: "5", exact: "1.50", yes: "t", data: "{\"a\": \"it's\"}", state: "open" })
}).pipe(Effect.scoped))

it.live("everything that is off is listed at once", () => Effect.gen(function*() {
  const db = yield* database()
  yield* db.sql(`
    create type mood as enum ('glad', 'sad', 'odd');
    create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    create table wrong (
      id int, missing_key int, kind varchar(9), word text collate loose not null, amount money not null, moment timestamp not null, open text not null,
      feeling mood not null, doubled int generated always as (id * 2) stored, number int generated always as identity, shown int generated always as (id * 3) virtual
    );
    create table keyed (a int not null, b int not null, primary key (a, b));
    create view seen as select 1 as id;
    create table parent (id int primary key); create table child () inherits (parent);
    create unlogged table fast (id int primary key)`)
  const id = Column.int4
  const Wrong = Table.make("wrong", {
    columns: {
      id, kind: Column.text, word: Column.text, amount: Column.numeric, moment: Column.timestamptz, open: Column.text.nullable(),
      feeling: Column.enum("glad", "sad", "mad"), doubled: Column.int4.nullable(), number: Column.int4, shown: Column.int4.nullable().generated(), nowhere: Column.text
    },
    primaryKey: ["id"]
  })
  const simple = (name: string) => Table.make(name, { columns: { id }, primaryKey: ["id"] })
  const Keyed = Table.make("keyed", { columns: { a: id, b: id }, primaryKey: ["a"] })
  const tables = [Wrong, Keyed, simple("seen"), simple("parent"), simple("fast"), simple("absent")]
  const found = yield* problems(db, tables)
  const expected = [
    "wrong.id: it may hold NULL", "wrong.kind: it may hold NULL", "wrong.word: its collation is not deterministic", "wrong.amount: it is money, and numeric was declared",
    "wrong.moment: it is timestamp, and timestamptz was declared", "wrong.open: it is NOT NULL, and nullable() was declared",
    "wrong.feeling: the enum mood also has \"odd\"", "wrong.feeling: the enum mood has no \"mad\"", "wrong.doubled: the database generates it", "wrong.number: the database generates it",
    "wrong.shown: it is a virtual generated column", "wrong.nowhere: there is no such column", "wrong: (id) is not its primary key: it has none",
    "keyed: (a) is not its primary key: that is (a, b)", "seen: it is not a table", "seen: (id) is not its primary key", "parent: other tables inherit from it", "absent: there is no such table"
  ]
  for (const line of expected) assert.isTrue(found.some((problem) => problem.startsWith(line)), `${line}\n${found.join("\n")}`)
  assert.isFalse(found.some((problem) => problem.startsWith("fast")))
  const onWal = yield* problems(db, tables, "wal")
  assert.isTrue(onWal.some((problem) => problem.startsWith("fast: it is unlogged")))
  assert.isTrue(onWal.some((problem) => problem.startsWith("wrong.shown: as long as the table has a virtual generated column")))
  // Removing all of them is enough.
  yield* db.sql("drop table wrong, keyed, parent, child, fast; drop view seen")
  yield* db.sql(`${Catalog.ddl([Wrong, Keyed, simple("seen"), simple("parent"), simple("fast"), simple("absent")]).join("\n")}`)
  assert.deepStrictEqual(yield* problems(db, tables, "wal"), [])
}).pipe(Effect.scoped))

it.live("rows that a policy hides from this role are not read in part", () => Effect.gen(function*() {
  const db = yield* database()
  const role = `reader_${Math.random().toString(36).slice(2)}`
  yield* db.sql(`create role ${role} login; create table notes (id int primary key); alter table notes enable row level security; grant select on notes to ${role}`)
  const url = new URL(db.url)
  url.username = role
  const [problem] = yield* problems({ ...db, url: url.href }, [Table.make("notes", { columns: { id: Column.int4 }, primaryKey: ["id"] })])
  assert.include(problem, "row level security")
  yield* db.sql(`drop owned by ${role}; drop role ${role}`)
}).pipe(Effect.scoped))

const older = await startPostgres({ pkg: "postgres-16" }).catch((error: unknown): Postgres | null => {
  if (/not installed/.test(String(error))) return null
  throw error
})
if (older !== null) afterAll(() => older.stop())

it.live.skipIf(older === null)("[needs Postgres 16] before 18 a declared generated column is missing from the write-ahead log", () => Effect.gen(function*() {
  const db = yield* database({ server: older!.url() })
  yield* db.sql("create table sums (id int primary key, twice int not null generated always as (id * 2) stored)")
  const Sums = Table.make("sums", { columns: { id: Column.int4, twice: Column.int4.generated() }, primaryKey: ["id"] })
  assert.include((yield* problems(db, [Sums], "wal"))[0], "leaves out before Postgres 18")
  assert.deepStrictEqual(yield* problems(db, [Sums], "triggers"), [])
}).pipe(Effect.scoped))
