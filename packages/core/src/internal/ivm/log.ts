/**
 * What happened to one binding's delivered rows since its subscribers were last told, and the sum of it.
 *
 * Entries are in order of time, three slots each: key, the row that was in the result before, the row after (null for
 * none). The sum is the first `before` and the last `after` of each key.
 */
import type { Key } from "../../data/Key.ts"
import type { Row } from "../../data/Row.ts"

export type Log = Array<Key | Row | null>

export type Netted = (key: Key, before: Row | null, after: Row | null) => void

/** Calls `each` for every key once. O(entries). */
export const net = (log: Log, each: Netted): void => {
  const { length } = log
  if (length === 3) return each(log[0] as Key, log[1] as Row | null, log[2] as Row | null)
  if (length === 6 && log[0] !== log[3]) {
    each(log[0] as Key, log[1] as Row | null, log[2] as Row | null)
    return each(log[3] as Key, log[4] as Row | null, log[5] as Row | null)
  }
  /** Where a key's first entry is; its `after` is brought up to date there. */
  const firsts = new Map<Key, number>()
  for (let i = 0; i < length; i += 3) {
    const first = firsts.get(log[i] as Key)
    if (first === undefined) firsts.set(log[i] as Key, i)
    else log[first + 2] = log[i + 2]!
  }
  for (const [key, i] of firsts) each(key, log[i + 1] as Row | null, log[i + 2] as Row | null)
}

/** Folds a log that grows while its binding waits, so that it is bounded by the keys in it. */
export const compact = (log: Log): void => {
  const netted: Log = []
  net(log, (key, before, after) => before === null && after === null ? undefined : void netted.push(key, before, after))
  log.length = 0
  for (const part of netted) log.push(part)
}
