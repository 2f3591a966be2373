import { assert, it } from "@effect/vitest"
import { Arbitrary, Effect } from "effect"
import * as Net from "../../src/change/Net.ts"
import * as Row from "../../src/data/Row.ts"
import type { Row as RowType } from "../../src/data/Row.ts"
import * as Random from "../random.ts"

const { table } = Random
const same = Row.equals(table)

/** A table's rows by id, before and after a history of writes, and the images that it leaves, in any order. */
const history = Arbitrary.map(
  Arbitrary.all({ rows: Random.rows(4), writes: Random.list(Arbitrary.all([Random.pick([0, 1, 2, 3, 4]), Random.pick([0, 1, 2, 3, -1])]), 0, 12), shuffle: Random.list(Random.pick([0, 1, 2, 3, 5, 7, 11]), 0, 24) }),
  ({ rows, shuffle, writes }) => {
    const before = new Map(rows.slice(0, 2).map((row) => [row["id"] as number, row]))
    const after = new Map(before)
    const images: Array<readonly [RowType, 1 | -1]> = []
    for (const [id, content] of writes) {
      const old = after.get(id)
      // A copy: content counts, not identity.
      const row = content < 0 ? undefined : { ...rows[content % rows.length]!, id }
      if (old !== undefined) images.push([structuredClone(old), -1])
      if (row !== undefined) images.push([row, 1])
      if (row === undefined) after.delete(id)
      else after.set(id, row)
    }
    shuffle.forEach((step, i) => {
      if (images.length > 0) images.push(...images.splice((i * step) % images.length, 1))
    })
    return { before, after, images }
  }
)

it.effect(`a history nets to the difference of its ends, whatever the order of its images (HEADWATER_SEED=${Random.seed})`, () =>
  Random.check(history, 500, ({ after, before, images }) => Effect.sync(() => {
    const net = Net.make()
    for (const [row, weight] of images) net.add(table, row, weight)
    const result = net.result()
    if (result._tag === "CorruptStep") throw new Error(result.message)
    const state = new Map(before)
    for (const change of result.changes) {
      assert.strictEqual(change.table, table.tableName)
      const id = (change.before ?? change.after)!["id"] as number
      const held = state.get(id)
      assert.isTrue(change.before === null ? held === undefined : held !== undefined && same(held, change.before))
      assert.isFalse(change.before !== null && change.after !== null && same(change.before, change.after), "a change that changes nothing")
      if (change.after === null) state.delete(id)
      else state.set(id, change.after)
    }
    assert.strictEqual(state.size, after.size)
    for (const [id, row] of after) assert.isTrue(same(row, state.get(id)!))
  })))

const [row] = [{ ...Object.fromEntries(Object.keys(table.columns).map((property) => [property, null])), id: 1 } as RowType]

it("what does not add up is corrupt, and says where", () => {
  for (const images of [[[row, 1], [row, 1]], [[row, -1], [row, -1]], [[row, 1], [{ ...row, int41: 1 }, 1]], [[row, -1], [{ ...row, int41: 1 }, 1], [{ ...row, int41: 2 }, 1]]] as const) {
    const net = Net.make()
    for (const [image, weight] of images) net.add(table, image, weight)
    const result = net.result()
    assert.strictEqual(result._tag, "CorruptStep")
    assert.strictEqual((result as Net.CorruptStep).table, table.tableName)
  }
})

it("an emptied table begins anew, and content is finer than equality", () => {
  const net = Net.make()
  net.add(table, row, -1)
  net.truncate(table)
  net.add(table, { ...row, numeric1: "1.0" }, -1)
  net.add(table, { ...row, numeric1: "1.00" }, 1)
  assert.deepStrictEqual(net.result(), { _tag: "Changes", changes: [{ table: table.tableName, before: { ...row, numeric1: "1.0" }, after: { ...row, numeric1: "1.00" } }] })
})
