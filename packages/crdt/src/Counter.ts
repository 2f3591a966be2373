/**
 * A number that replicas raise and lower without asking each other: a state-based PN-counter.
 *
 * A state holds, for each replica, how much it has ever added and taken away. Only the replica itself raises its
 * entry, so of two states the greater entry is the later one, and `merge` keeps it. Merging is therefore commutative,
 * associative and idempotent: states may arrive late, repeatedly and in any order. A replica's name must never be used
 * by two replicas at once.
 *
 * Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data Types" (2011), specification 7.
 * `delta` is after Almeida et al., "Delta State Replicated Data Types" (2016).
 *
 * States are plain JSON and never change. Time and memory: O(replicas).
 */
export interface Counter {
  readonly [replica: string]: Entry
}

/** How much a replica has ever added, and how much it has taken away. Neither ever falls. */
export type Entry = readonly [added: number, removed: number]

export const empty: Counter = {}

/** Adds `by`, a safe integer; a negative one takes away. Sums are exact while each entry stays a safe integer. */
export const increment = (counter: Counter, replica: string, by = 1): Counter => {
  if (!Number.isSafeInteger(by)) throw new RangeError(`A counter counts in whole numbers, not by ${by}`)
  if (by === 0) return counter
  const [added, removed] = entryOf(counter, replica)
  return { ...counter, [replica]: by < 0 ? [added, removed - by] : [added + by, removed] }
}

/** The state that knows of everything either of the two does. */
export const merge = (left: Counter, right: Counter): Counter =>
  // Not by assignment, which a replica named "__proto__" would escape.
  Object.fromEntries([
    ...Object.entries(left),
    ...Object.entries(right).map(([replica, entry]): [string, Entry] => {
      const [added, removed] = entryOf(left, replica)
      return [replica, [Math.max(added, entry[0]), Math.max(removed, entry[1])]]
    })
  ])

export const value = (counter: Counter): number => {
  let sum = 0
  for (const [added, removed] of Object.values(counter)) sum += added - removed
  return sum
}

/** What `counter` knows and `since` does not: merged into `since`, or anything later, it does what `counter` would. */
export const delta = (counter: Counter, since: Counter): Counter =>
  Object.fromEntries(Object.entries(counter).filter(([replica, [added, removed]]) => {
    const known = entryOf(since, replica)
    return added > known[0] || removed > known[1]
  }))

const none: Entry = [0, 0]

const entryOf = (counter: Counter, replica: string): Entry => Object.hasOwn(counter, replica) ? counter[replica]! : none
