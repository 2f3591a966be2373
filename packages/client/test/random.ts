/** Reproducible choices: the seed is printed where a test fails. */
export interface Random {
  readonly seed: number
  /** An integer from 0 below `n`. */
  int(n: number): number
  /** True one time in `n`. */
  oneIn(n: number): boolean
  pick<A>(items: ReadonlyArray<A>): A
}

export const make = (seed: number): Random => {
  let state = seed >>> 0
  // mulberry32
  const next = () => {
    state = state + 0x6d2b79f5 >>> 0
    let t = state
    t = Math.imul(t ^ t >>> 15, t | 1)
    t ^= t + Math.imul(t ^ t >>> 7, t | 61)
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32
  }
  const int = (n: number) => Math.floor(next() * n)
  return { seed, int, oneIn: (n) => int(n) === 0, pick: (items) => items[int(items.length)]! }
}

/** Runs a test for fresh seeds, or for the one in SEED. */
export const seeds = (count: number): ReadonlyArray<number> =>
  process.env.SEED === undefined ? Array.from({ length: count }, () => Math.floor(Math.random() * 2 ** 32)) : [Number(process.env.SEED)]

/** Names the seed in whatever fails. */
export const withSeed = (seed: number, run: (random: Random) => void): void => {
  try {
    run(make(seed))
  } catch (error) {
    throw new Error(`SEED=${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}
