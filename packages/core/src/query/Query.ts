/**
 * Builds queries: typed values over plain plans.
 *
 * Each clause takes the result of those before it, so they apply top to bottom. What cannot be kept exact throws
 * `UnsupportedQuery` where it is written. A query over a table stands for its rows; with a name and parameters it is what
 * clients subscribe to.
 */
import type { Row } from "../data/Row.ts"
import type { Json } from "../data/Value.ts"
import * as Build from "../internal/build.ts"
import * as Field from "../schema/Field.ts"
import type * as Table from "../schema/Table.ts"
import type { Condition, Expr, Fields, Order } from "./Expr.ts"
import * as Plan from "./Plan.ts"

declare const TypeId: unique symbol

export type Cardinality = "many" | "maybe"

/** What a query's value is: rows, or one row where there is any (`one()`). */
export type Result<A, C> = C extends "many" ? ReadonlyArray<A> : A | null

/** A query whose elements are `A`. */
export interface Query<out A, out C extends Cardinality = "many"> {
  readonly [TypeId]: { readonly element: () => A; readonly cardinality: () => C }
  /** Keeps the elements for which the condition is true. Several calls must all hold. */
  where(predicate: (row: Fields<A>) => Condition): Query<A, C>
  select<K extends keyof A & string>(...names: readonly [K, ...Array<K>]): Query<Pick<A, K>, C>
  select<B extends object>(project: (row: Fields<A>) => { readonly [K in keyof B]: Expr<B[K]> }): Query<B, C>
  /** Later calls add keys of lower rank; the primary key comes last of all. NULLs are last ascending, first descending. */
  orderBy(name: keyof A & string, direction?: "asc" | "desc"): Query<A, C>
  orderBy(keys: (row: Fields<A>) => Order | Expr<unknown> | ReadonlyArray<Order | Expr<unknown>>): Query<A, C>
  /** The first ones only. A parameter that is left out is no limit; a negative one lets none pass. */
  limit(count: number | Expr<number | bigint | null>): Query<A, C>
  /** The first one, or null. */
  one(): Query<A, "maybe">
  /** True for a row around it for which there is any. Its conditions must tie it to that row, a parameter or the principal by `eq`. */
  exists(): Expr<boolean>
  notExists(): Expr<boolean>
}

/** A query with a name and parameters: what a contract holds. */
export interface Named<out N extends string, in P, out A, out C extends Cardinality = "many"> {
  readonly [TypeId]: { readonly parameters: (parameters: P) => void; readonly element: () => A; readonly cardinality: () => C }
  readonly name: N
  readonly plan: Plan.Plan
  readonly parameters: Field.Codecs
  readonly origins: Build.Origins
}

export declare namespace Named {
  type Any = Named<string, never, unknown, Cardinality>
  type Parameters<Q> = Q extends { readonly [TypeId]: { readonly parameters: (parameters: infer P) => void } } ? P : never
  type Element<Q> = Q extends { readonly [TypeId]: { readonly element: () => infer A } } ? A : never
  type Value<Q> = Q extends { readonly [TypeId]: { readonly element: () => infer A; readonly cardinality: () => infer C } } ? Result<A, C> : never
}

interface State {
  readonly table: Table.Any
  readonly source: string
  readonly node: Plan.Node
  readonly fields: Build.FieldMap
  readonly limited: boolean
  readonly cardinality: Cardinality
  readonly origins: Build.Origins
}

/** What is behind each `Query`. */
class Built {
  readonly state: State

  constructor(state: State, of: ReadonlyArray<object>) {
    this.state = state
    Build.consistsOf(this, of)
  }

