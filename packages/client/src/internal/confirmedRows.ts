/**
 * The rows of one table that the server confirmed, each held as long as a view has it as a member.
 *
 * Invariant: between transactions `rows` has exactly the members of the table's views, `counts` says of how many views where
 * that is more than one, and `loose` is empty. Within a transaction `loose` names rows that no view has: another one may
 * still take them over.
 *
 * Time: O(1) per call and row. Memory: one entry per row, another one for rows in several views.
 */
import type { Key } from "@headwater/core/Key"
import type { Row } from "@headwater/core/Row"

export interface ConfirmedRows {
  readonly rows: Map<Key, Row>
  readonly counts: Map<Key, number>
  readonly loose: Set<Key>
}

export const make = (): ConfirmedRows => ({ rows: new Map(), counts: new Map(), loose: new Set() })

/** One more view has it. A row that is not held yet must be set next. */
export const retain = ({ counts, loose, rows }: ConfirmedRows, key: Key): void => {
  if (rows.has(key) && !loose.delete(key)) counts.set(key, (counts.get(key) ?? 1) + 1)
}

export const release = ({ counts, loose }: ConfirmedRows, key: Key): void => {
  const count = counts.get(key) ?? 1
  if (count > 2) counts.set(key, count - 1)
  else if (count === 2) counts.delete(key)
  else loose.add(key)
}

/** Drops the rows that no view has; says which, just before. */
export const sweep = ({ loose, rows }: ConfirmedRows, drops: (key: Key) => void): void => {
  for (const key of loose) {
    drops(key)
    rows.delete(key)
  }
  loose.clear()
}
