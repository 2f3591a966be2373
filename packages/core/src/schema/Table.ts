/**
 * A table as the contract declares it: columns, primary key, the indexes that a new project wants, and what an optimistic insert shows where the database
 * fills a column in.
 *
 * `class Task extends Table.make("tasks", { … }) {}` is the row's type and the table's value at once. It is never
 * instantiated: rows are frozen plain objects, and `instanceof` throws. A table's name is `tableName`; a class' own `name`
 * is never read, since bundlers rename classes.
 */
import * as Data from "effect/Data"
import type { Row } from "../data/Row.ts"
import type { Value } from "../data/Value.ts"
import type * as SchemaValue from "../internal/schemaValue.ts"
import * as Column from "./Column.ts"

declare const TypeId: unique symbol

/** Any table, as the engine sees it: its statics. */
export interface Any {
  /** As given to `make`: "tasks" or "app.tasks". The identity of the table in plans, changes and on the wire. */
  readonly tableName: string
  /** By property name, in declared order. */
  readonly columns: { readonly [property: string]: Column.Any }
  /** Property names, in key order; never empty. */
  readonly primaryKey: ReadonlyArray<string>
  /** Property names by index, in key order. */
  readonly indexes: { readonly [name: string]: ReadonlyArray<string> }
  /** By property of a column that the database fills in. */
  readonly optimistic: { readonly [property: string]: Optimistic<never, unknown> }
}

/** What a client shows in a column until the database's value arrives. `now` is the instant of the mutation's first run, the same in every rebase. */
export type Optimistic<R, A> = (row: R, context: { readonly now: string }) => A

/** A table whose rows are `A`. */
export interface Of<out A> extends Any {
  new(_: never): A
}

type Columns = { readonly [property: string]: Column.Column<unknown> }

/** What `make` gives: extend it by a class. */
export interface Class<C, K> extends Of<{ readonly [P in keyof C]: Column.Type<C[P]> }> {
  readonly columns: { readonly [P in keyof C]: Column.Column<Column.Type<C[P]>, false> }
  readonly [TypeId]: { readonly columns: () => C; readonly key: () => K }
}

type ColumnsOf<T> = T extends { readonly [TypeId]: { readonly columns: () => infer C } } ? C : never
type KeyOf<T> = T extends { readonly [TypeId]: { readonly key: () => infer K } } ? K : never

/** A table's rows: `Task` for `typeof Task`. */
export type Type<T> = T extends { new(_: never): infer A } ? A : never

/** What an insert takes: nullable, default and generated columns may be left out. */
export type Insert<T> = InsertOf<ColumnsOf<T>>
type InsertOf<C> =
  & { readonly [P in Column.RequiredKeys<C>]: Column.Type<C[P]> }
  & { readonly [P in Exclude<keyof C, Column.RequiredKeys<C>>]?: Column.Type<C[P]> }

/** What an update takes: the key, and any of the rest. */
export type Update<T> = UpdateOf<ColumnsOf<T>, KeyOf<T>>
type UpdateOf<C, K> =
  & { readonly [P in keyof C & K]: Column.Type<C[P]> }
  & { readonly [P in Exclude<keyof C, K>]?: Column.Type<C[P]> }

/** A row's primary key, by property. */
export type Key<T> = KeyRow<ColumnsOf<T>, KeyOf<T>>
type KeyRow<C, K> = { readonly [P in keyof C & K]: Column.Type<C[P]> }

/**
 * Declares a table that exists in the database. Columns that are not declared are ignored. Throws a `TypeError` where the
 * declaration contradicts itself; the database is compared when a server starts.
 */
export const make = <const C extends Columns, const K extends keyof C & string>(tableName: string, options: {
  readonly columns: C
  readonly primaryKey: readonly [K, ...Array<K>]
  /** What `headwater ddl` creates beside the table, for queries that filter by the first of these columns and order by the rest. */
  readonly indexes?: { readonly [name: string]: readonly [keyof C & string, ...Array<keyof C & string>] }
  readonly optimistic?: { readonly [P in keyof C]?: Optimistic<{ readonly [Q in keyof C]: Column.Type<C[Q]> }, Column.Type<C[P]>> }
}): Class<C, K> => {
  checkName(tableName)
  const columns: Record<string, Column.Any> = Object.create(null) as {}
  const names = new Map<string, string>()
  for (const [property, column] of Object.entries<Column.Any>(options.columns)) {
    if (!Column.isColumn(column)) throw new TypeError(`Table ${tableName}: ${property} is not a column`)
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(property) || property === "__proto__") throw new TypeError(`Table ${tableName}: "${property}" is not an identifier; rename the property and say Column.….named("${property}")`)
    const owned = Column.own(column)
    const name = owned.columnName ?? property
    const other = names.get(name)
    if (other !== undefined) throw new TypeError(`Table ${tableName}: ${other} and ${property} are the same column "${name}"`)
    if (!isName(name)) throw new TypeError(`Table ${tableName}: "${name}" cannot be a column's name`)
    names.set(name, property)
    columns[property] = owned
  }
  const primaryKey: ReadonlyArray<string> = [...options.primaryKey]
  if (primaryKey.length === 0) throw new TypeError(`Table ${tableName}: a table needs a primary key`)
  if (new Set(primaryKey).size !== primaryKey.length) throw new TypeError(`Table ${tableName}: its primary key names a column twice`)
  for (const property of primaryKey) {
    const column = columns[property]
    if (column === undefined) throw new TypeError(`Table ${tableName}: its primary key names "${property}", which is not a column`)
    if (column.isNullable) throw new TypeError(`Table ${tableName}: "${property}" is nullable, and a primary key must not be`)
    if (column.type.kind === "jsonb") throw new TypeError(`Table ${tableName}: "${property}" is JSON, which has no equality that a primary key needs`)
  }
  const indexes: { readonly [name: string]: ReadonlyArray<string> } = options.indexes ?? {}
  for (const [name, properties] of Object.entries(indexes)) {
    if (!isName(name)) throw new TypeError(`Table ${tableName}: "${name}" cannot be an index' name`)
    const unknown = properties.find((property) => columns[property] === undefined)
    if (unknown !== undefined) throw new TypeError(`Table ${tableName}: index ${name} names "${unknown}", which is not a column`)
  }
  const optimistic = options.optimistic ?? {}
  for (const property of Object.keys(optimistic)) {
    if (columns[property]?.isGenerated !== true) throw new TypeError(`Table ${tableName}: optimistic.${property} needs a column that is generated()`)
  }
  const statics = { tableName, columns: Object.freeze(columns), primaryKey: Object.freeze(primaryKey), indexes, optimistic }
  return class {
    static readonly tableName = statics.tableName
    static readonly columns = statics.columns
    static readonly primaryKey = statics.primaryKey
    static readonly indexes = statics.indexes
    static readonly optimistic = statics.optimistic

    constructor() {
      throw new TypeError(`Table ${tableName}: a table is not instantiated; rows are plain objects`)
    }

    static [Symbol.hasInstance](): boolean {
      throw new TypeError(`Table ${tableName}: rows are plain objects, so instanceof says nothing about them`)
    }
  } as never
}

