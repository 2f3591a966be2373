import { assert, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Frames from "../src/internal/frames.ts"
import * as Patch from "../src/internal/patch.ts"

const patches = [1, 2, 3].map((binding) => Patch.emptied(binding, "t", undefined))
const parse = (bytes: Uint8Array) => JSON.parse(new TextDecoder().decode(bytes)) as { readonly [field: string]: unknown }

const Told = Schema.Struct({ patches: Schema.Array(Schema.Literals([0, 1, 2])).check(Schema.isMaxLength(3)), trace: Schema.Literals(["", "a", "b\"c"]) })

it.prop("those who are told the same share bytes, all others do not, and each frame says what it was asked to", [Schema.Array(Told)], ([all]) => {
  const frames = new Frames.Frames(7)
  const made = new Map<string, Uint8Array>()
  for (const told of all) {
    const trace = told.trace === "" ? undefined : told.trace
    const bytes = frames.shared(trace, told.patches.map((i) => patches[i]!))
    const key = JSON.stringify(told)
    if (made.has(key)) assert.strictEqual(bytes, made.get(key))
    made.set(key, bytes)
    assert.deepStrictEqual(parse(bytes), {
      type: "frame", to: 7, ...trace === undefined ? {} : { trace },
      patches: told.patches.map((i) => JSON.parse(Patch.text(patches[i]!)))
    })
  }
  assert.strictEqual(frames.built, made.size)
})

it("what is for one alone is not shared", () => {
  const frames = new Frames.Frames(7)
  const own = frames.own(undefined, "{\"id\":1,\"binding\":1}", [patches[0]!], "{\"seq\":1},{\"seq\":2}")
  assert.deepStrictEqual(Object.keys(parse(own)), ["type", "to", "opened", "patches", "receipts"])
  assert.deepStrictEqual(parse(own)["receipts"], [{ seq: 1 }, { seq: 2 }])
  assert.deepStrictEqual(Object.keys(parse(frames.shared(undefined, [patches[0]!]))), ["type", "to", "patches"])
})
