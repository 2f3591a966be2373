import { assert, describe, it } from "@effect/vitest"
import * as Column from "@headwater/core/Column"
import type { Change } from "@headwater/core/Change"
import type { CommitToken, Position } from "@headwater/core/Position"
import type { Range } from "@headwater/core/Range"
import type { Row } from "@headwater/core/Row"
import type { Step } from "@headwater/core/Step"
import * as Table from "@headwater/core/Table"
import { type Cause, Context, Effect, Exit, Fiber, Layer, Queue, References, Scope, Stream } from "effect"
import { Client } from "pg"
import { inject } from "vitest"
import { freshDatabase, type PostgresOptions, startPostgres } from "../../../test/postgres.ts"
import { ChangeSource, type ChangeSourceError, type Reading } from "../src/ChangeSource.ts"
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

const quiet = Layer.provide(Layer.succeed(References.MinimumLogLevel, "Fatal"))

const sourceOf = (url: string) => layer(url, [Item]).pipe(quiet)

const startServer = (options?: PostgresOptions) =>
  Effect.acquireRelease(Effect.promise(() => startPostgres(options)), (server) => Effect.promise(server.stop))

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

const build = <E>(source: Layer.Layer<ChangeSource, E>) => Effect.map(Layer.build(source), (context) => Context.get(context, ChangeSource))

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

  it.live("P2 reads are exact where a subscriber stands that lags, however many there were", () =>
    Effect.gen(function*() {
      const { source, sql } = yield* database
      const wal = yield* build(source)
      const start = yield* wal.position
      yield* sql("insert into items values (1, 'a', null)")
      for (let reads = 0; reads < 3; reads++) {
        const reading = yield* wal.read([all])
        assert.deepEqual(reading.at(start)[0]!.rows, [])
      }
      const [step] = yield* Stream.runCollect(Stream.take(wal.steps(start), 1))
      yield* wal.acknowledge(step!.position)
      const reading = yield* wal.read([all])
      assert.lengthOf(reading.at(step!.position)[0]!.rows, 1)
    }).pipe(Effect.scoped))

  it.live("P2 a commit that the log has before any snapshot sees it is in reads, once", () =>
    Effect.gen(function*() {
      // A commit that waits for a standby was written, and is visible to nobody.
      const server = yield* startServer({ settings: { synchronous_commit: "local" } })
      const { connect, source, sql } = yield* databaseOn(server.url())
      yield* sql("alter system set synchronous_standby_names = 'nobody'")
      yield* sql("select pg_reload_conf()")
      yield* Effect.repeat(sql("show synchronous_standby_names"), { until: ([row]) => row!["synchronous_standby_names"] === "nobody" })
      const wal = yield* build(source)
      const next = yield* steps(wal)
      yield* sql("insert into items values (1, 'a', null), (2, 'b', null)")
      const first = yield* next
      const slow = yield* connect
      yield* slow("set synchronous_commit = on")
      const committing = yield* Effect.forkScoped(slow("update items set title = 'c' where id = 2"))
      const second = yield* next
      const titles = (reading: Reading, position: Position) => reading.at(position)[0]!.rows.map(({ title }) => title).toSorted((a, b) => (String(a) < String(b) ? -1 : 1))
      assert.deepEqual((yield* sql("select title from items order by 1")).map(({ title }) => title), ["a", "b"])
      const unseen = yield* wal.read([all])
      assert.deepEqual(titles(unseen, first.position), ["a", "b"])
      assert.deepEqual(titles(unseen, second.position), ["a", "c"])
      yield* sql("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
      yield* Fiber.join(committing)
      const seen = yield* wal.read([all])
      assert.deepEqual(titles(seen, second.position), ["a", "c"])
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

  it.live("an update of columns that nobody declared makes no step", () =>
    Effect.gen(function*() {
      const { source, sql } = yield* database
      yield* sql("alter table items add column views int not null default 0")
      const wal = yield* build(source)
      const next = yield* steps(wal)
      yield* sql("insert into items values (1, 'a', null)")
      yield* sql("update items set views = views + 1")
      yield* sql("begin; update items set title = 'b'; update items set title = 'a'; commit")
      yield* sql("update items set title = 'c'")
      assert.deepEqual(changes(yield* next).map(({ after }) => after?.["title"]), ["a"])
      const last = yield* Effect.repeat(next, { until: (step) => changes(step).length > 0 })
      assert.deepEqual(changes(last).map(({ after, before }) => [before?.["title"], after?.["title"]]), [["a", "c"]])
    }).pipe(Effect.scoped))

  it.live("P9 what does not fit into memory waits on disk: the same changes, as often as one asks", () =>
    Effect.gen(function*() {
      const { sql, url } = yield* database
      const wal = yield* build(layer(url, [Item], { memoryBytes: 20_000 }).pipe(quiet))
      const start = yield* wal.position
      yield* sql(`begin; insert into items select i, 'gone', repeat('x', 100) from generate_series(1, 500) i; truncate items;
        insert into items select i, 'new', repeat('x', 100) from generate_series(1, 5000) i;
        update items set title = 'updated' where id % 2 = 0; update items set id = id + 10000 where id % 3 = 0; delete from items where id % 5 = 0; commit`)
      for (let id = 20_000; id < 20_100; id++) yield* sql(`insert into items values (${id}, 'small', repeat('y', 1000))`)
      const waiting = yield* Effect.forkScoped(wal.read([all]))
      const given = yield* Stream.runCollect(Stream.take(wal.steps(start), 101))
      const [first] = given
      assert.deepEqual(first!.truncated, ["items"])
      const rows = (step: Step) =>
        changes(step).map(({ after, before }) => {
          assert.isNull(before)
          assert.isFrozen(after)
          return after!
        })
      assert.isAtMost(Math.max(...[...first!.chunks].map((chunk) => chunk.length)), 1024)
      const byId = (rows: ReadonlyArray<Row>) => [...rows].sort((a, b) => (a["id"] as number) - (b["id"] as number))
      const held = yield* sql("select id, title, body from items order by id")
      const received = given.flatMap(rows)
      assert.deepEqual(byId(received), held as never)
      assert.deepEqual(byId(given.flatMap(rows)), byId(received))
      const reading = yield* Fiber.join(waiting)
      assert.deepEqual(byId(reading.at(given.at(-1)!.position)[0]!.rows), held as never)
      assert.deepEqual(byId(reading.at(first!.position)[0]!.rows), byId(rows(first!)))
    }).pipe(Effect.scoped))

  it.live("what was committed while a table was not published is read again, or refused", () =>
    Effect.gen(function*() {
      const { sql, url } = yield* database
      const wal = yield* build(layer(url, [Item], { lease: "150 millis" }).pipe(quiet))
      const next = yield* steps(wal)
      yield* sql("begin; drop publication headwater; insert into items values (1, 'unpublished', null); create publication headwater for table items; commit")
      // Postgres 18 leaves out what is not published, older ones end the connection.
      const error = yield* Effect.flip(next as Effect.Effect<Step, ChangeSourceError>)
      assert.strictEqual(error.reason._tag, "PositionLost")
      const again = yield* steps(wal)
      const reading = yield* wal.read([all])
      assert.lengthOf(reading.at(reading.from)[0]!.rows, 1)
      yield* sql("insert into items values (2, 'published', null)")
      assert.deepEqual(changes(yield* again).map(({ after }) => after?.["id"]), [2])

      yield* sql("alter publication headwater drop table items")
      const refused = yield* Effect.flip(again as Effect.Effect<Step, ChangeSourceError>)
      assert.strictEqual(refused.reason._tag, "SourceMisconfigured")
      assert.include(refused.message, "items is not published")
    }).pipe(Effect.scoped))

  it.live("rows that change without the log having it are read again: rewrites, columns made anew, partitions truncated alone", () =>
    Effect.gen(function*() {
      const { connect, url } = yield* database
      const sql = yield* connect
      yield* sql(`create table parted (id int not null, v text not null, primary key (id)) partition by range (id);
        create table parted_low partition of parted for values from (0) to (100)`)
      const Parted = Table.make("parted", { columns: { id: Column.int4, v: Column.text }, primaryKey: ["id"] })
      const install = Effect.provide(Install.install({ source: "wal", tables: [Item, Parted] }), layerOf(url))
      yield* install
      const eager = yield* build(layer(url, [Item, Parted], { lease: "150 millis" }).pipe(quiet))
      const wal = yield* build(layer(url, [Item, Parted]).pipe(quiet))
      const whole = (table: string): Range => ({ ...all, table })
      const rowsOf = (source: ChangeSource["Service"], table: string) =>
        Effect.scoped(Effect.map(source.read([whole(table)]), (reading) => reading.at(reading.from)[0]!.rows))
      yield* sql("insert into items values (1, 'a', null); insert into parted values (1, 'a')")

      let hurried = yield* steps(eager)
      let next = yield* steps(wal)
      const lost = (step: Effect.Effect<Step, ChangeSourceError | Cause.Done>) =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(Effect.forever(step))
          assert.strictEqual(error._tag === "ChangeSourceError" && error.reason._tag, "PositionLost")
        })
      const alterations: ReadonlyArray<readonly [statement: string, table: string, column: string, value: string | null]> = [
        ["alter table items alter title type text using upper(title)", "items", "title", "A"],
        ["alter table items drop body; alter table items add body text default 'new'", "items", "body", "new"],
        ["update parted set v = 'b'; alter table parted_low alter id set default 1; truncate parted_low; insert into parted values (1, 'c')", "parted", "v", "c"]
      ]
      for (const [statement, table, column, value] of alterations) {
        yield* sql(statement)
        // With a short lease soon, even if nobody writes; else with the next write.
        yield* lost(hurried)
        hurried = yield* steps(eager)
        assert.strictEqual((yield* rowsOf(eager, table))[0]![column], value)
        yield* sql(`insert into ${table} values (2, 'x'); delete from ${table} where id = 2`)
        yield* lost(next)
        next = yield* steps(wal)
        assert.strictEqual((yield* rowsOf(wal, table))[0]![column], value)
      }

      // Neither is TRUNCATE a loss, nor what only concerns others.
      const before = yield* eager.position
      const [lease] = yield* sql("select min(lease_until)::text as until from headwater.servers")
      yield* sql("truncate items, parted; alter table items add other int default 1; create index on items (title); insert into items values (3, 'x')")
      yield* Effect.repeat(sql(`select min(lease_until) > '${lease!["until"]}'::timestamptz + interval '300 milliseconds' as renewed from headwater.servers`), {
        until: ([row]) => row!["renewed"] as unknown as boolean
      })
      const given = yield* Stream.runCollect(Stream.take(eager.steps(before), 1))
      assert.includeMembers([...given[0]!.truncated], ["items", "parted"])
    }).pipe(Effect.scoped))

  it.live("a read does not wait until the server writes an asynchronous commit to the log by itself", () =>
    Effect.gen(function*() {
      // It would after three times this delay.
      const server = yield* startServer({ settings: { wal_writer_delay: "10s", max_replication_slots: 1 } })
      const { source, sql, url } = yield* databaseOn(server.url())
      const wal = yield* build(source)
      yield* sql("set synchronous_commit = off")
      let id = 0
      // Until it is this commit, and not a lease that is renewed beside it, that ends the log.
      yield* Effect.repeat(
        Effect.andThen(Effect.suspend(() => sql(`insert into items values (${++id}, 'a', null)`)), sql("select pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn() as late")),
        { until: ([row]) => row!["late"] as unknown as boolean }
      )
      const before = yield* wal.position
      const started = performance.now()
      const reading = yield* wal.read([all])
      const rows = reading.at(before)[0]!.rows
      assert.isBelow(performance.now() - started, 5_000)
      assert.isBelow(rows.length, id)
      assert.lengthOf(reading.at(yield* wal.position)[0]!.rows, id)

      const second = yield* Effect.flip(build(sourceOf(url)))
      assert.strictEqual(second.reason._tag, "SourceMisconfigured")
      assert.include(second.message, "max_replication_slots")
    }).pipe(Effect.scoped))

  it.live("says what is wrong with the database, and what to do", () =>
    Effect.gen(function*() {
      const { name, sql, url } = yield* database
      const fails = (config: string, tables: ReadonlyArray<Table.Any> = [Item]) => Effect.flip(build(layer(config, tables).pipe(quiet)))
      const says = (error: ChangeSourceError, tag: string, ...parts: ReadonlyArray<string>) => {
        assert.strictEqual(error.reason._tag, tag, error.message)
        for (const part of parts) assert.include(error.message, part)
      }
      const Other = Table.make("others", { columns: { id: Column.int4 }, primaryKey: ["id"] })
      says(yield* fails(url, [Item, Other]), "CatalogMismatch", "others")
      yield* sql("create table others (id int primary key)")
      says(yield* fails(url, [Item, Other]), "SourceMisconfigured", "others is not published", "headwater install")
      yield* sql("alter table items replica identity default")
      says(yield* fails(url), "SourceMisconfigured", "items", "REPLICA IDENTITY FULL")
      yield* sql("alter table items replica identity full")

      const role = `${name}_role`
      yield* sql(`create role ${role} login password 'x'; grant select on items to ${role}`)
      yield* Effect.addFinalizer(() => sql(`drop owned by ${role}; drop role ${role}`))
      const as = new URL(url)
      as.username = role
      says(yield* fails(as.href), "SourceMisconfigured", "permission denied", "headwater install")
      yield* Effect.provide(Install.install({ source: "wal", tables: [Item], role }), layerOf(url))
      says(yield* fails(as.href), "SourceMisconfigured", "REPLICATION")
      yield* sql(`alter role ${role} replication`)
      yield* Effect.scoped(build(layer(as.href, [Item]).pipe(quiet)))

      yield* Effect.provide(Install.install({ source: "triggers", tables: [Item] }), layerOf(url))
      says(yield* fails(url), "SourceMisconfigured", "triggers")
      yield* Effect.provide(Install.uninstall, layerOf(url))
      says(yield* fails(url), "SourceMisconfigured", "headwater install")
    }).pipe(Effect.scoped))

  it.live("another database in the same place is another epoch", () =>
    Effect.gen(function*() {
      const one = yield* startServer()
      const sql = yield* connectTo(one.url())
      yield* sql(setup)
      yield* Effect.provide(Install.install({ source: "wal", tables: [Item] }), layerOf(one.url()))
      const wal = yield* build(sourceOf(one.url()))
      const next = yield* steps(wal)
      yield* Effect.promise(one.kill)
      const other = yield* startServer({ port: one.port, settings: { wal_level: "replica" } })
      const error = yield* Effect.flip(next as Effect.Effect<Step, ChangeSourceError>)
      assert.strictEqual(error.reason._tag, "EpochChanged")
      assert.strictEqual((yield* Effect.flip(wal.position)).reason._tag, "EpochChanged")

      yield* (yield* connectTo(other.url()))(setup)
      const low = yield* Effect.flip(build(sourceOf(other.url())))
      assert.strictEqual(low.reason._tag, "SourceMisconfigured")
      assert.include(low.message, "wal_level")
    }).pipe(Effect.scoped))

  for (const major of [14, 16]) {
    it.live.skipIf(process.platform !== "linux" || process.arch !== "x64")(`reads the log of Postgres ${major}`, () =>
      Effect.gen(function*() {
        const server = yield* startServer({ pkg: `postgres-${major}` })
        const { connect, source, sql } = yield* databaseOn(server.url())
        const wal = yield* build(source)
        const next = yield* steps(wal)
        const slow = yield* connect
        yield* slow("begin; insert into items values (1, 'slow', repeat('x', 20000))")
        yield* sql("insert into items values (2, 'fast', null)")
        const first = yield* next
        const reading = yield* wal.read([all])
        yield* slow("savepoint s; insert into items values (3, 'undone', null); rollback to s; commit")
        const second = yield* next
        yield* sql("update items set title = 'updated' where id = 1")
        const third = yield* next
        const titles = (position: Position) => reading.at(position)[0]!.rows.map(({ id, title }) => `${id} ${title}`).sort()
        assert.deepEqual(titles(first.position), ["2 fast"])
        assert.deepEqual(titles(second.position), ["1 slow", "2 fast"])
        assert.deepEqual(titles(third.position), ["1 updated", "2 fast"])
        const [token] = yield* sql("select * from headwater.commit_token()") as unknown as Effect.Effect<[CommitToken]>
        assert.strictEqual(yield* wal.positionOf(token), (yield* next).position)
      }).pipe(Effect.scoped))
  }
})
