import { PgClient } from "@effect/sql-pg"
import { assert, layer, test } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { freshDatabase } from "../../../../test/postgres.ts"
import type { Range } from "../../src/change/Range.ts"
import type { Expression, Order } from "../../src/query/Plan.ts"
import * as Sql from "../../src/query/Sql.ts"
import type { ColumnType } from "../../src/schema/ColumnType.ts"
import type * as Table from "../../src/schema/Table.ts"

const mood: ColumnType = { kind: "enum", values: ["bad", "good"] }
const define = (type: ColumnType, isNullable = false) => ({ type, isNullable, columnName: undefined, defaultValue: undefined, isGenerated: false, schema: undefined })
const table: Table.Any = {
  tableName: "tasks",
  columns: { id: define({ kind: "uuid" }), title: define({ kind: "text" }), mood: define(mood), rank: define({ kind: "float8" }), at: define({ kind: "timestamptz" }, true) },
  primaryKey: ["id"],
  optimistic: {},
    indexes: {}
}
const tables: Sql.Tables = new Map([["tasks", table]])
const column = (name: string): Expression => ({ op: "column", source: "t", column: name, type: table.columns[name]!.type, nullable: table.columns[name]!.isNullable })
const parameter = (name: string): Expression => ({ op: "parameter", name, type: table.columns[name]!.type, nullable: false })
const equal = (name: string): Expression => ({ op: "compare", operator: "=", left: column(name), right: parameter(name) })
const by = (name: string, descending = false): Order => ({ value: column(name), descending })

const bound = { parameters: { id: "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", title: "a", mood: "bad", rank: 1, at: "2026-01-31T12:00:00Z" }, principal: {} }
const range = (parts: Partial<Range>): Sql.Query => Sql.range({ table: "tasks", source: "t", where: [], order: [], after: null, limit: null, bound, ...parts }, tables)

const Postgres = Layer.unwrap(Effect.map(
  Effect.acquireRelease(Effect.promise(() => freshDatabase()), ({ drop }) => Effect.promise(drop)),
  ({ url }) => PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })
))

layer(Postgres, { excludeTestServices: true })("against Postgres", (it) => {
  it.effect("the user's indexes serve: equality under any collation, enums, and reading on behind a row", () => Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`CREATE TYPE mood AS ENUM ('bad', 'good')`
    yield* sql`CREATE TABLE tasks (id uuid PRIMARY KEY, title text COLLATE "en-x-icu" NOT NULL, mood mood NOT NULL, rank float8 NOT NULL, at timestamptz)`
    yield* sql`CREATE INDEX by_title ON tasks (title)`
    yield* sql`CREATE INDEX by_mood ON tasks (mood)`
    yield* sql`CREATE INDEX by_rank ON tasks (rank, id)`
    yield* sql`CREATE INDEX by_time ON tasks (at DESC, id)`
    yield* sql`CREATE INDEX by_title_c ON tasks (title COLLATE "C", id)`
    yield* sql`SET enable_seqscan = off`
    yield* sql`SET enable_bitmapscan = off`
    yield* sql`SET enable_sort = off`
    // As for a statement that was prepared long ago: the values are not known.
    yield* sql`SET plan_cache_mode = force_generic_plan`
    const expectIndex = (query: Sql.Query, index: string) => Effect.gen(function*() {
      const plan = (yield* sql.unsafe(`EXPLAIN ${query.text}`, query.parameters).valuesUnprepared).map(([line]) => line).join("\n")
      assert.match(plan, new RegExp(`using ${index} .*\\n.*Index Cond`), `${query.text}\n${plan}`)
    })
    yield* expectIndex(range({ where: [equal("id")] }), "tasks_pkey")
    yield* expectIndex(range({ where: [equal("title")] }), "by_title")
    yield* expectIndex(range({ where: [equal("mood")] }), "by_mood")
    yield* expectIndex(range({ where: [{ op: "in", value: column("title"), list: [parameter("title"), parameter("title")] }] }), "by_title")
    yield* expectIndex(range({ order: [by("rank"), by("id")], after: [1, bound.parameters.id], limit: 10 }), "by_rank")
    yield* expectIndex(range({ order: [by("rank", true), by("id", true)], after: [1, bound.parameters.id], limit: 10 }), "by_rank")
    yield* expectIndex(range({ order: [by("at", true), by("id")], after: [bound.parameters.at, bound.parameters.id], limit: 10 }), "by_time")
    yield* expectIndex(range({ order: [by("title"), by("id")], after: ["a", bound.parameters.id], limit: 10 }), "by_title_c")
  }))
})

test("a statement's text depends on the plan, not on its values", () => {
  const where = [equal("id"), equal("mood"), { op: "like", value: column("title"), pattern: parameter("title"), insensitive: true } as const]
  const one = Sql.range({ table: "tasks", source: "t", where, order: [by("id")], after: null, limit: 5, bound }, tables)
  const other = Sql.range({ table: "tasks", source: "t", where, order: [by("id")], after: null, limit: 6, bound: { parameters: { ...bound.parameters, id: null, title: "%" }, principal: {} } }, tables)
  assert.strictEqual(one.text, other.text)
  assert.strictEqual(
    one.text,
    `SELECT "t"."id"::text AS "id", "t"."title"::text AS "title", "t"."mood"::text AS "mood", "t"."rank"::text AS "rank", "t"."at"::text AS "at" FROM "public"."tasks" AS "t"` +
      ` WHERE ("t"."id" = $1::uuid) AND ("t"."mood" = $2) AND (lower("t"."title" COLLATE "C") LIKE lower($3::text COLLATE "C")) ORDER BY "t"."id" LIMIT $4::bigint`
  )
  assert.deepStrictEqual(other.parameters, [null, "bad", "%", "6"])
})

test("a limit of NULL is none, a negative one lets none pass", () => {
  const limited = (value: bigint | null) =>
    Sql.select({ table: "tasks", source: "t", where: [], order: [], limit: { op: "parameter", name: "n", type: { kind: "int8" }, nullable: true }, project: { id: column("id") } }, tables, { parameters: { n: value }, principal: {} }, { columns: "project" })
  assert.notInclude(limited(null).text, "LIMIT")
  assert.deepStrictEqual(limited(-1n).parameters, ["0"])
})

test("a condition takes its place among a caller's parameters", () => {
  const { parameters, text } = Sql.condition({ op: "and", all: [equal("id"), equal("rank")] }, tables, bound, { first: 4, source: "t", table: "tasks" })
  assert.strictEqual(text, `(("t"."id" = $4::uuid) AND ("t"."rank" = $5::double precision))`)
  assert.deepStrictEqual(parameters, [bound.parameters.id, "1"])
})

test("names are identifiers whatever they hold", () => {
  assert.strictEqual(Sql.table(`My "app.Tasks`), `"My ""app"."Tasks"`)
  assert.strictEqual(Sql.string(`it's a \\`), `E'it''s a \\\\'`)
})
