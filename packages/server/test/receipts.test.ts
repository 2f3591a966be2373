import type { Receipt } from "@headwater/core/Message"
import { assert, it } from "@effect/vitest"
import { Schema } from "effect"
import { Receipts } from "../src/internal/receipts.ts"

const receipt = (seq: number): Receipt => ({ seq, outcome: { type: "success", value: "x".repeat(seq % 7) } })
const bytesOf = (seqs: Iterable<number>) => [...new Set(seqs)].reduce((sum, seq) => sum + JSON.stringify(receipt(seq)).length, 0)

const Act = Schema.Struct({ does: Schema.Literals(["add", "add", "repeat", "send", "acknowledge"]), back: Schema.Literals([0, 1, 2, 5]) })

it.prop("P3 each receipt is sent once, and once more whenever a repeat asks for it, until it is acknowledged", [Schema.Array(Act)], ([acts]) => {
  const receipts = new Receipts()
  let waiting: Array<number> = []
  let sent: Array<number> = []
  let last = 0
  receipts.begin([receipt(++last), receipt(++last)])
  waiting.push(1, 2)
  for (const { back, does } of acts) {
    const seq = last - back
    if (does === "add") {
      receipts.add(receipt(++last))
      waiting.push(last)
    } else if (does === "repeat") {
      const expected = sent.includes(seq) && !waiting.includes(seq)
      assert.strictEqual(receipts.repeat(seq), expected)
      if (expected) waiting.push(seq)
    } else if (does === "acknowledge") {
      receipts.acknowledge(seq)
      waiting = waiting.filter((one) => one > seq)
      sent = sent.filter((one) => one > seq)
    } else {
      const each: Array<number> = []
      assert.deepStrictEqual(JSON.parse(`[${receipts.send((one) => void each.push(one))}]`), waiting.map(receipt))
      assert.deepStrictEqual(each, waiting)
      sent.push(...waiting)
      waiting = []
    }
    assert.strictEqual(receipts.isWaiting, waiting.length > 0)
    assert.strictEqual(receipts.bytes, bytesOf([...waiting, ...sent]))
  }
})

it("of those sent it keeps the last 4096", () => {
  const receipts = new Receipts()
  for (let seq = 1; seq <= 5000; seq++) receipts.add(receipt(seq))
  receipts.send(() => {})
  assert.deepStrictEqual([receipts.repeat(904), receipts.repeat(905)], [false, true])
  receipts.acknowledge(5000)
  assert.deepStrictEqual([receipts.bytes, receipts.isWaiting], [0, false])
})
