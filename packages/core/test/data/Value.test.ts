import { assert, it } from "@effect/vitest"
import { Arbitrary, Effect } from "effect"
import { compareText, jsonEquals } from "../../src/data/Value.ts"
import * as Random from "../random.ts"

it.effect(`text is ordered as its UTF-8 bytes are (HEADWATER_SEED=${Random.seed})`, () =>
  Random.check(Arbitrary.all([Random.text, Random.text]), 1000, ([a, b]) => Effect.sync(() => {
    assert.strictEqual(Math.sign(compareText(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)), JSON.stringify([a, b]))
  })))

it("JSON is equal by content, whatever the order of keys", () => {
  const value = { a: [1, { b: null }], c: "d" }
  assert.isTrue(jsonEquals(value, { c: "d", a: [1, { b: null }] }))
  for (const other of [{ a: [1, { b: null }] }, { ...value, e: 1 }, { ...value, a: [{ b: null }, 1] }, { ...value, a: [1, {}] }, { ...value, a: { 0: 1, 1: { b: null } } }, [value], null, "a"]) {
    assert.isFalse(jsonEquals(value, other as never))
    assert.isFalse(jsonEquals(other as never, value))
  }
  assert.isFalse(jsonEquals({ ["toString"]: 1 }, { a: 1 }))
  assert.isFalse(jsonEquals({ a: 1 }, Object.create({ a: 1 }) as never))
})
