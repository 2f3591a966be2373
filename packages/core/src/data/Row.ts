/**
 * A table row: a frozen plain object from property name (not column name) to canonical value.
 *
 * Rows are interned once per table and keep their identity until their content changes.
 */
import * as ColumnType from "../schema/ColumnType.ts"
import type { Any } from "../schema/Table.ts"
import { type Json, jsonEquals, type Value } from "./Value.ts"

export type Row = { readonly [property: string]: Value }

/** Reads rows from Postgres' texts (null for NULL), one per declared column in declared order. */
export const fromTexts = (table: Any): (texts: ReadonlyArray<string | null>) => Row => {
  const columns = Object.entries(table.columns).map(([property, { type }]) => ({ property, type }))
  return (texts) => {
    const row: { [property: string]: Value } = {}
    for (let i = 0; i < columns.length; i++) {
      const { property, type } = columns[i]!
      const text = texts[i]!
      row[property] = text === null ? null : ColumnType.fromText(type, text)
    }
    return Object.freeze(row)
  }
}

/** Whether two rows have the same content. Finer than SQL's equality: numeric 1.0 is not 1.00. */
export const equals = (table: Any): (a: Row, b: Row) => boolean => {
  const properties = Object.keys(table.columns)
  return (a, b) => {
    if (a === b) return true
    for (let i = 0; i < properties.length; i++) {
      const x = a[properties[i]!]!
      const y = b[properties[i]!]!
      if (x !== y && !alike(x, y)) return false
    }
    return true
  }
}

/** Of what `===` tells apart: JSON, and NaN, which is the same as NaN. */
const alike = (a: Value, b: Value): boolean => typeof a === "object" ? jsonEquals(a as Json, b as Json) : a !== a && b !== b
