/**
 * The first rows of an ordered result: those that a limit shows, a margin behind them, and the edge up to which that is all
 * there is.
 *
 * Invariant: `held` is sorted and holds exactly the result's rows up to the edge, inclusive. Its first `limit` are the
 * visible ones; each row that becomes visible or ceases to be is logged. A row behind the edge is not ours to know.
 *
 * Time: O(log n) comparisons and a move of the array's tail per change, n = limit + margin. Nothing is sorted again.
 */
import type { Row } from "../../data/Row.ts"
import type { Value } from "../../data/Value.ts"
import type { Log } from "./log.ts"
import type { Held } from "./rows.ts"

/** Compares by a total order. */
export interface Comparator {
  readonly rows: (a: Row, b: Row) => number
  readonly values: (a: ReadonlyArray<Value>, b: ReadonlyArray<Value>) => number
  readonly toValues: (row: Row, values: ReadonlyArray<Value>) => number
}

/** Counts who holds a row. */
export interface Holds {
  retain(held: Held): void
  release(held: Held): void
}

/** Nothing is known yet, all is known, or all up to a row or order values. */
export type Edge = "start" | "end" | { readonly row: Row } | { readonly values: ReadonlyArray<Value> }

export class Window {
  readonly held: Array<Held> = []
  edge: Edge = "start"
  readonly limit: number
  /** How many rows it holds at most while no read is under way. */
  readonly capacity: number
  readonly order: Comparator
  readonly #holds: Holds

  constructor(limit: number, margin: number, order: Comparator, holds: Holds) {
    this.limit = limit
    this.capacity = limit + margin
    this.order = order
    this.#holds = holds
  }

  /** How many rows a refill should bring. */
  get missing(): number {
    return this.capacity - this.held.length
  }

  get isShort(): boolean {
    return this.edge !== "end" && this.held.length < this.limit
  }

  covers(row: Row): boolean {
    const edge = this.edge
    if (edge === "end") return true
    if (edge === "start") return false
    return ("row" in edge ? this.order.rows(row, edge.row) : this.order.toValues(row, edge.values)) <= 0
  }

  /** Where `held` is; `row` is its content when it was put there. -1 where it is not. */
  find(held: Held, row: Row): number {
    const all = this.held
    const compare = this.order.rows
    let low = 0
    let high = all.length
    while (low < high) {
      const middle = low + high >>> 1
      const other = all[middle]!
      if (other === held) return middle
      if (compare(other.row, row) < 0) low = middle + 1
      else high = middle
    }
    return -1
  }

  /** Where the row belongs among those from `low` to before `high`. */
  #lowerBound(row: Row, low: number, high: number): number {
    const all = this.held
    const compare = this.order.rows
    while (low < high) {
      const middle = low + high >>> 1
      if (compare(all[middle]!.row, row) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  removeAt(index: number, row: Row, log: Log): void {
    const { held: all, limit } = this
    const removed = all[index]!
    const last = all.length - 1
    for (let i = index; i < last; i++) all[i] = all[i + 1]!
    all.pop()
    if (index < limit) {
      log.push(removed.key, row, null)
      if (last >= limit) {
        const entered = all[limit - 1]!
        log.push(entered.key, null, entered.row)
      }
    }
    this.#holds.release(removed)
  }

  /** `held` is not in the window, which covers it. */
  insert(held: Held, log: Log): void {
    const { row } = held
    const { held: all, limit } = this
    const index = this.#lowerBound(row, 0, all.length)
    this.#holds.retain(held)
    all.push(held)
    for (let i = all.length - 1; i > index; i--) all[i] = all[i - 1]!
    all[index] = held
    if (index < limit) {
      if (all.length > limit) {
        const left = all[limit]!
        log.push(left.key, left.row, null)
      }
      log.push(held.key, null, row)
    }
  }

  /** The row at `index` has new content. */
  change(index: number, before: Row, log: Log): void {
    const { held: all, limit } = this
    const held = all[index]!
    const { row } = held
    if (!this.covers(row)) return this.removeAt(index, before, log)
    const last = all.length - 1
    const compare = this.order.rows
    let to = index
    if (index > 0 && compare(all[index - 1]!.row, row) > 0) {
      to = this.#lowerBound(row, 0, index - 1)
      for (let i = index; i > to; i--) all[i] = all[i - 1]!
    } else if (index < last && compare(all[index + 1]!.row, row) < 0) {
      to = this.#lowerBound(row, index + 2, last + 1) - 1
      for (let i = index; i < to; i++) all[i] = all[i + 1]!
    }
    all[to] = held
    if (index < limit && to < limit) log.push(held.key, before, row)
    else if (index < limit) {
      const entered = all[limit - 1]!
      log.push(held.key, before, null)
      log.push(entered.key, null, entered.row)
    } else if (to < limit) {
      const left = all[limit]!
      log.push(left.key, left.row, null)
      log.push(held.key, null, row)
    }
  }

  /** Lets rows go that nobody needs to know. Not while a read is under way that starts at the edge. */
  trim(): void {
    const { held } = this
    if (held.length <= this.capacity) return
    while (held.length > this.capacity) this.#holds.release(held.pop()!)
    this.edge = held.length === 0 ? "start" : { row: held[held.length - 1]!.row }
  }

  /** The lower of its edge and that one; never the same object, so that a read behind the edge does not join on any more. */
  lower(edge: "end" | { readonly values: ReadonlyArray<Value> }): Edge {
    const mine = this.edge
    if (edge === "end" || mine === "start") return typeof mine === "string" ? mine : { ...mine }
    if (mine === "end") return edge
    const order = "row" in mine ? this.order.toValues(mine.row, edge.values) : this.order.values(mine.values, edge.values)
    return order <= 0 ? { ...mine } : edge
  }

  /**
   * Takes in rows of the result that were read, and the edge up to which they and the rows held are all: those behind it go.
   * O(n log n).
   */
  merge(read: ReadonlyArray<Held>, edge: Edge, log: Log): void {
    const all = this.held
    const visible = all.slice(0, this.limit)
    for (const held of visible) log.push(held.key, held.row, null)
    const mine = new Set(all)
    for (const held of read) {
      if (mine.has(held)) continue
      mine.add(held)
      this.#holds.retain(held)
      all.push(held)
    }
    all.sort((a, b) => this.order.rows(a.row, b.row))
    this.edge = edge
    while (all.length > 0 && !this.covers(all[all.length - 1]!.row)) this.#holds.release(all.pop()!)
    for (let i = 0; i < all.length && i < this.limit; i++) log.push(all[i]!.key, null, all[i]!.row)
  }

  /** All rows are gone, and it is known. */
  clear(log: Log): void {
    const { held: all } = this
    for (let i = 0; i < all.length && i < this.limit; i++) log.push(all[i]!.key, all[i]!.row, null)
    for (const held of all) this.#holds.release(held)
    all.length = 0
    this.edge = "end"
  }
}
