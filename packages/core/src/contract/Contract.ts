/**
 * What client and server agree on: tables, who calls, who may do what, queries and mutations. Data and types; no code of
 * either end.
 *
 * A contract is a class that is never instantiated, so that types name it by one word. Its hash tells two builds apart;
 * the hashes of its definitions tell which of them differ.
 */
import type { Effect } from "effect/Effect"
import type { Json } from "../data/Value.ts"
import type * as Build from "../internal/build.ts"
import { hash as hashOf } from "../internal/hash.ts"
import * as Plan from "../query/Plan.ts"
import type * as Query from "../query/Query.ts"
import type * as Table from "../schema/Table.ts"
import type { Access } from "./Access.ts"
import * as Mutation from "./Mutation.ts"
import * as Principal from "./Principal.ts"
import type { Transaction } from "./Transaction.ts"

declare const TypeId: unique symbol

/** Any contract, at run time. */
export interface Any {
  readonly contractName: string
  /** By `tableName`. */
  readonly tables: { readonly [tableName: string]: Table.Any }
  readonly principal: Principal.Any | undefined
  /** By `tableName`; a table that is missing is denied to everybody. */
  readonly access: { readonly [tableName: string]: Access }
  readonly queries: { readonly [name: string]: Query.Named.Any }
  readonly mutations: { readonly [name: string]: Mutation.Any }
  /** Of everything that both ends must agree on. */
  readonly hash: string
  /** By name, of each query and mutation with the tables it is about: equal hashes fit each other. */
  readonly definitionHashes: { readonly queries: { readonly [name: string]: string }; readonly mutations: { readonly [name: string]: string } }
  /** What is probably not meant; for a log at start-up. */
  readonly warnings: ReadonlyArray<string>
}

export interface Class<N extends string, P, Q, M> extends Omit<Any, "mutations" | "queries"> {
  new(_: never): Contract<N>
  readonly [TypeId]: { readonly principal: () => P }
  readonly contractName: N
  readonly queries: Q
  readonly mutations: M
}

/** The instance type of a contract's class. There are no instances. */
export interface Contract<out N extends string> {
  readonly contractName: N
}

/** The record of a contract's queries. */
export type Queries<C> = C extends { readonly queries: infer Q } ? Q : never
/** The record of a contract's mutations. */
export type Mutations<C> = C extends { readonly mutations: infer M } ? M : never
/** The principal's class, or undefined. */
export type PrincipalOf<C> = C extends { readonly [TypeId]: { readonly principal: () => infer P } } ? P : never
/** What a contract provides to its handlers. */
export type Provided<C> = Transaction | Principal.Self<PrincipalOf<C>>

/** One handler per mutation, none missing. `R` is what they need beside what the contract provides. */
export type Handlers<C, R = never> = {
  readonly [K in keyof Mutations<C>]: (payload: Mutation.Payload<Mutations<C>[K]>) => Effect<Mutation.Value<Mutations<C>[K]>, Mutation.Error<Mutations<C>[K]>, R | Provided<C>>
}

/** What a record of handlers needs beside what the contract provides. */
export type Requirements<C, H> = H[keyof H] extends infer F ? F extends (payload: never) => Effect<unknown, unknown, infer R> ? Exclude<R, Provided<C>> : never : never

/** A member that every client has: no query or mutation may take its name. */
type Reserved = "sync" | "then"

type CheckedQueries<Q> = {
  readonly [K in keyof Q]: K extends Reserved ? `${K} is a name that every client needs itself` : Query.Named<K & string, never, unknown, Query.Cardinality>
}

type CheckedMutations<M, Q> = {
  readonly [K in keyof M]: K extends Reserved ? `${K} is a name that every client needs itself`
    : K extends keyof Q ? "there is a query of that name"
    : Mutation.Mutation<K & string, any, unknown, unknown>
}

