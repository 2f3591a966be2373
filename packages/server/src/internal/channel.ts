/**
 * A channel: what all see of a binding whose masks hide the same from them, and how that is written.
 *
 * Invariant: the patches that it made since `log.since` take what was shown then to what is shown now. Each is written once,
 * whoever watches, and so is the whole result until something changes. What is more
 * than may be told at once (null) is not written.
 *
 * Time: O(rows mentioned) per patch, O(result) for the whole and after the graph was made anew. Memory: what its log retains,
 * and the whole result's text if somebody needed it since the last change.
 */
import type { Binding, Delta } from "@headwater/core/Graph"
import type { Key } from "@headwater/core/Key"
import type { Position } from "@headwater/core/Position"
import type { Bound } from "@headwater/core/Range"
import type { Row } from "@headwater/core/Row"
import type { Shape } from "@headwater/core/Shape"
import type { Value } from "@headwater/core/Value"
import * as Patch from "./patch.ts"
import * as Retained from "./retained.ts"
import { Watchers } from "./watchers.ts"

/** How rows are named and written. */
export interface Encoder {
  readonly keyOf: (table: string, row: Row) => Key
  /** JSON text of the row's values; those of `masked` columns are replaced by the shape's masks. Remembers what it made. */
  readonly rowText: (shape: Shape, row: Row, masked: number) => string
  /** Which of `shape.masks` hide their column of this row, as bits. */
  readonly masked: (shape: Shape, row: Row, bound: Bound) => number
  /** JSON text of the values of the shape's order, as seen by that principal. */
  readonly boundaryText: (shape: Shape, boundary: ReadonlyArray<Value> | null, bound: Bound) => string
  /** Equal for principals and parameters to whom the shape's masks hide the same. */
  readonly audience: (shape: Shape, bound: Bound) => string
  /** There is a new graph, of which `masked` must ask from now on. */
  readonly restarted: () => void
}

/** What may be told of a channel at once. */
export interface Limits {
  readonly maxResultRows: number
  /** Of the rows' text and keys, in UTF-16 units. */
  readonly maxResultBytes: number
}

/** What all channels write with, and how much they wrote. */
export interface Writing {
  readonly encoder: Encoder
  readonly limits: Limits
  rows: number
}

/** What a channel shows: the same until the graph is made anew, when it gets another binding. */
export interface Shown {
  readonly shape: Shape
  readonly binding: Binding
  readonly ready: boolean
}

export class Channel {
  /** What clients know the binding by. */
  readonly id: number
  readonly shown: Shown
  /** Of one of those who see the same. */
  readonly bound: Bound
  readonly audience: string
  readonly log: Retained.Log
  readonly watchers = new Watchers()
  readonly #writing: Writing
  #whole: Patch.Patch | null | undefined = undefined
  /** By first and last part: of members that gathered the same, one merges for all. */
  readonly #merged = new WeakMap<Patch.Patch, WeakMap<Patch.Patch, Patch.Patch>>()

  constructor(id: number, shown: Shown, bound: Bound, audience: string, since: Position, writing: Writing) {
    this.id = id
    this.shown = shown
    this.bound = bound
    this.audience = audience
    this.log = Retained.log(since)
    this.#writing = writing
  }

  /** Whether it is shown to those who have these values. */
  isOf({ parameters, principal }: Bound): boolean {
    return Object.entries(principal).every(([field, value]) => mayEqual(this.bound.principal[field], value)) &&
      Object.entries(parameters).every(([name, value]) => mayEqual(this.bound.parameters[name], value))
  }

  whole(): Patch.Patch | null {
    if (this.#whole === undefined) {
      const { binding } = this.shown
      const rows = this.#write([binding.rows()])
      this.#whole = rows && this.#patch(true, rows, new Set(rows.keys()), new Set(), binding.boundary)
    }
    return this.#whole
  }

  /** Of those whom a gate keeps out: no rows, and none to come. */
  nothing(): Patch.Patch {
    const { binding, shape } = this.shown
    return Patch.emptied(this.id, shape.select.table, binding.boundary === undefined ? undefined : "null")
  }

  changed({ added, boundary, changed, removed }: Delta): Patch.Patch | null {
    this.#whole = undefined
    if (removed.length > this.#writing.limits.maxResultRows) return null
    const rows = this.#write([added, changed])
    if (rows === null) return null
    const add = new Set<Key>()
    for (const key of rows.keys()) {
      if (add.size === added.length) break
      add.add(key)
    }
    return this.#patch(false, rows, add, new Set(removed), boundary)
  }

  /** Rows that did not change look different. */
  remasked(concerned: ReadonlyArray<Row>): Patch.Patch | null {
    this.#whole = undefined
    const rows = this.#write([concerned])
    return rows && this.#patch(false, rows, new Set(), new Set(), undefined)
  }

  /** What became of a result while the graph was made anew. */
  difference(before: ReadonlyArray<Row>): Patch.Patch | null {
    this.#whole = undefined
    const old = this.#write([before])
    const to = this.whole()
    if (old === null || to === null) return null
    const rows = new Map(to.rows)
    const add = new Set(to.add)
    const remove = new Set<Key>()
    // What it looked like is not known where columns are masked: those who read them may be others by now.
    const { masks } = this.shown.shape
    for (const [key, text] of old) {
      if (!add.delete(key)) remove.add(key)
      else if (masks.length === 0 && rows.get(key) === text) rows.delete(key)
    }
    return { ...to, reset: false, rows, add, remove }
  }

  /** Read for the first time: what came before is not known here. */
  begin(position: Position): void {
    this.#whole = undefined
    Retained.clear(this.log, position)
  }

  /** Of patches that follow each other, at least one. */
  merge(patches: ReadonlyArray<Patch.Patch>): Patch.Patch {
    const first = patches[0]!
    if (patches.length === 1) return first
    const last = patches.at(-1)!
    let byLast = this.#merged.get(first)
    if (byLast === undefined) this.#merged.set(first, byLast = new WeakMap())
    let merged = byLast.get(last)
    if (merged === undefined) byLast.set(last, merged = Patch.mergeAll(patches))
    return merged
  }

  /** In that order. */
  #write(parts: ReadonlyArray<ReadonlyArray<Row>>): Map<Key, string> | null {
    const { shape } = this.shown
    const { encoder, limits } = this.#writing
    if (parts.reduce((count, rows) => count + rows.length, 0) > limits.maxResultRows) return null
    const texts = new Map<Key, string>()
    let left = limits.maxResultBytes
    for (const rows of parts) {
      for (const row of rows) {
        const text = encoder.rowText(shape, row, shape.masks.length === 0 ? 0 : encoder.masked(shape, row, this.bound))
        this.#writing.rows++
        const key = encoder.keyOf(shape.select.table, row)
        if ((left -= text.length + key.length) < 0) return null
        texts.set(key, text)
      }
    }
    return texts
  }

  #patch(
    reset: boolean,
    rows: Map<Key, string>,
    add: Set<Key>,
    remove: Set<Key>,
    boundary: ReadonlyArray<Value> | null | undefined
  ): Patch.Patch {
    const { shape } = this.shown
    return {
      binding: this.id, table: shape.select.table, reset, rows, add, remove,
      boundary: boundary === undefined ? undefined : this.#writing.encoder.boundaryText(shape, boundary, this.bound)
    }
  }
}

/** SQL equates 1.0 and 1.00, and NaN with itself; to take too much for equal only costs. */
const mayEqual = (a: Value | undefined, b: Value): boolean => Object.is(a, b) || a !== undefined && a !== null && b !== null && Number(a) === Number(b)
