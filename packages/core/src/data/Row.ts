/**
 * A table row: a frozen plain object from property name (not column name) to canonical value.
 *
 * Rows are interned once per table and keep their identity until their content changes.
 */
import type { Value } from "./Value.ts"

export type Row = { readonly [property: string]: Value }
