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
import * as SortedRows from "./internal/sortedRows.ts"

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

/** A frame that cannot be applied; nothing of it was. */
export class FrameRefused {
  readonly message: string
  constructor(message: string) {
    this.message = message
  }
}

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

type Operation =
  | { readonly op: "insert"; readonly store: Store; readonly key: Key; readonly row: Row }
  | { readonly op: "update"; readonly store: Store; readonly key: Key; readonly row: Row }
  | { readonly op: "delete"; readonly store: Store; readonly key: Key; readonly row: null }

interface Pending {
  readonly id: number
  readonly run: ((overlay: Overlay) => void) | null
  operations: Array<Operation>
  reads: Map<Store, Set<Key>>
  /** Tables of which a result was read. */
  scans: Set<Store>
}

/** A key that pending mutations wrote. */
interface Touched {
  /** In the order of the mutations; never empty between transactions. */
  readonly operations: Array<Operation>
  /** Null is known to be absent; undefined is not held. */
  row: Row | null | undefined
}

/** One table. */
interface Store {
  readonly name: string
  readonly keyOf: (row: Row) => Key
  readonly newDecoder: TableRows["decoder"]
  decode: ((wire: ReadonlyArray<Json>) => Row) | null
  readonly confirmed: Map<Key, Row>
  /** In how many views a confirmed row is, where that is more than one. */
  readonly counts: Map<Key, number>
  readonly touched: Map<Key, Touched>
  readonly views: Set<State>
  /** Views whose condition asks for rows of this table. */
  readonly askers: Set<State>

  // Within a transaction:
  /** Keys that views must look at. */
  readonly dirty: Set<Key>
  /** Keys whose row, as pending mutations read it, may have changed. */
  readonly moved: Set<Key>
  /** Confirmed rows that no view has. */
  readonly loose: Set<Key>
  /** What keys showed before it began. */
  readonly earlier: Map<Key, Row>
  altered: boolean
}

interface State extends View {
  readonly store: Store
  known: boolean
  /** The last `rows`. */
  made: ReadonlyArray<Row> | undefined
  binding: number | null
  members: Set<Key>
  /** Undefined: no limit. Null: exhausted. */
  boundary: ReadonlyArray<Value> | null | undefined
  /** The candidates, before the limit. */
  readonly shown: Map<Key, Row>
  readonly sorted: SortedRows.SortedRows
  projected: WeakMap<Row, Row>

  // Within a transaction:
  changed: boolean
  /** `rows` is not made yet. */
  outdated: boolean
  rebuild: boolean
  /** Its touched keys must be decided again. */
  recheck: boolean
}

