/**
 * One live binding: which rows are in its result, what its subscribers have been told, and what it still has to read.
 *
 * Invariant: while it is ready, `members` (no limit) or the window's visible rows (limit) are the result at the graph's
 * position. What they were when subscribers were last told is that minus `log`; a waiting binding keeps logging, and is
 * told as one difference once its reads are answered.
 */
import type { Bound } from "../../change/Range.ts"
import type { Key } from "../../data/Key.ts"
import type { Row } from "../../data/Row.ts"
import type { Value } from "../../data/Value.ts"
import type * as Graph from "../../ivm/Graph.ts"
import type { Shape } from "../../query/Shape.ts"
import { ChurnMap } from "../churnMap.ts"
import type { CompiledShape } from "./compiledShape.ts"
import type { Log } from "./log.ts"
import type { Reads } from "./reads.ts"
import type { Held } from "./rows.ts"
import type { TableState } from "./tableState.ts"
import { type Edge, Window } from "./window.ts"

const none: ReadonlyArray<never> = []

/** Most have one item, for which an array that starts empty and grows has too much room. */
const append = <A>(items: Array<A> | undefined, item: A): Array<A> => {
  if (items === undefined) return [item]
  items.push(item)
  return items
}

export class Live implements Graph.Binding {
  readonly id: number
  /** By which an equal shape and values find it. */
  readonly key: string
  readonly compiled: CompiledShape
  readonly bound: Bound
  readonly members: ChurnMap<Key, Held> | null
  readonly window: Window | null
  ready = false
  uses = 1
  reads: Reads | null = null
  /** The change that it was last tested for. */
  stamp = 0
  /** Null where nothing happened since its subscribers were told. */
  log: Log | null = null
  /** In the list of bindings to look at when the pass ends. */
  isTouched = false
  wasTold = false
  #waited = false
  /** Whether a key may be in the log twice. */
  #mayRepeat: boolean
  boundary: ReadonlyArray<Value> | null | undefined
  #boundaryRow: Row | null | undefined
  #compactAt = 100

  constructor(id: number, key: string, compiled: CompiledShape, bound: Bound, limit: number | null, margin: number) {
    this.id = id
    this.key = key
    this.compiled = compiled
    this.bound = bound
    this.members = limit === null ? new ChurnMap() : null
    this.window = limit === null ? null : new Window(limit, margin, compiled.orderFor(bound), compiled)
    this.boundary = limit === null ? undefined : null
    this.#mayRepeat = limit !== null
  }

  get shape(): Shape {
    return this.compiled.shape
  }

  get isScanned(): boolean {
    return this.compiled.isScanned
  }

  rows(): ReadonlyArray<Row> {
    if (!this.wasTold) return none
    const { compiled, log, members, window } = this
    const now: Iterable<Held> = members?.values() ?? window!.held.slice(0, window!.limit)
    if (log === null || log.isEmpty) {
      const rows = Array.from(now, ({ row }) => row)
      return members === null ? rows : rows.sort(compiled.orderFor(this.bound).rows)
    }
    const told = new Map(Array.from(now, ({ key, row }) => [key, row]))
    log.net((key, before) => void (before === null ? told.delete(key) : told.set(key, before)))
    return [...told.values()].sort(compiled.orderFor(this.bound).rows)
  }

  holds(held: Held): boolean {
    return this.members === null ? this.window!.find(held, held.row) >= 0 : this.members.get(held.key) !== undefined
  }

  /** Whether it is in the result as subscribers see it. */
  shows(held: Held): boolean {
    if (this.members !== null) return this.members.get(held.key) !== undefined
    const index = this.window!.find(held, held.row)
    return index >= 0 && index < this.window!.limit
  }

