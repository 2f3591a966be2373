/**
 * A range as the statement that reads it, as what its rows mean, and as the filter by which they are corrected. Pure.
 */
import type { Range, RangeRows } from "@headwater/core/Range"
import * as ColumnType from "@headwater/core/ColumnType"
import * as Key from "@headwater/core/Key"
import type { Row } from "@headwater/core/Row"
import * as Semantics from "@headwater/core/Semantics"
import * as Sql from "@headwater/core/Sql"
import type { Value } from "@headwater/core/Value"
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
  const { columns } = query
  return {
    statement: query,
    filter: {
      table: range.table,
      key: Key.make(tables.get(range.table)!),
      same: (left, right) => columns.every(({ name }) => sameValue(left[name]!, right[name]!)),
      admits: (row) => passes(row, bound) && (after === null || compareTo(row, after, bound) > 0),
      ordered: order.length > 0,
      compare: order.length > 0 ? Semantics.comparator(order, { bound }) : () => 0,
      isWithin: (row, boundary) => compareTo(row, boundary, bound) <= 0
    },
    rows(texts) {
      const rows = texts.map((values) => {
        const row: Record<string, Value> = {}
        for (let i = 0; i < columns.length; i++) {
          const text = values[i]!
          row[columns[i]!.name] = text === null ? null : ColumnType.fromText(columns[i]!.type, text)
        }
        return Object.freeze(row) as Row
      })
      const last = rows.at(-1)
      return { rows, completeTo: limit !== null && rows.length >= limit && last !== undefined ? valuesOf(last, bound) : null }
    }
  }
}

/** Both were made from the database's text, which for equal JSON is the same. */
const sameValue = (left: Value, right: Value): boolean =>
  Object.is(left, right) || typeof left === "object" && typeof right === "object" && JSON.stringify(left) === JSON.stringify(right)
