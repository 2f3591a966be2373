/**
 * The client's rows: what the server confirmed, and over it what pending mutations did.
 *
 * Synchronous and pure: no socket, clock, Effect or storage. Every call that changes something is one transaction: it ends
 * with all results consistent, and returns the views whose value is another one now, each once; a result is made when it is read. A row, and a result,
 * keeps its identity until its content changes.
 *
 * Invariant. With C the confirmed rows by table and key, each held as long as a view has it as a member, and T(t) the keys
 * of table t that pending mutations wrote, replayed over C in the order of the mutations, a view's result is: its confirmed
 * members not in T; and the rows of T that exist, satisfy its condition and do not lie beyond its boundary; in its order;
 * the first `limit`. Where the condition asks for rows that are not held, confirmed membership stands. A view never decides
 * about a row outside T, since other views may hold rows that it must not show.
 *
 * A pending mutation is replayed by its recorded operations. Its function runs again only when what it read was touched.
 *
 * Time per changed row: O(log n) for each view of its table that shows it, O(1) for the others. Reading a changed result of
 * n rows: O(n). Memory: per view one entry per member.
 */
import type { Key } from "@headwater/core/Key"
import type { Frame } from "@headwater/core/Message"
import type { Epoch, Position } from "@headwater/core/Position"
import type { Row } from "@headwater/core/Row"
import type { Json, Value } from "@headwater/core/Value"
import * as Bindings from "./internal/bindings.ts"
import { FrameRefused } from "./internal/bindings.ts"
import * as PendingMutations from "./internal/pendingMutations.ts"
import * as Store from "./internal/store.ts"
import * as ViewState from "./internal/view.ts"

/** What the replica knows of a table. */
export interface TableRows {
  readonly keyOf: (row: Row) => Key
  /** Reads rows sent in that column order. Throws `FrameRefused` where an order lacks a column or a row does not fit. */
  readonly decoder: (columns: ReadonlyArray<string>) => (wire: ReadonlyArray<Json>) => Row
}

/** A query with its parameters, compiled. */
export interface Definition {
  readonly table: string
  /** Other tables whose rows its condition asks for. */
  readonly asks: ReadonlyArray<string>
  /** Undefined where that depends on rows that are not held. */
  readonly passes: (row: Row, held: Held) => boolean | undefined
  /** Total. */
  readonly compare: (a: Row, b: Row) => number
  readonly boundary: (wire: ReadonlyArray<Json>) => ReadonlyArray<Value>
  /** After that boundary in the order; the boundary itself is not. */
  readonly isBeyond: (row: Row, boundary: ReadonlyArray<Value>) => boolean
  /** Null is no limit. */
  readonly limit: number | null
  /** What is shown of a row; null is the row itself. */
  readonly project: ((row: Row) => Row) | null
}

/** All rows that a condition may see, pending writes included. */
export interface Held {
  rows(table: string): Iterable<Row>
}

/** One live query. */
export interface View {
  /** The subscription. */
  readonly id: number
  readonly definition: Definition
  /** Whether there is a confirmed result. */
  readonly known: boolean
  /** What is shown, in order; undefined until known. The same array until it changes. */
  readonly rows: ReadonlyArray<Row> | undefined
  /** Which rows those are. O(rows). */
  keys(): ReadonlyArray<Key>
}

/** What the function of a pending mutation may do while it runs. All of it is recorded. */
export interface Overlay {
  /** Null where there is no such row; undefined where that is not known. */
  get(table: string, key: Key): Row | null | undefined
  /** The same, where the function does not depend on the row's content: it does not run again for that. */
  peek(table: string, key: Key): Row | null | undefined
  /** The rows of a view with all that was written before; undefined while it is not known. */
  read(view: View): ReadonlyArray<Row> | undefined
  insert(table: string, key: Key, row: Row): void
  /** Changes the row wherever it is held, now or later. */
  update(table: string, key: Key, changes: Row): void
  delete(table: string, key: Key): void
  /** What it returns takes back all writes since. */
  savepoint(): () => void
}

export { FrameRefused }

/** A mutation's function ran, for the first time or again. `error` is what it threw, undefined for nothing: then it shows nothing. */
export interface Ran {
  readonly mutation: number
  readonly error: unknown
}

/** What a call did. */
export interface Changes {
  readonly views: ReadonlyArray<View>
  readonly ran: ReadonlyArray<Ran>
}