export const make = (tables: { readonly [name: string]: TableRows }): Replica => {
  const stores = new Map<string, Store>(Object.entries(tables).map(([name, { decoder, keyOf }]) => [name, {
    name, keyOf, newDecoder: decoder, decode: null, confirmed: new Map(), counts: new Map(), touched: new Map(), views: new Set(),
    askers: new Set(), dirty: new Set(), moved: new Set(), loose: new Set(), earlier: new Map(), altered: false
  }]))
  const views = new Map<number, State>()
  const bindings = new Map<number, Set<State>>()
  const pending: Array<Pending> = []
  let at: { readonly epoch: Epoch; readonly position: Position } | null = null
  let epoch: Epoch = ""

  const storeOf = (name: string): Store => {
    const store = stores.get(name)
    if (store === undefined) throw new TypeError(`The contract has no table ${name}.`)
    return store
  }

  const held: Held = {
    *rows(table) {
      const store = storeOf(table)
      for (const [key, row] of store.confirmed) if (!store.touched.has(key)) yield row
      for (const { row } of store.touched.values()) if (row) yield row
    }
  }

  // Rows.

  const mark = (store: Store, key: Key) => {
    store.dirty.add(key)
    store.moved.add(key)
    store.altered = true
  }

  /** The object that stands for this content already, if any does. */
  const intern = (store: Store, key: Key, row: Row): Row => {
    for (const known of [store.confirmed.get(key), store.touched.get(key)?.row, store.earlier.get(key)]) {
      if (known && isSame(known, row)) return known
    }
    return row
  }

  const note = (store: Store, key: Key, row: Row | null | undefined) => {
    if (row && !store.earlier.has(key)) store.earlier.set(key, row)
  }

  const confirm = (store: Store, key: Key, row: Row) => {
    const before = store.confirmed.get(key)
    if (before === undefined && store.touched.size === 0 && pending.length === 0) {
      store.confirmed.set(key, row)
      store.altered = true
      return
    }
    const after = intern(store, key, row)
    if (before === after) return
    note(store, key, rowOf(store, key))
    store.confirmed.set(key, after)
    store.altered = true
    if (before === undefined) {
      if (pending.length > 0) store.moved.add(key)
      if (store.touched.has(key)) store.dirty.add(key)
    } else mark(store, key)
  }

  /** A row that is not confirmed yet must be, next. */
  const join = (view: State, key: Key) => {
    if (view.members.has(key)) return
    view.members.add(key)
    count(view.store, key)
  }

  const count = ({ confirmed, counts, loose }: Store, key: Key) => {
    if (confirmed.has(key) && !loose.delete(key)) counts.set(key, (counts.get(key) ?? 1) + 1)
  }

  const leave = (view: State, key: Key) => {
    if (!view.members.delete(key)) return
    const { counts, loose } = view.store
    const count = counts.get(key) ?? 1
    if (count > 2) counts.set(key, count - 1)
    else if (count === 2) counts.delete(key)
    else loose.add(key)
  }

  const dropLoose = () => {
    for (const store of stores.values()) {
      for (const key of store.loose) {
        store.confirmed.delete(key)
        mark(store, key)
      }
      store.loose.clear()
    }
  }

  // Pending writes.

  const rowOf = (store: Store, key: Key): Row | null | undefined => {
    const touched = store.touched.get(key)
    return touched === undefined ? store.confirmed.get(key) : touched.row
  }

  const replayed = (row: Row | null | undefined, operation: Operation): Row | null | undefined => {
    if (operation.op !== "update") return operation.row
    return row && merged(row, operation.row)
  }

  const perform = (operation: Operation) => {
    const { key, store } = operation
    let touched = store.touched.get(key)
    if (touched === undefined) store.touched.set(key, touched = { operations: [], row: store.confirmed.get(key) })
    touched.operations.push(operation)
    note(store, key, touched.row)
    const row = replayed(touched.row, operation)
    touched.row = row && intern(store, key, row)
    store.dirty.add(key)
    store.altered = true
  }

  const takeBack = (operations: ReadonlyArray<Operation>) => {
    for (const operation of operations) {
      const { key, store } = operation
      const touched = store.touched.get(key)!
      touched.operations.splice(touched.operations.indexOf(operation), 1)
      refold(store, key)
    }
  }

  const refold = (store: Store, key: Key) => {
    const touched = store.touched.get(key)
    if (touched === undefined) return
    note(store, key, touched.row)
    store.dirty.add(key)
    store.altered = true
    if (touched.operations.length === 0) {
      store.touched.delete(key)
      return
    }
    let row: Row | null | undefined = store.confirmed.get(key)
    for (const operation of touched.operations) row = replayed(row, operation)
    touched.row = row && intern(store, key, row)
  }

  const execute = (mutation: Pending): Ran => {
    mutation.operations = []
    mutation.reads = new Map()
    mutation.scans = new Set()
    let open = true
    const inside = () => {
      if (!open) throw new TypeError("A transaction was used after its handler had returned.")
    }
    const write = (operation: Operation) => {
      inside()
      mutation.operations.push(operation)
      perform(operation)
    }
    const overlay: Overlay = {
      get(table, key) {
        inside()
        const store = storeOf(table)
        let keys = mutation.reads.get(store)
        if (keys === undefined) mutation.reads.set(store, keys = new Set())
        keys.add(key)
        return rowOf(store, key)
      },
      peek(table, key) {
        inside()
        return rowOf(storeOf(table), key)
      },
      read(view) {
        inside()
        const state = view as State
        mutation.scans.add(state.store)
        for (const table of state.definition.asks) mutation.scans.add(storeOf(table))
        if (!state.known) return undefined
        refreshViews()
        return resultOf(state)
      },
      insert: (table, key, row) => write({ op: "insert", store: storeOf(table), key, row }),
      update: (table, key, row) => write({ op: "update", store: storeOf(table), key, row }),
      delete: (table, key) => write({ op: "delete", store: storeOf(table), key, row: null }),
      savepoint() {
        const mark = mutation.operations.length
        return () => {
          inside()
          takeBack(mutation.operations.splice(mark))
        }
      }
    }
    let error: unknown
    try {
      mutation.run!(overlay)
    } catch (thrown) {
      error = thrown ?? new Error("The handler failed.")
      takeBack(mutation.operations.splice(0))
    }
    open = false
    return { mutation: mutation.id, error }
  }

  const readsMoved = (mutation: Pending): boolean => {
    if (mutation.run === null) return false
    for (const store of mutation.scans) if (store.moved.size > 0) return true
    for (const [store, keys] of mutation.reads) {
      const [few, many] = keys.size < store.moved.size ? [keys, store.moved] : [store.moved, keys]
      for (const key of few) if (many.has(key)) return true
    }
    return false
  }

  /** Replays what is pending over what moved. */
  const rebase = (ran: Array<Ran>) => {
    if (pending.length === 0) return
    for (const store of stores.values()) {
      if (store.touched.size > 0) for (const key of store.moved) refold(store, key)
    }
    const first = pending.findIndex(readsMoved)
    if (first < 0) return
    // A function sees what those before it wrote, and nothing of those after it.
    for (let i = pending.length - 1; i >= first; i--) takeBack(pending[i]!.operations)
    for (let i = first; i < pending.length; i++) {
      const mutation = pending[i]!
      const before = mutation.operations
      if (!readsMoved(mutation)) {
        before.forEach(perform)
        continue
      }
      ran.push(execute(mutation))
      const after = mutation.operations
      if (before.length === after.length && before.every((operation, j) => isSameOperation(operation, after[j]!))) continue
      for (const { key, store } of [...before, ...after]) store.moved.add(key)
    }
  }

  // Views.

  const shownRow = (view: State, key: Key): Row | undefined => {
    const { definition, store } = view
    const touched = store.touched.get(key)
    if (touched === undefined) return view.members.has(key) ? store.confirmed.get(key) : undefined
    const { row } = touched
    if (!row || !(definition.passes(row, held) ?? view.members.has(key))) return undefined
    return view.boundary && definition.isBeyond(row, view.boundary) ? undefined : row
  }

  /** What the application sees of a row; as before where only other columns changed. */
  const project = (view: State, row: Row, before: Row | undefined): void => {
    if (view.definition.project === null) return
    const projected = view.definition.project(row)
    const old = before && view.projected.get(before)
    view.projected.set(row, old && isSame(old, projected) ? old : projected)
  }

  const refresh = (view: State, key: Key) => {
    const before = view.shown.get(key)
    const after = shownRow(view, key)
    if (before === after) return
    view.changed = true
    if (before !== undefined) view.sorted.remove(before)
    if (after === undefined) {
      view.shown.delete(key)
      return
    }
    view.shown.set(key, after)
    view.sorted.insert(after)
    project(view, after, before)
  }

  const rebuild = (view: State) => {
    const before = new Map(view.shown)
    view.shown.clear()
    let same = 0
    const show = (key: Key, row: Row) => {
      view.shown.set(key, row)
      const old = before.size === 0 ? undefined : before.get(key)
      if (old === row) same++
      else project(view, row, old)
    }
    const { confirmed, touched } = view.store
    for (const key of view.members) if (touched.size === 0 || !touched.has(key)) show(key, confirmed.get(key)!)
    for (const key of touched.keys()) {
      const row = shownRow(view, key)
      if (row !== undefined) show(key, row)
    }
    view.sorted.fill([...view.shown.values()])
    if (view.made === undefined || same < view.shown.size || same < before.size) view.changed = true
  }

  const refreshViews = () => {
    for (const store of stores.values()) {
      if (store.altered) for (const asker of store.askers) asker.recheck = true
    }
    for (const view of views.values()) {
      const { dirty, touched } = view.store
      if (!view.known) continue
      if (view.rebuild || dirty.size > 64 && dirty.size > view.shown.size / 4) rebuild(view)
      else {
        for (const key of dirty) refresh(view, key)
        if (view.recheck) for (const key of touched.keys()) refresh(view, key)
      }
      view.rebuild = view.recheck = false
    }
    for (const store of stores.values()) {
      store.dirty.clear()
      store.altered = false
    }
  }

  const candidates = ({ definition: { limit }, sorted }: State) => sorted.first(limit === null ? Infinity : Math.max(limit, 0))

  const resultOf = (view: State): ReadonlyArray<Row> => {
    const { project } = view.definition
    const rows = candidates(view)
    return project === null ? rows : rows.map((row) => view.projected.get(row)!)
  }

  /** Ends a transaction. */
  const commit = (ran: Array<Ran>): Changes => {
    dropLoose()
    rebase(ran)
    refreshViews()
    for (const store of stores.values()) {
      store.moved.clear()
      store.earlier.clear()
    }
    const changed: Array<View> = []
    for (const view of views.values()) {
      if (!view.changed) continue
      view.changed = false
      view.outdated = true
      // Without a limit or a projection, whatever changed a candidate changed the result: it is made when it is read.
      if (view.made !== undefined && view.definition.limit === null && view.definition.project === null) changed.push(view)
      else {
        const before = view.made
        if (view.rows !== before) changed.push(view)
      }
    }
    return { views: changed, ran }
  }

  // Frames.

  interface Decoded {
    readonly targets: ReadonlyArray<State>
    readonly patch: Frame["patches"][number]
    readonly keys: ReadonlyArray<Key>
    readonly rows: ReadonlyArray<Row>
    readonly add: ReadonlyArray<Key>
    readonly boundary: ReadonlyArray<Value> | null | undefined
  }

  /** Everything that can be wrong with a frame is found here, before anything changes. */
  const decode = (frame: Frame): ReadonlyArray<Decoded> => {
    if (at !== null && at.epoch === epoch && frame.to < at.position) {
      throw new FrameRefused(`A frame at ${frame.to} came after the state at ${at.position}.`)
    }
    const opened = new Map<number, Array<State>>()
    for (const { binding, id } of frame.opened ?? []) {
      const view = views.get(id)
      if (view !== undefined) opened.set(binding, [...opened.get(binding) ?? [], view])
    }
    const based = new Set<State>()
    return frame.patches.flatMap((patch): ReadonlyArray<Decoded> => {
      const targets = [...new Set([...bindings.get(patch.binding) ?? [], ...opened.get(patch.binding) ?? []])]
      const [first] = targets
      if (first === undefined) return []
      const { store } = first
      const rows: Array<Row> = []
      for (const [table, wires] of patch.rows) {
        if (table !== store.name) continue
        if (store.decode === null) throw new FrameRefused(`The server named no columns of ${table}.`)
        for (const wire of wires) rows.push(store.decode(wire))
      }
      const keys = rows.map(store.keyOf)
      // Mostly all rows are new ones, in the same order: then one string stands for a key everywhere.
      const aligned = patch.add.length === keys.length && patch.add.every((key, i) => key === keys[i])
      if (!aligned) {
        const sent = new Set(keys)
        for (const key of patch.add) {
          if (!sent.has(key) && !store.confirmed.has(key)) throw new FrameRefused(`A row of ${store.name} was neither sent nor held.`)
        }
      }
      for (const view of targets) {
        if (patch.reset) based.add(view)
        else if (!view.known && !based.has(view) && !targets.some((other) => other.known)) throw new FrameRefused("A query's first patch is no whole result.")
      }
      const boundary = patch.boundary && first.definition.boundary(patch.boundary)
      return [{ targets, patch, keys, rows, add: aligned ? keys : patch.add, boundary }]
    })
  }

  const answer = (frame: Frame) => {
    for (const { binding, id } of frame.opened ?? []) {
      const view = views.get(id)
      if (view === undefined) continue
      if (view.binding !== null) bindings.get(view.binding)?.delete(view)
      let sharers = bindings.get(binding)
      if (sharers === undefined) bindings.set(binding, sharers = new Set())
      const known = view.known ? undefined : [...sharers].find((other) => other.known)
      if (known !== undefined) {
        for (const key of known.members) join(view, key)
        view.boundary = known.boundary
        view.known = view.rebuild = true
      }
      sharers.add(view)
      view.binding = binding
    }
  }

  const applyPatch = (decoded: Decoded) => {
    const { add, boundary, keys, patch, rows, targets } = decoded
    const [first, ...others] = targets as readonly [State, ...Array<State>]
    const { store } = first
    changeMembers(first, decoded)
    for (let i = 0; i < rows.length; i++) if (add === keys || first.members.has(keys[i]!)) confirm(store, keys[i]!, rows[i]!)
    for (const view of others) changeMembers(view, decoded)
    for (const view of targets) {
      if (boundary === undefined && !patch.reset) continue
      view.boundary = boundary
      view.recheck = true
    }
  }

  const changeMembers = (view: State, { add, patch }: Decoded) => {
    const { store } = view
    if (patch.reset) {
      const members = new Set(add)
      if (view.members.size === 0) {
        view.members = members
        for (const key of members) count(store, key)
      } else {
        for (const key of view.members) if (!members.has(key)) leave(view, key)
        for (const key of members) join(view, key)
      }
      view.known = view.rebuild = true
      return
    }
    for (const key of patch.remove) {
      leave(view, key)
      mark(store, key)
    }
    for (const key of add) {
      join(view, key)
      mark(store, key)
    }
  }

  const endMutations = (mutations: ReadonlyArray<number>) => {
    for (const id of mutations) {
      const index = pending.findIndex((mutation) => mutation.id === id)
      if (index < 0) continue
      const [mutation] = pending.splice(index, 1)
      takeBack(mutation!.operations)
      for (const { key, store } of mutation!.operations) mark(store, key)
    }
  }

  const closed = (view: State) => {
    for (const key of view.members) leave(view, key)
    if (view.binding !== null) bindings.get(view.binding)?.delete(view)
    view.store.views.delete(view)
    for (const table of view.definition.asks) storeOf(table).askers.delete(view)
    views.delete(view.id)
  }

  return {
    get at() {
      return at
    },
    views,
    open(id, definition) {
      const store = storeOf(definition.table)
      const view: State = {
        id, definition, store, known: false, made: undefined, binding: null, members: new Set(), boundary: undefined,
        shown: new Map(), sorted: SortedRows.make(definition.compare), projected: new WeakMap(), changed: false, outdated: false, rebuild: false, recheck: false,
        keys: () => candidates(view).map(store.keyOf),
        get rows() {
          if (!view.outdated) return view.made
          view.outdated = false
          const rows = resultOf(view)
          const before = view.made
          if (before === undefined || before.length !== rows.length || !rows.every((row, i) => row === before[i])) view.made = rows
          return view.made
        }
      }
      views.set(id, view)
      store.views.add(view)
      for (const table of definition.asks) storeOf(table).askers.add(view)
      return view
    },
    close(id) {
      const view = views.get(id)
      if (view !== undefined) closed(view)
      return commit([])
    },
    connected(newEpoch, columns) {
      const decoders = new Map(Object.entries(columns).flatMap(([table, order]) => {
        const store = stores.get(table)
        return store === undefined ? [] : [[store, store.newDecoder(order)] as const]
      }))
      epoch = newEpoch
      bindings.clear()
      for (const view of views.values()) view.binding = null
      for (const store of stores.values()) store.decode = decoders.get(store) ?? null
    },
    reconsider() {
      for (const view of views.values()) view.rebuild = true
      return commit([])
    },
    isCurrent: (id) => {
      const view = views.get(id)
      return view !== undefined && view.known && view.binding !== null
    },
    apply(frame, settled) {
      const patches = decode(frame)
      answer(frame)
      patches.forEach(applyPatch)
      endMutations(settled)
      at = { epoch, position: frame.to }
      return commit([])
    },
    mutate(id, run) {
      const mutation: Pending = { id, run, operations: [], reads: new Map(), scans: new Set() }
      pending.push(mutation)
      return commit(run === null ? [] : [execute(mutation)])
    },
    end(mutations) {
      endMutations(mutations)
      return commit([])
    },
    dependenciesOf(id) {
      const index = pending.findIndex((mutation) => mutation.id === id)
      const mutation = pending[index]
      if (mutation === undefined) return []
      const own = new Set(mutation.operations.map(({ store, key }) => `${store.name} ${key}`))
      return pending.slice(0, index)
        .filter((earlier) => earlier.operations.some(({ key, store }) =>
          mutation.scans.has(store) || mutation.reads.get(store)?.has(key) || own.has(`${store.name} ${key}`)))
        .map((earlier) => earlier.id)
    },
    get size() {
      let confirmed = 0
      let touched = 0
      for (const store of stores.values()) {
        confirmed += store.confirmed.size
        touched += store.touched.size
      }
      return { confirmed, touched }
    }
  }
}

const merged = (row: Row, changes: Row): Row => Object.freeze({ ...row, ...changes })

const isSameOperation = (a: Operation, b: Operation): boolean =>
  a.op === b.op && a.store === b.store && a.key === b.key && (a.row === b.row || a.row !== null && b.row !== null && isSame(a.row, b.row))

/** By content: values are canonical, so only JSON needs a deep look. */
const isSame = (a: Row | Value | undefined, b: Row | Value | undefined): boolean => {
  if (a === b) return true
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a !== a && b !== b
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const left = a as { readonly [key: string]: Value }
  const right = b as { readonly [key: string]: Value }
  const keys = Object.keys(left)
  if (keys.length !== Object.keys(right).length) return false
  for (const key of keys) if (!Object.hasOwn(right, key) || !isSame(left[key], right[key])) return false
  return true
}