  #next(change: Partial<State>, used: ReadonlyArray<Build.Built>): Built {
    const origins = Build.mergeOrigins([this.state.origins, ...used.map((built) => built.origins)])
    return new Built({ ...this.state, ...change, origins }, [this, ...used])
  }

  /** Gives a callback the row under a name of its own, so that a query may be used inside itself. */
  #callback<A>(run: (row: never) => A, read: (result: A) => ReadonlyArray<Build.Built>, watch: boolean) {
    const { source } = this.state
    const fresh = Build.freshSource()
    const fields = Object.fromEntries(Object.entries(this.state.fields).map(([name, field]) => [name, { ...field, expression: moved(field.expression, source, fresh) }]))
    const used: Array<Build.Built> = []
    const result = Build.collect(() => run(Build.row(fields, watch) as never), (value) => {
      used.push(...read(value))
      return used
    })
    return { result, used, back: (expression: Plan.Expression) => moved(expression, fresh, source) }
  }

  where(predicate: (row: never) => Condition) {
    return Build.defining(this.#name(), () => {
      if (this.state.limited) return Build.unsupported("where after limit", "say where first: the first rows of a filtered result are not the filtered first rows")
      const { used: [used], back } = this.#callback(predicate, (value) => [Build.asCondition(value, "where")], true)
      return this.#next({ node: { op: "filter", input: this.state.node, where: back(used!.expression) } }, [used!])
    })
  }

  select(...args: ReadonlyArray<string> | readonly [(row: never) => { readonly [name: string]: unknown }]) {
    return Build.defining(this.#name(), () => {
      const [project] = args
      if (typeof project !== "function") {
        const fields = Object.fromEntries((args as ReadonlyArray<string>).map((name) => [name, this.#field(name, "select")]))
        return this.#project(fields, [])
      }
      const { back, result, used } = this.#callback(project, (value) =>
        Object.entries(value).map(([name, item]) => Build.asBuilt(item, `select of ${name}`)), false)
      const fields = Object.fromEntries(Object.keys(result).map((name, i) => {
        const { expression, origins } = used[i]!
        Plan.forEachPart(expression, (part) => {
          if (part.op === "exists") Build.unsupported(`exists in select of ${name}`, "exists can only be a condition")
        })
        return [name, { expression: back(expression), origins }]
      }))
      return this.#project(fields, used)
    })
  }

  #project(fields: Build.FieldMap, used: ReadonlyArray<Build.Built>) {
    if (Object.keys(fields).length === 0) return Build.unsupported("select of nothing", "name at least one field")
    const columns = Object.fromEntries(Object.entries(fields).map(([name, { expression }]) => [name, expression]))
    return this.#next({ fields, node: { op: "project", input: this.state.node, columns } }, used)
  }

  orderBy(keys: string | ((row: never) => unknown), direction: "asc" | "desc" = "asc") {
    return Build.defining(this.#name(), () => {
      if (this.state.limited) return Build.unsupported("orderBy after limit", "say orderBy first: it decides which rows are the first ones")
      if (typeof keys === "string") {
        const by = [{ value: ordered(this.#field(keys, "orderBy").expression), descending: direction === "desc" }]
        return this.#next({ node: { op: "order", input: this.state.node, by } }, [])
      }
      const orders: Array<boolean> = []
      const { back, used } = this.#callback(keys, (value) =>
        (Array.isArray(value) ? value : [value]).map((key: unknown) => {
          orders.push(Build.isOrder(key) && key.descending)
          return Build.isOrder(key) ? key.of : Build.asBuilt(key, "orderBy")
        }), false)
      const by = used.map((built, i) => ({ value: ordered(back(built.expression)), descending: orders[i]! }))
      return this.#next({ node: { op: "order", input: this.state.node, by } }, used)
    })
  }

  limit(count: unknown) {
    return Build.defining(this.#name(), () => {
      if (typeof count === "number" || typeof count === "bigint") {
        if (!Number.isSafeInteger(Number(count)) || count < 0) return Build.unsupported(`limit ${count}`, "a limit is a whole number, not below 0")
        return this.#limited({ op: "literal", value: String(count), type: { kind: "int8" } }, [], {})
      }
      const built = Build.asBuilt(count, "limit")
      if (built.slot !== undefined) Build.decide(built.slot, { kind: "int8" })
      if (built.expression.op !== "parameter" || built.type!.kind !== "int8" && built.type!.kind !== "int4") {
        return Build.unsupported("limit", "a limit is a number, or a parameter that is a whole number")
      }
      return this.#limited(built.expression, [built], {})
    })
  }

  one() {
    return Build.defining(this.#name(), () => this.#limited({ op: "literal", value: "1", type: { kind: "int8" } }, [], { cardinality: "maybe" }))
  }

  #limited(count: Plan.Expression, used: ReadonlyArray<Build.Built>, change: Partial<State>) {
    if (this.state.limited) return Build.unsupported("a second limit", "limit() and one() can be said once")
    return this.#next({ ...change, limited: true, node: { op: "limit", input: totallyOrdered(this.state), count } }, used)
  }

  exists() {
    return Build.defining(this.#name(), () => {
      const { cardinality, limited, node, origins, source } = this.state
      if (limited || cardinality !== "many") Build.unsupported("exists of a limited query", "leave out limit() and one(): they do not change whether there is any row")
      const as = Build.freshSource()
      const where = moved({ op: "and", all: Plan.filters(node) }, source, as)
      const scan: Plan.Node = { op: "scan", table: this.state.table.tableName, as }
      Plan.checkExists(where, as, (construct, advice) => Build.unsupported(construct, advice))
      const built = Build.condition({ op: "exists", query: { op: "filter", input: scan, where } }, [], origins)
      Build.consistsOf(built, [this])
      return built
    })
  }

  notExists() {
    return this.exists().not()
  }

  #name(): string {
    return `a query over ${this.state.table.tableName}`
  }

  #field(name: string, construct: string) {
    const field = Object.hasOwn(this.state.fields, name) ? this.state.fields[name] : undefined
    return field ?? Build.unsupported(`${construct} of "${name}"`, `there are ${Object.keys(this.state.fields).join(", ")}`)
  }
}

