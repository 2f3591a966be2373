/**
 * A linear read: rows of one table that pass a filter, in an order, from a bound on. What a change source can answer
 * exactly at a position; joins, aggregates and limits are computed from such rows.
 */
import type { Row } from "../data/Row.ts"
import type { Value } from "../data/Value.ts"
import type { Expression, Order } from "../query/Plan.ts"

/** The values of what a plan leaves open, canonical. */
export interface Bound {
  readonly parameters: Row
  readonly principal: Row
}

export interface Range {
  /** `Table.tableName` of a captured table. */
  readonly table: string
  /** The alias by which the expressions refer to the table's columns. */
  readonly source: string
  /** Conjuncts over this table's columns, literals, parameters and principal fields; no `exists`. */
  readonly where: ReadonlyArray<Expression>
  /** Total (ends with the primary key); empty where there is neither `after` nor `limit`. */
  readonly order: ReadonlyArray<Order>
  /** Values of `order`'s expressions: rows up to and including them are left out. Null starts at the beginning. */
  readonly after: ReadonlyArray<Value> | null
  /** Null reads all. */
  readonly limit: number | null
  readonly bound: Bound
}

/** What a range holds at one position. */
export interface RangeRows {
  /** In the range's order; unordered where that is empty. May be more or fewer than the limit: a correction adds and takes. */
  readonly rows: ReadonlyArray<Row>
  /** The values of `order` up to which, inclusive, the range is complete; null where it is complete to its end. */
  readonly completeTo: ReadonlyArray<Value> | null
}
