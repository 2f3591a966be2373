/**
 * A range as the statement that reads it, as what its rows mean, and as the filter by which they are corrected. Pure.
 */
import type { Range, RangeRows } from "@headwater/core/Range"
import * as Key from "@headwater/core/Key"
import * as Row from "@headwater/core/Row"
import * as Semantics from "@headwater/core/Semantics"
import * as Sql from "@headwater/core/Sql"
import type { RangeFilter } from "../Correction.ts"

export interface RangeRead {
  readonly statement: Sql.Statement
  readonly filter: RangeFilter
  /** Of the statement's result, as texts. */
  readonly rows: (texts: ReadonlyArray<ReadonlyArray<string | null>>) => RangeRows
}

export const make = (range: Range, tables: Sql.Tables): RangeRead => {
  const { after, bound, limit, order } = range
  const query = Sql.range(range, tables)
  const passes = Semantics.condition(range.where)
  const compareTo = Semantics.compareToValues(order)
  const valuesOf = Semantics.orderValues(order)
  const table = tables.get(range.table)!
  const fromTexts = Row.fromTexts(table)
  return {
    statement: query,
    filter: {
      table: range.table,
      key: Key.make(table),
      same: Row.equals(table),
      admits: (row) => passes(row, bound) && (after === null || compareTo(row, after, bound) > 0),
      ordered: order.length > 0,
      compare: order.length > 0 ? Semantics.comparator(order, { bound }) : () => 0,
      isWithin: (row, boundary) => compareTo(row, boundary, bound) <= 0
    },
    rows(texts) {
      const rows = texts.map(fromTexts)
      const last = rows.at(-1)
      return { rows, completeTo: limit !== null && rows.length >= limit && last !== undefined ? valuesOf(last, bound) : null }
    }
  }
}