const ordered = (value: Plan.Expression): Plan.Expression => {
  let rows = false
  Plan.forEachPart(value, (part) => {
    if (part.op === "exists") Build.unsupported("exists in orderBy", "exists can only be a condition")
    rows ||= part.op === "column"
  })
  if (!rows) Build.unsupported("orderBy of a constant", "order by something that the row holds")
  if (Plan.typeOf(value).kind === "jsonb") Build.unsupported("orderBy of JSON", "JSON has no order: use a column of another type")
  return value
}

const moved = (expression: Plan.Expression, from: string, to: string): Plan.Expression =>
  Plan.mapExpression(expression, (part) => part.op === "column" && part.source === from ? { ...part, source: to } : part)

const totallyOrdered = ({ node, source, table }: State): Plan.Node => ({
  op: "order",
  input: node,
  by: table.primaryKey.map((property) => {
    const { isNullable, type } = table.columns[property]!
    return { value: { op: "column", source, column: property, type, nullable: isNullable }, descending: false }
  })
})

/** All rows of a table. */
export const from = <A extends object>(table: Table.Of<A>): Query<A> => {
  const source = Build.freshSource()
  return new Built({
    table,
    source,
    node: { op: "scan", table: table.tableName, as: source },
    fields: Build.tableFields(table, source),
    limited: false,
    cardinality: "many",
    origins: { tables: new Map([[table.tableName, table]]), principals: new Set() }
  }, []) as never
}

/** The parameters inside `make`: placeholders, not values. One that may be left out is NULL then. */
export type Parameters<F> = { readonly [K in keyof F]: Expr<Field.Type<F[K]> | (F[K] extends { readonly "~type.optionality": "optional" } ? null : never)> }

