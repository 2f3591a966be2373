/**
 * How the hub names and writes rows: wire values in declared column order, one text per row and set of hidden columns.
 *
 * Rows keep their identity while their content stays, so what was written for one binding, or one subscriber, serves all.
 */
import type * as Contract from "@headwater/core/Contract"
import * as ColumnType from "@headwater/core/ColumnType"
import type { Condition } from "@headwater/core/Graph"
import * as Key from "@headwater/core/Key"
import * as Plan from "@headwater/core/Plan"
import type { Row } from "@headwater/core/Row"
import type { Json } from "@headwater/core/Value"
import type { Authorization } from "../Authorization.ts"
import type { Encoder } from "./channel.ts"

export const make = (
  contract: Contract.Any,
  authorization: Authorization["Service"],
  condition: (readable: Plan.Expression) => Condition
): Encoder => {
  const tables = new Map(Object.entries(contract.tables).map(([name, table]) => {
    const masks = authorization.masks(name)
    if (masks.length > 31) throw new TypeError(`access to ${name}: more than 31 masked columns`)
    const properties = Object.entries(table.columns).map(([property, { type }]) => {
      const mask = masks.findIndex(({ column }) => column === property)
      return { property, type, bit: mask < 0 ? 0 : 1 << mask, mask: masks[mask]?.mask ?? null }
    })
    const principalFields = new Set<string>()
    for (const { readable } of masks) {
      Plan.forEachPart(readable, (part) => {
        if (part.op === "principal") principalFields.add(part.field)
      })
    }
    return [name, {
      key: Key.make(table), masks, properties, principalFields: [...principalFields].sort(),
      plain: new WeakMap<Row, string>(), masked: new WeakMap<Row, Map<number, string>>()
    }]
  }))
  let conditions = new Map<Plan.Expression, Condition>()
  const write = (properties: ReadonlyArray<{ readonly property: string; readonly type: ColumnType.ColumnType; readonly bit: number; readonly mask: Json }>, row: Row, hidden: number) =>
    JSON.stringify(properties.map(({ bit, mask, property, type }) => {
      if ((bit & hidden) !== 0) return mask
      const value = row[property]!
      return value === null ? null : ColumnType.toWire(type, value)
    }))
  return {
    keyOf: (table, row) => tables.get(table)!.key(row),
    rowText: (shape, row, hidden) => {
      const table = tables.get(shape.select.table)!
      if (hidden === 0) {
        let text = table.plain.get(row)
        if (text === undefined) table.plain.set(row, text = write(table.properties, row, 0))
        return text
      }
      let texts = table.masked.get(row)
      if (texts === undefined) table.masked.set(row, texts = new Map())
      let text = texts.get(hidden)
      if (text === undefined) texts.set(hidden, text = write(table.properties, row, hidden))
      return text
    },
    masked: (shape, row, bound) => {
      const { masks } = tables.get(shape.select.table)!
      let hidden = 0
      for (let i = 0; i < masks.length; i++) {
        const { readable } = masks[i]!
        let held = conditions.get(readable)
        if (held === undefined) conditions.set(readable, held = condition(readable))
        if (!held.test(row, bound)) hidden |= 1 << i
      }
      return hidden
    },
    boundaryText: (shape, boundary) =>
      boundary === null ? "null" : JSON.stringify(boundary.map((value, i) =>
        value === null ? null : ColumnType.toWire(Plan.typeOf(shape.select.order[i]!.value), value))),
    audience: (shape, { principal }) =>
      JSON.stringify(tables.get(shape.select.table)!.principalFields.map((field) => {
        const value = principal[field] ?? null
        // Not as JSON, which takes NaN and the infinities for null.
        return `${typeof value}${typeof value === "object" ? JSON.stringify(value) : value}`
      })),
    restarted: () => {
      conditions = new Map()
    }
  }
}

/** What `welcome` states. */
export const columnsOf = (contract: Contract.Any): { readonly [table: string]: ReadonlyArray<string> } =>
  Object.fromEntries(Object.entries(contract.tables).map(([name, table]) => [name, Object.keys(table.columns)]))
