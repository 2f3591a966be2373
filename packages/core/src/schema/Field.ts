/**
 * A named value in a payload, a parameter list, an error or the principal: a column, an Effect Schema or a Standard Schema.
 *
 * On the wire a column's value has the column type's form, a schema's value is the JSON that it accepts. Both directions
 * check: what an application gives before it is sent, and what arrives. Nothing here throws on bad values.
 */
import type { Row } from "../data/Row.ts"
import type { Json, Value } from "../data/Value.ts"
import * as SchemaValue from "../internal/schemaValue.ts"
import * as Column from "./Column.ts"
import * as ColumnType from "./ColumnType.ts"

export type Any = Column.Column<unknown> | SchemaValue.Any

export type Fields = { readonly [name: string]: Any }

/** Refuses, in types, schemas that transform and values that are not JSON. */
export type Valid<F> = { readonly [K in keyof F]: F[K] extends Column.Any ? unknown : SchemaValue.Valid<F[K]> }

/** What a field holds. */
export type Type<F> = F extends Column.Any ? Column.Type<F> : SchemaValue.Type<F>

type OptionalKeys<F> = { [K in keyof F]: F[K] extends { readonly "~type.optionality": "optional" } ? K : never }[keyof F]

/** What all fields hold together. `Schema.optionalKey` makes one optional. */
export type Struct<F> = [OptionalKeys<F>] extends [never] ? { readonly [K in keyof F]: Type<F[K]> }
  : Flat<{ readonly [K in Exclude<keyof F, OptionalKeys<F>>]: Type<F[K]> } & { readonly [K in OptionalKeys<F>]?: Type<F[K]> }>

type Flat<A> = { readonly [K in keyof A]: A[K] }

export type Checked<A> =
  | { readonly ok: true; readonly value: A }
  | { readonly ok: false; readonly field: string; readonly message: string }

/** A field at run time. */
export interface Codec {
  /** Undefined for a schema whose values no scalar column holds, or that does not say. */
  readonly type: ColumnType.ColumnType | undefined
  readonly isNullable: boolean
  readonly isOptional: boolean
  /** Canonical where the field is a column. */
  readonly toWire: (value: unknown) => SchemaValue.Checked<Json>
  readonly fromWire: (wire: unknown) => SchemaValue.Checked<Value>
  /** As much of it as two builds of one contract can compare. */
  readonly description: Json
  readonly isColumn: boolean
}

export type Codecs = { readonly [name: string]: Codec }

/** Throws a `TypeError` that begins with `where` for what cannot be a field. */
export const codec = (field: Any, where: string): Codec => {
  if (Column.isColumn(field)) {
    const column: Column.Any = field
    return {
      type: column.type,
      isNullable: column.isNullable,
      isOptional: false,
      isColumn: true,
      toWire: (input) => {
        const checked = Column.check(column, input)
        return checked.ok ? { ok: true, value: wireOf(column.type, checked.value) } : checked
      },
      fromWire: (wire) => {
        if (wire === null || wire === undefined) return Column.check(column, null)
        const value = ColumnType.fromWire(column.type, wire as Json)
        return value === undefined ? Column.check(column, wire) : Column.check(column, value)
      },
      description: { column: { ...column.type }, nullable: column.isNullable, schema: column.schema?.description ?? null }
    }
  }
  if (!SchemaValue.isSchema(field)) throw new TypeError(`${where} is neither a column nor a schema`)
  const checker = SchemaValue.make(field, where)
  return {
    type: checker.columnType,
    isNullable: checker.isNullable,
    isOptional: checker.isOptional,
    isColumn: false,
    toWire: checker.check,
    fromWire: checker.check,
    description: checker.description
  }
}

/** A canonical value, NULL too, in wire form. */
export const wireOf = (type: ColumnType.ColumnType, value: Value): Json => value === null ? null : ColumnType.toWire(type, value)

export const codecs = (fields: Fields, where: string): Codecs => {
  const result: Record<string, Codec> = Object.create(null) as {}
  for (const [name, field] of Object.entries(fields)) {
    if (name === "__proto__") throw new TypeError(`${where}: "__proto__" cannot be a field`)
    result[name] = codec(field, `${where}.${name}`)
  }
  return Object.freeze(result)
}

/** What an application gave, as JSON. Unknown fields are refused: they would get lost. */
export const encode = (fields: Codecs, input: unknown): Checked<{ readonly [name: string]: Json }> =>
  each(fields, input, "refuse", (field, value) => field.toWire(value))

/** What arrived. Unknown fields are dropped: a newer build may send them. */
export const decode = (fields: Codecs, wire: unknown): Checked<{ readonly [name: string]: Value }> =>
  each(fields, wire, "drop", (field, value) => field.fromWire(value))

const each = <A>(fields: Codecs, input: unknown, unknown: "drop" | "refuse", f: (field: Codec, value: unknown) => SchemaValue.Checked<A>): Checked<{ readonly [name: string]: A }> => {
  if (typeof input !== "object" || input === null || Array.isArray(input)) {
    return { ok: false, field: "", message: "must be an object" }
  }
  const given = input as { readonly [name: string]: unknown }
  if (unknown === "refuse") {
    const stranger = Object.keys(given).find((name) => !Object.hasOwn(fields, name) && given[name] !== undefined)
    if (stranger !== undefined) return { ok: false, field: stranger, message: `${stranger} is not a field here` }
  }
  const result: Record<string, A> = {}
  for (const [name, field] of Object.entries(fields)) {
    const value = Object.hasOwn(given, name) ? given[name] : undefined
    if (value === undefined && field.isOptional) continue
    if (value === undefined) return { ok: false, field: name, message: `${name} is missing` }
    const checked = f(field, value)
    if (!checked.ok) return { ok: false, field: name, message: `${name} ${checked.message}` }
    result[name] = checked.value
  }
  return { ok: true, value: result }
}

/** Values of fields as canonical values of these types, NULL for those that were left out. */
export const canonicalRow = (types: { readonly [name: string]: { readonly type: ColumnType.ColumnType } }, values: { readonly [name: string]: unknown }): Checked<Row> => {
  const row: Record<string, Value> = {}
  for (const [name, { type }] of Object.entries(types)) {
    const value = Object.hasOwn(values, name) ? values[name] ?? null : null
    const canonical = value === null ? null : canonicalOf(type, value)
    if (canonical === undefined) return { ok: false, field: name, message: `${name} is not a value of type ${type.kind}` }
    row[name] = canonical
  }
  return { ok: true, value: Object.freeze(row) }
}

/** `ColumnType.canonical`, which also takes whole numbers for int8: that is what schemas have. */
export const canonicalOf = (type: ColumnType.ColumnType, value: unknown): Value | undefined =>
  ColumnType.canonical(type, type.kind === "int8" && Number.isSafeInteger(value) ? BigInt(value as number) : value)
