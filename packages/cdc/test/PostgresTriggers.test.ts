import { assert, describe, it } from "@effect/vitest"
import * as Column from "@headwater/core/Column"
import * as Table from "@headwater/core/Table"
import { Context, Deferred, Effect, Exit, Fiber, Layer, References, Scope, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { afterAll } from "vitest"
import { type Postgres, startPostgres } from "../../../test/postgres.ts"
import { ChangeSource, type ChangeSourceError } from "../src/ChangeSource.ts"
import * as CommitSignal from "../src/CommitSignal.ts"
import * as Install from "../src/Install.ts"
import * as PostgresCommitToken from "../src/PostgresCommitToken.ts"
import * as PostgresTriggers from "../src/PostgresTriggers.ts"
import { contract, follow, Item, schema, tables, write } from "./ChangeSourceContract.ts"
import { database, layerOf, type TestDatabase } from "./database.ts"
import { random, seedOf } from "./random.ts"

const sourceOf = (url: string, tables: Parameters<typeof PostgresTriggers.layer>[0]) =>
  PostgresTriggers.layer(tables).pipe(Layer.provide([Layer.orDie(layerOf(url)), CommitSignal.layerMemory]))

contract({ source: "triggers", layer: sourceOf, isDurable: true })

const oldest = await startPostgres({ pkg: "postgres-14" }).catch((error: unknown): Postgres | null => {
  if (/not installed/.test(String(error))) return null
  throw error
})
if (oldest !== null) {
  afterAll(() => oldest.stop())
  const server = { name: "Postgres 14", url: () => oldest.url(), only: /random|TRUNCATE|killed/ }
  contract({ source: "triggers", layer: sourceOf, isDurable: true, server })
} else {
  it.skip("Postgres 14 is not installed")
}

const setUp = Effect.gen(function*() {
  const db = yield* database()
  yield* db.sql(schema(true))
  yield* Install.install({ source: "triggers", tables }).pipe(Effect.provide(layerOf(db.url)), Effect.orDie)
  return db
})

const quiet = Layer.succeed(References.MinimumLogLevel, "Error")

const open = ({ url }: TestDatabase, of: ReadonlyArray<Table.Any> = tables) =>
  Effect.map(Layer.build(sourceOf(url, of).pipe(Layer.provide(quiet))), (context) => Context.get(context, ChangeSource))

describe("what no trigger sees is found by the catalog's signature", () => {
  const cases: ReadonlyArray<readonly [string, string]> = [
    ["a column added", "alter table items add column more int default 7"],
    ["an undeclared column dropped, which moves the others", "alter table items drop column secret"],
    ["rows rewritten in place", "alter table items alter column rank type numeric using rank + 1"],
    ["a table rewritten", "vacuum full items"],
    ["writes while the triggers were off", "alter table items disable trigger headwater_capture; update items set list = 9; alter table items enable always trigger headwater_capture; insert into totals values (77, 7)"],
    ["a partition truncated alone", "truncate app.entries_high"],
    ["its table truncated too", "truncate app.entries; insert into app.entries values ('z', 99, 1); truncate app.entries_high; insert into app.entries values ('z', 1, 1)"],
    ["a partition detached", "alter table app.entries detach partition app.entries_low"],
    ["a partition attached", "create table app.more (owner text collate \"C\" not null, day int not null, amount float8 not null); insert into app.more values ('m', 500, 1); alter table app.entries detach partition app.entries_high; alter table app.entries attach partition app.more for values from (500) to (600)"]
  ]
  for (const [name, statements] of cases) {
    it.live(`P1 ${name}`, () => Effect.gen(function*() {
      const db = yield* setUp
      yield* db.sql("insert into items (id, list, rank, title) values (1, 1, 1, 'a'), (2, 1, 1, 'b'); insert into app.entries values ('a', 1, 1), ('b', 60, 2)")
      const source = yield* open(db)
      const { following, settle } = yield* follow(db, source)
      yield* db.sql("update items set title = 'before'")
      yield* settle
      // Changes of the same step before and after it, whose images lie differently.
      yield* db.sql("update items set title = 'between'")
      yield* db.sql(statements)
      yield* db.sql("update items set title = 'after'")
      const error = yield* Effect.flip(Fiber.join(following))
      assert.strictEqual(error.reason._tag, "CorruptStep")
      assert.include(error.message, name.includes("partition") || name.includes("its table") ? "app.entries" : "items")
      // It goes on with a new beginning.
      const again = yield* follow(db, source)
      yield* again.settle
      yield* db.sql("update items set title = 'later'; insert into items (id, list, rank, title) values (3, 1, 1, 'c')")
      yield* again.settle
    }).pipe(Effect.scoped))
  }

  it.live("triggers that stay off stop the source, and say what to do", () => Effect.gen(function*() {
    const db = yield* setUp
    const source = yield* open(db)
    const { following, settle } = yield* follow(db, source)
    yield* settle
    yield* db.sql("alter table items disable trigger headwater_capture; insert into totals values (1, 1)")
    assert.strictEqual((yield* Effect.flip(Fiber.join(following))).reason._tag, "CorruptStep")
    const error = yield* Effect.flip(source.position)
    assert.strictEqual(error.reason._tag, "SourceMisconfigured")
    assert.include(error.message, "items: headwater_capture")
    yield* Install.install({ source: "triggers", tables }).pipe(Effect.provide(layerOf(db.url)))
    yield* (yield* follow(db, source)).settle
  }).pipe(Effect.scoped))
})

it.live("P8 several servers share one order of steps, whoever cuts them", () => Effect.gen(function*() {
  const seed = seedOf()
  const db = yield* setUp
  const servers = yield* Effect.forEach([1, 2, 3], () => Effect.flatMap(open(db), (source) => follow(db, source)))
  const writers = yield* Effect.forEach([1, 2, 3], (writer) => Effect.forkChild(write(db, random(seed + writer), 20)))
  yield* Effect.forEach(writers, Fiber.join)
  for (const { settle } of servers) yield* settle
  const states = new Map(servers[0]!.states)
  let common = 0
  for (const server of servers.slice(1)) {
    for (const [position, state] of server.states) {
      if (!states.has(position)) continue
      assert.deepStrictEqual(state, states.get(position), `seed ${seed}`)
      common++
    }
  }
  assert.isAbove(common, 10)
}).pipe(Effect.scoped))

it.live("P10 when the server that cuts is gone, another takes over", () => Effect.gen(function*() {
  const db = yield* setUp
  const scope = yield* Scope.make()
  const first = yield* Effect.provideService(Effect.flatMap(open(db), (source) => follow(db, source)), Scope.Scope, scope)
  const second = yield* Effect.flatMap(open(db), (source) => follow(db, source))
  yield* db.sql("insert into items (id, list, rank, title) values (1, 1, 1, 'a')")
  yield* first.settle
  yield* Scope.close(scope, Exit.void)
  yield* db.sql("insert into items (id, list, rank, title) values (2, 1, 1, 'b')")
  yield* second.settle
  assert.lengthOf(yield* db.sql("select from headwater.servers"), 1)
}).pipe(Effect.scoped))

it.live("P9 what every server has acknowledged is deleted, and nothing that one still needs", () => Effect.gen(function*() {
  const db = yield* setUp
  const fast = yield* Effect.flatMap(open(db), (source) => follow(db, source))
  const slow = yield* open(db)
  const behind = yield* slow.position
  for (let i = 0; i < 3; i++) {
    yield* db.sql(`insert into items (id, list, rank, title) values (${i}, 1, 1, 'a')`)
    yield* fast.settle
  }
  const last = fast.states.at(-1)![0]
  yield* fast.source.acknowledge(last)
  const counted = db.sql("select (select count(*) from headwater.changelog)::text as changes, (select min(n) from headwater.steps)::text as first")
  const leased = db.sql("select max(position)::text as position from headwater.servers")
  yield* Effect.repeat(leased, { until: ([row]) => row!["position"] === String(last) })
  assert.strictEqual((yield* counted)[0]!["first"], String(behind))
  const follower = yield* follow(db, slow)
  yield* follower.settle
  yield* slow.acknowledge(follower.states.at(-1)![0])
  yield* fast.source.acknowledge(fast.states.at(-1)![0])
  yield* Effect.repeat(counted, { until: ([row]) => row!["changes"] === "0" || Number(row!["first"]) >= last })
  yield* db.sql("insert into items (id, list, rank, title) values (9, 1, 1, 'a')")
  yield* fast.settle
  yield* follower.settle
}).pipe(Effect.scoped))

it.live("looking for changes costs the same behind a long transaction", () => Effect.gen(function*() {
  const db = yield* setUp
  const idle = yield* db.connect
  yield* idle("begin; insert into items (id, list, rank, title) values (1000, 1, 1, 'idle')")
  const { settle } = yield* follow(db, yield* open(db))
  const examined = Effect.gen(function*() {
    yield* settle
    // As the poll asks, with the snapshot of the last step.
    const rows = yield* db.sql(`set enable_seqscan = off;
      explain (analyze, format json) select from headwater.changelog, (select snapshot from headwater.steps order by n desc limit 1) as last
      where transaction >= pg_snapshot_xmax(snapshot) or transaction = any (array(select pg_snapshot_xip(snapshot)))`)
    const plan = JSON.stringify(Object.values(rows[0]!)[0])
    return [...plan.matchAll(/"Rows Removed by [^"]+":(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0)
  })
  yield* db.sql("insert into items (id, list, rank, title) select i, 7, 1, 'few' from generate_series(1, 10) i")
  const few = yield* examined
  yield* db.sql("insert into items (id, list, rank, title) select i, 7, 1, 'many' from generate_series(2000, 4000) i")
  assert.isAtMost(yield* examined, few + 10)
}).pipe(Effect.scoped))

describe("P12 no write fails because of what is installed", () => {
  const Odd = Table.make("odd", { columns: { id: Column.int4 }, primaryKey: ["id"] })
  it.live("JSON that holds \\u0000, a row type with a cast of its own, columns named like keywords", () => Effect.gen(function*() {
    const db = yield* database()
    yield* db.sql(`
      create table odd (id int primary key, raw json, "text" text, "new" int, "TG_OP" int);
      create function odd_text(odd) returns text language sql as $$ select 1 / 0 || '' $$;
      create cast (odd as text) with function odd_text(odd) as assignment`)
    yield* Install.install({ source: "triggers", tables: [Odd] }).pipe(Effect.provide(layerOf(db.url)))
    yield* db.sql(`insert into odd values (1, '"\\u0000"', 'a', 1, 2); update odd set "new" = 2; delete from odd`)
    assert.lengthOf(yield* db.sql("select from headwater.changelog"), 3)
  }).pipe(Effect.scoped))

  it.live("a transaction is not slowed down or failed by many changes", () => Effect.gen(function*() {
    const db = yield* setUp
    const { settle } = yield* follow(db, yield* open(db))
    yield* db.sql("insert into items (id, list, rank, title) select i, i % 5, i, repeat('x', 9000) from generate_series(1, 3000) i")
    assert.strictEqual((yield* settle).get("items")!.size, 3000)
  }).pipe(Effect.scoped))
})

describe("a source that cannot start says what to do", () => {
  const failure = (db: TestDatabase, of: ReadonlyArray<Table.Any> = tables, url = db.url) =>
    Effect.flip(Effect.scoped(open({ ...db, url }, of))) as Effect.Effect<ChangeSourceError, unknown>

  it.live("nothing is installed, or for the other source, or not for this table", () => Effect.gen(function*() {
    const db = yield* database()
    yield* db.sql(schema(false))
    const nothing = yield* failure(db)
    assert.strictEqual(nothing.reason._tag, "SourceMisconfigured")
    assert.include(nothing.message, "headwater install")
    yield* Install.install({ source: "wal", tables }).pipe(Effect.provide(layerOf(db.url)))
    const other = yield* failure(db)
    assert.include(other.message, "headwater install --source triggers")
    yield* Install.install({ source: "triggers", tables: [Item] }).pipe(Effect.provide(layerOf(db.url)))
    const missing = yield* failure(db)
    assert.strictEqual(missing.reason._tag, "SourceMisconfigured")
    assert.include(missing.message, "app.entries is not captured")
    assert.include(missing.message, "totals is not captured")
  }).pipe(Effect.scoped))

  it.live("a table that does not exist", () => Effect.gen(function*() {
    const db = yield* setUp
    const error = yield* failure(db, [Item, Table.make("nowhere", { columns: { id: Column.int4 }, primaryKey: ["id"] })])
    assert.strictEqual(error.reason._tag, "CatalogMismatch")
    assert.include(error.message, "nowhere: there is no such table")
  }).pipe(Effect.scoped))

  it.live("a role without privileges, until it is granted what it needs", () => Effect.gen(function*() {
    const db = yield* setUp
    const role = `server_${Math.random().toString(36).slice(2)}`
    yield* db.sql(`create role ${role} login; grant usage on schema app to ${role}; grant select on items, app.entries to ${role}`)
    const url = new URL(db.url)
    url.username = role
    const outside = yield* failure(db, tables, url.href)
    assert.strictEqual(outside.reason._tag, "SourceMisconfigured")
    assert.include(outside.message, "--role")
    yield* Install.install({ source: "triggers", tables, role }).pipe(Effect.provide(layerOf(db.url)))
    const unreadable = yield* failure(db, tables, url.href)
    assert.include(unreadable.message, "GRANT SELECT ON \"public\".\"totals\"")
    yield* db.sql(`grant select on totals to ${role}`)
    yield* Effect.scoped(Effect.gen(function*() {
      const { settle } = yield* follow(db, yield* open({ ...db, url: url.href }))
      yield* db.sql("insert into items (id, list, rank, title) values (1, 1, 1, 'a')")
      yield* settle
    }))
    yield* db.sql(`drop owned by ${role}; drop role ${role}`)
  }).pipe(Effect.scoped))

  it.live("a database that does not answer", () => Effect.gen(function*() {
    const db = yield* database()
    const error = yield* failure(db, tables, "postgres://postgres@127.0.0.1:1/x")
    assert.strictEqual(error.reason._tag, "SourceUnavailable")
  }).pipe(Effect.scoped))
})

it.live("another installation is another epoch", () => Effect.gen(function*() {
  const db = yield* setUp
  const source = yield* open(db)
  const { following, settle } = yield* follow(db, source)
  yield* db.sql("insert into items (id, list, rank, title) values (1, 1, 1, 'a')")
  yield* settle
  yield* Effect.gen(function*() {
    yield* Install.uninstall
    yield* Install.install({ source: "triggers", tables })
  }).pipe(Effect.provide(layerOf(db.url)))
  yield* Effect.exit(Fiber.join(following))
  const error = yield* Effect.flip(source.position)
  assert.strictEqual(error.reason._tag, "EpochChanged")
}).pipe(Effect.scoped))

it.live("a writer's token tells which step has its commit", () => Effect.gen(function*() {
  const db = yield* setUp
  const source = yield* open(db)
  const { until } = yield* follow(db, source)
  const [token, none] = yield* Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const token = yield* sql.withTransaction(Effect.andThen(
      sql`insert into items (id, list, rank, title) values (1, 1, 1, 'a')`.raw,
      PostgresCommitToken.obtain
    ))
    return [token, yield* sql.withTransaction(PostgresCommitToken.obtain)] as const
  }).pipe(Effect.provide(layerOf(db.url)))
  const position = yield* source.positionOf(token)
  assert.strictEqual((yield* until(position)).get("items")!.size, 1)
  assert.isAtLeast(yield* source.positionOf(none), position)
}).pipe(Effect.scoped))

it.live("P9 a server that was elected and is stuck does not hold up the others", () => Effect.gen(function*() {
  const db = yield* setUp
  const stuck = yield* open(db)
  const reached = yield* Deferred.make<void>()
  yield* Effect.forkScoped(Stream.runForEach(stuck.steps(yield* stuck.position), () => Effect.andThen(Deferred.succeed(reached, undefined), Effect.never)))
  yield* db.sql("insert into items (id, list, rank, title) values (1, 1, 1, 'a')")
  yield* Deferred.await(reached)
  const { settle } = yield* follow(db, yield* open(db))
  yield* db.sql("insert into items (id, list, rank, title) values (2, 1, 1, 'b')")
  yield* settle
}).pipe(Effect.scoped))
