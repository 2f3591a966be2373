/**
 * What every change source must keep, on a real Postgres.
 *
 * Its steps are folded into a shadow by a few lines that share nothing with the sources. The shadow is compared with the
 * database whenever a commit token says that it has everything, and with reads at every position in between.
 */
import { assert, describe, it } from "@effect/vitest"
import type { Expression } from "@headwater/core/Plan"
import type { Position } from "@headwater/core/Position"
import * as Column from "@headwater/core/Column"
import type { Range } from "@headwater/core/Range"
import * as Row from "@headwater/core/Row"
import * as Semantics from "@headwater/core/Semantics"
import type { Step } from "@headwater/core/Step"
import * as Table from "@headwater/core/Table"
import { Context, Effect, Exit, Fiber, Layer, References, Scope, Stream } from "effect"
import { Client } from "pg"
import { ChangeSource, type ChangeSourceError } from "../src/ChangeSource.ts"
import * as Install from "../src/Install.ts"
import { database, layerOf, type TestDatabase } from "./database.ts"
import { type Random, random, seedOf } from "./random.ts"

export interface Subject {
  readonly source: "wal" | "triggers"
  /** Of these tables and receipts, in a database where they are installed. */
  readonly layer: (url: string, tables: ReadonlyArray<Table.Any>) => Layer.Layer<ChangeSource, ChangeSourceError>
  /** Positions outlive the layer. */
  readonly isDurable: boolean
  /** Where to make databases, if not on the server of the test run; and which tests to run there. */
  readonly server?: { readonly name: string; readonly url: () => string; readonly only: RegExp }
}

type Source = ChangeSource["Service"]

export const Item = Table.make("items", {
  columns: {
    id: Column.int4,
    list: Column.int4,
    rank: Column.numeric,
    title: Column.text,
    body: Column.text.nullable().named("Body"),
    doubled: Column.int4.generated(),
    at: Column.timestamptz.nullable(),
    data: Column.json().nullable()
  },
  primaryKey: ["id"]
})

export const Entry = Table.make("app.entries", {
  columns: { owner: Column.text, day: Column.int4, amount: Column.float8 },
  primaryKey: ["owner", "day"]
})

/** Kept by a trigger of the application. */
export const Total = Table.make("totals", {
  columns: { list: Column.int4, items: Column.int8 },
  primaryKey: ["list"]
})

export const tables = [Item, Entry, Total]

/** Columns that nobody declared, some dropped; partitions whose columns stand in another order; triggers that write back. */
export const schema = (virtual: boolean) => `
  create schema app;
  create table items (
    gone int, secret text default 'secret', id int primary key, list int not null, rank numeric not null, title text not null, "Body" text,
    doubled int not null generated always as (list * 2) stored, at timestamptz, data jsonb
    ${virtual ? ", shown text generated always as (title || '!') virtual" : ""}
  );
  alter table items drop column gone;
  alter table items alter column "Body" set storage external;
  create table app.entries (owner text collate "C" not null, day int not null, amount float8 not null, primary key (owner, day)) partition by range (day);
  create table app.entries_low partition of app.entries for values from (minvalue) to (50);
  create table app.entries_high (amount float8 not null, note text, day int not null, owner text collate "C" not null, primary key (owner, day));
  alter table app.entries_high drop column note;
  alter table app.entries attach partition app.entries_high for values from (50) to (maxvalue);
  create table totals (list int primary key, items bigint not null);
  create function count_items() returns trigger language plpgsql set search_path = public as $$ begin
    if TG_OP <> 'INSERT' then update totals set items = items - 1 where list = OLD.list; end if;
    if TG_OP <> 'DELETE' then insert into totals values (NEW.list, 1) on conflict (list) do update set items = totals.items + 1; end if;
    -- Writes to the very row, before its own change is captured.
    if TG_OP = 'UPDATE' and NEW.title = 'again' then update items set title = 'again and again' where id = NEW.id; end if;
    return null;
  end $$;
  create trigger a_count after insert or update or delete on items for each row execute function count_items();
`

/** Every row of every table, by table and key. */
type State = ReadonlyMap<string, ReadonlyMap<string, Row.Row>>

const keyOf = (table: Table.Any, row: Row.Row) => table.primaryKey.map((property) => String(row[property])).join("|")

