/**
 * Turns the rows that a database snapshot S showed into those at position k.
 *
 * With V(S) the transactions that S sees and D(k) those delivered up to k:
 * rows(k) = rows(S) − ΣΔ(V(S)∖D(k)) + ΣΔ(D(k)∖V(S)), as Z-sets over one range, each image of a row filtered as the range
 * filters rows. Both differences occur: a log has a commit before snapshots see it, and snapshots see commits that no step
 * has yet. It is exact because the range is linear, and complete up to a boundary: images beyond that are left out like
 * the rows that were not read.
 *
 * A TRUNCATE that S sees cannot be taken away (`exactFrom`). One at or before k replaces what S showed: since nobody
 * writes to the table beside it, the state is the sum of the changes from that transaction on.
 *
 * Time: O(rows + changes of the table in the log). Memory: the same.
 */
import type { Position } from "@headwater/core/Position"
import type { RangeRows } from "@headwater/core/Range"
import type { Row } from "@headwater/core/Row"
import type { Value } from "@headwater/core/Value"
import { CorruptStep } from "./ChangeSource.ts"
import type { Snapshot } from "./Snapshot.ts"
import { sees } from "./Snapshot.ts"
import type { Transaction } from "./TransactionLog.ts"

/** A range, compiled. */
export interface RangeFilter {
  readonly table: string
  /** Names the row in its table. */
  readonly key: (row: Row) => string
  /** Whether two images are the same version of a row. */
  readonly same: (left: Row, right: Row) => boolean
  /** The range's `where` is true, and the row lies beyond its `after`. */
  readonly admits: (row: Row) => boolean
  /** False where the range has no order; then all rows are equal to `compare`. */
  readonly ordered: boolean
  readonly compare: (left: Row, right: Row) => number
  /** Whether the row lies at or before these values of the order. */
  readonly isWithin: (row: Row, boundary: ReadonlyArray<Value>) => boolean
}

/**
 * The first position at or after `from` at which the tables can be answered, or null while it is not known: the last
 * TRUNCATE that the snapshot sees must have been delivered.
 */
export const exactFrom = (
  tables: ReadonlySet<string>,
  snapshot: Snapshot,
  log: Iterable<Transaction>,
  from: Position
): Position | null => {
  let first: Position | null = from
  for (const { id, position, truncated } of log) {
    if (!truncated.some((table) => tables.has(table)) || !sees(snapshot, id)) continue
    if (position === null) return null
    if (position > first) first = position
  }
  return first
}

/**
 * What the range held at `position`. `log` holds every transaction that is in only one of V(S) and D(k), others do no harm; it is
 * ordered as `TransactionLog.append` says. One that S sees and that no step has yet is in it without a position, or with
 * a later one.
 *
 * Throws `CorruptStep` where the sum is not a set of rows.
 */
export const at = (
  filter: RangeFilter,
  snapshot: Snapshot,
  read: RangeRows,
  log: Iterable<Transaction>,
  position: Position
): RangeRows => {
  const delivered = (transaction: Transaction) => transaction.position !== null && transaction.position <= position
  let emptied: Transaction | null = null as Transaction | null
  for (const transaction of log) if (delivered(transaction) && transaction.truncated.includes(filter.table)) emptied = transaction
  let isAfterEmptied = false
  const touched = new Map<string, Array<Weighted>>()
  const inside = (row: Row) => filter.admits(row) && (boundary === null || filter.isWithin(row, boundary))
  const add = (row: Row, weight: number) => {
    const key = filter.key(row)
    const versions = touched.get(key)
    if (versions === undefined) touched.set(key, [{ row, weight }])
    else addVersion(filter, versions, row, weight)
  }
  // After a TRUNCATE the changes alone are the state, to its very end.
  const boundary = emptied === null ? read.completeTo : null
  for (const transaction of log) {
    if (transaction === emptied) isAfterEmptied = true
    const weight = emptied === null
      ? Number(delivered(transaction)) - Number(sees(snapshot, transaction.id))
      : Number(isAfterEmptied && delivered(transaction))
    if (weight === 0) continue
    for (const change of transaction.changes) {
      if (change.table !== filter.table) continue
      if (change.before !== null && inside(change.before)) add(change.before, -weight)
      if (change.after !== null && inside(change.after)) add(change.after, weight)
    }
  }
  const rows = emptied === null ? read.rows : []
  if (touched.size === 0) return { rows, completeTo: boundary }

  const untouched: Array<Row> = []
  for (const row of rows) {
    const versions = touched.get(filter.key(row))
    if (versions === undefined) untouched.push(row)
    else addVersion(filter, versions, row, 1)
  }
  const changed: Array<Row> = []
  for (const [key, versions] of touched) {
    const left = versions.filter(({ weight }) => weight !== 0)
    if (left.length === 0) continue
    if (left.length > 1 || left[0]!.weight !== 1) {
      throw new CorruptStep({
        table: filter.table,
        message: `The changes of ${filter.table} do not add up for the row ${key} at position ${position}: ` +
          "it was written without being captured. Everything must be read again."
      })
    }
    changed.push(left[0]!.row)
  }
  return { rows: filter.ordered ? merge(untouched, changed.sort(filter.compare), filter.compare) : untouched.concat(changed), completeTo: boundary }
}

interface Weighted {
  readonly row: Row
  weight: number
}

const addVersion = (filter: RangeFilter, versions: Array<Weighted>, row: Row, weight: number) => {
  const version = versions.find((version) => filter.same(version.row, row))
  if (version === undefined) versions.push({ row, weight })
  else version.weight += weight
}

/** Both are sorted. */
const merge = (left: ReadonlyArray<Row>, right: ReadonlyArray<Row>, compare: (left: Row, right: Row) => number) => {
  const all: Array<Row> = []
  let next = 0
  for (const row of left) {
    while (next < right.length && compare(right[next]!, row) < 0) all.push(right[next++]!)
    all.push(row)
  }
  while (next < right.length) all.push(right[next++]!)
  return all
}
