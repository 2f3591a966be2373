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
  const columns = Object.entries(table.columns).map(([property, { type }]) => ({ property, isJson: type.kind === "jsonb" }))
  return (a, b) => {
    if (a === b) return true
    for (let i = 0; i < columns.length; i++) {
      const { isJson, property } = columns[i]!
      const x = a[property]!
      const y = b[property]!
      // NaN is the same as NaN.
      if (!Object.is(x, y) && !(isJson && jsonEquals(x as Json, y as Json))) return false
    }
    return true
  }
}
