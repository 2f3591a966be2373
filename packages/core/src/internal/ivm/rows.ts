/**
 * One table's rows that somebody holds, each once.
 *
 * Invariant: a key has at most one `Held`, which is in `byKey` while `uses` is above 0. Its `row` is the row's content at the
 * graph's position: an update replaces it there, for all holders at once. Whoever keeps an older content keeps the row itself.
 *
 * Time: O(1) per call. Memory: one entry per row, however many bindings hold it.
 */
import type { Key } from "../../data/Key.ts"
import type { Row } from "../../data/Row.ts"
import type { Value } from "../../data/Value.ts"
import { ChurnMap } from "../churnMap.ts"

export interface Held {
  readonly key: Key
  row: Row
  uses: number
}

export class Rows {
  readonly byKey = new ChurnMap<Key, Held>()
  readonly keyOf: (row: Row) => Key
  readonly #columns: ReadonlyArray<string>

  constructor(keyOf: (row: Row) => Key, columns: ReadonlyArray<string>) {
    this.keyOf = keyOf
    this.#columns = columns
  }

  /** The row's entry, not yet counted. `row` must be exact at the graph's position. */
  intern(row: Row): Held {
    const key = this.keyOf(row)
    return this.byKey.get(key) ?? { key, row, uses: 0 }
  }

  retain(held: Held): void {
    if (held.uses++ === 0) this.byKey.add(held.key, held)
  }

  release(held: Held): void {
    if (--held.uses === 0) this.byKey.delete(held.key)
  }

  /** Whether both have the same content. */
  same(a: Row, b: Row): boolean {
    if (a === b) return true
    for (const column of this.#columns) {
      const left = a[column]!
      const right = b[column]!
      if (left !== right && !equal(left, right)) return false
    }
    return true
  }
}

const equal = (a: Value | undefined, b: Value | undefined): boolean => {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return Object.is(a, b)
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    return a instanceof Uint8Array && b instanceof Uint8Array && a.length === b.length && a.every((byte, i) => byte === b[i])
  }
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((part, i) => equal(part, b[i]))
  }
  const left = a as { readonly [key: string]: Value }
  const right = b as { readonly [key: string]: Value }
  const keys = Object.keys(left)
  return keys.length === Object.keys(right).length && keys.every((key) => Object.hasOwn(right, key) && equal(left[key], right[key]))
}
