/**
 * The rows that any binding of a shape holds, by what an `exists` asks of them.
 *
 * Time: O(1) per call. Memory: one entry per row, however many bindings hold it.
 */
import type { Row } from "../../data/Row.ts"
import { ChurnMap } from "../churnMap.ts"
import type { HashKey } from "./hashKey.ts"
import type { Held } from "./rows.ts"

export class HeldIndex {
  readonly #groups = new ChurnMap<HashKey, ChurnMap<Held, Held>>()
  /** A row with NULL in its key is counted too: it may change. */
  readonly #entries = new ChurnMap<Held, { key: HashKey | undefined; uses: number }>()
  readonly #keyOf: (row: Row) => HashKey | undefined

  constructor(keyOf: (row: Row) => HashKey | undefined) {
    this.#keyOf = keyOf
  }

  get(key: HashKey): Iterable<Held> {
    return this.#groups.get(key)?.values() ?? []
  }

  add(held: Held): void {
    const entry = this.#entries.get(held)
    if (entry !== undefined) {
      entry.uses++
      return
    }
    const key = this.#keyOf(held.row)
    this.#entries.add(held, { key, uses: 1 })
    this.#put(key, held)
  }

  delete(held: Held): void {
    const entry = this.#entries.get(held)!
    if (--entry.uses > 0) return
    this.#entries.delete(held)
    this.#take(entry.key, held)
  }

  /** The row's content is another. */
  move(held: Held): void {
    const entry = this.#entries.get(held)
    if (entry === undefined) return
    const key = this.#keyOf(held.row)
    if (key === entry.key) return
    this.#take(entry.key, held)
    this.#put(key, held)
    entry.key = key
  }

  #put(key: HashKey | undefined, held: Held): void {
    if (key === undefined) return
    let group = this.#groups.get(key)
    if (group === undefined) this.#groups.add(key, group = new ChurnMap())
    group.add(held, held)
  }

  #take(key: HashKey | undefined, held: Held): void {
    if (key === undefined) return
    const group = this.#groups.get(key)!
    group.delete(held)
    if (group.size === 0) this.#groups.delete(key)
  }
}
