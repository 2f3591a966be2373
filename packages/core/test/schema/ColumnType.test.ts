import { PgClient } from "@effect/sql-pg"
import { assert, describe, it as unit, layer } from "@effect/vitest"
import { Arbitrary, Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { inject } from "vitest"
import { sessionSettings } from "../../src/query/Sql.ts"
import * as ColumnType from "../../src/schema/ColumnType.ts"
import * as Random from "../random.ts"

const { types } = Random
const joined = (...parts: ReadonlyArray<ReadonlyArray<string>>) => Arbitrary.map(Arbitrary.all(parts.map((part) => Random.pick(part))), (all) => all.join(""))

/** Text that people might take for a value, often rightly. */
const written: { readonly [kind: string]: Arbitrary.Arbitrary<string> } = {
  timestamptz: joined(
    ["2026", "2024", "1900", "2000", "0001", "0000", "9999", "10000", "294276", "294277", "4713", "4714", "4715", "99"], ["-"],
    ["01", "02", "04", "11", "12", "00", "13"], ["-"], ["01", "23", "24", "28", "29", "30", "31", "32", "00"],
    ["T", " "], ["00", "12", "23", "24"], [":"], ["00", "30", "59", "60"], ["", ":00", ":59", ":60"], ["", ".5", ".123456", ".1000000", ".1234567", ".000001"],
    ["Z", "+00", "+05:30", "-0800", "+15:59:59", "-15:59", "+16", ""], ["", "", " BC"]
  ),
  numeric: joined(["", "-", "+"], ["", "0", "1", "007", "123456789012345678901234567890", "12"], ["", ".", ".0", ".50", ".000", ".000000000000000000001"], ["", "e0", "e3", "E-3", "e+20", "e-40", "e131071", "e131072", "e-16383", "e-16384", "e999999", "e"]),
  uuid: joined(["0190a1b2", "0190A1B2", "{0190a1b2", "0190a1b"], ["-", ""], ["c3d4-7e5f-"], ["8a9b-0c1d2e3f4a5b", "8A9B-0C1D2E3F4A5B", "8a9b-0c1d2e3f4a5g"])
}

const Postgres = Layer.unwrap(Effect.sync(() => PgClient.layer({ url: Redacted.make(inject("services").postgres), maxConnections: 1 })))

layer(Postgres, { excludeTestServices: true })("against Postgres", (it) => {
  it.effect(`what is canonical is what Postgres would store, and prints as (HEADWATER_SEED=${Random.seed})`, () => Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    for (const [setting, value] of Object.entries(sessionSettings)) yield* sql.unsafe("SELECT set_config($1, $2, false)", [setting, value])
    for (const [kind, input] of Object.entries(written)) {
      const type = types[kind as Random.Kind]
      let accepted = 0
      yield* Random.check(Random.list(input, 20, 200), 60, (texts) => Effect.gen(function*() {
        const fitting = texts.flatMap((text) => {
          const value = ColumnType.canonical(type, text) as string | undefined
          return value === undefined ? [] : [{ text, value }]
        })
        accepted += fitting.length
        if (fitting.length === 0) return
        const answers = yield* sql.unsafe(
          `SELECT a::${kind}::text, b::${kind}::text FROM unnest(string_to_array($1, ','), string_to_array($2, ',')) AS t (a, b)`,
          [fitting.map(({ text }) => text).join(","), fitting.map(({ value }) => ColumnType.toText(type, value)).join(",")]
        ).valuesUnprepared as Effect.Effect<ReadonlyArray<readonly [string, string]>, unknown>
        for (const [i, { text, value }] of fitting.entries()) {
          const [stored, again] = answers[i]!.map((answer) => ColumnType.fromText(type, answer))
          if (stored !== value || again !== value) throw new Error(`${text} is ${value} to us, ${String(stored)} to Postgres, and ${value} is ${String(again)}`)
          if (ColumnType.canonical(type, value) !== value) throw new Error(`${value} is not canonical`)
        }
      }))
      assert.isAbove(accepted, 100, kind)
    }
  }))
})

