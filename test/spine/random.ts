/** Choices from a seed: the same seed gives the same schedule. */

export interface Random {
  /** 0 ≤ n < below. */
  readonly int: (below: number) => number
  readonly chance: (probability: number) => boolean
  readonly pick: <A>(from: ReadonlyArray<A>) => A
  readonly uuid: () => string
}

export const seedOf = (): number => process.env["HEADWATER_SEED"] ? Number(process.env["HEADWATER_SEED"]) : Math.floor(Math.random() * 2 ** 31)

/** mulberry32 */
export const make = (seed: number): Random => {
  let state = seed | 0
  const next = () => {
    state = state + 0x6d2b79f5 | 0
    let t = Math.imul(state ^ state >>> 15, 1 | state)
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t
    return ((t ^ t >>> 14) >>> 0) / 4294967296
  }
  const int = (below: number) => Math.floor(next() * below)
  const hex = (digits: number) => Array.from({ length: digits }, () => int(16).toString(16)).join("")
  return {
    int,
    chance: (probability) => next() < probability,
    pick: (from) => from[int(from.length)]!,
    uuid: () => `${hex(8)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(12)}`
  }
}
