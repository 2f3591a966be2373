/**
 * A column as the contract declares it: a type, and what a write may leave out.
 *
 * A column is a value. One that was taken from a table (`Task.columns.projectId`) brings type, nullability and brand to
 * another table, a parameter or a payload, but not its name, default or `generated`: those belong to the table that it
 * came from.
 */
import type { Brand } from "effect/Brand"
import type { Json, Value } from "../data/Value.ts"
import * as SchemaValue from "../internal/schemaValue.ts"
import * as ColumnType from "./ColumnType.ts"

declare const TypeId: unique symbol

/** Any column, as the engine sees it. (Not `nullable` and `generated`: those are the builder's methods.) */
export interface Any {
  readonly type: ColumnType.ColumnType
  readonly isNullable: boolean
  /** The column's name in the database where it differs from the property's (`named`). */
  readonly columnName: string | undefined
  /** The declared default, or undefined for none. */
  readonly defaultValue: Value | undefined
  /** The database fills it in: writes may leave it out, or must where it is a generated column. */
  readonly isGenerated: boolean
  /** What a `json` column's values must pass besides being JSON. */
  readonly schema: SchemaValue.Checker | undefined
}

/** A column that reads as `A`. `Given` is true where an insert may leave it out although it is not nullable. */
export interface Column<out A, out Given extends boolean = boolean> extends Any {
  readonly [TypeId]: { readonly type: () => A; readonly given: () => Given }
  /** Also holds NULL; an insert may leave it out. */
  nullable(): Column<A | null, Given>
  /** What an insert that leaves it out writes, on both ends: the database's own default is not consulted. */
  default(value: A): Column<A, true>
  /** The database fills it in where an insert leaves it out. What a client shows until then: `optimistic` of the table. */
  generated(): Column<A, true>
  /** Its name in the database, where that is not the property's. */
  named(columnName: string): Column<A, Given>
  /** Tells its values apart in types, and nowhere else. */
  brand<B extends string>(name: B): Column<Extract<A, null> | (NonNullable<A> & Brand<B>), Given>
}

/** What a column reads as. */
export type Type<C> = C extends { readonly [TypeId]: { readonly type: () => infer A } } ? A : never

/** The properties that an insert must give. */
export type RequiredKeys<C> = {
  [K in keyof C]: C[K] extends { readonly [TypeId]: { readonly type: () => infer A; readonly given: () => infer Given } }
    ? true extends Given ? never : null extends A ? never : K
    : never
}[keyof C]

class Impl implements Any {
  readonly type: ColumnType.ColumnType
  readonly isNullable: boolean
  readonly columnName: string | undefined
  readonly defaultValue: Value | undefined
  readonly isGenerated: boolean
  readonly schema: SchemaValue.Checker | undefined
  /** Taken from a table: what it becomes from here on leaves that table's name, default and `generated` behind. */
  readonly #owned: boolean

  constructor(definition: Any, owned: boolean) {
    this.type = definition.type
    this.isNullable = definition.isNullable
    this.columnName = definition.columnName
    this.defaultValue = definition.defaultValue
    this.isGenerated = definition.isGenerated
    this.schema = definition.schema
    this.#owned = owned
    Object.freeze(this)
  }

  static own(column: Any): Any {
    return new Impl(column instanceof Impl ? column.#with({}) : column, true)
  }

  #with(change: Partial<Any>): Impl {
    const kept = this.#owned ? { columnName: undefined, defaultValue: undefined, isGenerated: false } : {}
    return new Impl({ ...this, ...kept, ...change }, false)
  }

  nullable() {
    return this.#with({ isNullable: true })
  }

  default(value: unknown) {
    return this.#with({ defaultValue: canonical(this, value) })
  }

  generated() {
    return this.#with({ isGenerated: true })
  }

  named(columnName: string) {
    return this.#with({ columnName })
  }

  brand() {
    return this
  }
}

const canonical = (column: Any, value: unknown): Value => {
  const result = check(column, value)
  if (!result.ok) throw new TypeError(`Column.default: ${result.message}`)
  return result.value
}

/** The canonical value of what an application or a wire gave for that column, or why there is none. */
export const check = (column: Any, input: unknown): SchemaValue.Checked<Value> => {
  if (input === null || input === undefined) {
    return column.isNullable ? { ok: true, value: null } : SchemaValue.invalid("must not be null")
  }
  const value = ColumnType.canonical(column.type, input)
  if (value === undefined) return SchemaValue.invalid(`is not ${describe(column.type)}`)
  return column.schema === undefined ? { ok: true, value } : column.schema.check(value)
}

const describe = (type: ColumnType.ColumnType): string =>
  type.kind === "enum" ? `one of ${type.values.join(", ")}` : `a value of type ${type.kind}`

/** As it stands in a table. */
export const own = (column: Any): Any => Impl.own(column)

export const isColumn = (value: unknown): value is Any => value instanceof Impl

const make = <A>(type: ColumnType.ColumnType, schema?: SchemaValue.Checker): Column<A, false> =>
  new Impl({ type, isNullable: false, columnName: undefined, defaultValue: undefined, isGenerated: false, schema }, false) as never

export const text: Column<string, false> = make({ kind: "text" })
const boolean_: Column<boolean, false> = make({ kind: "boolean" })
/** 32 bits, a number. */
export const int4: Column<number, false> = make({ kind: "int4" })
/** 64 bits, a bigint. */
export const int8: Column<bigint, false> = make({ kind: "int8" })
/** A double: NaN and the infinities are values, and −0 is 0. */
export const float8: Column<number, false> = make({ kind: "float8" })
/** Exact, of any size, as Postgres' text: "1.00", "NaN". Equality is that of numbers. */
export const numeric: Column<string, false> = make({ kind: "numeric" })
/** In lower case. */
export const uuid: Column<string, false> = make({ kind: "uuid" })
/** An instant with microseconds: "2026-01-31T12:00:00.123456Z", trailing zeros cut. */
export const timestamptz: Column<string, false> = make({ kind: "timestamptz" })

/** `jsonb`. Without a schema any JSON; with one, what it accepts. Has neither equality nor order in queries. */
export const json: {
  (): Column<Json, false>
  <const S extends SchemaValue.Any>(schema: S & SchemaValue.Valid<S>): Column<SchemaValue.Type<S>, false>
} = (schema?: SchemaValue.Any) => make<never>({ kind: "jsonb" }, schema && SchemaValue.make(schema, "Column.json"))

/** One of these strings, ordered as declared. In Postgres an enum type, or text. */
const enum_ = <const Values extends readonly [string, ...Array<string>]>(...values: Values): Column<Values[number], false> => {
  if (new Set(values).size !== values.length) throw new TypeError(`Column.enum: a value is declared twice: ${values.join(", ")}`)
  return make({ kind: "enum", values })
}

export { boolean_ as boolean, enum_ as enum }
