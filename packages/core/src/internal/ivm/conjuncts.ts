/**
 * What the parts of a condition depend on, and which of them an index can answer.
 */
import type { Comparison, Expression, Node } from "../../query/Plan.ts"
import * as Plan from "../../query/Plan.ts"

export interface Mentions {
  /** Aliases of columns, other than those that an `exists` in it opens itself. */
  readonly sources: ReadonlySet<string>
  /** A parameter or a field of the principal. */
  readonly bound: boolean
  readonly exists: boolean
}

export const mentions = (expression: Expression): Mentions => {
  const sources = new Set<string>()
  let bound = false
  let exists = false
  const visit = (at: Expression, inner: ReadonlyArray<string>): void => {
    switch (at.op) {
      case "column":
        if (!inner.includes(at.source)) sources.add(at.source)
        return
      case "parameter":
      case "principal":
        bound = true
        return
      case "exists": {
        exists = true
        const { alias, where } = innerOf(at.query)
        for (const part of where) visit(part, [...inner, alias])
        return
      }
      default:
        for (const part of parts(at)) visit(part, inner)
    }
  }
  visit(expression, [])
  return { sources, bound, exists }
}

/** The scalars right below one, without those in an `exists`. */
export const parts = (at: Expression): ReadonlyArray<Expression> => {
  switch (at.op) {
    case "compare":
      return [at.left, at.right]
    case "in":
      return [at.value, ...at.list]
    case "isNull":
    case "not":
      return [at.value]
    case "like":
      return [at.value, at.pattern]
    case "and":
      return at.all
    case "or":
      return at.any
    case "if":
      return [at.condition, at.then, at.else]
    default:
      return []
  }
}

export interface Inner {
  readonly table: string
  readonly alias: string
  readonly where: ReadonlyArray<Expression>
}

/** The rows that an `exists` looks for. */
export const innerOf = (node: Node): Inner => {
  const { as, table } = Plan.scanOf(node)
  return { table, alias: as, where: Plan.filters(node).flatMap(Plan.conjuncts) }
}

type Column = Extract<Expression, { readonly op: "column" }>

/** `column operator value`, `value` not mentioning `source`. */
export interface ColumnComparison {
  readonly column: Column
  readonly operator: Comparison
  readonly value: Expression
}

const flipped: { readonly [C in Comparison]: Comparison } = { "=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<=" }

export const columnComparison = (at: Expression, source: string): ColumnComparison | null => {
  if (at.op !== "compare") return null
  const as = (column: Expression, value: Expression, operator: Comparison): ColumnComparison | null =>
    column.op === "column" && column.source === source && column.type.kind === Plan.typeOf(value).kind && !mentions(value).sources.has(source)
      && !mentions(value).exists
      ? { column, operator, value }
      : null
  return as(at.left, at.right, at.operator) ?? as(at.right, at.left, flipped[at.operator])
}
