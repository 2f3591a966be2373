import { assert, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Patch from "../src/internal/patch.ts"
import * as Retained from "../src/internal/retained.ts"

const limits = { windowMillis: 10, windowBytes: 1_000 }

/** A patch of one of three logs after so many milliseconds; or that log starts over, or time passes and the window is swept. */
const Act = Schema.Struct({
  log: Schema.Literals([0, 1, 2]), does: Schema.Literals(["retain", "retain", "retain", "clear", "sweep"]), millis: Schema.Literals([0, 1, 4]),
  length: Schema.Literals([0, 100, 300, 2_000])
})

it.prop("a log that reaches back to a position has all that came after it, and the window keeps its bounds", [Schema.Array(Act).check(Schema.isMaxLength(80))], ([acts]) => {
  const window = new Retained.Window(limits)
  const logs = [0, 1, 2].map(() => Retained.log(0))
  /** All that ever was, since the log started over. */
  const all = logs.map((): Array<{ readonly patch: Patch.Patch; readonly position: number; readonly at: number }> => [])
  let now = 0
  let position = 0
  for (const { does, length, log, millis } of acts) {
    now += millis
    position++
    if (does === "clear") {
      Retained.clear(logs[log]!, position)
      all[log] = []
    } else if (does === "sweep") {
      window.sweep(now)
      for (const { entries } of logs) for (const { at } of entries) assert.isAbove(at, now - limits.windowMillis)
    } else {
      const patch = Patch.emptied(log, "x".repeat(length), `"${"x".repeat(length)}"`)
      window.retain(logs[log]!, patch, position, now)
      all[log]!.push({ patch, position, at: now })
    }
    assert.isAtMost(window.bytes, limits.windowBytes)
    let bytes = 0
    logs.forEach((held, i) => {
      for (const { patch } of held.entries) bytes += Patch.text(patch).length
      for (let from = held.since; from <= position; from++) {
        assert.isTrue(Retained.reaches(held, from))
        assert.deepStrictEqual(Retained.after(held, from), all[i]!.filter((one) => one.position > from).map((one) => one.patch))
      }
      assert.isFalse(Retained.reaches(held, held.since - 1))
    })
    assert.isAtMost(bytes, window.bytes)
  }
  window.sweep(now + limits.windowMillis)
  assert.deepStrictEqual([window.bytes, logs.flatMap(({ entries }) => entries)], [0, []])
})

it("what is oldest is forgotten first, whosever it is", () => {
  const window = new Retained.Window({ windowMillis: 10, windowBytes: 250 })
  const [quiet, busy] = [Retained.log(0), Retained.log(0)]
  const patch = Patch.emptied(1, "t", undefined)
  window.retain(quiet, patch, 1, 0)
  for (let position = 2; window.bytes + Patch.text(patch).length <= 250; position++) window.retain(busy, patch, position, 0)
  assert.deepStrictEqual([quiet.since, busy.since], [0, 0])
  window.retain(busy, patch, 100, 0)
  assert.deepStrictEqual([quiet.since, busy.since, quiet.entries.length], [1, 0, 0])
})