const fold = (state: State, step: Step): State => {
  const next = new Map([...state].map(([table, rows]) => [table, new Map(rows)]))
  for (const table of step.truncated) next.get(table)!.clear()
  for (const chunk of step.chunks) {
    // Removals first: a key may move from one row to another.
    for (const { before, table } of chunk) {
      if (before === null) continue
      const declared = tables.find(({ tableName }) => tableName === table)
      if (declared === undefined) continue
      const key = keyOf(declared, before)
      assert.deepStrictEqual(before, next.get(table)!.get(key) as never, `what was before in ${table}`)
      next.get(table)!.delete(key)
    }
  }
  for (const chunk of step.chunks) {
    for (const { after, table } of chunk) {
      if (after === null) continue
      const declared = tables.find(({ tableName }) => tableName === table)
      if (declared === undefined) continue
      const key = keyOf(declared, after)
      assert.isFalse(next.get(table)!.has(key), `a row of ${table} that is there already: ${key}`)
      next.get(table)!.set(key, after)
    }
  }
  return next
}

const bound = { parameters: {}, principal: {} }

export const whole = (table: Table.Any): Range => ({ table: table.tableName, source: "t", where: [], order: [], after: null, limit: null, bound })

const column = (table: Table.Any, property: string): Expression => ({
  op: "column", source: "t", column: property, type: table.columns[property]!.type, nullable: table.columns[property]!.isNullable
})

/** Some rows of items in an order, at most a few. */
const part = ({ chance, int }: Random): Range => ({
  ...whole(Item),
  where: [{ op: "compare", operator: "<>", left: column(Item, "list"), right: { op: "literal", value: int(4), type: { kind: "int4" } } }],
  order: [{ value: column(Item, "rank"), descending: chance(0.5) }, { value: column(Item, "title"), descending: chance(0.5) }, { value: column(Item, "id"), descending: false }],
  limit: chance(0.7) ? 1 + int(8) : null
})

/** What a range holds in a state, by the slowest definition. */
const expected = (range: Range, state: State) => {
  const passes = Semantics.condition(range.where)
  const rows = [...state.get(range.table)!.values()].filter((row) => passes(row, bound))
  return range.order.length === 0 ? rows : rows.sort(Semantics.comparator(range.order, { bound }))
}

interface Live {
  readonly source: Source
  readonly start: Position
  /** The states at every position that was delivered, oldest first. */
  readonly states: ReadonlyArray<readonly [Position, State]>
  readonly steps: ReadonlyArray<Step>
  /** Ends when the stream does. */
  readonly following: Fiber.Fiber<void, ChangeSourceError>
  /** Waits until that position was delivered. */
  readonly until: (position: Position) => Effect.Effect<State>
  /** Everything that is committed now was delivered and is in the shadow; the shadow is what the database holds. */
  readonly settle: Effect.Effect<State>
  /** Reads now, and compares with the shadow at every position from then on until it is called. */
  readonly check: (ranges: ReadonlyArray<Range>) => Effect.Effect<Effect.Effect<number>>
}

