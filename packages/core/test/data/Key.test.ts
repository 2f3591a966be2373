import { PgClient } from "@effect/sql-pg"
import { assert, layer, test } from "@effect/vitest"
import { Arbitrary, Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { inject } from "vitest"
import * as Key from "../../src/data/Key.ts"
import type { Row } from "../../src/data/Row.ts"
import type { Value } from "../../src/data/Value.ts"
import * as ColumnType from "../../src/schema/ColumnType.ts"
import type * as Table from "../../src/schema/Table.ts"
import * as Random from "../random.ts"

const keyTable = (kinds: ReadonlyArray<Random.Kind>): Table.Any => ({
  tableName: "t",
  columns: Object.fromEntries(kinds.map((kind, i) => [`k${i}`, { type: Random.types[kind], isNullable: false, columnName: undefined, defaultValue: undefined, isGenerated: false, schema: undefined }])),
  primaryKey: kinds.map((_, i) => `k${i}`),
  optimistic: {},
    indexes: {}
})

const input = Arbitrary.flatMap(Random.list(Random.pick(Random.ordered), 1, 3), (kinds) =>
  Arbitrary.all({ kinds: Arbitrary.Constant(kinds), tuples: Random.list(Arbitrary.all(kinds.map((kind) => Random.valueOf[kind])), 2, 10) }))

const Postgres = Layer.unwrap(Effect.sync(() => PgClient.layer({ url: Redacted.make(inject("services").postgres), maxConnections: 1 })))

layer(Postgres, { excludeTestServices: true })("against Postgres", (it) => {
  it.effect(`keys are equal and ordered as Postgres finds their tuples, and are well-formed (HEADWATER_SEED=${Random.seed})`, () => Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* Random.check(input, 400, ({ kinds, tuples }) => Effect.gen(function*() {
      const keyOf = Key.make(keyTable(kinds))
      const keys = tuples.map((tuple) => keyOf(Object.fromEntries(tuple.map((value, i) => [`k${i}`, value]))))
      const values = tuples.map((_, i) => `(${i}, ${kinds.map((_, j) => `$${i * kinds.length + j + 1}`).join(", ")})`)
      const typed = kinds.map((kind, i) => kind === "text" ? `(c${i}::text COLLATE "C")`
        : kind === "enum" ? `array_position(ARRAY[${Random.types.enum.values.map((label) => `$$${label}$$`).join(", ")}]::text[], c${i}::text)`
        : `c${i}::${ColumnType.postgres(Random.types[kind]).cast}`)
      const text = `WITH v AS (SELECT n, ROW(${typed.join(", ")}) AS k FROM (VALUES ${values.join(", ")}) AS v (n, ${kinds.map((_, i) => `c${i}`).join(", ")}))
        SELECT a.n, b.n, a.k = b.k, a.k < b.k FROM v a, v b`
      const pairs = (yield* sql.unsafe(text, tuples.flatMap((tuple) => tuple.map((value, i) => ColumnType.toText(Random.types[kinds[i]!], value)))).valuesUnprepared) as ReadonlyArray<readonly [number, number, boolean, boolean]>
      for (const [a, b, isEqual, isLess] of pairs) {
        const [x, y] = [keys[a]!, keys[b]!]
        if ((x === y) !== isEqual || x < y !== isLess) throw new Error(`${JSON.stringify([x, y])} is wrong for ${kinds.join(", ")}: ${String(tuples[a])} and ${String(tuples[b])}`)
        if (!x.isWellFormed()) throw new Error(`${JSON.stringify(x)} is not well-formed`)
        const hash = (tuple: ReadonlyArray<Value>) => tuple.map((value, i) => JSON.stringify(ColumnType.hashKey(Random.types[kinds[i]!], value))).join()
        if ((hash(tuples[a]!) === hash(tuples[b]!)) !== isEqual) throw new Error(`hashKey is wrong for ${String(tuples[a])} and ${String(tuples[b])}`)
        if (kinds.length > 1) continue
        const type = Random.types[kinds[0]!]
        const [p, q] = [tuples[a]![0]!, tuples[b]![0]!]
        const order = Math.sign(ColumnType.compare(type)(p, q))
        if (order !== (isEqual ? 0 : isLess ? -1 : 1) || ColumnType.equals(type)(p, q) !== isEqual) throw new Error(`compare is wrong for ${kinds[0]}: ${String(p)} and ${String(q)}`)
      }
    }))
  }))
})

test("a key of one uuid or of one plain text is that value", () => {
  const row: Row = { k0: "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b" }
  assert.strictEqual(Key.make(keyTable(["uuid"]))(row), row["k0"])
  assert.strictEqual(Key.make(keyTable(["text"]))({ k0: "Ünïcode \u{1f600}" }), "Ünïcode \u{1f600}")
})

test("labels that an enum does not declare come after those it does, apart from each other", () => {
  const keyOf = Key.make(keyTable(["enum"]))
  const keys = ["low", "z", "new", "newer"].map((k0) => keyOf({ k0 }))
  assert.deepStrictEqual(keys.toSorted(), keys)
  assert.strictEqual(new Set(keys).size, 4)
})
