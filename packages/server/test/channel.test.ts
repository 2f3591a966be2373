import type { Value } from "@headwater/core/Value"
import { assert, it } from "vitest"
import { Channel } from "../src/internal/channel.ts"

it("P7 a mask that turns for some concerns all whose values SQL equates with theirs", () => {
  const isOf = (mine: Value, theirs: Value) => new Channel(1, null as never, { parameters: {}, principal: { level: mine } }, "", 0, null as never)
    .isOf({ parameters: {}, principal: { level: theirs } })
  for (const [mine, theirs] of [["1.0", "1.00"], ["ann", "ann"], [NaN, NaN], [7n, 7n]] as const) assert.isTrue(isOf(mine, theirs), `${mine} ${theirs}`)
  for (const [mine, theirs] of [["1.0", "1.1"], ["ann", "bob"], [NaN, 0], [null, 0], [null, ""]] as const) assert.isFalse(isOf(mine, theirs), `${mine} ${theirs}`)
})