export const follow = Effect.fnUntraced(function*(db: TestDatabase, source: Source, from?: readonly [Position, State]) {
  const start = from?.[0] ?? (yield* source.position)
  const first = from?.[1] ?? (yield* Effect.scoped(Effect.map(source.read(tables.map(whole)), (reading): State => {
    const all = reading.at(start)
    return new Map(tables.map((table, i) => [table.tableName, new Map(all[i]!.rows.map((row) => [keyOf(table, row), row]))]))
  })))
  const states: Array<readonly [Position, State]> = [[start, first]]
  const steps: Array<Step> = []
  const waiting = new Set<() => void>()
  const last = () => states.at(-1)!
  const following = yield* Effect.forkScoped(Stream.runForEachArray(source.steps(start), (batch) =>
    Effect.sync(() => {
      for (const step of batch) {
        assert.isAbove(step.position, last()[0])
        states.push([step.position, fold(last()[1], step)])
        steps.push(step)
      }
      for (const wake of waiting) wake()
    })))
  /** Nobody waits for a stream that has failed. */
  const alive = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.orDie(Effect.raceFirst(effect, Effect.andThen(Fiber.join(following), Effect.die("the steps ended"))))
  const until = (position: Position) =>
    alive(
      Effect.callback<State>((resume) => {
        const wake = () => {
          const found = states.findLast(([at]) => at <= position)
          if (last()[0] >= position) resume(Effect.succeed((states.find(([at]) => at === position) ?? found!)[1]))
        }
        waiting.add(wake)
        wake()
        return Effect.sync(() => void waiting.delete(wake))
      })
    )
  const settle = Effect.gen(function*() {
    const [token] = yield* db.sql("select * from headwater.commit_token()")
    const position = yield* alive(source.positionOf({ epoch: token!["epoch"]!, transaction: token!["transaction"]! }))
    const state = yield* until(position)
    assert.deepStrictEqual(state, yield* contents(db))
    return state
  })
  const check = Effect.fnUntraced(function*(ranges: ReadonlyArray<Range>) {
    const scope = yield* Scope.make()
    const reading = yield* alive(Effect.provideService(source.read(ranges), Scope.Scope, scope))
    return Effect.gen(function*() {
      let compared = 0
      for (const [position, state] of states) {
        if (position < reading.from) continue
        const all = reading.at(position)
        ranges.forEach((range, i) => {
          const { completeTo, rows } = all[i]!
          const within = Semantics.compareToValues(range.order)
          const held = expected(range, state).filter((row) => completeTo === null || within(row, completeTo, bound) <= 0)
          const table = tables.find(({ tableName }) => tableName === range.table)!
          const byKey = (rows: ReadonlyArray<Row.Row>) => range.order.length > 0 ? rows : [...rows].sort((a, b) => keyOf(table, a) < keyOf(table, b) ? -1 : 1)
          assert.deepStrictEqual(byKey(rows), byKey(held), `${range.table} at ${position}`)
        })
        compared++
      }
      yield* Scope.close(scope, Exit.void)
      return compared
    })
  })
  return { source, start, states, steps, following, until, settle, check } satisfies Live
})

/** What the database holds, asked plainly. */
const contents = ({ sql }: TestDatabase): Effect.Effect<State> =>
  Effect.map(
    Effect.forEach(tables, (table) => {
      const columns = Object.entries(table.columns).map(([property, { columnName }]) => `"${columnName ?? property}"::text as "${property}"`)
      return Effect.map(sql(`set timezone = 'UTC'; select ${columns} from ${table.tableName}`), (rows) => {
        const read = Row.fromTexts(table)
        return [table.tableName, new Map(rows.map((row) => read(Object.keys(table.columns).map((property) => row[property]!))).map((row) => [keyOf(table, row), row]))] as const
      })
    }),
    (all) => new Map(all)
  )

