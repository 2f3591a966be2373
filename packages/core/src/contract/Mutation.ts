/**
 * A named write: what it takes, what it gives back, and how it may fail. Its handler lives elsewhere.
 *
 * Payload, success and errors have a wire form each; both directions check, and say which field was wrong. A table as
 * success means a row of it.
 */
import type { YieldableError } from "effect/Cause"
import * as Data from "effect/Data"
import type { Effect } from "effect/Effect"
import type { Json } from "../data/Value.ts"
import type * as SchemaValue from "../internal/schemaValue.ts"
import type * as Column from "../schema/Column.ts"
import * as Field from "../schema/Field.ts"
import type * as Table from "../schema/Table.ts"

declare const TypeId: unique symbol

export interface Mutation<out N extends string, in out P, out A, out E> {
  readonly [TypeId]: { readonly payload: (_: P) => P; readonly success: () => A; readonly error: () => E }
  readonly name: N
  readonly payload: Field.Codecs
  readonly success: Success
  readonly errors: ReadonlyMap<string, ErrorCodec>
}

export type Any = Mutation<string, any, unknown, unknown>

export type Payload<M> = M extends { readonly [TypeId]: { readonly payload: (_: never) => infer P } } ? P : never
export type Value<M> = M extends { readonly [TypeId]: { readonly success: () => infer A } } ? A : never
export type Error<M> = M extends { readonly [TypeId]: { readonly error: () => infer E } } ? E : never

/** What runs a mutation. May be run again: its effects outside of the transaction belong into `Transaction.afterCommit`. */
export type Handler<M, R = never> = (payload: Payload<M>) => Effect<Value<M>, Error<M>, R>

type Success =
  | { readonly kind: "nothing" }
  | { readonly kind: "row"; readonly table: Table.Any; readonly codecs: Field.Codecs }
  | { readonly kind: "value"; readonly codec: Field.Codec }

interface ErrorCodec {
  readonly fields: Field.Codecs
  readonly make: (fields: { readonly [name: string]: unknown }) => Tagged
}

interface Tagged {
  readonly _tag: string
}

/** `Mutation.TaggedError`, or a `Schema.TaggedError`. */
export interface ErrorClass<out E> {
  new(fields: never): E
  readonly fields: object
}

type ErrorOf<Es extends ReadonlyArray<ErrorClass<Tagged>>> = Es[number] extends infer C ? C extends ErrorClass<infer E> ? E : never : never

type ValidSuccess<S> = S extends Column.Any | Table.Any ? unknown : SchemaValue.Valid<S>
type SuccessOf<S> = [S] extends [never] ? void : S extends Table.Of<infer A> ? A : Field.Type<S>

/** Declares a mutation. */
export const make = <
  const N extends string,
  const F extends Field.Fields = {},
  const S extends Field.Any | Table.Any = never,
  const Es extends ReadonlyArray<ErrorClass<Tagged>> = readonly []
>(name: N, options: {
  readonly payload?: F & Field.Valid<F>
  /** Left out: nothing. A table means a row of it. */
  readonly success?: S & ValidSuccess<S>
  readonly error?: Es
}): Mutation<N, Field.Struct<F>, SuccessOf<S>, ErrorOf<Es>> => {
  const errors = new Map<string, ErrorCodec>()
  for (const error of options.error ?? []) {
    const { _tag, ...fields } = error.fields as Field.Fields
    const tag = tagOf(error, _tag)
    if (tag === undefined) throw new TypeError(`mutation ${name}: an error needs a tag: use Mutation.TaggedError`)
    if (tag === "SyncError") throw new TypeError(`mutation ${name}: SyncError is the client's own error`)
    if (errors.has(tag)) throw new TypeError(`mutation ${name}: two errors are tagged ${tag}`)
    errors.set(tag, { fields: Field.codecs(fields, `error ${tag}`), make: (values) => new error(values as never) })
  }
  return Object.freeze({
    name,
    payload: Field.codecs(options.payload ?? {}, `mutation ${name}: payload`),
    success: successOf(name, options.success),
    errors
  }) as never
}

/** Ours say their tag as a static, Schema's as the literal of a field. */
const tagOf = (error: object, field: unknown): string | undefined => {
  const tag = "tag" in error ? error.tag : (field as { readonly ast?: { readonly literal?: unknown } } | undefined)?.ast?.literal
  return typeof tag === "string" ? tag : undefined
}

