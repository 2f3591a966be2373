/**
 * Keys: a row's primary key as one string.
 *
 * Keys of two rows are equal exactly where SQL finds the primary keys equal, and JavaScript's `<` orders them as SQL
 * orders the keys (text by code point). So a key serves as identity, as the last rank of an order, and on the wire.
 *
 * Each part is text in which `<` has its type's order; parts are parted by U+0000, which no part holds. Keys are well-formed
 * Unicode. A key of one uuid, or of one text without the rare characters named below, is that text itself.
 */
import * as numeric from "../internal/numeric.ts"
import * as timestamp from "../internal/timestamp.ts"
import { type ColumnType, rankOf } from "../schema/ColumnType.ts"
import type { Any } from "../schema/Table.ts"
import type { Row } from "./Row.ts"
import type { Value } from "./Value.ts"

export type Key = string

/** Needs only the primary key's properties of a row. */
export const make = (table: Any): (row: Row) => Key => {
  const parts = table.primaryKey.map((property) => ({ property, encode: encoder(table.columns[property]!.type) }))
  const [{ encode, property }] = parts as [typeof parts[0] & {}]
  if (parts.length === 1) return encode === same ? (row) => row[property] as string : (row) => encode(row[property]!)
  return (row) => {
    let key = encode(row[property]!)
    for (let i = 1; i < parts.length; i++) key += `\u0000${parts[i]!.encode(row[parts[i]!.property]!)}`
    return key
  }
}

const encoder = (type: ColumnType): (value: Value) => string => {
  switch (type.kind) {
    case "text":
      return textKey as (value: Value) => string
    case "uuid":
      return same
    case "boolean":
      return (value) => value === true ? "1" : "0"
    case "int4":
    case "int8":
      return numeric.integerKey as (value: Value) => string
    case "float8":
      return floatKey as (value: Value) => string
    case "numeric":
      return numeric.orderKey as (value: Value) => string
    case "timestamptz":
      return timestamp.orderKey as (value: Value) => string
    case "enum": {
      const rank = rankOf(type)
      return (value) => `${numeric.integerKey(rank(value as string))}${textKey(value as string)}`
    }
    case "jsonb":
      throw new TypeError("A jsonb column cannot be part of a primary key: it has no equality")
  }
}

const same = (value: Value): string => value as string

/**
 * Surrogates, which stand for code points above the BMP, are less than U+E000–U+FFFF in JavaScript's order. Those are
 * therefore written as U+D7FF (the last before the surrogates, unassigned) and a second character; so is U+D7FF itself.
 */
const textKey = (text: string): string => rare.test(text) ? text.replace(allRare, escape) : text

const rare = /[\ud7ff\ue000-\uffff]/
const allRare = /[\ud7ff\ue000-\uffff]/g
const escape = (character: string): string => {
  const unit = character.charCodeAt(0)
  return `\ud7ff${String.fromCharCode(unit === 0xd7ff ? 1 : unit - 0xe000 + 2)}`
}

const bits = new DataView(new ArrayBuffer(8))

/** The bits as hexadecimal digits: with the sign flipped, or all of them where it was set, unsigned order is that of values. */
const floatKey = (value: number): string => {
  bits.setFloat64(0, value)
  const raw = bits.getBigUint64(0)
  const flipped = value < 0 ? raw ^ 0xffff_ffff_ffff_ffffn : raw | 0x8000_0000_0000_0000n
  return flipped.toString(16).padStart(16, "0")
}
