import { assert, it } from "@effect/vitest"
import * as Column from "@headwater/core/Column"
import * as Table from "@headwater/core/Table"
import { Effect, Fiber } from "effect"
import * as Install from "../src/Install.ts"
import { database, layerOf, type TestDatabase } from "./database.ts"

const Task = Table.make("tasks", { columns: { id: Column.int4, title: Column.text }, primaryKey: ["id"] })
const Note = Table.make("app.Notes", { columns: { id: Column.uuid, body: Column.text.nullable() }, primaryKey: ["id"] })
const Event = Table.make("events", { columns: { id: Column.int8, at: Column.timestamptz }, primaryKey: ["id", "at"] })
const tables = [Task, Note, Event]

const schema = `
  create table tasks (id int primary key, title text not null);
  create schema app;
  create table app."Notes" (id uuid not null, body text);
  create unique index "notes key" on app."Notes" (id);
  alter table app."Notes" replica identity using index "notes key";
  create table events (id bigint not null, at timestamptz not null, primary key (id, at)) partition by range (at);
  create table events_2025 partition of events for values from ('2025-01-01') to ('2026-01-01');
  create table events_2026 partition of events for values from ('2026-01-01') to ('2027-01-01');
`

/** Everything of a database that somebody made. */
const inventory = ({ sql }: TestDatabase) =>
  sql(`
    select 'relation', n.nspname || '.' || c.relname, c.relkind::text, c.relreplident::text, coalesce(c.relacl::text, '') from pg_class c join pg_namespace n on n.oid = relnamespace
      where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
    union all select 'index', indexrelid::regclass::text, indisreplident::text, '', '' from pg_index where indrelid > 16383 and indexrelid::regclass::text not like 'pg_toast%'
    union all select 'trigger', tgrelid::regclass::text, tgname, tgenabled::text, '' from pg_trigger
    union all select 'function', oid::regprocedure::text, '', '', '' from pg_proc where oid > 16383
    union all select 'type', oid::regtype::text, '', '', '' from pg_type where oid > 16383
    union all select 'schema', nspname, coalesce(nspacl::text, ''), '', '' from pg_namespace
    union all select 'publication', pubname, '', '', '' from pg_publication
    union all select 'published', prrelid::regclass::text, '', '', '' from pg_publication_rel
    union all select 'slot', slot_name, '', '', '' from pg_replication_slots where database = current_database()
    order by 1, 2, 3, 4`)

for (const source of ["wal", "triggers"] as const) {
  it.live(`${source}: installs, again without change, and leaves nothing behind`, () => Effect.gen(function*() {
    const db = yield* database()
    yield* db.sql(schema)
    const before = yield* inventory(db)
    yield* Effect.gen(function*() {
      assert.isNull((yield* Install.status).installed)
      const status = yield* Install.install({ source, tables })
      assert.strictEqual(status.installed?.source, source)
      assert.deepStrictEqual(status.tables.map(({ name }) => name), ["public.tasks", "app.Notes", "public.events"])
      const installed = yield* inventory(db)
      assert.notDeepEqual(installed, before)

      assert.deepStrictEqual(yield* Install.install({ source, tables }), status)
      assert.deepStrictEqual(yield* inventory(db), installed)

      // The application goes on writing, with all that is installed.
      yield* db.sql(`
        insert into tasks values (1, 'a'); update tasks set title = 'b'; delete from tasks;
        insert into app."Notes" values (gen_random_uuid(), 'a'); update app."Notes" set body = null; delete from app."Notes";
        insert into events values (1, '2025-06-01'); update events set at = '2026-06-01'; delete from events; truncate events`)
      if (source === "wal") yield* db.sql("select pg_create_logical_replication_slot('headwater_' || oid, 'pgoutput') from pg_database where datname = current_database()")

      yield* Install.uninstall
      assert.deepStrictEqual(yield* inventory(db), before)
      assert.isNull((yield* Install.status).installed)
      yield* Install.uninstall
    }).pipe(Effect.provide(layerOf(db.url)))
  }).pipe(Effect.scoped))
}