/** Declares a contract. Throws a `TypeError` for what types cannot see: a table that is not in `tables`, another principal. */
export const make = <const N extends string, P extends Principal.Any | undefined = undefined, const Q = {}, const M = {}>(name: N, options: {
  readonly principal?: P
  readonly tables: ReadonlyArray<Table.Any>
  /** At most one for each table; what no rule allows is denied. */
  readonly access?: ReadonlyArray<Access>
  readonly queries?: Q & CheckedQueries<Q>
  readonly mutations?: M & CheckedMutations<M, Q>
}): Class<N, P, Q, M> => {
  const fail = (message: string): never => {
    throw new TypeError(`contract ${name}: ${message}`)
  }
  const tables: Record<string, Table.Any> = Object.create(null) as {}
  for (const table of options.tables) {
    if (table.tableName in tables) fail(`the table ${table.tableName} is listed twice`)
    tables[table.tableName] = table
  }
  const checkOrigins = (origins: Build.Origins, what: string) => {
    for (const table of origins.tables.values()) checkTable(table, what)
    for (const principal of origins.principals) {
      if (principal !== options.principal?.fields) fail(`${what} uses a principal that is not the contract's: set principal`)
    }
  }
  const checkTable = (table: Table.Any, what: string) => {
    const own = tables[table.tableName]
    if (own === undefined) fail(`${what} uses the table ${table.tableName}, which is not in tables`)
    else if (own.columns !== table.columns) fail(`${what} uses another table named ${table.tableName} than the one in tables`)
  }
  const access: Record<string, Access> = Object.create(null) as {}
  for (const rules of options.access ?? []) {
    const { tableName } = rules.table
    if (tableName in access) fail(`there are two access rules for ${tableName}: put them into one`)
    checkOrigins(rules.origins, `access to ${tableName}`)
    access[tableName] = rules
  }
  // Without a prototype: names come from the wire.
  const queries = Object.assign(Object.create(null), options.queries) as Any["queries"]
  const mutations = Object.assign(Object.create(null), options.mutations) as Any["mutations"]
  for (const [key, definition] of [...Object.entries<{ readonly name: string }>(queries), ...Object.entries<{ readonly name: string }>(mutations)]) {
    if (key !== definition.name) fail(`"${definition.name}" stands under the key "${key}": use its own name`)
    if (key === "sync" || key === "then") fail(`"${key}" is a name that every client needs itself`)
    if (key in queries && key in mutations) fail(`"${key}" is a query and a mutation`)
  }
  for (const query of Object.values(queries)) checkOrigins(query.origins, `query ${query.name}`)
  for (const mutation of Object.values(mutations)) {
    if (mutation.success.kind === "row") checkTable(mutation.success.table, `mutation ${mutation.name}`)
  }

  const describedTables = mapValues(tables, describeTable)
  const principal = options.principal === undefined ? null : Principal.describe(options.principal)
  const definitionHashes = {
    queries: mapValues(queries, (query) => hashOf({
      plan: Plan.hash(query.plan),
      parameters: mapValues(query.parameters, ({ description }) => description),
      types: query.plan.parameters,
      tables: [...query.origins.tables.keys()].sort().map((table) => describedTables[table]),
      principal: query.origins.principals.size > 0 ? principal : null
    })),
    mutations: mapValues(mutations, (mutation) => hashOf(Mutation.describe(mutation)))
  }
  const statics: Any = {
    contractName: name,
    tables: Object.freeze(tables),
    principal: options.principal,
    access: Object.freeze(access),
    queries: Object.freeze(queries),
    mutations: Object.freeze(mutations),
    hash: hashOf({ name, principal, tables: describedTables, ...definitionHashes }),
    definitionHashes,
    warnings: Object.keys(tables).filter((table) => !(table in access))
      .map((table) => `contract ${name}: no access rule for ${table}: nobody may read or write it (Access.make)`)
  }
  class Base {
    constructor() {
      throw new TypeError(`contract ${name}: a contract is not instantiated`)
    }
  }
  for (const [key, value] of Object.entries(statics)) Object.defineProperty(Base, key, { value, enumerable: true })
  return Base as never
}

const mapValues = <A, B>(record: { readonly [name: string]: A }, f: (value: A) => B): { readonly [name: string]: B } =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, f(value)]))

const describeTable = (table: Table.Any): Json => ({
  columns: Object.entries(table.columns).map(([property, column]) => [property, { ...column.type }, column.isNullable, column.schema?.description ?? null]),
  primaryKey: table.primaryKey
})