const successOf = (name: string, success: Field.Any | Table.Any | undefined): Success => {
  if (success === undefined) return { kind: "nothing" }
  if ("tableName" in success) return { kind: "row", table: success, codecs: Field.codecs(success.columns as never, `table ${success.tableName}`) }
  return { kind: "value", codec: Field.codec(success, `mutation ${name}: success`) }
}

/** Gives a handler its types. */
export const handler = <M extends Any, R = never>(_mutation: M, handler: Handler<M, R>): Handler<M, R> => handler

/** An error class with fields, made without Schema: it adds nothing to a browser bundle that Effect is not in already. */
export const TaggedError = <Self = never>() => <const Tag extends string, const F extends Field.Fields>(
  tag: Tag,
  fields: F & Field.Valid<F>
): [Self] extends [never] ? "name the class: class MyError extends Mutation.TaggedError<MyError>()(…)" : TaggedErrorClass<Tag, F> => {
  class Base extends Data.TaggedError(tag)<{}> {
    static readonly tag = tag
    static readonly fields = fields
  }
  return Base as never
}

export interface TaggedErrorClass<Tag extends string, F> {
  new(fields: keyof F extends never ? void : Field.Struct<F>): YieldableError & { readonly _tag: Tag } & Field.Struct<F>
  readonly tag: Tag
  readonly fields: F
}

export const encodePayload = (mutation: Any, payload: unknown): Field.Checked<{ readonly [name: string]: Json }> => Field.encode(mutation.payload, payload)

/** What a handler is given. */
export const decodePayload = (mutation: Any, wire: unknown): Field.Checked<object> => Field.decode(mutation.payload, wire)

export const encodeSuccess = ({ success }: Any, value: unknown): Field.Checked<Json> => {
  switch (success.kind) {
    case "nothing":
      return { ok: true, value: null }
    case "row":
      return Field.encode(success.codecs, value)
    case "value":
      return named(success.codec.toWire(value))
  }
}

export const decodeSuccess = ({ success }: Any, wire: Json): Field.Checked<unknown> => {
  switch (success.kind) {
    case "nothing":
      return { ok: true, value: undefined }
    case "row": {
      const row = Field.decode(success.codecs, wire)
      return row.ok ? { ok: true, value: Object.freeze(row.value) } : row
    }
    case "value":
      return named(success.codec.fromWire(wire))
  }
}

const named = <A>(checked: { readonly ok: true; readonly value: A } | { readonly ok: false; readonly message: string }): Field.Checked<A> =>
  checked.ok ? checked : { ok: false, field: "success", message: `the result ${checked.message}` }

/** Undefined for what the mutation does not declare, also where a field does not fit. */
export const encodeError = (mutation: Any, error: unknown): { readonly _tag: string; readonly [field: string]: Json } | undefined => {
  if (typeof error !== "object" || error === null || !("_tag" in error) || typeof error._tag !== "string") return undefined
  const declared = mutation.errors.get(error._tag)
  if (declared === undefined) return undefined
  const values = Object.fromEntries(Object.keys(declared.fields).map((name) => [name, (error as { readonly [name: string]: unknown })[name]]))
  const encoded = Field.encode(declared.fields, values)
  return encoded.ok ? { _tag: error._tag, ...encoded.value } : undefined
}

/** An instance of the declared class, or undefined. */
export const decodeError = (mutation: Any, wire: { readonly _tag: string; readonly [field: string]: Json }): unknown => {
  const declared = mutation.errors.get(wire._tag)
  if (declared === undefined) return undefined
  const decoded = Field.decode(declared.fields, wire)
  return decoded.ok ? declared.make(decoded.value) : undefined
}

/** What two builds of one contract must agree on. */
export const describe = (mutation: Any): Json => {
  const { success } = mutation
  return {
    payload: describeFields(mutation.payload),
    success: success.kind === "row" ? { row: success.table.tableName, columns: describeFields(success.codecs) } : success.kind === "value" ? success.codec.description : null,
    errors: [...mutation.errors].sort(([a], [b]) => (a < b ? -1 : 1)).map(([tag, { fields }]) => [tag, describeFields(fields)])
  }
}

const describeFields = (fields: Field.Codecs): Json => Object.fromEntries(Object.entries(fields).map(([name, { description }]) => [name, description]))
