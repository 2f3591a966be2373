/**
 * What a column's type means: its canonical value, its text in Postgres, its equality, its order, and its form on the wire.
 *
 * | kind | canonical value | wire (JSON) |
 * |---|---|---|
 * | text, uuid, enum | string (uuid in lower case) | the same |
 * | boolean | boolean | the same |
 * | int4 | number | the same |
 * | int8 | bigint | string of digits |
 * | float8 | number, with NaN, ±Infinity; −0 is 0 | number, or "NaN", "Infinity", "-Infinity" |
 * | numeric | Postgres' text, e.g. "1.00", "NaN" | the same |
 * | timestamptz | "2026-01-31T12:00:00.123456Z" (microseconds, trailing zeros cut; as Postgres' ISO in UTC for years beyond 9999, "… BC", "infinity") | the same |
 * | jsonb | JSON | the same |
 *
 * Equality follows SQL: NaN equals NaN, numeric 1.0 equals 1.00. jsonb has neither equality nor order.
 * An enum is ordered by its declaration.
 */
export type ColumnType =
  | { readonly kind: "text" | "boolean" | "int4" | "int8" | "float8" | "numeric" | "uuid" | "timestamptz" | "jsonb" }
  | { readonly kind: "enum"; readonly values: ReadonlyArray<string> }

export type Kind = ColumnType["kind"]
