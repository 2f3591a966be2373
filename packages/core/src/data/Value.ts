/**
 * Canonical values: what a column holds inside the engine, the same whatever database and driver it came from.
 *
 * `null` is SQL's NULL. Which JavaScript type stands for which column type is decided by `ColumnType`; exact numerics
 * and timestamps are strings, `int8` is a bigint, so nothing is lost on the way.
 */

/** A JSON value, as `JSON.parse` gives it. Never mutated once it is in a row. */
export type Json = null | boolean | number | string | ReadonlyArray<Json> | { readonly [key: string]: Json }

export type Value = Json | bigint | Uint8Array

/**
 * The order of text: by code point, which is also the order of its UTF-8 bytes (Postgres' collation "C"). JavaScript's `<`
 * differs where a character outside the BMP meets one of U+E000–U+FFFF. Cost: the common prefix.
 */
export const compareText = (a: string, b: string): number => {
  if (a === b) return 0
  const length = a.length < b.length ? a.length : b.length
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) return x < 0xd800 || y < 0xd800 ? x - y : rotate(x) - rotate(y)
  }
  return a.length - b.length
}

/** Surrogates stand for code points above all of U+E000–U+FFFF. */
const rotate = (unit: number): number => unit >= 0xe000 ? unit - 0x800 : unit + 0x2000

/** Equality by content: the order of an object's keys does not matter. */
export const jsonEquals = (a: Json, b: Json): boolean => {
  if (a === b) return true
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false
  if (isArray(a)) {
    if (!isArray(b) || a.length !== b.length) return false
    for (let i = 0; i < a.length; i++) if (!jsonEquals(a[i]!, b[i]!)) return false
    return true
  }
  if (isArray(b)) return false
  const keys = Object.keys(a)
  if (keys.length !== Object.keys(b).length) return false
  for (const key of keys) if (!Object.hasOwn(b, key) || !jsonEquals(a[key]!, b[key]!)) return false
  return true
}

const isArray: (value: Json) => value is ReadonlyArray<Json> = Array.isArray
