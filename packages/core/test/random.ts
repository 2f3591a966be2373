/**
 * Generated values, rows and expressions, rich in what evaluators get wrong: NULL, NaN, −0, infinities, numerics beyond
 * doubles, 1.0 beside 1.00, characters outside the BMP and right below it, combining and padded text, microseconds, years
 * beyond 9999 and before Christ, the limits of integers.
 */
import { Arbitrary, Effect, Schema } from "effect"
import type { Row } from "../src/data/Row.ts"
import type { Value } from "../src/data/Value.ts"
import type { Comparison, Expression, Node, Order } from "../src/query/Plan.ts"
import * as ColumnType from "../src/schema/ColumnType.ts"
import type * as Table from "../src/schema/Table.ts"

type Gen<A> = Arbitrary.Arbitrary<A>

/** Fresh in each run; `HEADWATER_SEED` replays one. */
export const seed = process.env["HEADWATER_SEED"] ?? String(Math.floor(Math.random() * 2 ** 31))

/** Runs a property on generated inputs, and fails with the smallest input that breaks it. */
export const check = <A, R = never>(input: Gen<A>, runs: number, property: (input: A) => Effect.Effect<void, unknown, R>): Effect.Effect<void, never, R> =>
  Effect.gen(function*() {
    const result = yield* Arbitrary.checkEffect(input, (value) => Effect.as(property(value), true), { runs, seed, size: 100, maxShrinks: 300 })
    if (result._tag === "Passed") return
    const cause = result._tag === "Falsified" && result.failure._tag === "PropertyError" ? result.failure.error : undefined
    let why = String(cause)
    for (let at = cause; at instanceof Error; at = at.cause ?? (at as { readonly reason?: unknown }).reason) why = at.message
    return yield* Effect.die(new Error(`HEADWATER_SEED=${seed}: ${why}\n${Arbitrary.formatCheckFailure(result)?.slice(0, 4000)}`, { cause }))
  })

const below = (end: number): Gen<number> => Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: end - 1 })))

/** Shrinks to the first. */
export const pick = <A>(values: ReadonlyArray<A>): Gen<A> => Arbitrary.map(below(values.length), (i) => values[i]!)
/** Shrinks to the first. */
export const oneOf = <A>(...all: ReadonlyArray<Gen<A>>): Gen<A> => Arbitrary.flatMap(below(all.length), (i) => all[i]!)
export const list = <A>(item: Gen<A>, minLength: number, maxLength: number): Gen<Array<A>> => Arbitrary.array(item, { minLength, maxLength })
const boolean = pick([false, true])

export const types = {
  text: { kind: "text" },
  boolean: { kind: "boolean" },
  int4: { kind: "int4" },
  int8: { kind: "int8" },
  float8: { kind: "float8" },
  numeric: { kind: "numeric" },
  uuid: { kind: "uuid" },
  timestamptz: { kind: "timestamptz" },
  jsonb: { kind: "jsonb" },
  /** Neither in the order of their names, nor without a character that needs quotes. */
  enum: { kind: "enum", values: ["low", "high", "it's", "a\\b", "é", "Low", "mid", "x", "y", "z"] }
} as const satisfies { readonly [kind: string]: ColumnType.ColumnType }

export type Kind = keyof typeof types
export const ordered: ReadonlyArray<Kind> = ["text", "boolean", "int4", "int8", "float8", "numeric", "uuid", "timestamptz", "enum"]

const characters = ["a", "b", "A", "B", "%", "_", "\\", " ", "é", "É", "e\u0301", "\u{1f600}", "\u{10ffff}", "\u{10000}", "\ud7ff", "\ue000", "\uffff", "\u0001", "'", "İ", "\u212a", "\n"]
export const text: Gen<string> = Arbitrary.map(list(pick(characters), 0, 5), (parts) => parts.join(""))
/** Rich in wildcards. */
const patterns = Arbitrary.map(list(pick(["%", "a", "_", "b", "\\", "A", "\u{1f600}", "%%", "\\%", "\\_", "\\\\", "é", "\ue000"]), 0, 6), (parts) => parts.join(""))

const digits = (most: number): Gen<string> => Arbitrary.map(list(pick([..."0123456789"]), 1, most), (all) => all.join(""))
const numeric: Gen<string> = oneOf(
  pick(["0", "1", "1.0", "1.00", "-1", "-1.0", "0.00", "NaN", "Infinity", "-Infinity", "0.1", "0.10", "10", "100", "99999999999999999999", "100000000000000000000", "-0.001", "-0.0010"]),
  Arbitrary.map(Arbitrary.all([pick(["", "-"]), digits(30), pick(["", "."]), digits(30)]), ([sign, integer, point, fraction]) =>
    ColumnType.canonical(types.numeric, `${sign}${integer}${point}${point === "" ? "" : fraction}`) as string)
)