it.live("the sources can be exchanged: what clients know stays, in a new generation", () => Effect.gen(function*() {
  const db = yield* database()
  yield* db.sql(schema)
  const before = yield* inventory(db)
  yield* Effect.gen(function*() {
    const first = yield* Install.install({ source: "triggers", tables: [Task] })
    yield* db.sql("insert into headwater.clients (client, identity) values ('c', 'ada')")
    const second = yield* Install.install({ source: "wal", tables: [Task, Note] })
    assert.notStrictEqual(second.installed?.generation, first.installed?.generation)
    assert.deepStrictEqual(second.tables[0]?.attached, ["publication headwater", "replica identity full"])
    assert.lengthOf(yield* db.sql("select from headwater.clients"), 1)
    const third = yield* Install.install({ source: "triggers", tables: [Task, Note] })
    assert.deepStrictEqual(third.tables[0]?.attached, ["trigger headwater_capture", "trigger zzz_headwater_truncate"])
    yield* Install.uninstall
    assert.deepStrictEqual(yield* inventory(db), before)
  }).pipe(Effect.provide(layerOf(db.url)))
}).pipe(Effect.scoped))

it.live("the plan is what install runs: it can be run by hand", () => Effect.gen(function*() {
  const db = yield* database()
  yield* db.sql(schema)
  yield* Effect.gen(function*() {
    const parts = yield* Install.plan({ source: "triggers", tables })
    yield* db.sql(parts.flatMap(({ statements }) => statements).join(";\n"))
    const byHand = yield* inventory(db)
    yield* Install.uninstall
    yield* Install.install({ source: "triggers", tables })
    assert.deepStrictEqual(yield* inventory(db), byHand)
  }).pipe(Effect.provide(layerOf(db.url)))
}).pipe(Effect.scoped))

it.live("says at once which privileges are missing", () => Effect.gen(function*() {
  const db = yield* database()
  yield* db.sql(schema)
  const role = `plain_${Math.random().toString(36).slice(2)}`
  yield* db.sql(`create role ${role} login; grant usage on schema app to ${role}`)
  const url = new URL(db.url)
  url.username = role
  const error = yield* Effect.flip(Install.install({ source: "triggers", tables })).pipe(Effect.provide(layerOf(url.href)))
  assert.strictEqual(error.reason._tag, "SourceMisconfigured")
  assert.include(error.message, "GRANT CREATE ON DATABASE")
  assert.include(error.message, "public.tasks does not belong to")
  assert.include(error.message, "app.Notes does not belong to")
  yield* db.sql(`drop owned by ${role}; drop role ${role}`)
}).pipe(Effect.scoped))

it.live("what others built on the schema stops uninstall, and stays", () => Effect.gen(function*() {
  const db = yield* database()
  yield* db.sql(schema)
  yield* Effect.gen(function*() {
    yield* Install.install({ source: "triggers", tables: [Task] })
    yield* db.sql("create view outcomes as select client, outcome from headwater.receipts")
    const error = yield* Effect.flip(Install.uninstall)
    assert.include(error.message, "other objects depend on")
    assert.lengthOf(yield* db.sql("select from outcomes"), 0)
  }).pipe(Effect.provide(layerOf(db.url)))
}).pipe(Effect.scoped))

it.live("a locked table is waited for, without a queue of writers behind", () => Effect.gen(function*() {
  const db = yield* database()
  yield* db.sql(schema)
  yield* Effect.gen(function*() {
    const writer = yield* db.connect
    yield* writer("begin; insert into tasks values (1, 'a')")
    const installing = yield* Effect.forkChild(Install.install({ source: "triggers", tables: [Task] }))
    // Until it has given up once.
    let waited = false
    while (true) {
      const [{ waiting }] = (yield* db.sql("select exists (select from pg_locks where not granted and database = (select oid from pg_database where datname = current_database()))::text as waiting")) as [{ waiting: string }]
      if (waited && waiting === "false") break
      waited ||= waiting === "true"
    }
    yield* writer("commit")
    assert.lengthOf((yield* Fiber.join(installing)).tables, 1)
  }).pipe(Effect.provide(layerOf(db.url)))
}).pipe(Effect.scoped))