unit.effect("every value travels as JSON and comes back", () =>
  Random.check(Arbitrary.flatMap(Random.pick(Object.keys(types) as ReadonlyArray<Random.Kind>), (kind) => Arbitrary.all({ kind: Arbitrary.Constant(kind), value: Random.valueOf[kind] })), 500, ({ kind, value }) =>
    Effect.sync(() => {
      const type = types[kind]
      assert.deepStrictEqual(ColumnType.fromWire(type, JSON.parse(JSON.stringify(ColumnType.toWire(type, value)))), value)
      assert.deepStrictEqual(ColumnType.canonical(type, value), value)
    })))

describe("what does not fit a type", () => {
  const misfits: { readonly [K in Random.Kind]: ReadonlyArray<unknown> } = {
    text: ["\u0000", "\ud800", "a\udc00", 1],
    boolean: [0, "t"],
    int4: [2 ** 31, -(2 ** 31) - 1, 0.5, Number.NaN, 1n, "1"],
    int8: [2n ** 63n, -(2n ** 63n) - 1n, 1, "1"],
    float8: ["1", 1n],
    numeric: ["", ".", "-", "1e", "0x10", "1_000", " 1", "nan", 1],
    uuid: ["", "0190a1b2c3d47e5f8a9b0c1d2e3f4a5b"],
    timestamptz: ["2026-01-31", "2026-01-31T12:00:00", "2026-02-29T12:00:00Z", "+010000-01-01T00:00:00.000Z", new Date(0), 0],
    jsonb: [undefined, Number.NaN, Number.POSITIVE_INFINITY, 1n, "\u0000", { "\ud800": 1 }, [undefined], new Date(0), new Map(), () => 1, Symbol()],
    enum: ["LOW", "", 0]
  }
  for (const [kind, values] of Object.entries(misfits)) {
    unit(kind, () => {
      for (const value of [null, undefined, ...values]) assert.isUndefined(ColumnType.canonical(types[kind as Random.Kind], value), String(value))
    })
  }
  unit("on the wire", () => {
    for (const value of ["", "1.5", "1e3", "9223372036854775808", 1, null]) assert.isUndefined(ColumnType.fromWire(types.int8, value), String(value))
    for (const value of ["1", "infinity", null]) assert.isUndefined(ColumnType.fromWire(types.float8, value), String(value))
  })
  unit("JSON that goes deeper than anybody needs, or in circles", () => {
    const circle: Array<unknown> = []
    circle.push(circle)
    assert.isUndefined(ColumnType.canonical(types.jsonb, circle))
  })
})

unit("canonical forms: −0 is 0, uuids are lower-case, JSON is a copy", () => {
  assert.isTrue(Object.is(ColumnType.canonical(types.float8, -0), 0))
  assert.isTrue(Object.is(ColumnType.canonical(types.int4, -0), 0))
  assert.isTrue(Object.is(ColumnType.fromText(types.float8, "-0"), 0))
  assert.isTrue(Object.is(ColumnType.fromWire(types.float8, -0), 0))
  assert.strictEqual(ColumnType.canonical(types.uuid, "0190A1B2-C3D4-7E5F-8A9B-0C1D2E3F4A5B"), "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")
  const given = { a: [1], left: undefined, ["__proto__"]: { b: 1 } }
  const copy = ColumnType.canonical(types.jsonb, given) as { a: Array<number> }
  given.a.push(2)
  assert.deepStrictEqual(copy, { a: [1], ["__proto__"]: { b: 1 } } as never)
})

unit("JSON numbers beyond doubles are rounded to the greatest double", () => {
  const huge = `{"a": [${"9".repeat(400)}, -${"9".repeat(400)}], "b": "${"9".repeat(400)}"}`
  assert.deepStrictEqual(ColumnType.fromText(types.jsonb, huge), { a: [Number.MAX_VALUE, -Number.MAX_VALUE], b: "9".repeat(400) })
})

unit("text from a session with other settings is a defect that says so", () => {
  assert.throws(() => ColumnType.fromText(types.timestamptz, "2026-01-31 12:00:00+01"), /TimeZone/)
})