export interface Replica {
  /** What is shown; null before the first frame. */
  readonly at: { readonly epoch: Epoch; readonly position: Position } | null
  readonly views: ReadonlyMap<number, View>

  open(id: number, definition: Definition): View
  close(id: number): Changes

  /** A new connection: bindings of the one before mean nothing, and rows come in these orders. What is shown stays. */
  connected(epoch: Epoch, columns: { readonly [table: string]: ReadonlyArray<string> }): void
  /** Whether frames of this connection keep the view current. */
  isCurrent(id: number): boolean

  /** Something besides rows that conditions or orders depend on is another one now. */
  reconsider(): Changes

  /** Applies the frame, and ends the pending mutations that its receipts settle. Throws `FrameRefused`. */
  apply(frame: Frame, settled: ReadonlyArray<number>): Changes

  /** Adds a pending mutation after all others and runs its function. `mutation` is never used again. */
  mutate(mutation: number, run: ((overlay: Overlay) => void) | null): Changes
  /** Ends pending mutations: what they wrote is shown no longer. */
  end(mutations: ReadonlyArray<number>): Changes
  /** The pending mutations before this one that wrote rows which it read or wrote. */
  dependenciesOf(mutation: number): ReadonlyArray<number>

  /** Rows held, and keys that pending mutations wrote. */
  readonly size: { readonly confirmed: number; readonly touched: number }
}

/** Brings the tables' stores, the pending mutations, the connection's bindings and the views together. */
export const make = (tables: { readonly [name: string]: TableRows }): Replica => {
  const stores = new Map(Object.entries(tables).map(([name, { keyOf }]) => [name, Store.make(name, keyOf)]))
  const storeOf = (name: string): Store.Store => {
    const store = stores.get(name)
    if (store === undefined) throw new TypeError(`The contract has no table ${name}.`)
    return store
  }
  const held: Held = { rows: (table) => Store.rowsOf(storeOf(table)) }
  const views = new Map<number, ViewState.State>()
  const bindings = Bindings.make(tables, views)
  const pending = PendingMutations.make(stores, storeOf, (view) => {
    updateViews()
    return ViewState.resultOf(view)
  })
  let at: Replica["at"] = null
  let epoch: Epoch = ""

  const updateViews = () => {
    for (const view of views.values()) ViewState.update(view, held)
    for (const store of stores.values()) Store.seen(store)
  }

  /** Ends a transaction. */
  const commit = (run: ReadonlyArray<Ran>): Changes => {
    for (const store of stores.values()) Store.sweep(store)
    const ran = [...run, ...pending.rebase()]
    updateViews()
    for (const store of stores.values()) Store.commit(store)
    return { views: [...views.values()].filter(ViewState.commit), ran }
  }

  return {
    get at() {
      return at
    },
    views,
    open(id, definition) {
      const view = ViewState.make(id, definition, storeOf(definition.table), definition.asks.map(storeOf))
      views.set(id, view)
      return view
    },
    close(id) {
      const view = views.get(id)
      if (view !== undefined) {
        ViewState.close(view)
        bindings.delete(view)
        views.delete(id)
      }
      return commit([])
    },
    connected(newEpoch, columns) {
      bindings.connected(columns)
      epoch = newEpoch
    },
    reconsider() {
      for (const { todo } of views.values()) todo.rebuild = true
      return commit([])
    },
    isCurrent(id) {
      const view = views.get(id)
      return view !== undefined && view.known && bindings.has(view)
    },
    apply(frame, settled) {
      if (at !== null && at.epoch === epoch && frame.to < at.position) {
        throw new FrameRefused(`A frame at ${frame.to} came after the state at ${at.position}.`)
      }
      bindings.apply(frame, bindings.read(frame), pending.size > 0)
      pending.end(settled)
      at = { epoch, position: frame.to }
      return commit([])
    },
    mutate: (id, run) => commit(pending.add(id, run)),
    end(mutations) {
      pending.end(mutations)
      return commit([])
    },
    dependenciesOf: pending.dependenciesOf,
    get size() {
      let confirmed = 0
      let touched = 0
      for (const store of stores.values()) {
        confirmed += store.confirmed.rows.size
        touched += store.touched.size
      }
      return { confirmed, touched }
    }
  }
}
