/**
 * Who watches a channel or a gate, and since when nobody does.
 *
 * What nobody watches lives on for a while, because clients come back: `expired` says which of them have had their time, or are
 * too many.
 *
 * Cost: telling is O(watchers); `expired` is linear, and sorts what is idle.
 */
import type { Patch } from "./patch.ts"

export interface Watcher {
  /** Whether what it watches is ready, or open, may be another answer now. */
  refresh(): void
  /** The result changed, by this. */
  push(patch: Patch, trace: string | undefined): void
  /** The result changed, and nobody knows by what. */
  startOver(): void
}

export class Watchers {
  /** Undefined while somebody watches, or is about to. */
  idleSince: number | undefined = undefined
  readonly #all = new Set<Watcher>()

  add(watcher: Watcher): void {
    this.#all.add(watcher)
  }

  delete(watcher: Watcher, now: number): void {
    this.#all.delete(watcher)
    if (this.#all.size === 0) this.idleSince = now
  }

  refresh(): void {
    for (const watcher of this.#all) watcher.refresh()
  }

  push(patch: Patch, trace: string | undefined): void {
    for (const watcher of this.#all) watcher.push(patch, trace)
  }

  startOver(): void {
    for (const watcher of this.#all) watcher.startOver()
  }
}

/** Those that nobody has watched since `until`, and the longest idle beyond `most`. */
export const expired = <A extends { readonly watchers: Watchers }>(of: Iterable<A>, until: number, most: number): ReadonlyArray<A> => {
  const idle: Array<A> = []
  for (const one of of) if (one.watchers.idleSince !== undefined) idle.push(one)
  idle.sort((a, b) => a.watchers.idleSince! - b.watchers.idleSince!)
  return idle.filter(({ watchers }, i) => watchers.idleSince! <= until || idle.length - i > most)
}