  /** The row that `table` is at passes. */
  put(table: TableState): void {
    const { members, window } = this
    if (members !== null) {
      const held = members.get(table.key)
      if (held === undefined) return this.#add(table.current())
      table.found(held)
      if (table.before !== held.row) this.#open().push(held.key, table.before, held.row)
      return
    }
    // Looks for the row only where the window reaches.
    const isInside = table.before !== null && window!.covers(table.before)
    if (!isInside && !window!.covers(table.after!)) return
    const held = table.current()
    const index = isInside && table.wasHeld() ? window!.find(held, table.before!) : -1
    if (index >= 0) {
      if (table.before !== held.row) window!.change(index, table.before!, this.#open())
    } else if (window!.covers(held.row)) window!.insert(held, this.#open())
  }

  /** The row that `table` is at is gone, or does not pass any more. */
  drop(table: TableState): void {
    const { members, window } = this
    if (members !== null) {
      const held = members.get(table.key)
      if (held === undefined) return
      table.found(held)
      this.#remove(held, table.before!)
    } else if (window!.covers(table.before!) && table.wasHeld()) {
      const index = window!.find(table.current(), table.before!)
      if (index >= 0) window!.removeAt(index, table.before!, this.#open())
    }
  }

  /** A row that was read passes; there is no limit. */
  take(held: Held): void {
    if (this.members!.get(held.key) === undefined) this.#add(held)
  }

  /** A row that did not change does not pass any more. */
  leave(held: Held): void {
    if (this.members !== null) this.#remove(held, held.row)
    else this.window!.removeAt(this.window!.find(held, held.row), held.row, this.#open())
  }

  #add(held: Held): void {
    this.members!.add(held.key, held)
    this.compiled.retain(held)
    if (this.wasTold) this.#open().push(held.key, null, held.row)
    else if (!this.isTouched) this.compiled.services.touch(this)
  }

  #remove(held: Held, row: Row): void {
    this.members!.delete(held.key)
    this.#open().push(held.key, row, null)
    this.compiled.release(held)
  }

  /** The table was emptied. */
  truncate(): void {
    const { compiled, members, window } = this
    const log = this.#open()
    this.#mayRepeat = true
    if (members === null) return window!.clear(log)
    for (const held of members.values()) {
      log.push(held.key, held.row, null)
      compiled.release(held)
    }
    members.clear()
  }

  /** Takes rows in that were read, and the edge that a window has with them. */
  merge(read: ReadonlyArray<Held>, edge: Edge): void {
    this.window!.merge(read, edge, this.#open())
  }

  #open(): Log {
    if (!this.isTouched) this.compiled.services.touch(this)
    return this.log ??= this.compiled.services.takeLog()
  }

  /** What subscribers must be told now, if anything; the binding is ready. */
  tell(): Graph.Delta | null {
    const { log } = this
    const boundary = this.#moveBoundary()
    const mayRepeat = this.#mayRepeat
    const waited = this.#waited
    this.log = null
    this.#waited = false
    this.#mayRepeat = this.window !== null
    if (!this.wasTold) {
      this.wasTold = true
      if (log !== null) this.compiled.services.giveLog(log)
      // Without a limit nobody needs the order.
      const added = this.members === null ? this.rows() : Array.from(this.members.values(), ({ row }) => row)
      return { binding: this, reset: true, added, changed: none, removed: none, boundary: this.boundary }
    }
    if (log === null) {
      return boundary === undefined ? null : { binding: this, reset: false, added: none, changed: none, removed: none, boundary }
    }
    const delta = mayRepeat ? this.#net(log, waited, boundary) : this.#sum(log, boundary)
    this.compiled.services.giveLog(log)
    return delta
  }

  /** Of a log without repeated keys. */
  #sum({ slots, used }: Log, boundary: Graph.Delta["boundary"]): Graph.Delta {
    let added: Array<Row> | undefined
    let changed: Array<Row> | undefined
    let removed: Array<Key> | undefined
    for (let i = 0; i < used; i += 3) {
      const after = slots[i + 2] as Row | null
      if (after === null) removed = append(removed, slots[i] as Key)
      else if (slots[i + 1] === null) added = append(added, after)
      else changed = append(changed, after)
    }
    return { binding: this, reset: false, added: added ?? none, changed: changed ?? none, removed: removed ?? none, boundary }
  }

  #net(log: Log, waited: boolean, boundary: Graph.Delta["boundary"]): Graph.Delta | null {
    let added: Array<Row> | undefined
    let changed: Array<Row> | undefined
    let removed: Array<Key> | undefined
    const { rows } = this.compiled.table
    // A row that left and came back while the binding waited may be masked otherwise by now, and nobody was told.
    const resends = waited && this.compiled.shape.masks.length > 0
    log.net((key, before, after) => {
      if (before === null) {
        if (after !== null) added = append(added, after)
      } else if (after === null) removed = append(removed, key)
      else if (resends || !rows.same(before, after)) changed = append(changed, after)
    })
    return added === undefined && changed === undefined && removed === undefined && boundary === undefined
      ? null
      : { binding: this, reset: false, added: added ?? none, changed: changed ?? none, removed: removed ?? none, boundary }
  }

  /** Keeps the log of a binding that waits in proportion to the rows it is about. */
  wait(): void {
    this.#waited = this.#mayRepeat = true
    const { log } = this
    if (log === null) return
    if (!this.wasTold) log.clear()
    else if (log.length > this.#compactAt) {
      log.compact()
      this.#compactAt = 2 * log.length + 100
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
    for (const held of members?.values() ?? window!.held) compiled.release(held)
  }
}
