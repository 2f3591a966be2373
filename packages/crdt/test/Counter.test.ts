import { assert, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Counter from "../src/Counter.ts"

const replicas = ["a", "b", "c"] as const
const Replica = Schema.Literals(replicas)

/** Replica `at` counts by `by`, or takes over the state of `from`. */
const Step = Schema.Struct({ at: Replica, from: Replica, by: Schema.Literals([-5, -1, 0, 1, 7]), merges: Schema.Boolean })
const History = Schema.Array(Step)

const replay = (history: typeof History.Type) => {
  const counters: Record<string, Counter.Counter> = { a: Counter.empty, b: Counter.empty, c: Counter.empty }
  for (const { at, by, from, merges } of history) {
    counters[at] = merges ? Counter.merge(counters[at]!, counters[from]!) : Counter.increment(counters[at]!, at, by)
  }
  return counters as Record<typeof Replica.Type, Counter.Counter>
}

it.prop("K1 after every step its value is the sum of the increments it has seen, each once", [History], ([history]) => {
  const seen: Record<string, Set<number>> = { a: new Set(), b: new Set(), c: new Set() }
  for (const [index, { at, from, merges }] of history.entries()) {
    if (merges) for (const step of seen[from]!) seen[at]!.add(step)
    else seen[at]!.add(index)
    const counters = replay(history.slice(0, index + 1))
    for (const replica of replicas) {
      let sum = 0
      for (const step of seen[replica]!) sum += history[step]!.by
      assert.strictEqual(Counter.value(counters[replica]), sum)
    }
  }
})

it.prop("K2 merge is commutative, associative and idempotent", [History], ([history]) => {
  const { a, b, c } = replay(history)
  assert.deepStrictEqual(Counter.merge(a, b), Counter.merge(b, a))
  assert.deepStrictEqual(Counter.merge(Counter.merge(a, b), c), Counter.merge(a, Counter.merge(b, c)))
  assert.deepStrictEqual(Counter.merge(a, a), a)
  assert.deepStrictEqual(Counter.merge(Counter.merge(a, b), b), Counter.merge(a, b))
  assert.deepStrictEqual(Counter.merge(a, Counter.empty), a)
})

it.prop("K3 a delta does what the whole state would, and is empty when nothing is new", [History], ([history]) => {
  const { a, b } = replay(history)
  assert.deepStrictEqual(Counter.merge(b, Counter.delta(a, b)), Counter.merge(b, a))
  assert.deepStrictEqual(Counter.delta(a, Counter.merge(a, b)), Counter.empty)
})

it("K4 a replica may have any name", () => {
  const counter = Counter.increment(Counter.increment(Counter.empty, "toString", 2), "__proto__", 3)
  assert.strictEqual(Counter.value(Counter.merge(Counter.empty, JSON.parse(JSON.stringify(counter)))), 5)
})

it("K5 it counts in whole numbers", () => {
  assert.throws(() => Counter.increment(Counter.empty, "a", 0.5), RangeError)
})
