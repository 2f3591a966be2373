/** Closures and SQL mean the same: every expression is evaluated by both, on a real Postgres, row by row. */
import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Arbitrary, Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { freshDatabase } from "../../../../test/postgres.ts"
import type { Bound } from "../../src/change/Range.ts"
import * as RowCodec from "../../src/data/Row.ts"
import type { Row } from "../../src/data/Row.ts"
import type { Json, Value } from "../../src/data/Value.ts"
import { jsonEquals } from "../../src/data/Value.ts"
import type { Expression, Select } from "../../src/query/Plan.ts"
import * as Semantics from "../../src/query/Semantics.ts"
import * as Sql from "../../src/query/Sql.ts"
import * as ColumnType from "../../src/schema/ColumnType.ts"
import * as Naive from "../naive.ts"
import * as Random from "../random.ts"

const { table, types } = Random
const tables: Sql.Tables = new Map([[table.tableName, table]])
const { schema } = Sql.qualifiedName(table.tableName)

const ddl = [
  `CREATE SCHEMA ${Sql.identifier(schema)}`,
  // In another order than the contract declares.
  `CREATE TYPE mood AS ENUM (${types.enum.values.toReversed().map(Sql.string).join(", ")})`,
  `CREATE UNLOGGED TABLE ${Sql.table(table.tableName)} (${Object.entries(table.columns).map(([property, { type }]) => {
    const ddl = property === "enum1" ? "mood" : property === "text2" ? `varchar COLLATE "en-x-icu"` : ColumnType.postgres(type).ddl
    return `${Sql.identifier(Sql.columnName(table, property))} ${ddl}`
  }).join(", ")})`
]

/** Sessions as users may have them; only `Sql.sessionSettings` are pinned. */
const settings = {
  ...Sql.sessionSettings, standard_conforming_strings: "off", escape_string_warning: "off", transform_null_equals: "on", lc_messages: "C", IntervalStyle: "sql_standard",
  xmlbinary: "hex", array_nulls: "off"
}

const Postgres = Layer.unwrap(Effect.map(
  Effect.acquireRelease(Effect.promise(() => freshDatabase()), ({ drop }) => Effect.promise(drop)),
  ({ url }) => PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })
))
const Prepared = Layer.effectDiscard(Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  for (const statement of ddl) yield* sql.unsafe(statement)
  for (const [setting, value] of Object.entries(settings)) yield* sql.unsafe("SELECT set_config($1, $2, false)", [setting, value])
})).pipe(Layer.provideMerge(Postgres))

const run = ({ parameters, text }: Sql.Statement) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text, parameters).valuesUnprepared) as Effect.Effect<
  ReadonlyArray<ReadonlyArray<string | null>>, unknown, SqlClient.SqlClient
>

/** Leaves the rows in the table while the effect runs. */
const holding = <A, E, R>(rows: ReadonlyArray<Row>, effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.gen(function*() {
    yield* sql`TRUNCATE ${sql.literal(Sql.table(table.tableName))}`
    const columns = Object.entries(table.columns)
    const parameters = rows.flatMap((row) => columns.map(([property, { type }]) => row[property] === null ? null : ColumnType.toText(type, row[property]!)))
    const values = rows.map((_, i) => `(${columns.map(([property, { type }], j) => `$${i * columns.length + j + 1}${property === "enum1" ? "::mood" : `::${ColumnType.postgres(type).ddl}`}`).join(", ")})`)
    yield* run({ text: `INSERT INTO ${Sql.table(table.tableName)} VALUES ${values.join(", ")}`, parameters })
    return yield* effect
  }))

const show = (value: unknown) => JSON.stringify(value, (_, part) => typeof part === "bigint" ? `${part}n` : typeof part === "number" && !Number.isFinite(part) ? String(part) : part as unknown)

const read = (type: ColumnType.ColumnType, text: string | null): Value => text === null ? null : ColumnType.fromText(type, text)

const same = (a: Value, b: Value) => Object.is(a, b) || typeof a === "object" && typeof b === "object" && jsonEquals(a as Json, b as Json)

let pairs = 0

const expectSameValues = (rows: ReadonlyArray<Row>, expressions: ReadonlyArray<Expression>, bound: Bound) =>
  Effect.gen(function*() {
    const project = Object.fromEntries(expressions.map((expression, i) => [`e${i}`, expression]))
    const plan: Select = { table: table.tableName, source: "o", where: [], order: [{ value: idColumn, descending: false }], limit: null, project }
    const query = Sql.select(plan, tables, bound, { columns: "project" })
    const answers = yield* run(query)
    assert.strictEqual(answers.length, rows.length)
    expressions.forEach((expression, i) => {
      const evaluate = Semantics.compile(expression, { source: "o", exists: Naive.exists(() => rows) })
      rows.forEach((row, j) => {
        pairs++
        const mine = evaluate(row, bound)
        const theirs = read(query.columns[i]!.type, answers[j]![i]!)
        if (same(mine, theirs)) return
        const alone = Sql.condition(expression, tables, bound, { source: "o", table: table.tableName })
        throw new Error(`${show(mine)} instead of ${show(theirs)}\n${show(expression)}\n${alone.text}\n${show(alone.parameters)}\n${show(row)}\n${show(bound)}`)
      })
    })
  })

const idColumn: Expression = { op: "column", source: "o", column: "id", type: types.int4, nullable: false }

