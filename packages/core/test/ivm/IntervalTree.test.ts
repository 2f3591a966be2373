import { assert, it } from "@effect/vitest"
import type { Value } from "../../src/data/Value.ts"
import { type Entry, type Interval, IntervalTree } from "../../src/internal/ivm/intervalTree.ts"
import { random as seeded, seedOf } from "../query/randomCondition.ts"

it("finds exactly the intervals that contain a value, whatever was inserted and deleted", () => {
  const seed = seedOf()
  const random = seeded(seed)
  const tree = new IntervalTree<number>((a: Value, b: Value) => (a as number) - (b as number))
  const held = new Map<number, Entry<number>>()
  const contains = ({ high, highOpen, low, lowOpen }: Interval, value: number) =>
    (low === undefined || (lowOpen ? value > (low as number) : value >= (low as number)))
    && (high === undefined || (highOpen ? value < (high as number) : value <= (high as number)))
  for (let i = 0; i < 5000; i++) {
    if (held.size > 0 && random.below(100) < (i % 1000 < 500 ? 20 : 70)) {
      const [id, entry] = [...held][random.below(held.size)]!
      tree.delete(entry)
      held.delete(id)
    } else {
      const low = random.below(10) === 0 ? undefined : random.below(50)
      const high = random.below(10) === 0 ? undefined : (low ?? 0) + random.below(20) - 2
      held.set(i, tree.insert({ low, high, lowOpen: random.below(2) === 0, highOpen: random.below(2) === 0 }, i))
    }
    assert.strictEqual(tree.isEmpty, held.size === 0)
    const value = random.below(70)
    const found: Array<number> = []
    tree.search(value, found)
    assert.deepStrictEqual(found.sort((a, b) => a - b), [...held].filter(([, entry]) => contains(entry, value)).map(([id]) => id).sort((a, b) => a - b), `HEADWATER_SEED=${seed}`)
  }
})
