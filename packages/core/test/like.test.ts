/** LIKE beside a matcher that tries everything; `query/Semantics.test.ts` compares with Postgres. */
import { assert, it } from "@effect/vitest"
import * as Like from "../src/internal/like.ts"
import * as Random from "./random.ts"

/** By the definition: a table of which prefixes match which. */
const naive = (pattern: string, text: string, insensitive: boolean): boolean => {
  const same = (a: string, b: string) => a === b || insensitive && /[a-z]/i.test(a + b) && a.toLowerCase() === b.toLowerCase()
  const units = [...text]
  let reach = units.map(() => false)
  reach.unshift(true)
  const characters = [...pattern]
  for (let i = 0; i < characters.length; i++) {
    const character = characters[i]!
    const before = reach
    reach = before.map(() => false)
    if (character === "%") before.reduce((any, at, k) => reach[k] = any || at, false)
    else {
      const literal = character === "\\" ? characters[++i]! : character
      for (let k = 0; k < units.length; k++) reach[k + 1] = before[k]! && (character === "_" || same(literal, units[k]!))
    }
  }
  return reach.at(-1)!
}

it(`P11 like matches what its definition says, also for long pieces (HEADWATER_SEED=${Random.seed})`, () => {
  let state = Number(Random.seed) >>> 0
  const below = (n: number) => (state = Math.imul(state, 1664525) + 1013904223 >>> 0, Math.floor(state / 2 ** 32 * n))
  const some = (alphabet: ReadonlyArray<string>, length: number) => Array.from({ length }, () => alphabet[below(alphabet.length)]!).join("")
  let matches = 0
  for (let round = 0; round < 20_000; round++) {
    const long = below(4) === 0
    const alphabet = below(2) === 0 ? ["a", "A", "b"] : ["a", "a", "😀", "😁", "é"]
    const text = some(alphabet, below(long ? 150 : 12))
    // Now and then a part of the text itself, so that long pieces are found too.
    const from = below(text.length + 1)
    const part = [...text].slice(from, from + below(80)).map((character) => below(3) === 0 ? "_" : character).join("")
    const pattern = long ? `${some(["%", "_", ""], 1)}%${part}%${some(["_", "", ...alphabet], below(3))}` : some([...alphabet, "_", "%", "%", "\\_"], below(9))
    for (const insensitive of [false, true]) {
      const actual = Like.compile(pattern, insensitive)!(text)
      if (actual) matches++
      assert.strictEqual(actual, naive(pattern, text, insensitive), JSON.stringify({ pattern, text, insensitive }))
    }
  }
  assert.isAbove(matches, 4000)
})

it("a pattern of thousands of characters takes no more than a moment, whatever the text", () => {
  const text = "a".repeat(300_000)
  const patterns = [`%${"_".repeat(8000)}b%`, `%${"a_".repeat(4000)}b%`, `%_${"a".repeat(8000)}b%`, `%${"a".repeat(8000)}b%`, `%${"a".repeat(4000)}b${"a".repeat(4000)}%`, `%${"_".repeat(8000)}%b`]
  for (const pattern of patterns) {
    for (const insensitive of [false, true]) {
      const start = performance.now()
      assert.isFalse(Like.compile(pattern, insensitive)!(text))
      const millis = performance.now() - start
      assert.isBelow(millis, 5000, `${pattern.slice(0, 10)}… ${insensitive}`)
    }
  }
})
