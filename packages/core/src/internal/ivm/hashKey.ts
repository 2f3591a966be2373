/**
 * Values and tuples of them as keys of a `Map`, equal where SQL calls them equal. NULL equals nothing: it has no key.
 */
import type { Bound } from "../../change/Range.ts"
import type { Row } from "../../data/Row.ts"
import type { Value } from "../../data/Value.ts"
import * as ColumnType from "../../schema/ColumnType.ts"

export type HashKey = string | number | bigint | boolean

export type Scalar = (row: Row, bound: Bound) => Value

export type Hash = (value: Value) => HashKey

const identity: Hash = (value) => value as HashKey

/** Most canonical values are their own key: `Map` compares as SQL does, NaN included. */
export const hashOf = (type: ColumnType.ColumnType): Hash =>
  type.kind === "numeric" || type.kind === "jsonb" ? (value) => ColumnType.hashKey(type, value) : identity

export interface Part {
  readonly read: Scalar
  readonly hash: Hash
}

/** The key of a tuple; undefined where a part is NULL. One part is its own key. */
export const tuple = (parts: ReadonlyArray<Part>): (row: Row, bound: Bound) => HashKey | undefined => {
  if (parts.length === 0) return () => ""
  if (parts.length === 1) {
    const { hash, read } = parts[0]!
    return hash === identity ?
      (row, bound) => (read(row, bound) ?? undefined) as HashKey | undefined :
      (row, bound) => {
        const value = read(row, bound)
        return value === null ? undefined : hash(value)
      }
  }
  return (row, bound) => {
    let key = ""
    for (let i = 0; i < parts.length; i++) {
      const value = parts[i]!.read(row, bound)
      if (value === null) return undefined
      // With its length before it no text can run into the next.
      const part = String(parts[i]!.hash(value))
      key += part.length + ":" + part
    }
    return key
  }
}
