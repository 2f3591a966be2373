/**
 * One row's insert, update or delete, as −before and +after.
 *
 * Inside a step changes are netted: at most one for each table and primary key, `before` being the row at the step's
 * base and `after` the row at its position. An update of the primary key is a delete and an insert.
 */
import type { Row } from "../data/Row.ts"

export interface Change {
  /** `Table.tableName`. */
  readonly table: string
  /** Null for an insert. */
  readonly before: Row | null
  /** Null for a delete. */
  readonly after: Row | null
}