const checkName = (tableName: string): void => {
  const parts = tableName.split(".")
  if (parts.length > 2 || !parts.every(isName)) {
    throw new TypeError(`Table "${tableName}": a name is "table" or "schema.table", each part of 1 to 63 bytes`)
  }
}

/** What Postgres takes for an identifier without cutting it. */
const isName = (name: string): boolean => name.length > 0 && !name.includes("\0") && new TextEncoder().encode(name).length <= 63

/** Two classes may stand for one declaration (`class Task extends Table.make(…)`). */
export const isSame = (a: Any, b: Any): boolean => a.columns === b.columns

/** What a handler or a wire gave does not fit the table. */
export class InvalidRow extends Data.TaggedError("InvalidRow")<{
  readonly table: string
  readonly column: string
  readonly message: string
}> {}

/**
 * The canonical values of an insert, defaults filled in. Generated columns that were left out are missing, all others are
 * there. Throws `InvalidRow`.
 */
export const insertRow = (table: Any, input: object): Row => {
  const given = known(table, input)
  const row: Record<string, Value> = {}
  for (const [property, column] of Object.entries(table.columns)) {
    const value = Object.hasOwn(given, property) ? given[property] : undefined
    if (value !== undefined) row[property] = canonical(table, property, column, value)
    else if (column.defaultValue !== undefined) row[property] = column.defaultValue
    else if (column.isGenerated) continue
    else if (column.isNullable) row[property] = null
    else throw invalid(table, property, "is missing")
  }
  return Object.freeze(row)
}

/** The canonical key and changes of an update. Throws `InvalidRow`. */
export const updateRow = (table: Any, input: object): { readonly key: Row; readonly changes: Row } => {
  const given = known(table, input)
  const changes: Record<string, Value> = {}
  for (const [property, value] of Object.entries(given)) {
    if (value === undefined || table.primaryKey.includes(property)) continue
    changes[property] = canonical(table, property, table.columns[property]!, value)
  }
  return { key: keyRow(table, input), changes: Object.freeze(changes) }
}

/** The canonical primary key; other properties are ignored. Throws `InvalidRow`. */
export const keyRow = (table: Any, input: object): Row => {
  const given = input as { readonly [property: string]: unknown }
  const key: Record<string, Value> = {}
  for (const property of table.primaryKey) {
    if (!Object.hasOwn(given, property) || given[property] === undefined) throw invalid(table, property, "is missing")
    key[property] = canonical(table, property, table.columns[property]!, given[property])
  }
  return Object.freeze(key)
}

/**
 * What a client shows for an insert before the database has spoken: `row` (of `insertRow`) with its generated columns
 * filled in by `optimistic`, or null where one of them has no such function.
 */
export const optimisticRow = (table: Any, row: Row, now: string): Row | null => {
  const complete: Record<string, Value> = {}
  for (const [property, column] of Object.entries(table.columns)) {
    if (Object.hasOwn(row, property)) complete[property] = row[property]!
    else {
      const fill = Object.hasOwn(table.optimistic, property) ? table.optimistic[property] : undefined
      if (fill === undefined) return null
      complete[property] = canonical(table, property, column, fill(row as never, { now }))
    }
  }
  return Object.freeze(complete)
}

const known = (table: Any, input: object): { readonly [property: string]: unknown } => {
  for (const property of Object.keys(input)) {
    if (!Object.hasOwn(table.columns, property)) throw invalid(table, property, "is not a column of this table")
  }
  return input as { readonly [property: string]: unknown }
}

const canonical = (table: Any, property: string, column: Column.Any, value: unknown): Value => {
  const result: SchemaValue.Checked<Value> = Column.check(column, value)
  if (!result.ok) throw invalid(table, property, result.message)
  return result.value
}

const invalid = (table: Any, column: string, message: string) =>
  new InvalidRow({ table: table.tableName, column, message: `${table.tableName}: ${column} ${message}` })