const uuids = ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5c"]
const times = [
  "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.500001Z", "2026-01-31T12:00:00.000001Z", "2026-01-31T12:00:01Z", "1969-12-31T23:59:59.999999Z",
  "9999-12-31T23:59:59.999999Z", "10000-01-01T00:00:00Z", "294276-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z", "0001-12-31T00:00:00Z BC", "0044-03-15T12:00:00.25Z BC",
  "0044-03-15T12:00:00.3Z BC", "4714-11-24T00:00:00Z BC", "infinity", "-infinity"
]

/** Canonical values of a type, some of them often. */
export const valueOf: { readonly [K in Kind]: Gen<Value> } = {
  text: oneOf(pick(["", "a", "A", "ab", "aB", "a ", " a"]), text),
  boolean,
  int4: oneOf(pick([0, 1, -1, 9, 10, -10, 2 ** 31 - 1, -(2 ** 31)]), Arbitrary.map(below(2 ** 32), (n) => n | 0)),
  int8: pick([0n, 1n, -1n, 9n, 10n, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 31n]),
  float8: oneOf(pick([0, 1, -1, 0.1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 5e-324, 1.7976931348623157e308, 2 ** 53, 2 ** 53 + 2, 2 ** 63, -0.1]), Arbitrary.map(below(2 ** 32), (n) => (n - 2 ** 31) / 1000)),
  numeric,
  uuid: pick(uuids),
  timestamptz: pick(times),
  jsonb: pick<Value>([false, 0, 1.5, "a", "null", [], {}, { b: 1, a: [null, true] }, ["\u{1f600}", 1e300, 5e-324]]),
  enum: pick(types.enum.values)
}

/** So few that two of them are often equal. */
const often: { readonly [K in Kind]: ReadonlyArray<Value> } = {
  text: ["a", "A", "\ue000", "\u{1f600}"],
  boolean: [true, false],
  int4: [0, 1, 2 ** 31 - 1],
  int8: [0n, 1n, 2n ** 53n + 1n],
  float8: [Number.NaN, 0, 2 ** 53],
  numeric: ["1.0", "1.00", "NaN", "-1"],
  uuid: uuids.slice(0, 2),
  timestamptz: [times[0]!, times[1]!, "infinity"],
  jsonb: [false, []],
  enum: ["low", "high", "it's"]
}

const nullable = (kind: Kind): Gen<Value> =>
  Arbitrary.flatMap(below(8), (n): Gen<Value> => n === 0 ? Arbitrary.Constant(null) : n < 5 ? pick(often[kind]) : valueOf[kind])

/** Two nullable columns of each type beside the key; the enums are one of an enum type and one of text. */
export const table: Table.Any = (() => {
  const column = (type: ColumnType.ColumnType, isNullable: boolean, columnName?: string) =>
    ({ type, isNullable, columnName, defaultValue: undefined, isGenerated: false, schema: undefined })
  const columns = Object.entries(types).flatMap(([kind, type]) => [[`${kind}1`, column(type, true)], [`${kind}2`, column(type, true, `the "${kind}"`)]] as const)
  return { tableName: "odd schema.It's", columns: { id: column(types.int4, false), ...Object.fromEntries(columns) }, primaryKey: ["id"], optimistic: {}, indexes: {} }
})()

export const rows = (most: number): Gen<ReadonlyArray<Row>> =>
  Arbitrary.map(list(Arbitrary.all(Object.fromEntries(Object.keys(types).flatMap((kind) => [[`${kind}1`, nullable(kind as Kind)], [`${kind}2`, nullable(kind as Kind)]]))), 1, most), (all) => all.map((row, id): Row => ({ id, ...row })))

/** Rows that hold a text and a pattern that may well match it. */
export const likeRows: Gen<ReadonlyArray<Row>> = Arbitrary.map(
  list(Arbitrary.all({
    text1: Arbitrary.map(list(oneOf(pick(["a", "b"]), pick(["a", "b"]), pick(["A", "\u{1f600}", "é", "É", "%", "\\"])), 0, 6), (parts) => parts.join("")),
    text2: Arbitrary.map(list(oneOf(pick(["%", "a", "b"]), pick(["%", "a", "b"]), pick(["_", "A", "\u{1f600}", "É", "\\a", "\\%", "\\"])), 0, 6), (parts) => parts.join(""))
  }), 1, 60),
  (all) => all.map((texts, id): Row => ({ ...Object.fromEntries(Object.keys(table.columns).map((property) => [property, null])), id, ...texts }))
)

/** Values for what expressions leave open: one parameter and one principal field of each type. */
export const bound = Arbitrary.map(
  Arbitrary.all([0, 1].map(() => Arbitrary.all(Object.fromEntries(Object.keys(types).map((kind) => [kind, nullable(kind as Kind)]))))),
  ([parameters, principal]) => ({ parameters: parameters as Row, principal: principal as Row })
)

export const column = (kind: Kind, which: 1 | 2, source = "o"): Expression => ({ op: "column", source, column: `${kind}${which}`, type: types[kind], nullable: true })

