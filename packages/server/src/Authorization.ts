/**
 * What a principal may see and change, compiled once from the contract's access rules.
 *
 * The rules are in the shapes that the engine binds and that handlers' reads use, in the checks of writes, and in the masks that
 * are laid over rows on their way out. What no rule allows is denied.
 */
import type * as Contract from "@headwater/core/Contract"
import * as Plan from "@headwater/core/Plan"
import * as Shape from "@headwater/core/Shape"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

export class Authorization extends Context.Service<Authorization, {
  /** Of a query of the contract; undefined where there is none of that name. */
  readonly query: (name: string) => Shape.Shape | undefined
  /** Of any plan over the contract's tables. Throws `UnsupportedQuery`. Remembers the plan objects that it was given. */
  readonly plan: (plan: Plan.Plan) => Shape.Shape
  /** One row of a table by its primary key, whose properties are the parameters' names. */
  readonly byKey: (tableName: string) => Shape.Shape
  /** Conditions on the row (by the alias `Shape.source`) as it was and as it becomes. */
  readonly write: (tableName: string, operation: Operation) => ReturnType<typeof Shape.writeCheck>
  /** Which rows of a table may be read. */
  readonly read: (tableName: string) => Plan.Expression
  readonly masks: (tableName: string) => ReadonlyArray<Shape.Mask>
  /** Every column of a table (of the row `Shape.source`) as it is seen; null where nothing is masked. */
  readonly masked: (tableName: string) => { readonly [column: string]: Plan.Expression } | null
}>()("@headwater/server/Authorization") {}

export type Operation = "delete" | "insert" | "update"

/** Throws `UnsupportedQuery` for what the rules make of a query that cannot be kept exact. */
export const make = (contract: Contract.Any): Authorization["Service"] => {
  const shapes = new WeakMap<Plan.Plan, Shape.Shape>()
  const plan = (of: Plan.Plan): Shape.Shape => {
    let shape = shapes.get(of)
    if (shape === undefined) shapes.set(of, shape = Shape.compile(contract, of))
    return shape
  }
  const queries = new Map(Object.entries(contract.queries).map(([name, query]) => [name, plan(query.plan)]))
  const masks = new Map(Object.keys(contract.tables).map((name) => [name, Shape.masks(contract, name)]))
  const masked = new Map(Object.keys(contract.tables).map((name) => [name, maskedColumns(contract, name)]))
  const keys = new Map<string, Shape.Shape>()
  return {
    query: (name) => queries.get(name),
    plan,
    byKey: (tableName) => {
      let shape = keys.get(tableName)
      if (shape === undefined) keys.set(tableName, shape = Shape.compile(contract, keyPlan(contract, tableName)))
      return shape
    },
    write: memoised((tableName: string, operation: Operation) => Shape.writeCheck(contract, tableName, operation)),
    read: (tableName) => Shape.readRule(contract, tableName),
    masks: (tableName) => masks.get(tableName)!,
    masked: (tableName) => masked.get(tableName)!
  }
}

export const layer = (contract: Contract.Any): Layer.Layer<Authorization, Plan.UnsupportedQuery> =>
  Layer.effect(Authorization, Effect.try({
    try: () => Authorization.of(make(contract)),
    catch: (error) => {
      if (error instanceof Plan.UnsupportedQuery) return error
      throw error
    }
  }))

const memoised = <A>(f: (tableName: string, operation: Operation) => A) => {
  const known = new Map<string, A>()
  return (tableName: string, operation: Operation): A => {
    const key = `${operation} ${tableName}`
    let value = known.get(key)
    if (value === undefined) known.set(key, value = f(tableName, operation))
    return value
  }
}

/** The rows of a table whose primary key equals the parameters. */
const keyPlan = (contract: Contract.Any, tableName: string): Plan.Plan => {
  const table = contract.tables[tableName]
  if (table === undefined) throw new TypeError(`the contract ${contract.contractName} has no table ${tableName}`)
  const parameters = Object.fromEntries(table.primaryKey.map((property) => [property, { type: table.columns[property]!.type, nullable: false }]))
  return {
    version: 1,
    cardinality: "maybe",
    parameters,
    root: {
      op: "filter",
      input: { op: "scan", table: tableName, as: Shape.source },
      where: {
        op: "and",
        all: table.primaryKey.map((property) => {
          const { type } = table.columns[property]!
          return {
            op: "compare",
            operator: "=",
            left: { op: "column", source: Shape.source, column: property, type, nullable: false },
            right: { op: "parameter", name: property, type, nullable: false }
          }
        })
      }
    }
  }
}

const maskedColumns = (contract: Contract.Any, tableName: string): { readonly [column: string]: Plan.Expression } | null => {
  const masks = new Map(Shape.masks(contract, tableName).map((mask) => [mask.column, mask]))
  if (masks.size === 0) return null
  return Object.fromEntries(Object.entries(contract.tables[tableName]!.columns).map(([property, { isNullable, type }]) => {
    const column: Plan.Expression = { op: "column", source: Shape.source, column: property, type, nullable: isNullable }
    const mask = masks.get(property)
    return [property, mask === undefined ? column : {
      op: "if", condition: mask.readable, then: column, else: { op: "literal", value: mask.mask, type }
    }]
  }))
}
