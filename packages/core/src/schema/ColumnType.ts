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
 * | timestamptz | "2026-01-31T12:00:00.123456Z" (microseconds, trailing zeros cut; also "10000-01-01T00:00:00Z", "0044-03-15T12:00:00Z BC", "infinity") | the same |
 * | jsonb | JSON | the same |
 *
 * Equality follows SQL: NaN equals NaN, numeric 1.0 equals 1.00. jsonb has neither equality nor order. An enum is ordered
 * by its declaration; labels that it does not declare come after those, by code point.
 *
 * jsonb is read with JavaScript's numbers: one beyond doubles is rounded (to the greatest double, not to Infinity). A
 * column that holds JSON's `null` at the top reads as NULL.
 */
import { compareText, type Json, type Value } from "../data/Value.ts"
import * as numeric from "../internal/numeric.ts"
import * as timestamp from "../internal/timestamp.ts"

export type ColumnType =
  | { readonly kind: "text" | "boolean" | "int4" | "int8" | "float8" | "numeric" | "uuid" | "timestamptz" | "jsonb" }
  | { readonly kind: "enum"; readonly values: ReadonlyArray<string> }

export type Kind = ColumnType["kind"]

/**
 * The canonical form of a value that somebody wrote, or undefined where it does not fit the type. Null does not: whether
 * NULL is allowed is a question to the column. What it returns shares nothing with `input`.
 */
export const canonical = (type: ColumnType, input: unknown): Value | undefined => {
  switch (type.kind) {
    case "text":
      return typeof input === "string" && isStorable(input) ? input : undefined
    case "boolean":
      return typeof input === "boolean" ? input : undefined
    case "int4":
      return typeof input === "number" && (input | 0) === input ? input | 0 : undefined
    case "int8":
      return typeof input === "bigint" && BigInt.asIntN(64, input) === input ? input : undefined
    case "float8":
      // Adding 0 makes −0 a 0.
      return typeof input === "number" ? input + 0 : undefined
    case "numeric":
      return typeof input === "string" ? numeric.parse(input) : undefined
    case "uuid":
      return typeof input === "string" && uuidPattern.test(input) ? input.toLowerCase() : undefined
    case "timestamptz":
      return typeof input === "string" ? timestamp.parse(input) : undefined
    case "jsonb":
      return input === null ? undefined : canonicalJson(input, 0)
    case "enum":
      return typeof input === "string" && type.values.includes(input) ? input : undefined
  }
}

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** Postgres can store neither U+0000 nor half a surrogate pair. */
const isStorable = (text: string): boolean => text.isWellFormed() && !text.includes("\u0000")

const maxDepth = 500

const canonicalJson = (input: unknown, depth: number): Json | undefined => {
  switch (typeof input) {
    case "boolean":
      return input
    case "number":
      return Number.isFinite(input) ? input + 0 : undefined
    case "string":
      return isStorable(input) ? input : undefined
    case "object": {
      if (input === null) return null
      if (depth === maxDepth) return undefined
      if (Array.isArray(input)) {
        const copy: Array<Json> = []
        for (const element of input) {
          const item = canonicalJson(element, depth + 1)
          if (item === undefined) return undefined
          copy.push(item)
        }
        return copy
      }
      const prototype: unknown = Object.getPrototypeOf(input)
      if (prototype !== Object.prototype && prototype !== null) return undefined
      const copy: Array<[string, Json]> = []
      for (const [key, member] of Object.entries(input)) {
        // As in JSON.stringify, a member that is undefined is not there.
        if (member === undefined) continue
        const item = isStorable(key) ? canonicalJson(member, depth + 1) : undefined
        if (item === undefined) return undefined
        copy.push([key, item])
      }
      return Object.fromEntries(copy)
    }
    default:
      return undefined
  }
}

/**
 * Reads what Postgres prints under `Sql.sessionSettings`, by `::text` or a type's output function. Trusts it; text
 * that cannot come from there is a defect.
 */
export const fromText = (type: ColumnType, text: string): Value => {
  switch (type.kind) {
    case "text":
    case "numeric":
    case "uuid":
    case "enum":
      return text
    case "boolean":
      return text.charCodeAt(0) === 116
    case "int4":
      return Number(text)
    case "int8":
      return BigInt(text)
    case "float8":
      return Number(text) + 0
    case "timestamptz":
      return timestamp.fromPostgres(text)
    case "jsonb": {
      const value = JSON.parse(text) as Json
      return overflow.test(text) ? clamp(value) : value
    }
  }
}

/** jsonb prints no exponents: only this many digits may be beyond doubles. */
const overflow = /\d{309}/

const clamp = (value: Json): Json => {
  if (typeof value === "number") return Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, value))
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) return (value as ReadonlyArray<Json>).map(clamp)
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, clamp(member)]))
}