const literal = (kind: Kind, value: Value): Expression => ({ op: "literal", type: types[kind], value: value === null ? null : ColumnType.toWire(types[kind], value) })

const operand = (kind: Kind, source: string, depth: number): Gen<Expression> =>
  oneOf<Expression>(
    pick([column(kind, 1, source), column(kind, 2, source)]),
    pick([column(kind, 1, source), column(kind, 2, source)]),
    Arbitrary.map(nullable(kind), (value) => literal(kind, value)),
    pick<Expression>([{ op: "parameter", name: kind, type: types[kind], nullable: true }, { op: "principal", field: kind, type: types[kind], nullable: true }]),
    ...kind === "boolean" && depth > 0 ? [condition(source, depth - 1)] : [],
    ...depth > 1
      ? [Arbitrary.map(Arbitrary.all([condition(source, depth - 1), operand(kind, source, 0), operand(kind, source, 0)]), ([condition, then, otherwise]): Expression => ({ op: "if", condition, then, else: otherwise }))]
      : []
  )

/** Types that compare with that one. */
const partners = (kind: Kind): ReadonlyArray<Kind> => kind === "int4" || kind === "int8" || kind === "float8" ? [kind, kind, "int4", "int8", "float8"] : [kind]
const kinds = pick(ordered)
const operators = pick<Comparison>(["=", "<>", "<", "<=", ">", ">="])

/** A condition over the row `source`. */
export const condition = (source: string, depth: number): Gen<Expression> => {
  const leaf: ReadonlyArray<Gen<Expression>> = [
    Arbitrary.flatMap(kinds, (kind) =>
      Arbitrary.map(Arbitrary.all([operators, operand(kind, source, depth), Arbitrary.flatMap(pick(partners(kind)), (other) => operand(other, source, depth))]), ([operator, left, right]): Expression => ({ op: "compare", operator, left, right }))),
    Arbitrary.flatMap(kinds, (kind) =>
      Arbitrary.map(Arbitrary.all([operand(kind, source, depth), oneOf(list(Arbitrary.flatMap(pick(partners(kind)), (other) => Arbitrary.map(nullable(other), (value) => literal(other, value))), 0, 4), list(Arbitrary.flatMap(pick(partners(kind)), (other) => operand(other, source, 0)), 0, 3))]), ([value, list]): Expression => ({ op: "in", value, list }))),
    Arbitrary.flatMap(pick(Object.keys(types) as ReadonlyArray<Kind>), (kind) => Arbitrary.map(operand(kind, source, depth), (value): Expression => ({ op: "isNull", value }))),
    Arbitrary.map(Arbitrary.all([operand("text", source, depth), oneOf(Arbitrary.map(patterns, (pattern) => literal("text", pattern)), operand("text", source, depth)), boolean]), ([value, pattern, insensitive]): Expression => ({ op: "like", value, pattern, insensitive })),
    pick([column("boolean", 1, source), literal("boolean", true), literal("boolean", false), literal("boolean", null)])
  ]
  if (depth <= 0) return oneOf(...leaf)
  const inner = condition(source, depth - 1)
  return oneOf<Expression>(
    ...leaf,
    Arbitrary.map(list(inner, 0, 3), (all) => ({ op: "and", all })),
    Arbitrary.map(list(inner, 0, 3), (any) => ({ op: "or", any })),
    Arbitrary.map(inner, (value) => ({ op: "not", value })),
    Arbitrary.map(exists(source, depth - 1), (query) => ({ op: "exists", query }))
  )
}

/** The same table by another alias, tied to the row around by equality, and with conditions of its own. */
const exists = (outer: string, depth: number): Gen<Node> => {
  const source = `${outer}i`
  return Arbitrary.map(Arbitrary.all([Arbitrary.flatMap(kinds, (kind) => Arbitrary.all([operand(kind, outer, 0), Arbitrary.Constant(column(kind, 1, source))])), list(condition(source, Math.min(depth, 1)), 0, 2)]), ([[left, right], own]): Node => ({
    op: "filter",
    input: { op: "scan", table: table.tableName, as: source },
    where: { op: "and", all: [{ op: "compare", operator: "=", left, right }, ...own] }
  }))
}

/** Any scalar; conditions most often. */
export const expression: Gen<Expression> = oneOf(condition("o", 1), condition("o", 2), condition("o", 3), Arbitrary.flatMap(pick(Object.keys(types) as ReadonlyArray<Kind>), (kind) => operand(kind, "o", 2)))

/** Made total by the key. */
export const order: Gen<ReadonlyArray<Order>> = Arbitrary.map(
  Arbitrary.all([list(Arbitrary.all([Arbitrary.flatMap(kinds, (kind) => oneOf(pick([column(kind, 1), column(kind, 2)]), operand(kind, "o", 2))), boolean]), 0, 3), boolean]),
  ([keys, descending]): ReadonlyArray<Order> => [
    ...keys.map(([value, descending]) => ({ value, descending })),
    { value: { op: "column", source: "o", column: "id", type: types.int4, nullable: false }, descending }
  ]
)