/** Declares a query. `build` runs once, now. A parameter whose schema does not say its column type gets it by its first use. */
export const make = <const N extends string, const F extends Field.Fields, A, C extends Cardinality>(
  name: N,
  parameters: F & Field.Valid<F>,
  build: (parameters: Parameters<F>) => Query<A, C>
): Named<N, Field.Struct<F>, A, C> => Build.defining(`query ${name}`, () => {
  const codecs = Field.codecs(parameters, `query ${name}: parameter`)
  const slots = new Map<string, Build.Slot>()
  const placeholders = Object.fromEntries(Object.entries(codecs).map(([parameter, field]) => {
    const slot = field.isColumn ? undefined : { name: parameter, type: undefined, fallback: field.type }
    if (slot !== undefined) slots.set(parameter, slot)
    const type = field.type ?? { kind: "text" }
    return [parameter, new Build.Built({ op: "parameter", name: parameter, type, nullable: field.isNullable || field.isOptional }, [], Build.noOrigins, slot)]
  }))
  const query = asBuilt(Build.collect(() => build(placeholders as never), (result) => [asBuilt(result)]))
  const types: Record<string, Plan.Parameter> = {}
  for (const [parameter, field] of Object.entries(codecs)) {
    const slot = slots.get(parameter)
    const type = slot === undefined ? field.type : slot.type ?? slot.fallback
    if (type === undefined) return Build.unsupported(`parameter ${parameter}`, "its type is not known: compare it with a column, or declare it by one")
    types[parameter] = { type, nullable: field.isNullable || field.isOptional }
  }
  const plan = finish(query, types)
  const unused = new Set(Object.keys(types))
  Plan.mapNode(plan.root, (part) => {
    if (part.op === "parameter") unused.delete(part.name)
    return part
  })
  for (const parameter of unused) {
    return Build.unsupported(`parameter ${parameter}`, "the query does not use it: it is a placeholder, which if and ?: cannot look into; say parameter.isNull().or(…)")
  }
  return { name, plan, parameters: codecs, origins: query.state.origins } as never
})

const asBuilt = (query: unknown): Built =>
  query instanceof Built ? query : Build.unsupported("the result", "give back a query: Query.from(…)")

const finish = (query: Built, parameters: Plan.Plan["parameters"]): Plan.Plan => {
  const node = query.state.limited ? query.state.node : totallyOrdered(query.state)
  const typed = (part: Plan.Expression): Plan.Expression => {
    if (part.op === "column" && part.source.startsWith("~")) return Build.unsupported(`column ${part.column}`, "its row left the callback that it belongs to")
    if (part.op !== "parameter") return part
    const parameter = Object.hasOwn(parameters, part.name) ? parameters[part.name] : undefined
    return parameter === undefined ? Build.unsupported(`parameter ${part.name}`, "it belongs to another query") : { ...part, ...parameter }
  }
  const root = Plan.mapNode(Plan.renameSources(node), typed)
  return { version: 1, root, cardinality: query.state.cardinality, parameters }
}

/** A query without parameters as data, with what it needs of its contract. */
export const plan = <A, C extends Cardinality>(query: Query<A, C>): { readonly plan: Plan.Plan; readonly origins: Build.Origins } => {
  const built = asBuilt(query)
  return { plan: Build.defining(`a query over ${built.state.table.tableName}`, () => finish(built, {})), origins: built.state.origins }
}

/** Parameters as an application gives them, in wire form. */
export const encodeParameters = (query: Named.Any, parameters: unknown): Field.Checked<{ readonly [name: string]: Json }> => {
  const encoded = Field.encode(query.parameters, parameters)
  if (!encoded.ok) return encoded
  const decoded = decodeParameters(query, encoded.value)
  return decoded.ok ? encoded : decoded
}

/** The canonical value of each parameter of the plan, NULL for what was left out, from wire form. */
export const decodeParameters = (query: Named.Any, wire: unknown): Field.Checked<Row> => {
  const decoded = Field.decode(query.parameters, wire)
  if (!decoded.ok) return decoded
  const row = Field.canonicalRow(query.plan.parameters, decoded.value)
  if (!row.ok) return row
  for (const name of patternsOf(query.plan)) {
    const pattern = row.value[name]
    if (typeof pattern !== "string" || pattern.length <= maxPattern) continue
    return { ok: false, field: name, message: `${name} is a pattern of ${pattern.length} characters, and may have ${maxPattern}` }
  }
  return row
}

/** Of a parameter that is a pattern of `like`: what it costs to match is a product of its length and a text's. */
const maxPattern = 1000

const patterns = new WeakMap<Plan.Plan, ReadonlySet<string>>()

/** The parameters that are patterns, or parts of one. */
const patternsOf = (plan: Plan.Plan): ReadonlySet<string> => {
  let names = patterns.get(plan)
  if (names !== undefined) return names
  patterns.set(plan, names = new Set())
  const found = names as Set<string>
  Plan.mapNode(plan.root, (part) => {
    if (part.op === "like") {
      Plan.forEachPart(part.pattern, (inner) => {
        if (inner.op === "parameter") found.add(inner.name)
      })
    }
    return part
  })
  return found
}
