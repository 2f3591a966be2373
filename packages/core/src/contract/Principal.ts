/**
 * Who is calling: an expression in queries and rules (`Me.expr.userId`), a service in handlers (`yield* Me`).
 *
 * A principal is decoded once, when a connection authenticates. Its identity says which principals are the same person:
 * a client's queue of writes belongs to an identity.
 */
import * as Context from "effect/Context"
import type { Row } from "../data/Row.ts"
import type { Json } from "../data/Value.ts"
import * as Build from "../internal/build.ts"
import { canonicalJson } from "../internal/hash.ts"
import type { Expr } from "../query/Expr.ts"
import type { ColumnType } from "../schema/ColumnType.ts"
import * as Field from "../schema/Field.ts"

export interface Class<in out Self, in out Id extends string, in out A> extends Context.ServiceClass<Self, Id, A>, Statics {
  /** Its fields in queries and rules. */
  readonly expr: { readonly [K in keyof A]-?: Expr<A[K]> }
}

interface Statics {
  readonly fields: Field.Codecs
  readonly types: { readonly [field: string]: { readonly type: ColumnType; readonly nullable: boolean } }
  /** Names of the fields that make two principals the same person. */
  readonly identityFields: ReadonlyArray<string>
}

/** Any principal, at run time. */
export interface Any extends Statics {
  readonly key: string
}

/** What handlers see. */
export type Type<P> = P extends { readonly Service: infer A } ? A : never
/** The service that handlers may ask for. */
export type Self<P> = P extends { readonly Identifier: infer Self } ? Self : never

/** `class Me extends Principal.make<Me>()("board/Me", { … }) {}` */
export const make = <Self>() => <const Id extends string, const F extends Field.Fields>(id: Id, fields: F & Field.Valid<F>, options?: {
  /** The fields that make two principals the same person; by default all. */
  readonly identity?: readonly [keyof F & string, ...Array<keyof F & string>]
}): Class<Self, Id, Field.Struct<F>> => {
  const codecs = Field.codecs(fields, `principal ${id}`)
  const types: Record<string, { readonly type: ColumnType; readonly nullable: boolean }> = {}
  for (const [name, { isNullable, isOptional, type }] of Object.entries(codecs)) {
    if (type === undefined) throw new TypeError(`principal ${id}.${name}: its schema does not say a column type: use a column`)
    types[name] = { type, nullable: isNullable || isOptional }
  }
  const identityFields = options?.identity ?? Object.keys(codecs)
  for (const name of identityFields) {
    if (!Object.hasOwn(codecs, name)) throw new TypeError(`principal ${id}: its identity names "${name}", which is not a field`)
  }
  const origins: Build.Origins = { tables: new Map(), principals: new Set([codecs]) }
  const expr = Object.fromEntries(Object.entries(types).map(([field, type]) => [field, new Build.Built({ op: "principal", field, ...type }, [], origins)]))
  return Object.assign(Context.Service<Self, Field.Struct<F>>()(id), { fields: codecs, types, identityFields, expr }) as never
}

/** What an authenticator gave: unknown fields are dropped, values canonical. */
export const decode = (principal: Any, input: unknown): Field.Checked<{ readonly [field: string]: unknown }> => {
  const known = typeof input === "object" && input !== null ? Object.fromEntries(Object.entries(input).filter(([name]) => Object.hasOwn(principal.fields, name))) : input
  const encoded = Field.encode(principal.fields, known)
  return encoded.ok ? Field.decode(principal.fields, encoded.value) : encoded
}

/** A decoded principal as the engine binds it. */
export const values = (principal: Any, value: object): Row => {
  const row = Field.canonicalRow(principal.types, value as { readonly [field: string]: unknown })
  if (!row.ok) throw new TypeError(`principal ${principal.key}: ${row.message}`)
  return row.value
}

/** Equal for two decoded principals that are the same person. */
export const identity = (principal: Any, value: object): string => {
  const encoded = Field.encode(principal.fields, value)
  if (!encoded.ok) throw new TypeError(`principal ${principal.key}: ${encoded.message}`)
  return canonicalJson(Object.fromEntries(principal.identityFields.map((name) => [name, encoded.value[name] ?? null])))
}

/** What two builds of one contract must agree on. */
export const describe = (principal: Any): Json => ({
  key: principal.key,
  fields: Object.fromEntries(Object.entries(principal.fields).map(([name, { description }]) => [name, description])),
  identity: principal.identityFields
})
