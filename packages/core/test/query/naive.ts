/**
 * The slowest obvious meaning of a plan: interprets its data over tables in memory. Knows the types of the board only.
 */
import type { Plan } from "@headwater/core"
import type { Row } from "@headwater/core/Row"
import type { Value } from "@headwater/core/Value"

export type Tables = { readonly [table: string]: ReadonlyArray<Row> }
export interface Bound {
  readonly parameters: Row
  readonly principal: Row
}
type Scope = { readonly [source: string]: Row }

export const evaluate = (e: Plan.Expression, scope: Scope, bound: Bound, tables: Tables): Value => {
  const go = (inner: Plan.Expression) => evaluate(inner, scope, bound, tables)
  const not = (value: Value) => value === null ? null : !value
  switch (e.op) {
    case "column": {
      const row = scope[e.source]
      if (row === undefined) throw new Error(`no source ${e.source}`)
      return row[e.column]!
    }
    case "literal":
      return e.value !== null && e.type.kind === "int8" ? BigInt(e.value as string) : e.value
    case "parameter":
      return bound.parameters[e.name] ?? null
    case "principal":
      return bound.principal[e.field] ?? null
    case "compare": {
      const [a, b] = [go(e.left), go(e.right)]
      if (a === null || b === null) return null
      return { "=": a === b, "<>": a !== b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b }[e.operator]
    }
    case "in":
      return e.list.reduce<Value>((any, item) => or(any, evaluate({ op: "compare", operator: "=", left: e.value, right: item }, scope, bound, tables)), false)
    case "isNull":
      return go(e.value) === null
    case "like":
      throw new Error("not needed here")
    case "and":
      return not(e.all.reduce<Value>((any, part) => or(any, not(go(part))), false))
    case "or":
      return e.any.reduce<Value>((any, part) => or(any, go(part)), false)
    case "not":
      return not(go(e.value))
    case "if":
      return go(e.condition) === true ? go(e.then) : go(e.else)
    case "exists":
      return rows(e.query, scope, bound, tables).length > 0
  }
}

const or = (a: Value, b: Value): Value => a === true || b === true ? true : a === null || b === null ? null : false

/** The rows of a node, without its projections. */
export const rows = (node: Plan.Node, scope: Scope, bound: Bound, tables: Tables): ReadonlyArray<Row> => {
  if (node.op === "scan") return tables[node.table] ?? []
  const input = rows(node.input, scope, bound, tables)
  const source = sourceOf(node)
  const value = (expression: Plan.Expression, row: Row) => evaluate(expression, { ...scope, [source]: row }, bound, tables)
  switch (node.op) {
    case "filter":
      return input.filter((row) => value(node.where, row) === true)
    case "order":
      // Later calls rank lower, and the sort is stable: the input is in the order of the calls before.
      return input.toSorted((a, b) => {
        for (const { descending, value: by } of orders(node)) {
          const compared = compare(value(by, a), value(by, b))
          if (compared !== 0) return descending ? -compared : compared
        }
        return 0
      })
    case "limit": {
      const count = evaluate(node.count, scope, bound, tables)
      return count === null ? input : input.slice(0, Math.max(0, Number(count)))
    }
    case "project":
      return input
  }
}

const orders = (node: Plan.Node): ReadonlyArray<Plan.Order> =>
  node.op === "scan" ? [] : node.op === "order" ? [...orders(node.input), ...node.by] : orders(node.input)

const sourceOf = (node: Plan.Node): string => node.op === "scan" ? node.as : sourceOf(node.input)

/** NULLs last. */
const compare = (a: Value, b: Value): number =>
  a === null || b === null ? Number(a === null) - Number(b === null) : a < b ? -1 : a > b ? 1 : 0

/** The same, of a normal form. */
export const rowsOf = (select: Plan.Select, bound: Bound, tables: Tables): ReadonlyArray<Row> => {
  const scan: Plan.Node = { op: "scan", table: select.table, as: select.source }
  const ordered: Plan.Node = { op: "order", input: { op: "filter", input: scan, where: { op: "and", all: select.where } }, by: select.order }
  return rows(select.limit === null ? ordered : { op: "limit", input: ordered, count: select.limit }, {}, bound, tables)
}
