/**
 * Bindings or gates by the bound values that the `exists` in their condition ask for.
 *
 * Time: O(`exists` in the condition) to add and delete, O(found) to find. An `exists` that asks for no bound value concerns all.
 */
import type { Bound } from "../../change/Range.ts"
import type { Row } from "../../data/Row.ts"
import { ChurnMap } from "../churnMap.ts"
import type { Occurrence, Turn } from "./exists.ts"
import type { HashKey } from "./hashKey.ts"

const noRow: Row = {}

export class ByBound<A extends { readonly bound: Bound }> {
  readonly all = new Set<A>()
  readonly #by = new Map<Occurrence, ChurnMap<HashKey, Set<A>>>()

  constructor(occurrences: ReadonlyArray<Occurrence>) {
    for (const root of occurrences) {
      for (const occurrence of root.all()) if (occurrence.boundPairs.length > 0) this.#by.set(occurrence, new ChurnMap())
    }
  }

  add(item: A): void {
    this.all.add(item)
    for (const [occurrence, groups] of this.#by) {
      const key = occurrence.boundKey(noRow, item.bound)
      if (key === undefined) continue
      const group = groups.get(key)
      if (group === undefined) groups.add(key, new Set([item]))
      else group.add(item)
    }
  }

  delete(item: A): void {
    this.all.delete(item)
    for (const [occurrence, groups] of this.#by) {
      const key = occurrence.boundKey(noRow, item.bound)
      const group = key === undefined ? undefined : groups.get(key)
      if (group?.delete(item) && group.size === 0) groups.delete(key!)
    }
  }

  /** Those that a turn concerns. */
  forEach({ by, key, root, rootKey }: Turn, each: (item: A) => void): void {
    const found = by.boundPairs.length > 0 ? this.#by.get(by)!.get(key)
      : rootKey !== undefined && root.boundPairs.length > 0 ? this.#by.get(root)!.get(rootKey)
      : this.all
    if (found === undefined) return
    for (const item of found) if (rootKey === undefined || root.boundKey(noRow, item.bound) === rootKey) each(item)
  }
}
