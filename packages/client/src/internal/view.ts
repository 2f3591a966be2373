/**
 * One view: its confirmed members, what it shows of its table, and the result in order.
 *
 * Invariant, between transactions and once it is known: `candidates` has its members that no pending mutation wrote, and the
 * written rows that exist, satisfy its condition and do not lie beyond its boundary; where the condition asks for rows that
 * are not held, membership stands. `sorted` has the same rows in order, `projected` what is shown of each.
 *
 * Nothing is compared or made while a transaction goes on: it only marks what has to be done. `update` does that, and the
 * result is made when it is read.
 *
 * Time of `update`: O(log n) per dirty key, O(n log n) to rebuild; both only where the row is another object now. Of a changed result: O(n).
 * Memory: one entry per member and one per candidate.
 */
import type { Key } from "@headwater/core/Key"
import type { Row } from "@headwater/core/Row"
import type { Value } from "@headwater/core/Value"
import type { Definition, Held, View } from "../Replica.ts"
import * as ConfirmedRows from "./confirmedRows.ts"
import { isSame } from "./same.ts"
import * as SortedRows from "./sortedRows.ts"
import type { Store } from "./store.ts"

export interface State extends View {
  known: boolean
  readonly store: Store
  /** Other tables whose rows its condition asks for. */
  readonly asked: ReadonlyArray<Store>
  members: Set<Key>
  /** Undefined: no limit. Null: exhausted. */
  boundary: ReadonlyArray<Value> | null | undefined
  readonly shown: Shown
  readonly todo: Todo
}

interface Shown {
  /** Before the limit. */
  readonly candidates: Map<Key, Row>
  readonly sorted: SortedRows.SortedRows
  readonly projected: WeakMap<Row, Row>
  /** The last `rows`. */
  made: ReadonlyArray<Row> | undefined
  /** `made` is not what there is to be shown. */
  outdated: boolean
}

interface Todo {
  /** Everything must be decided again. */
  rebuild: boolean
  /** Its written keys must be decided again. */
  recheck: boolean
  /** Its candidates are others than when the transaction began. */
  changed: boolean
}

export const make = (id: number, definition: Definition, store: Store, asked: ReadonlyArray<Store>): State => {
  const shown: Shown = { candidates: new Map(), sorted: SortedRows.make(definition.compare), projected: new WeakMap(), made: undefined, outdated: false }
  const view: State = {
    id, definition, store, asked, known: false, members: new Set(), boundary: undefined, shown,
    todo: { rebuild: false, recheck: false, changed: false },
    keys: () => first(view).map(store.keyOf),
    get rows() {
      if (!shown.outdated) return shown.made
      shown.outdated = false
      const rows = resultOf(view)
      const before = shown.made
      if (before === undefined || before.length !== rows.length || !rows.every((row, i) => row === before[i])) shown.made = rows
      return shown.made
    }
  }
  return view
}

/** A row that is not confirmed yet must be, next. */
export const join = (view: State, key: Key): void => {
  if (view.members.has(key)) return
  view.members.add(key)
  ConfirmedRows.retain(view.store.confirmed, key)
}

export const leave = (view: State, key: Key): void => {
  if (view.members.delete(key)) ConfirmedRows.release(view.store.confirmed, key)
}

/** These are its members now, and it is known. */
export const reset = (view: State, keys: Iterable<Key>): void => {
  const members = new Set(keys)
  if (view.members.size === 0) {
    view.members = members
    for (const key of members) ConfirmedRows.retain(view.store.confirmed, key)
  } else {
    for (const key of view.members) if (!members.has(key)) leave(view, key)
    for (const key of members) join(view, key)
  }
  view.known = view.todo.rebuild = true
}

/** Brings what it shows up to date with the marks of the stores, which stay. */
export const update = (view: State, held: Held): void => {
  const { shown: { candidates }, store: { marks: { dirty }, touched }, todo } = view
  if (!view.known) return
  const recheck = todo.recheck || view.asked.some(({ marks }) => marks.altered)
  if (todo.rebuild || dirty.size > 64 && dirty.size > candidates.size / 4) rebuild(view, held)
  else {
    for (const key of dirty) refresh(view, key, held)
    if (recheck) for (const key of touched.keys()) refresh(view, key, held)
  }
  todo.rebuild = todo.recheck = false
}

/** Ends a transaction: whether `rows` is another array now. */
export const commit = (view: State): boolean => {
  const { definition, shown, todo } = view
  if (!todo.changed) return false
  todo.changed = false
  shown.outdated = true
  const before = shown.made
  // Without a limit or a projection, whatever changed a candidate changed the result: it is made when it is read.
  return before !== undefined && definition.limit === null && definition.project === null || view.rows !== before
}

/** The result as of the last `update`, as a new array. */
export const resultOf = (view: State): ReadonlyArray<Row> => {
  const { definition: { project }, shown: { projected } } = view
  const rows = first(view)
  return project === null ? rows : rows.map((row) => projected.get(row)!)
}

const first = ({ definition: { limit }, shown: { sorted } }: State) => sorted.first(limit === null ? Infinity : Math.max(limit, 0))

const candidateOf = (view: State, key: Key, held: Held): Row | undefined => {
  const { boundary, definition, members, store } = view
  const touched = store.touched.get(key)
  if (touched === undefined) return members.has(key) ? store.confirmed.rows.get(key) : undefined
  const { row } = touched
  if (!row || !(definition.passes(row, held) ?? members.has(key))) return undefined
  return boundary && definition.isBeyond(row, boundary) ? undefined : row
}

/** What the application sees of a row; as before where only other columns changed. */
const project = ({ definition, shown: { projected } }: State, row: Row, before: Row | undefined) => {
  if (definition.project === null) return
  const after = definition.project(row)
  const old = before && projected.get(before)
  projected.set(row, old && isSame(old, after) ? old : after)
}

const refresh = (view: State, key: Key, held: Held) => {
  const { candidates, sorted } = view.shown
  const before = candidates.get(key)
  const after = candidateOf(view, key, held)
  if (before === after) return
  view.todo.changed = true
  if (before !== undefined) sorted.remove(before)
  if (after === undefined) {
    candidates.delete(key)
    return
  }
  candidates.set(key, after)
  sorted.insert(after)
  project(view, after, before)
}

const rebuild = (view: State, held: Held) => {
  const { members, shown: { candidates, made, sorted }, store: { confirmed, touched } } = view
  const before = new Map(candidates)
  candidates.clear()
  let same = 0
  const show = (key: Key, row: Row) => {
    candidates.set(key, row)
    const old = before.size === 0 ? undefined : before.get(key)
    if (old === row) same++
    else project(view, row, old)
  }
  for (const key of members) if (touched.size === 0 || !touched.has(key)) show(key, confirmed.rows.get(key)!)
  for (const key of touched.keys()) {
    const row = candidateOf(view, key, held)
    if (row !== undefined) show(key, row)
  }
  sorted.fill([...candidates.values()])
  if (made === undefined || same < candidates.size || same < before.size) view.todo.changed = true
}
