/**
 * One table: its confirmed rows, and over them what pending mutations wrote.
 *
 * Invariant: `touched` has the keys that operations of pending mutations write, between transactions no others; the row of
 * such a key is its operations, in the order of the mutations, replayed over the confirmed row. While a key's content stays
 * the same within a transaction, its row stays the same object.
 *
 * `marks` gathers what a transaction did, for those that must look at it again before it ends.
 *
 * Time: O(1) per write; O(operations of the key) to take one back, or to replay them over another confirmed row.
 */
import type { Key } from "@headwater/core/Key"
import type { Row } from "@headwater/core/Row"
import * as ConfirmedRows from "./confirmedRows.ts"
import { isSame } from "./same.ts"

export interface Store {
  readonly name: string
  readonly keyOf: (row: Row) => Key
  readonly confirmed: ConfirmedRows.ConfirmedRows
  readonly touched: Map<Key, Touched>
  readonly marks: Marks
}

/** A key that pending mutations wrote. */
export interface Touched {
  /** In the order of the mutations; never empty between transactions. */
  readonly operations: Array<Operation>
  /** Null is known to be absent; undefined is not held. */
  row: Row | null | undefined
}

export type Operation =
  | { readonly op: "insert"; readonly store: Store; readonly key: Key; readonly row: Row }
  | { readonly op: "update"; readonly store: Store; readonly key: Key; readonly row: Row }
  | { readonly op: "delete"; readonly store: Store; readonly key: Key; readonly row: null }

/** Of a transaction; empty between two. */
export interface Marks {
  /** Keys that views must look at. */
  readonly dirty: Set<Key>
  /** Keys whose row, as pending mutations read it, may have changed. */
  readonly moved: Set<Key>
  /** What keys showed before it began. */
  readonly earlier: Map<Key, Row>
  /** Whether any row came, changed or went. */
  altered: boolean
}

export const make = (name: string, keyOf: (row: Row) => Key): Store => ({
  name, keyOf, confirmed: ConfirmedRows.make(), touched: new Map(),
  marks: { dirty: new Set(), moved: new Set(), earlier: new Map(), altered: false }
})

/** Null where there is none; undefined where that is not known. */
export const rowOf = ({ confirmed, touched }: Store, key: Key): Row | null | undefined => {
  const written = touched.get(key)
  return written === undefined ? confirmed.rows.get(key) : written.row
}

/** All that are known to exist. */
export function* rowsOf({ confirmed, touched }: Store): Iterable<Row> {
  for (const [key, row] of confirmed.rows) if (!touched.has(key)) yield row
  for (const { row } of touched.values()) if (row) yield row
}

export const mark = ({ marks }: Store, key: Key): void => {
  marks.dirty.add(key)
  marks.moved.add(key)
  marks.altered = true
}

/** Views have looked at what was dirty. */
export const seen = ({ marks }: Store): void => {
  marks.dirty.clear()
  marks.altered = false
}

/** Ends a transaction. */
export const commit = ({ marks }: Store): void => {
  marks.moved.clear()
  marks.earlier.clear()
}

/** Sets a row that a view has as a member. `hasPending`: somebody may have read that there was none. */
export const confirm = (store: Store, key: Key, row: Row, hasPending: boolean): void => {
  const { confirmed: { rows }, marks, touched } = store
  const before = rows.get(key)
  if (before === undefined && touched.size === 0 && !hasPending) {
    rows.set(key, row)
    marks.altered = true
    return
  }
  const after = intern(store, key, row)
  if (before === after) return
  note(store, key, rowOf(store, key))
  rows.set(key, after)
  marks.altered = true
  if (before === undefined) {
    if (hasPending) marks.moved.add(key)
    if (touched.has(key)) marks.dirty.add(key)
  } else mark(store, key)
}

/** Drops the rows that no view has any more. */
export const sweep = (store: Store): void =>
  ConfirmedRows.sweep(store.confirmed, (key) => {
    note(store, key, rowOf(store, key))
    mark(store, key)
  })

/** Adds an operation of the newest mutation so far. */
export const write = (operation: Operation): void => {
  const { key, store } = operation
  const { confirmed, touched } = store
  let written = touched.get(key)
  if (written === undefined) touched.set(key, written = { operations: [], row: confirmed.rows.get(key) })
  written.operations.push(operation)
  alter(store, key, written, replayed(written.row, operation))
}

export const takeBack = (operations: ReadonlyArray<Operation>): void => {
  for (const operation of operations) {
    const written = operation.store.touched.get(operation.key)!.operations
    written.splice(written.indexOf(operation), 1)
    replay(operation.store, operation.key)
  }
}

/** The confirmed row, or the operations over it, are other ones now. */
export const replay = (store: Store, key: Key): void => {
  const written = store.touched.get(key)
  if (written === undefined) return
  let row: Row | null | undefined = store.confirmed.rows.get(key)
  for (const operation of written.operations) row = replayed(row, operation)
  alter(store, key, written, row)
  if (written.operations.length === 0) store.touched.delete(key)
}

export const isSameOperation = (a: Operation, b: Operation): boolean =>
  a.op === b.op && a.store === b.store && a.key === b.key && (a.row === b.row || a.row !== null && b.row !== null && isSame(a.row, b.row))

const alter = (store: Store, key: Key, written: Touched, row: Row | null | undefined) => {
  note(store, key, written.row)
  written.row = row && intern(store, key, row)
  store.marks.dirty.add(key)
  store.marks.altered = true
}

const replayed = (row: Row | null | undefined, operation: Operation): Row | null | undefined => {
  if (operation.op !== "update") return operation.row
  return row && Object.freeze({ ...row, ...operation.row })
}

const note = ({ marks: { earlier } }: Store, key: Key, row: Row | null | undefined) => {
  if (row && !earlier.has(key)) earlier.set(key, row)
}

/** The object that stands for this content already, if any does. */
const intern = ({ confirmed, marks, touched }: Store, key: Key, row: Row): Row => {
  for (const known of [confirmed.rows.get(key), touched.get(key)?.row, marks.earlier.get(key)]) {
    if (known && isSame(known, row)) return known
  }
  return row
}
