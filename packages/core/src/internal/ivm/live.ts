/**
 * One live binding: which rows are in its result, what its subscribers have been told, and what it still has to read.
 *
 * Invariant: while it is ready, `members` (no limit) or the window's visible rows (limit) are the result at the graph's
 * position. What they were when subscribers were last told is that minus `log`; a waiting binding keeps logging, and is
 * told as one difference once its reads are answered.
 */
import type { Bound } from "../../change/Range.ts"
import type { Row } from "../../data/Row.ts"
import type { Value } from "../../data/Value.ts"
import type * as Graph from "../../ivm/Graph.ts"
import type { Expression } from "../../query/Plan.ts"
import type { Shape } from "../../query/Shape.ts"
import type { CompiledShape } from "./compiledShape.ts"
import { compact, type Log, net } from "./log.ts"
import type { Held } from "./rows.ts"
import { Window } from "./window.ts"

const none: ReadonlyArray<never> = []

export class Live implements Graph.Binding {
  readonly id: number
  /** By which an equal shape and values find it. */
  readonly key: string
  readonly compiled: CompiledShape
  readonly bound: Bound
  readonly members: Set<Held> | null
  readonly window: Window | null
  ready = false
  uses = 1
  /** Reads that are under way. */
  pending = 0
  /** Of those, reads of all that passes the filter, whatever an `exists` admits. */
  pendingWhole = 0
  /** Of those, reads from the start of the order, by admitted keys. */
  pendingFirst = 0
  /** Conjuncts for the rows of keys that an `exists` admits since: to be read when the pass ends, or after `pendingFirst`. */
  admitted: Array<ReadonlyArray<Expression>> = []
  readWhole = false
  /** What a refill asks for grows while what it reads does not pass. */
  effort = 1
  /** Ids of the reads under way. */
  readonly needs = new Set<number>()
  /** The change that it was last tested for. */
  stamp = 0
  log: Log = []
  /** In the list of bindings to look at when the pass ends. */
  isTouched = false
  wasTold = false
  waited = false
  boundary: ReadonlyArray<Value> | null | undefined
  #boundaryRow: Row | null | undefined
  #compactAt = 300

  constructor(id: number, key: string, compiled: CompiledShape, bound: Bound, limit: number | null, margin: number) {
    this.id = id
    this.key = key
    this.compiled = compiled
    this.bound = bound
    this.members = limit === null ? new Set() : null
    this.window = limit === null ? null : new Window(limit, margin, compiled.orderFor(bound), compiled)
    this.boundary = limit === null ? undefined : null
  }

  get shape(): Shape {
    return this.compiled.shape
  }

  rows(): ReadonlyArray<Row> {
    if (!this.wasTold) return none
    const rows: Array<Row> = []
    if (this.log.length === 0) {
      if (this.window !== null) {
        for (let i = 0; i < this.window.held.length && i < this.window.limit; i++) rows.push(this.window.held[i]!.row)
        return rows
      }
      for (const held of this.members!) rows.push(held.row)
    } else {
      const told = new Map<unknown, Row>()
      const now = this.window === null ? this.members! : this.window.held.slice(0, this.window.limit)
      for (const held of now) told.set(held.key, held.row)
      net([...this.log], (key, before) => void (before === null ? told.delete(key) : told.set(key, before)))
      rows.push(...told.values())
    }
    return rows.sort(this.compiled.orderFor(this.bound).rows)
  }

  holds(held: Held): boolean {
    return this.members === null ? this.window!.find(held, held.row) >= 0 : this.members.has(held)
  }

  /** Whether it is in the result as subscribers see it. */
  shows(held: Held): boolean {
    if (this.members !== null) return this.members.has(held)
    const index = this.window!.find(held, held.row)
    return index >= 0 && index < this.window!.limit
  }

  /** A row passes. */
  put(held: Held, before: Row | null): void {
    const { compiled, log, members, window } = this
    if (members !== null) {
      if (members.has(held)) {
        if (before === null || before === held.row) return
        log.push(held.key, before, held.row)
      } else {
        members.add(held)
        compiled.retain(held)
        log.push(held.key, null, held.row)
      }
    } else {
      const index = before === null || held.uses === 0 ? -1 : window!.find(held, before)
      if (index >= 0) {
        if (before === held.row) return
        window!.change(index, before!, log)
      }
      else if (!window!.insert(held, log)) return
      else if (this.pending === 0) window!.trim()
    }
    if (!this.isTouched) compiled.touch(this)
  }

  /** A row is gone or does not pass any more; `row` is what it was. */
  drop(held: Held, row: Row): void {
    const { compiled, log, members, window } = this
    if (members !== null) {
      if (!members.delete(held)) return
      log.push(held.key, row, null)
      compiled.release(held)
    } else {
      const index = window!.find(held, row)
      if (index < 0) return
      window!.removeAt(index, row, log)
    }
    if (!this.isTouched) compiled.touch(this)
  }

  /** The table was emptied. */
  truncate(): void {
    const { compiled, log, members, window } = this
    if (members === null) window!.clear(log)
    else {
      for (const held of members) {
        log.push(held.key, held.row, null)
        compiled.release(held)
      }
      members.clear()
    }
    if (!this.isTouched) compiled.touch(this)
  }

  /** What subscribers must be told now, if anything; the binding is ready. */
  tell(): Graph.Delta | null {
    const { log } = this
    const boundary = this.#moveBoundary()
    if (!this.wasTold) {
      this.wasTold = true
      this.waited = false
      this.log = []
      return { binding: this, reset: true, added: this.rows(), changed: none, removed: none, boundary: this.boundary }
    }
    if (log.length === 0) return boundary === undefined ? null : { binding: this, reset: false, added: none, changed: none, removed: none, boundary }
    this.log = []
    let added: Array<Row> | undefined
    let changed: Array<Row> | undefined
    let removed: Array<Graph.Delta["removed"][number]> | undefined
    const { rows } = this.compiled.table
    // A row that left and came back while the binding waited may be masked otherwise by now, and nobody was told.
    const resends = this.waited && this.compiled.shape.masks.length > 0
    this.waited = false
    net(log, (key, before, after) => {
      if (before === null) {
        if (after !== null) (added ??= []).push(after)
      } else if (after === null) (removed ??= []).push(key)
      else if (resends || !rows.same(before, after)) (changed ??= []).push(after)
    })
    return added === undefined && changed === undefined && removed === undefined && boundary === undefined
      ? null
      : { binding: this, reset: false, added: added ?? none, changed: changed ?? none, removed: removed ?? none, boundary }
  }

  /** Keeps the log of a binding that waits in proportion to the rows it is about. */
  wait(): void {
    this.waited = true
    if (!this.wasTold) this.log.length = 0
    else if (this.log.length > this.#compactAt) {
      compact(this.log)
      this.#compactAt = 2 * this.log.length + 300
    }
  }

  /** The new boundary; undefined where it is the same. */
  #moveBoundary(): ReadonlyArray<Value> | null | undefined {
    const { window } = this
    if (window === null) return undefined
    const { held, limit } = window
    const last = limit === 0 || window.edge === "end" && held.length <= limit ? null : held[limit - 1]!.row
    if (last === this.#boundaryRow) return undefined
    this.#boundaryRow = last
    const values = last === null ? null : this.compiled.orderValues(last, this.bound)
    if (values !== null && this.boundary != null && values.every((value, i) => value === this.boundary![i])) return undefined
    return this.boundary = values
  }

  release(): void {
    const { compiled, members, window } = this
    for (const held of members ?? window!.held) compiled.release(held)
  }
}
