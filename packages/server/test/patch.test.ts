import { assert, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Patch from "../src/internal/patch.ts"

const keys = ["a", "b", "c", "d"] as const

/** The result after a step: each key's row version, or 0 for no member. */
const State = Schema.Struct({
  a: Schema.Literals([0, 1, 2, 3]), b: Schema.Literals([0, 1, 2]), c: Schema.Literals([0, 1, 2]), d: Schema.Literals([0, 1]),
  reset: Schema.Literals([false, false, false, true])
})

type State = typeof State.Type

const start: State = { a: 0, b: 0, c: 0, d: 0, reset: false }

const between = (from: State, to: State): Patch.Patch => {
  const rows = new Map<string, string>()
  const add = new Set<string>()
  const remove = new Set<string>()
  for (const key of keys) {
    if (to[key] !== 0 && (to.reset || from[key] !== to[key])) rows.set(key, `["${key}",${to[key]}]`)
    if (to[key] !== 0 && (to.reset || from[key] === 0)) add.add(key)
    if (!to.reset && to[key] === 0 && from[key] !== 0) remove.add(key)
  }
  return { binding: 7, table: "t", reset: to.reset, rows, add, remove, boundary: undefined }
}

/** What a client does with the text of a frame's patch. */
const apply = (held: Map<string, number>, text: string) => {
  const patch = JSON.parse(text) as {
    reset?: true; rows: Array<[string, Array<[string, number]>]>; add: Array<string>; remove: Array<string>
  }
  const members = new Map(patch.reset ? [] : held)
  const rows = new Map(patch.rows.flatMap(([, rows]) => rows))
  for (const key of patch.remove) assert.isTrue(members.delete(key), `${key} is removed, but is not held`)
  for (const key of patch.add) {
    assert.isFalse(members.has(key), `${key} is added, but is held`)
    members.set(key, rows.get(key)!)
  }
  for (const [key, version] of rows) if (members.has(key)) members.set(key, version)
  return members
}

const shown = (state: State) => new Map(keys.flatMap((key) => state[key] === 0 ? [] : [[key, state[key]] as [string, number]]))

it.prop("P9 a merged patch does what its parts do in turn, wherever they are cut", [Schema.Array(State), Schema.Array(Schema.Boolean)], ([states, cuts]) => {
  const patches = states.map((state, i) => between(states[i - 1] ?? start, state))
  let held = new Map<string, number>()
  let gathered: Array<Patch.Patch> = []
  states.forEach((state, i) => {
    gathered.push(patches[i]!)
    if (cuts[i] !== true && i < states.length - 1) return
    held = apply(held, Patch.text(Patch.mergeAll(gathered)))
    gathered = []
    assert.deepStrictEqual(Object.fromEntries(held), Object.fromEntries(shown(state)))
  })
})

it("merging is associative, and what came and left is not mentioned", () => {
  const [one, two, three] = [{ ...start, a: 1 }, { ...start, b: 2 }, { ...start, a: 2 }] as const
  const parts = [between(start, one), between(one, two), between(two, three)] as const
  assert.strictEqual(
    Patch.text(Patch.merge(Patch.merge(parts[0], parts[1]), parts[2])),
    Patch.text(Patch.merge(parts[0], Patch.merge(parts[1], parts[2])))
  )
  assert.isTrue(Patch.isEmpty(Patch.mergeAll([between(start, one), between(one, start)])))
})
