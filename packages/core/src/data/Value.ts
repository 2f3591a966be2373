/**
 * Canonical values: what a column holds inside the engine, the same whatever database and driver it came from.
 *
 * `null` is SQL's NULL. Which JavaScript type stands for which column type is decided by `ColumnType`; exact numerics
 * and timestamps are strings, `int8` is a bigint, so nothing is lost on the way.
 */

/** A JSON value, as `JSON.parse` gives it. Never mutated once it is in a row. */
export type Json = null | boolean | number | string | ReadonlyArray<Json> | { readonly [key: string]: Json }

export type Value = Json | bigint | Uint8Array