/** The text of a query parameter, to be cast as `postgres(type).cast` says. */
export const toText = (type: ColumnType, value: Value): string => type.kind === "jsonb" ? JSON.stringify(value) : String(value)

/** `value` is canonical and not null. */
export const toWire = (type: ColumnType, value: Value): Json => {
  switch (type.kind) {
    case "int8":
      return String(value)
    case "float8":
      return Number.isFinite(value) ? value as number : String(value)
    default:
      return value as Json
  }
}

/** The canonical value, or undefined where `json` is not the wire form of one. Null does not fit. */
export const fromWire = (type: ColumnType, json: unknown): Value | undefined => {
  switch (type.kind) {
    case "int8":
      return typeof json === "string" && /^-?\d{1,19}$/.test(json) ? canonical(type, BigInt(json)) : undefined
    case "float8":
      return json === "NaN" || json === "Infinity" || json === "-Infinity" ? Number(json) : Number.isFinite(json) ? json as number + 0 : undefined
    default:
      return canonical(type, json)
  }
}

/** False for types without an order, which have no equality either. */
export const isOrdered = (type: ColumnType): boolean => type.kind !== "jsonb"

/** SQL's equality of two values that are not null. Throws where there is none. */
export const equals = (type: ColumnType): (a: Value, b: Value) => boolean => {
  switch (type.kind) {
    case "float8":
      return sameFloat as (a: Value, b: Value) => boolean
    case "numeric":
      return sameNumeric as (a: Value, b: Value) => boolean
    case "jsonb":
      return unordered()
    default:
      return (a, b) => a === b
  }
}

const sameFloat = (a: number, b: number): boolean => a === b || a !== a && b !== b
const sameNumeric = (a: string, b: string): boolean => a === b || numeric.compare(a, b) === 0

/** Queries and tables that would need it are refused where they are defined. */
const unordered = (): never => {
  throw new TypeError("jsonb has neither equality nor order")
}

/** SQL's order of two values that are not null: negative, 0 or positive. Throws where there is none. */
export const compare = (type: ColumnType): (a: Value, b: Value) => number => comparators(type) as (a: Value, b: Value) => number

const comparators = (type: ColumnType) => {
  switch (type.kind) {
    case "text":
      return compareText
    case "boolean":
      return (a: boolean, b: boolean): number => Number(a) - Number(b)
    case "int4":
      return (a: number, b: number): number => a - b
    case "int8":
      return (a: bigint, b: bigint): number => a < b ? -1 : a > b ? 1 : 0
    case "float8":
      return compareFloat
    case "numeric":
      return numeric.compare
    case "uuid":
      return (a: string, b: string): number => a < b ? -1 : a > b ? 1 : 0
    case "timestamptz":
      return timestamp.compare
    case "enum": {
      const rank = rankOf(type)
      return (a: string, b: string): number => a === b ? 0 : rank(a) - rank(b) || compareText(a, b)
    }
    case "jsonb":
      return unordered()
  }
}

const compareFloat = (a: number, b: number): number => a < b ? -1 : a > b ? 1 : a === b ? 0 : Number(a !== a) - Number(b !== b)

/** The place of a label in the declaration, from 0. */
export const rankOf = (type: ColumnType & { readonly kind: "enum" }): (label: string) => number => {
  const ranks = new Map(type.values.map((label, rank) => [label, rank]))
  return (label) => ranks.get(label) ?? ranks.size
}

/** Equal for values that are equal in SQL, and for no others of the type. Throws where there is no equality. */
export const hashKey = (type: ColumnType, value: Value): string => {
  switch (type.kind) {
    case "numeric":
      return numeric.orderKey(value as string)
    case "jsonb":
      return unordered()
    default:
      return String(value)
  }
}

/** How the type stands in Postgres. */
export interface Postgres {
  /** For a new column. An enum is text: its check constraint is up to who knows the column. */
  readonly ddl: string
  /**
   * Types (`pg_type.typname`) that an existing column may have. An enum column may also be of an enum type with the same labels,
   * in any order. Text must have a deterministic collation.
   */
  readonly accepts: ReadonlyArray<string>
  /** What a parameter is cast to; null where it must stay bare, to be taken for the type of the column that it meets. */
  readonly cast: string | null
}

export const postgres = (type: ColumnType): Postgres =>
  type.kind === "enum"
    ? { ddl: "text", accepts: ["text", "varchar"], cast: null }
    : { ddl: names[type.kind] ?? type.kind, accepts: accepts[type.kind] ?? [type.kind], cast: names[type.kind] ?? type.kind }

const names: { readonly [kind: string]: string } = { int4: "integer", int8: "bigint", float8: "double precision" }
const accepts: { readonly [kind: string]: ReadonlyArray<string> } = { text: ["text", "varchar"], int4: ["int4", "int2"], boolean: ["bool"] }
