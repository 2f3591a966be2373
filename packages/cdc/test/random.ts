/** Random input from a seed that is printed with a failure, and that `SEED` gives again. */

export interface Random {
  /** 0 ≤ n < below. */
  readonly int: (below: number) => number
  readonly chance: (probability: number) => boolean
  readonly pick: <A>(from: ReadonlyArray<A>) => A
}

export const seedOf = (): number => process.env["SEED"] ? Number(process.env["SEED"]) : Math.floor(Math.random() * 2 ** 31)

/** mulberry32 */
export const random = (seed: number): Random => {
  let state = seed | 0
  const next = () => {
    state = state + 0x6d2b79f5 | 0
    let t = Math.imul(state ^ state >>> 15, 1 | state)
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t
    return ((t ^ t >>> 14) >>> 0) / 4294967296
  }
  const int = (below: number) => Math.floor(next() * below)
  return { int, chance: (probability) => next() < probability, pick: (from) => from[int(from.length)]! }
}
