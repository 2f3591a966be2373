import { assert, it } from "@effect/vitest"
import { ChurnMap } from "../src/internal/churnMap.ts"
import { random as seeded, seedOf } from "./query/randomCondition.ts"

it("is a Map, whatever comes and goes", () => {
  const seed = seedOf()
  const random = seeded(seed)
  const map = new ChurnMap<number, { readonly n: number }>()
  const model = new Map<number, { readonly n: number }>()
  for (let i = 0; i < 20_000; i++) {
    const key = random.below(i % 4000 < 2000 ? 200 : 40)
    if (model.has(key)) {
      map.delete(key)
      model.delete(key)
    } else {
      const value = { n: i }
      map.add(key, value)
      model.set(key, value)
    }
    assert.strictEqual(map.size, model.size, `HEADWATER_SEED=${seed}`)
    assert.strictEqual(map.get(key), model.get(key))
    if (i % 50 === 0) assert.deepStrictEqual(Array.from(map.values(), ({ n }) => n).sort((a, b) => a - b), Array.from(model.values(), ({ n }) => n).sort((a, b) => a - b))
  }
})
