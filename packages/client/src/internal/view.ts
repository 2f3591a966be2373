/**
 * One view: its confirmed members, what it shows of its table, and the result in order.
 *
 * Invariant, between transactions and once it is known: `candidates` has its members that no pending mutation wrote, and the
 * written rows that exist, satisfy its condition and do not lie beyond its boundary; where the condition asks for rows that
 * are not held, membership stands. `sorted` has the same rows in order, `projected` what is shown of each.
 *
 * Mostly what it shows are its members: these are not kept, but how they differ. A member is a candidate that is no guest, or absent.
 *
 * Nothing is compared or made while a transaction goes on: it only marks what has to be done. `update` does that, and the
 * result is made when it is read.
 *
 * Time of `update`: O(log n) per dirty key, O(n log n) to rebuild; both only where the row is another object now. Of a changed result: O(n).
 * Memory: one entry per candidate, another one per key in which candidates and members differ.
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
  members: Members
  /** Undefined: no limit. Null: exhausted. */
  boundary: ReadonlyArray<Value> | null | undefined
  readonly shown: Shown
  readonly todo: Todo
}

interface Members {
  /** Members that are no candidates. */
  readonly absent: Set<Key>
  /** Candidates that are no members. */
  readonly guests: Set<Key>
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
  /** Of the candidates that were exchanged one by one, what stood there when the transaction began. */
  readonly before: Map<Key, Row | undefined>
  /** A rebuild exchanged candidates. */
  rebuilt: boolean
}

export const make = (id: number, definition: Definition, store: Store, asked: ReadonlyArray<Store>): State => {
  const shown: Shown = { candidates: new Map(), sorted: SortedRows.make(definition.compare), projected: new WeakMap(), made: undefined, outdated: false }
  const view: State = {
    id, definition, store, asked, known: false, members: noMembers(new Set()), boundary: undefined, shown,
    todo: { rebuild: false, recheck: false, before: new Map(), rebuilt: false },
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

export const isMember = ({ members: { absent, guests }, shown: { candidates } }: State, key: Key): boolean =>
  candidates.has(key) ? !guests.has(key) : absent.has(key)

export function* membersOf({ members: { absent, guests }, shown: { candidates } }: State): Iterable<Key> {
  for (const key of candidates.keys()) if (!guests.has(key)) yield key
  yield* absent
}

/** A row that is not confirmed yet must be, next. */
export const join = (view: State, key: Key): void => {
  if (isMember(view, key)) return
  const { absent, guests } = view.members
  if (!guests.delete(key)) absent.add(key)
  ConfirmedRows.retain(view.store.confirmed, key)
}

export const leave = (view: State, key: Key): void => {
  if (!isMember(view, key)) return
  const { absent, guests } = view.members
  if (!absent.delete(key)) guests.add(key)
  ConfirmedRows.release(view.store.confirmed, key)
}

/** These are its members now, and it is known. */
export const reset = (view: State, keys: Iterable<Key>): void => {
  const members = new Set(keys)
  if (view.shown.candidates.size === 0 && view.members.absent.size === 0) {
    view.members = noMembers(members)
    for (const key of members) ConfirmedRows.retain(view.store.confirmed, key)
  } else {
    for (const key of membersOf(view)) if (!members.has(key)) leave(view, key)
    for (const key of members) join(view, key)
  }
  view.known = view.todo.rebuild = true
}

/** Gives its members up; it is not used any more. */
export const close = (view: State): void => {
  for (const key of membersOf(view)) ConfirmedRows.release(view.store.confirmed, key)
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
  const { before, rebuilt } = todo
  if (!rebuilt && before.size === 0) return false
  let changed = false
  // What was exchanged may have come back.
  for (const [key, row] of before) changed ||= shown.candidates.get(key) !== row
  before.clear()
  todo.rebuilt = false
  if (!rebuilt && !changed) return false
  const made = shown.made
  shown.outdated = true
  // Without a limit or a projection another candidate is another result: it is made when it is read.
  return made !== undefined && changed && !rebuilt && definition.limit === null && definition.project === null || view.rows !== made
}

/** The result as of the last `update`, as a new array. */
export const resultOf = (view: State): ReadonlyArray<Row> => {
  const { definition: { project }, shown: { projected } } = view
  const rows = first(view)
  return project === null ? rows : rows.map((row) => projected.get(row)!)
}

const first = ({ definition: { limit }, shown: { sorted } }: State) => sorted.first(limit === null ? Infinity : Math.max(limit, 0))

const noMembers = (absent: Set<Key>): Members => ({ absent, guests: new Set() })

const candidateOf = ({ boundary, definition, store }: State, key: Key, isMember: boolean, held: Held): Row | undefined => {
  const touched = store.touched.get(key)
  if (touched === undefined) return isMember ? store.confirmed.rows.get(key) : undefined
  const { row } = touched
  if (!row || !(definition.passes(row, held) ?? isMember)) return undefined
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
  const { members: { absent, guests }, shown: { candidates, sorted } } = view
  const before = candidates.get(key)
  const isMember = before === undefined ? absent.has(key) : !guests.has(key)
  const after = candidateOf(view, key, isMember, held)
  if (before === after) return
  if (!view.todo.before.has(key)) view.todo.before.set(key, before)
  if (before !== undefined) sorted.remove(before)
  if (after === undefined) {
    candidates.delete(key)
    if (isMember) absent.add(key)
    else guests.delete(key)
    return
  }
  candidates.set(key, after)
  if (!isMember) guests.add(key)
  else if (before === undefined) absent.delete(key)
  sorted.insert(after)
  project(view, after, before)
}

const rebuild = (view: State, held: Held) => {
  const { members: { absent, guests }, shown: { candidates, made, sorted }, store: { confirmed, touched } } = view
  const before = new Map(candidates)
  const { absent: absentAfter, guests: guestsAfter } = view.members = noMembers(new Set())
  candidates.clear()
  const rows: Array<Row> = []
  let same = 0
  const show = (key: Key, row: Row) => {
    candidates.set(key, row)
    rows.push(row)
    const old = before.size === 0 ? undefined : before.get(key)
    if (old === row) same++
    else project(view, row, old)
  }
  const showMember = (key: Key) => {
    if (touched.size === 0 || !touched.has(key)) show(key, confirmed.rows.get(key)!)
  }
  for (const key of before.keys()) if (guests.size === 0 || !guests.has(key)) showMember(key)
  absent.forEach(showMember)
  for (const key of touched.keys()) {
    const isMember = before.has(key) ? !guests.has(key) : absent.has(key)
    const row = candidateOf(view, key, isMember, held)
    if (row === undefined) {
      if (isMember) absentAfter.add(key)
      continue
    }
    show(key, row)
    if (!isMember) guestsAfter.add(key)
  }
  sorted.fill(rows)
  if (made === undefined || same < candidates.size || same < before.size) view.todo.rebuilt = true
}