export const contract = (subject: Subject) => {
  const setUp = Effect.gen(function*() {
    const db = yield* database(subject.server === undefined ? {} : { server: subject.server.url() })
    yield* db.sql(schema(subject.source === "triggers" && subject.server === undefined))
    yield* Install.install({ source: subject.source, tables }).pipe(Effect.provide(layerOf(db.url)), Effect.orDie)
    return db
  })
  const open = (db: TestDatabase) =>
    Effect.map(
      Layer.build(subject.layer(db.url, tables).pipe(Layer.provide(Layer.succeed(References.MinimumLogLevel, "Error")))),
      (context) => Context.get(context, ChangeSource)
    )
  const live = Effect.gen(function*() {
    const db = yield* setUp
    return { db, ...yield* follow(db, yield* open(db)) }
  })
  const test = <E>(name: string, run: Effect.Effect<unknown, E, Scope.Scope>) => {
    if (subject.server === undefined || subject.server.only.test(name)) it.live(name, () => Effect.scoped(run), 60_000)
  }

  describe(`${subject.source}: the contract of change sources${subject.server === undefined ? "" : ` on ${subject.server.name}`}`, () => {
    test("P1 P2 P6 random concurrent writers: the shadow is the database, and every read is exact at every position", Effect.gen(function*() {
      const seed = seedOf()
      const { check, db, settle, states, steps } = yield* live
      const choose = random(seed)
      let compared = 0
      yield* Effect.gen(function*() {
        for (let round = 0; round < 5; round++) {
          const writers = yield* Effect.forEach([1, 2, 3, 4], (writer) => Effect.forkChild(write(db, random(seed + 100 * round + writer), 15)))
          const checks: Array<Effect.Effect<number>> = []
          for (let reads = 0; reads < 8; reads++) {
            checks.push(yield* check([part(choose), whole(Item), whole(Entry), whole(Total), part(choose)]))
          }
          yield* Effect.forEach(writers, Fiber.join)
          yield* settle
          for (const finish of checks) compared += yield* finish
        }
      }).pipe(Effect.onError(() => Effect.sync(() => console.error(`SEED=${seed}`))))
      console.log(`${subject.source}: ${steps.length} steps, ${compared} comparisons of reads, seed ${seed}`)
      assert.isAbove(states.length, 30)
      assert.isAbove(compared, 100)
    }))

    test("a read of nothing is answered", Effect.gen(function*() {
      const { check, db, settle } = yield* live
      const finish = yield* check([])
      yield* db.sql("insert into items (id, list, rank, title) values (1, 1, 1, '')")
      yield* settle
      assert.isAtLeast(yield* finish, 2)
    }))

    test("P2 a transaction that spans a read is in it or arrives as a step, never both", Effect.gen(function*() {
      const { check, db, settle } = yield* live
      const early = yield* db.connect
      const late = yield* db.connect
      yield* early("begin; insert into items (id, list, rank, title) values (1, 1, 1, 'early')")
      yield* late("begin; select pg_current_xact_id(); insert into items (id, list, rank, title) values (2, 2, 1, 'late')")
      const before = yield* check([whole(Item), whole(Total)])
      yield* late("rollback; begin; insert into items (id, list, rank, title) values (3, 3, 1, 'late')")
      yield* late("commit")
      const between = yield* check([whole(Item), whole(Total)])
      yield* early("commit")
      const after = yield* check([whole(Item), whole(Total)])
      yield* settle
      for (const finish of [before, between, after]) yield* finish
    }))

    test("P6 a transaction arrives whole, what was rolled back never", Effect.gen(function*() {
      const { db, settle, states } = yield* live
      yield* db.sql("insert into app.entries values ('a', 1, 500), ('b', 99, 500)")
      const writers = yield* Effect.forEach([1, 2, 3], (writer) => Effect.forkChild(Effect.gen(function*() {
        const run = yield* db.connect
        for (let i = 0; i < 15; i++) {
          yield* run(`begin; update app.entries set amount = amount - ${writer} where owner = 'a'`)
          yield* run(`savepoint s; update app.entries set amount = 0; delete from app.entries; rollback to s`)
          yield* run(`update app.entries set amount = amount + ${writer} where owner = 'b'; ${i % 4 === 3 ? "rollback" : "commit"}`)
        }
      }).pipe(Effect.scoped)))
      yield* Effect.forEach(writers, Fiber.join)
      yield* settle
      let seen = 0
      for (const [, state] of states) {
        const amounts = [...state.get("app.entries")!.values()].map(({ amount }) => amount as number)
        if (amounts.length === 0) continue
        assert.strictEqual(amounts.reduce((a, b) => a + b), 1000)
        seen++
      }
      assert.isAbove(seen, 3)
    }))

    test("large rows, values out of line that an update leaves alone, and every odd text", Effect.gen(function*() {
      const { check, db, settle } = yield* live
      yield* db.sql(`
        insert into items (id, list, rank, title, "Body", at, data) values
          (1, 1, 1.00, 'large', (select string_agg(md5(i::text), '') from generate_series(1, 640) i), '2026-01-31 12:00:00.123456+02', '{"a": [1, "x"]}'),
          (2, 1, 'NaN', E'quote " comma , back\\\\slash (paren) \\n tab\\t', '', 'infinity', '"\\u00e9"'),
          (3, 2, 12345678901234567890.0001, ' ', null, '0044-03-15 BC', null), (4, 2, -0.0, '😀', E'\\r\\n', null, 'null')`)
      const first = yield* check([whole(Item)])
      yield* db.sql("insert into items (id, list, rank, title, \"Body\") values (5, 4, 1, 'huge', repeat('0123456789', 1000000))")
      yield* settle
      yield* db.sql("update items set list = 5 where id = 5")
      yield* db.sql("update items set list = 3 where id = 1; update items set title = title where id = 2; update items set \"Body\" = \"Body\" || '.' where id = 1")
      const state = yield* settle
      const row = state.get("items")!.get("1")!
      assert.lengthOf(row["body"] as string, 32 * 640 + 1)
      assert.strictEqual(row["doubled"], 6)
      yield* first
    }))

    test("whatever the writer's session is set to", Effect.gen(function*() {
      const { db, settle } = yield* live
      const run = yield* db.connect
      yield* run(`set datestyle = 'German, DMY'; set timezone = 'Asia/Kolkata'; set extra_float_digits = -3; set intervalstyle = 'iso_8601';
        set search_path = ''; set default_transaction_isolation = 'serializable'; set synchronous_commit = off; set standard_conforming_strings = off`)
      yield* run("insert into public.items (id, list, rank, title, at) values (1, 1, 0.1, 'a', '2026-02-03 04:05:06')")
      yield* run("insert into app.entries values ('a', 1, 0.1 + 0.2::float8), ('b', 60, 1e300)")
      yield* settle
      yield* run("set session_replication_role = replica; update public.items set title = 'replica'; delete from app.entries where day = 1")
      yield* settle
    }))

    test("a writer without any privilege on what was installed", Effect.gen(function*() {
      const { db, settle } = yield* live
      const role = `writer_${Math.random().toString(36).slice(2)}`
      yield* db.sql(`create role ${role}; grant usage on schema app to ${role}; grant all on items, totals, app.entries to ${role}`)
      yield* db.sql(`set role ${role}; insert into items (id, list, rank, title) values (1, 1, 1, 'a'); update items set title = 'b'; truncate app.entries`)
      yield* settle
      yield* db.sql(`drop owned by ${role}; drop role ${role}`)
    }))

    test("keys that change, swap, and move between partitions", Effect.gen(function*() {
      const { db, settle } = yield* live
      yield* db.sql("insert into items (id, list, rank, title) select i, i, i, 'row ' || i from generate_series(1, 5) i; insert into app.entries values ('a', 49, 1), ('b', 50, 2)")
      yield* settle
      yield* db.sql("update items set id = id + 100; begin; update items set id = 0 where id = 101; update items set id = 101 where id = 102; update items set id = 102 where id = 0; commit")
      yield* db.sql("update app.entries set day = day + 1; update app.entries set day = day - 10")
      yield* db.sql("begin; delete from items where id = 103; insert into items (id, list, rank, title) values (103, 9, 9, 'back'); delete from items where id = 103; commit")
      yield* settle
    }))

    test("triggers of the application that write back to the row and elsewhere", Effect.gen(function*() {
      const { db, settle } = yield* live
      yield* db.sql("insert into items (id, list, rank, title) values (1, 1, 1, 'a'), (2, 1, 1, 'b')")
      yield* db.sql("update items set title = 'again'; update items set list = 2 where id = 1; delete from items where id = 2")
      const state = yield* settle
      assert.strictEqual(state.get("items")!.get("1")!["title"], "again and again")
    }))

    test("TRUNCATE, alone, between writes of its transaction, and beside reads", Effect.gen(function*() {
      const { check, db, settle, steps } = yield* live
      yield* db.sql("insert into items (id, list, rank, title) select i, i, i, 'row ' || i from generate_series(1, 9) i; insert into app.entries values ('a', 1, 1), ('b', 60, 2)")
      yield* settle
      const before = yield* check([whole(Item), whole(Entry), whole(Total)])
      yield* db.sql("truncate items, app.entries")
      const after = yield* check([whole(Item), whole(Entry), whole(Total)])
      yield* db.sql("begin; insert into items (id, list, rank, title) values (1, 1, 1, 'gone'); truncate items; insert into items (id, list, rank, title) values (1, 1, 1, 'stays'), (2, 1, 1, 'stays'); delete from items where id = 2; commit")
      yield* db.sql("begin; truncate items; rollback; begin; savepoint s; truncate totals; rollback to s; commit")
      const state = yield* settle
      assert.deepStrictEqual([...state.get("items")!.keys()], ["1"])
      assert.includeMembers(steps.flatMap(({ truncated }) => truncated), ["items", "app.entries"])
      yield* before
      yield* after
      // A read that waits for the lock sees the table empty, and says from where on it holds.
      const run = yield* db.connect
      yield* run("begin; truncate items")
      const waiting = yield* Effect.forkChild(check([whole(Item), whole(Entry)]))
      yield* locked(db)
      yield* run("insert into items (id, list, rank, title) values (7, 1, 1, 'new'); commit")
      const finish = yield* Fiber.join(waiting)
      yield* settle
      assert.isAbove(yield* finish, 0)
    }))

    test("P8 connections that are killed leave no gap", Effect.gen(function*() {
      const { check, db, settle, states } = yield* live
      for (let round = 0; round < 3; round++) {
        const writing = yield* Effect.forkChild(write(db, random(round), 10))
        yield* db.sql(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like '%headwater%' and pid <> pg_backend_pid()`)
        yield* db.sql(`select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database() and active_pid is not null`)
        yield* Fiber.join(writing)
        yield* settle
        yield* yield* check([whole(Item), whole(Total)])
      }
      assert.isAbove(states.length, 3)
    }))

    test("P8 a subscriber goes on after any position that is held", Effect.gen(function*() {
      const db = yield* setUp
      const source = yield* open(db)
      const scope = yield* Scope.make()
      const first = yield* Effect.provideService(follow(db, source), Scope.Scope, scope)
      for (let i = 1; i <= 5; i++) {
        yield* db.sql(`insert into items (id, list, rank, title) values (${i}, 1, 1, 'a'); update totals set items = items + 10`)
        yield* first.settle
      }
      yield* Scope.close(scope, Exit.void)
      yield* db.sql("update items set list = 2")
      const middle = first.states[Math.floor(first.states.length / 2)]!
      const second = yield* follow(db, subject.isDurable ? yield* open(db) : source, middle)
      yield* second.settle
      const again = new Map(second.states)
      for (const [position, state] of first.states) if (again.has(position)) assert.deepStrictEqual(again.get(position), state)
    }))

    test("a long idle transaction beside costs neither steps nor exactness", Effect.gen(function*() {
      const { check, db, settle } = yield* live
      const idle = yield* db.connect
      yield* idle("begin isolation level repeatable read; insert into items (id, list, rank, title) values (1000, 1, 1, 'idle')")
      for (let i = 0; i < 20; i++) {
        yield* db.sql(`insert into items (id, list, rank, title) values (${i}, 7, 1, 'beside')`)
      }
      const finish = yield* check([whole(Item), whole(Total)])
      const state = yield* settle
      assert.strictEqual(state.get("items")!.size, 20)
      yield* idle("insert into items (id, list, rank, title) values (1001, 2, 1, 'late'); commit")
      yield* settle
      yield* finish
    }))

    test("transactions prepared in two phases arrive when they are committed", Effect.gen(function*() {
      const { check, db, settle } = yield* live
      const name = `p_${Math.random().toString(36).slice(2)}`
      yield* Effect.addFinalizer(() => Effect.forEach([name, `${name}_2`], (name) => Effect.ignore(Effect.catchDefect(db.sql(`rollback prepared '${name}'`), () => Effect.void))))
      yield* db.sql(`begin; insert into items (id, list, rank, title) values (1, 1, 1, 'prepared'); prepare transaction '${name}'`)
      yield* db.sql(`begin; insert into items (id, list, rank, title) values (2, 2, 1, 'dropped'); prepare transaction '${name}_2'`)
      assert.strictEqual((yield* settle).get("items")!.size, 0)
      const finish = yield* check([whole(Item), whole(Total)])
      yield* db.sql(`commit prepared '${name}'`)
      yield* db.sql(`rollback prepared '${name}_2'`)
      assert.strictEqual((yield* settle).get("items")!.size, 1)
      yield* finish
    }))

    test("P3 receipts are changes of the transaction that wrote them; pruning them is told to nobody", Effect.gen(function*() {
      const { db, settle, steps } = yield* live
      const columns = yield* db.sql("select attname from pg_attribute join pg_type on pg_type.oid = atttypid where attrelid = 'headwater.receipts'::regclass and attnum > 0 and attnotnull and not atthasdef and attname not in ('client', 'seq')")
      const names = columns.map(({ attname }) => attname!)
      yield* db.sql(`begin; insert into items (id, list, rank, title) values (1, 1, 1, 'a');
        insert into headwater.receipts (client, seq, ${names}) values ('c', 7, ${names.map((name) => name === "rejected" ? "false" : "'{}'")}); commit`)
      yield* settle
      yield* db.sql("delete from headwater.receipts")
      yield* settle
      const receipts = steps.flatMap((step) => [...step.chunks].flat().filter(({ table }) => table === "headwater.receipts").map((change) => ({ step, change })))
      assert.lengthOf(receipts, 1)
      const [{ change, step }] = receipts as [typeof receipts[0] & {}]
      assert.isNull(change.before)
      assert.strictEqual(change.after?.["client"], "c")
      assert.strictEqual(change.after?.["seq"], 7n)
      assert.isTrue([...step.chunks].flat().some(({ table }) => table === "items"))
    }))

    test("a token of another epoch is refused; one of a transaction that wrote nothing is answered", Effect.gen(function*() {
      const { settle, source } = yield* live
      const error = yield* Effect.flip(source.positionOf({ epoch: "other", transaction: "1" }))
      assert.strictEqual(error.reason._tag, "EpochChanged")
      yield* settle
      yield* settle
    }))

    test("P9 what was acknowledged is lost to those who ask again", Effect.gen(function*() {
      const db = yield* setUp
      const source = yield* open(db)
      const [old, last] = yield* Effect.scoped(Effect.gen(function*() {
        const { settle, states } = yield* follow(db, source)
        yield* db.sql("insert into items (id, list, rank, title) values (1, 1, 1, 'a')")
        yield* settle
        return [states[0]![0], states.at(-1)![0]] as const
      }))
      yield* source.acknowledge(last)
      const error = yield* Effect.flip(Stream.runDrain(source.steps(old)))
      assert.strictEqual(error.reason._tag, "PositionLost")
      // What the message says can be done.
      const { settle } = yield* follow(db, source)
      yield* db.sql("insert into items (id, list, rank, title) values (2, 1, 1, 'b')")
      yield* settle
    }))
  })
}

/** Until somebody waits for a lock in this database. */
const locked = ({ sql }: TestDatabase) =>
  Effect.repeat(sql("select exists (select from pg_locks where not granted and database = (select oid from pg_database where datname = current_database()))::text as waits"), {
    until: ([row]) => row!["waits"] === "true"
  })

/** Random transactions on a connection of its own; those that conflict are rolled back. */
export const write = ({ url }: TestDatabase, { chance, int, pick }: Random, transactions: number): Effect.Effect<void> =>
  Effect.promise(async () => {
    const client = new Client({ connectionString: url, application_name: "writer" })
    client.on("error", () => {})
    await client.connect()
    const id = () => int(30)
    const statement = () => {
      const kind = int(100)
      if (kind < 30) return `insert into items (id, list, rank, title, "Body") values (${id()}, ${int(4)}, ${int(100) / 10}, 't${int(5)}', ${chance(0.2) ? "repeat('x', 20000)" : "null"}) on conflict (id) do update set title = excluded.title, "Body" = excluded."Body"`
      if (kind < 50) return `update items set list = ${int(4)}, title = '${pick(["a", "again", "c"])}' where id % 7 = ${int(7)}`
      if (kind < 58) return `update items set id = id + 30 - 60 * (id / 30) where id = ${int(60)}`
      if (kind < 68) return `delete from items where id % 11 = ${int(11)}`
      if (kind < 85) return `insert into app.entries values ('${pick(["a", "b", "é"])}', ${int(100)}, ${int(9)}) on conflict (owner, day) do update set amount = app.entries.amount + 1`
      if (kind < 92) return `update app.entries set day = ${int(100)} where day = ${int(100)}`
      if (kind < 97) return `delete from app.entries where day < ${int(30)}`
      return pick(["truncate items", "truncate app.entries", "truncate items, totals"])
    }
    try {
      for (let i = 0; i < transactions; i++) {
        try {
          await client.query(chance(0.2) ? "begin isolation level repeatable read" : "begin")
          await client.query("set local lock_timeout = '60ms'")
          for (let statements = 1 + int(4); statements > 0; statements--) {
            const isTried = chance(0.3)
            if (isTried) await client.query("savepoint s")
            try {
              await client.query(statement())
              if (isTried && chance(0.4)) await client.query("rollback to s")
            } catch (error) {
              if (!isTried) throw error
              await client.query("rollback to s")
            }
          }
          await client.query(chance(0.15) ? "rollback" : chance(0.2) ? "set local synchronous_commit = off; commit" : "commit")
        } catch {
          await client.query("rollback")
        }
      }
    } finally {
      await client.end()
    }
  })