layer(Prepared, { excludeTestServices: true })("against Postgres", (it) => {
  it.effect(`P11 every expression has the value that Postgres gives it, on every row (HEADWATER_SEED=${Random.seed})`, () => Effect.gen(function*() {
    pairs = 0
    const input = Arbitrary.all({ rows: Random.rows(12), bound: Random.bound, expressions: Random.list(Random.expression, 1, 60) })
    yield* Random.check(input, 60, ({ bound, expressions, rows }) => holding(rows, expectSameValues(rows, expressions, bound)))
    console.log(`${pairs} pairs of expression and row`)
    assert.isAbove(pairs, 3000)
  }))

  it.effect("P11 like and ilike match what Postgres matches", () => Effect.gen(function*() {
    const like = (insensitive: boolean): Expression => ({ op: "like", value: Random.column("text", 1), pattern: Random.column("text", 2), insensitive })
    const literals = (rows: ReadonlyArray<Row>) => rows.slice(0, 5).map((row): Expression => ({ op: "like", value: Random.column("text", 1), pattern: { op: "literal", value: row["text2"] as string, type: types.text }, insensitive: false }))
    pairs = 0
    yield* Random.check(Random.likeRows, 60, (rows) => holding(rows, expectSameValues(rows, [like(false), like(true), ...literals(rows)], { parameters: {}, principal: {} })))
    assert.isAbove(pairs, 3000)
  }))

  it.effect("P11 IN compares each element by itself, where Postgres would compare integers and doubles all as doubles", () => Effect.gen(function*() {
    const nulls = Object.fromEntries(Object.keys(table.columns).map((property) => [property, null]))
    const rows: ReadonlyArray<Row> = [{ ...nulls, id: 0, int81: 2n ** 53n + 1n }]
    const list = (...elements: ReadonlyArray<readonly ["int8" | "float8", Json]>): Expression =>
      ({ op: "in", value: Random.column("int8", 1), list: elements.map(([kind, value]) => ({ op: "literal", type: types[kind], value })) })
    yield* holding(rows, expectSameValues(rows, [list(["int8", "9007199254740992"], ["float8", 0]), list(["float8", 9007199254740992])], { parameters: {}, principal: {} }))
  }))

  it.effect("P11 JSON's null at the top reads as NULL, and is NULL in conditions", () => Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const rows: ReadonlyArray<Row> = [0, 1, 2].map((id) => ({ ...Object.fromEntries(Object.keys(table.columns).map((property) => [property, null])), id, jsonb1: id === 0 ? [null] : null }))
    yield* holding(rows, Effect.gen(function*() {
      yield* sql`UPDATE ${sql.literal(Sql.table(table.tableName))} SET jsonb1 = 'null' WHERE id = 1`
      yield* expectSameValues(rows, [Random.column("jsonb", 1), { op: "isNull", value: Random.column("jsonb", 1) }], { parameters: {}, principal: {} })
    }))
  }))

  it.effect("P11 rows read back as they were written", () => Effect.gen(function*() {
    yield* Random.check(Random.rows(12), 20, (rows) => holding(rows, Effect.gen(function*() {
      const range = { table: table.tableName, source: "o", where: [], order: [{ value: idColumn, descending: false }], after: null, limit: null, bound: { parameters: {}, principal: {} } }
      const found = (yield* run(Sql.range(range, tables))).map(RowCodec.fromTexts(table))
      const equals = RowCodec.equals(table)
      for (const [i, row] of rows.entries()) if (!equals(row, found[i]!)) throw new Error(`${show(row)} read back as ${show(found[i])}`)
    })))
  }))

  it.effect("P11 rows have the order that Postgres gives them, and a range goes on behind any row of it", () => Effect.gen(function*() {
    const input = Arbitrary.all({ rows: Random.rows(14), bound: Random.bound, order: Random.order, where: Random.condition("o", 0), limit: Random.pick([null, 0, 1, 3]), from: Random.pick([0, 1, 2, 5, 8, 13]) })
    yield* Random.check(input, 150, ({ bound, from, limit, order, rows, where }) => holding(rows, Effect.gen(function*() {
      const options = { source: "o", exists: Naive.exists(() => rows) }
      const sorted = rows.toSorted(Semantics.comparator(order, { ...options, bound }))
      const ids = sorted.map((row) => row["id"])
      const plan: Select = { table: table.tableName, source: "o", where: [], order, limit: null, project: { id: idColumn } }
      const all = (yield* run(Sql.select(plan, tables, bound, { columns: "project" }))).map(([id]) => Number(id))
      if (show(all) !== show(ids)) throw new Error(`order ${show(ids)} instead of ${show(all)}\n${show(order)}`)

      const valuesOf = Semantics.orderValues(order, options)
      const compareValues = Semantics.compareOrderValues(order)
      assert.deepStrictEqual(rows.toSorted((a, b) => compareValues(valuesOf(a, bound), valuesOf(b, bound))), sorted)
      const edge = sorted[from % sorted.length]!
      const after = valuesOf(edge, bound)
      const toEdge = Semantics.compareToValues(order, options)
      const behind = sorted.filter((row) => toEdge(row, after, bound) > 0)
      assert.deepStrictEqual(behind, sorted.slice(sorted.indexOf(edge) + 1))

      const passes = Semantics.condition([where], options)
      const expected = behind.filter((row) => passes(row, bound)).slice(0, limit ?? undefined).map((row) => row["id"])
      const query = Sql.range({ table: table.tableName, source: "o", where: [where], order, after, limit, bound }, tables)
      const found = (yield* run(query)).map(([id]) => Number(id))
      if (show(found) !== show(expected)) throw new Error(`after ${show(edge["id"])} of ${show(ids)}: ${show(expected)} instead of ${show(found)}\n${show(order)}\n${query.text}\n${show(query.parameters)}`)
    })))
  }))
})
