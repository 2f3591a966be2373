/**
 * A query as plain, serialisable data.
 *
 * The builder makes a tree of `Node`s over `Expression`s, top to bottom as the clauses were called. `Select` is the
 * normal form that the engine, the replica and the SQL compiler share; equal selects have equal hashes whatever the
 * order in which conditions were written. Literals are held in wire form (`ColumnType.toWire`), so that a plan is JSON.
 */
import * as Data from "effect/Data"
import type { Json } from "../data/Value.ts"
import { canonicalJson, hash as hashOf } from "../internal/hash.ts"
import type { ColumnType } from "../schema/ColumnType.ts"

export type Comparison = "=" | "<>" | "<" | "<=" | ">" | ">="

/** A scalar. Its value is never an error: what SQL would refuse is NULL, or the plan is refused where it is defined. */
export type Expression =
  /** A column of the source with that alias, by property name. */
  | { readonly op: "column"; readonly source: string; readonly column: string; readonly type: ColumnType; readonly nullable: boolean }
  /** `value` in wire form; null is NULL. */
  | { readonly op: "literal"; readonly value: Json; readonly type: ColumnType }
  | { readonly op: "parameter"; readonly name: string; readonly type: ColumnType; readonly nullable: boolean }
  /** A field of the principal. */
  | { readonly op: "principal"; readonly field: string; readonly type: ColumnType; readonly nullable: boolean }
  | { readonly op: "compare"; readonly operator: Comparison; readonly left: Expression; readonly right: Expression }
  | { readonly op: "in"; readonly value: Expression; readonly list: ReadonlyArray<Expression> }
  | { readonly op: "isNull"; readonly value: Expression }
  | { readonly op: "like"; readonly value: Expression; readonly pattern: Expression; readonly insensitive: boolean }
  | { readonly op: "and"; readonly all: ReadonlyArray<Expression> }
  | { readonly op: "or"; readonly any: ReadonlyArray<Expression> }
  | { readonly op: "not"; readonly value: Expression }
  /** True or false, never NULL. `query` may refer to columns of the sources around it. */
  | { readonly op: "exists"; readonly query: Node }
  /** Made by column masks only: NULL counts as false. */
  | { readonly op: "if"; readonly condition: Expression; readonly then: Expression; readonly else: Expression }

export interface Order {
  readonly value: Expression
  /** NULLs are last ascending and first descending. */
  readonly descending: boolean
}

export type Node =
  | { readonly op: "scan"; readonly table: string; readonly as: string }
  | { readonly op: "filter"; readonly input: Node; readonly where: Expression }
  | { readonly op: "project"; readonly input: Node; readonly columns: { readonly [name: string]: Expression } }
  | { readonly op: "order"; readonly input: Node; readonly by: ReadonlyArray<Order> }
  | { readonly op: "limit"; readonly input: Node; readonly count: Expression }

export interface Parameter {
  readonly type: ColumnType
  readonly nullable: boolean
}

export interface Plan {
  readonly version: 1
  readonly root: Node
  readonly cardinality: "many" | "maybe" | "one"
  readonly parameters: { readonly [name: string]: Parameter }
}

/** The normal form of a plan over one table: `SELECT … FROM table AS source WHERE … ORDER BY … LIMIT …`. */
export interface Select {
  readonly table: string
  /** The alias by which `where`, `order` and `project` refer to its columns. */
  readonly source: string
  /** Conjuncts, flattened and sorted; none means all rows. Each must be true (NULL does not pass). */
  readonly where: ReadonlyArray<Expression>
  /** Total: ends with those primary key columns that it did not hold already. */
  readonly order: ReadonlyArray<Order>
  /** An int8 literal, parameter or null. A NULL value at run time means no limit; a negative one means none pass. */
  readonly limit: Expression | null
  /** What the application sees of each row; null is the row itself. */
  readonly project: { readonly [name: string]: Expression } | null
}

/** What was asked cannot be kept exact, or not in the same way everywhere; thrown where the query is defined. */
export class UnsupportedQuery extends Data.TaggedError("UnsupportedQuery")<{
  /** The query's name, or what else was being defined. */
  readonly query: string
  /** What cannot be honoured: "where after limit". */
  readonly construct: string
  readonly message: string
}> {}

/** The type of an expression's values. */
export const typeOf = (expression: Expression): ColumnType => {
  switch (expression.op) {
    case "column":
    case "literal":
    case "parameter":
    case "principal":
      return expression.type
    case "if":
      return typeOf(expression.then)
    default:
      return { kind: "boolean" }
  }
}

export const alwaysTrue: Expression = { op: "literal", value: true, type: { kind: "boolean" } }
export const alwaysFalse: Expression = { op: "literal", value: false, type: { kind: "boolean" } }

/** Rebuilds an expression bottom up; `f` sees each one after its parts. Also goes into the queries of `exists`. */
export const mapExpression = (expression: Expression, f: (expression: Expression) => Expression): Expression => {
  const go = (inner: Expression) => mapExpression(inner, f)
  switch (expression.op) {
    case "column":
    case "literal":
    case "parameter":
    case "principal":
      return f(expression)
    case "compare":
      return f({ ...expression, left: go(expression.left), right: go(expression.right) })
    case "in":
      return f({ ...expression, value: go(expression.value), list: expression.list.map(go) })
    case "isNull":
    case "not":
      return f({ ...expression, value: go(expression.value) })
    case "like":
      return f({ ...expression, value: go(expression.value), pattern: go(expression.pattern) })
    case "and":
      return f({ ...expression, all: expression.all.map(go) })
    case "or":
      return f({ ...expression, any: expression.any.map(go) })
    case "exists":
      return f({ ...expression, query: mapNode(expression.query, f) })
    case "if":
      return f({ op: "if", condition: go(expression.condition), then: go(expression.then), else: go(expression.else) })
  }
}

/** `mapExpression` for all expressions of a node and its inputs; `scan` sees each scan. */
export const mapNode = (node: Node, f: (expression: Expression) => Expression, scan: (scan: Scan) => Node = (same) => same): Node => {
  const go = (expression: Expression) => mapExpression(expression, f)
  switch (node.op) {
    case "scan":
      return scan(node)
    case "filter":
      return { op: "filter", input: mapNode(node.input, f, scan), where: go(node.where) }
    case "project":
      return { op: "project", input: mapNode(node.input, f, scan), columns: Object.fromEntries(Object.entries(node.columns).map(([name, value]) => [name, go(value)])) }
    case "order":
      return { op: "order", input: mapNode(node.input, f, scan), by: node.by.map((order) => ({ ...order, value: go(order.value) })) }
    case "limit":
      return { op: "limit", input: mapNode(node.input, f, scan), count: go(node.count) }
  }
}

type Scan = Extract<Node, { readonly op: "scan" }>

/** Visits an expression and all its parts, those in the queries of `exists` too. */
export const forEachPart = (expression: Expression, f: (part: Expression) => void): void => {
  mapExpression(expression, (part) => {
    f(part)
    return part
  })
}

/** The one table at the bottom of a node. */
export const scanOf = (node: Node): Scan => node.op === "scan" ? node : scanOf(node.input)

/** Gives a node's own source, and each one inside it by depth, the name `t0`, `t1` …: siblings never see each other. */
export const renameSources = (root: Node): Node => rename(root, new Map(), 0)

const rename = (node: Node, outer: ReadonlyMap<string, string>, depth: number): Node => {
  const scan = scanOf(node)
  const as = `t${depth}`
  const names = new Map(outer).set(scan.as, as)
  const go = (expression: Expression): Expression => renameIn(expression, names, depth)
  const nodes = (inner: Node): Node => {
    switch (inner.op) {
      case "scan":
        return { ...inner, as }
      case "filter":
        return { ...inner, input: nodes(inner.input), where: go(inner.where) }
      case "project":
        return { ...inner, input: nodes(inner.input), columns: Object.fromEntries(Object.entries(inner.columns).map(([name, value]) => [name, go(value)])) }
      case "order":
        return { ...inner, input: nodes(inner.input), by: inner.by.map((order) => ({ ...order, value: go(order.value) })) }
      case "limit":
        return { ...inner, input: nodes(inner.input), count: go(inner.count) }
    }
  }
  return nodes(node)
}

const renameIn = (expression: Expression, names: ReadonlyMap<string, string>, depth: number): Expression =>
  mapTop(expression, (part) => {
    if (part.op === "column") return { ...part, source: names.get(part.source) ?? part.source }
    return part.op === "exists" ? { op: "exists", query: rename(part.query, names, depth + 1) } : undefined
  })

/** Rebuilds an expression top down: `f` replaces a part, or gives undefined to go on into it. Stops at `exists`. */
export const mapTop = (expression: Expression, f: (expression: Expression) => Expression | undefined): Expression => {
  const replaced = f(expression)
  if (replaced !== undefined) return replaced
  const go = (inner: Expression) => mapTop(inner, f)
  switch (expression.op) {
    case "compare":
      return { ...expression, left: go(expression.left), right: go(expression.right) }
    case "in":
      return { ...expression, value: go(expression.value), list: expression.list.map(go) }
    case "isNull":
    case "not":
      return { ...expression, value: go(expression.value) }
    case "like":
      return { ...expression, value: go(expression.value), pattern: go(expression.pattern) }
    case "and":
      return { ...expression, all: expression.all.map(go) }
    case "or":
      return { ...expression, any: expression.any.map(go) }
    case "if":
      return { op: "if", condition: go(expression.condition), then: go(expression.then), else: go(expression.else) }
    default:
      return expression
  }
}

const flipped = { "=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<=" } as const
const negated = { "=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<" } as const

/**
 * The normal form of a condition: negations at the leaves, `and`/`or` flat, sorted and without repetitions, comparisons
 * with what varies with the row on the left. Keeps the value in three-valued logic, NULL included.
 */
export const normalise = (expression: Expression): Expression => {
  switch (expression.op) {
    case "not":
      return negate(expression.value)
    case "and":
      return junction("and", expression.all.map(normalise))
    case "or":
      return junction("or", expression.any.map(normalise))
    case "compare":
      return normaliseComparison(expression.operator, normalise(expression.left), normalise(expression.right))
    case "in": {
      const value = normalise(expression.value)
      const list = unique(expression.list.map(normalise))
      if (list.length === 0) return alwaysFalse
      return list.length === 1 ? normaliseComparison("=", value, list[0]!) : { op: "in", value, list }
    }
    case "isNull":
      return { op: "isNull", value: normalise(expression.value) }
    case "like":
      return { ...expression, value: normalise(expression.value), pattern: normalise(expression.pattern) }
    case "exists":
      return { op: "exists", query: normaliseExists(expression.query) }
    case "if":
      return { op: "if", condition: normalise(expression.condition), then: normalise(expression.then), else: normalise(expression.else) }
    default:
      return expression
  }
}

const negate = (expression: Expression): Expression => {
  switch (expression.op) {
    case "not":
      return normalise(expression.value)
    case "and":
      return junction("or", expression.all.map(negate))
    case "or":
      return junction("and", expression.any.map(negate))
    case "compare":
      return normaliseComparison(negated[expression.operator], normalise(expression.left), normalise(expression.right))
    case "literal":
      return expression.value === null ? expression : expression.value === true ? alwaysFalse : alwaysTrue
    default: {
      const value = normalise(expression)
      // What became something else can be negated further: `in` with one element is a comparison.
      return value.op === expression.op ? { op: "not", value } : negate(value)
    }
  }
}

const normaliseComparison = (operator: Comparison, left: Expression, right: Expression): Expression => {
  const swap = rank(left) > rank(right) || rank(left) === rank(right) && canonicalJson(left) > canonicalJson(right)
  const [a, b, by] = swap ? [right, left, flipped[operator]] : [left, right, operator]
  if (b.op === "literal" && typeof b.value === "boolean" && (by === "=" || by === "<>")) {
    return (by === "=") === b.value ? a : negate(a)
  }
  return { op: "compare", operator: by, left: a, right: b }
}

/** What varies with the row first, constants last. */
const rank = (expression: Expression): number => {
  switch (expression.op) {
    case "column":
      return 0
    case "principal":
      return 2
    case "parameter":
      return 3
    case "literal":
      return 4
    default:
      return 1
  }
}

const junction = (op: "and" | "or", parts: ReadonlyArray<Expression>): Expression => {
  const [neutral, absorbing] = op === "and" ? [true, false] : [false, true]
  const flat = unique(parts.flatMap((part) => part.op === "and" && op === "and" ? part.all : part.op === "or" && op === "or" ? part.any : [part]))
    .filter((part) => !(part.op === "literal" && part.value === neutral))
  if (flat.some((part) => part.op === "literal" && part.value === absorbing)) return absorbing ? alwaysTrue : alwaysFalse
  if (flat.length === 0) return neutral ? alwaysTrue : alwaysFalse
  if (flat.length === 1) return flat[0]!
  return op === "and" ? { op, all: flat } : { op, any: flat }
}

/** Sorted by content. */
const unique = (expressions: ReadonlyArray<Expression>): ReadonlyArray<Expression> => {
  const byContent = new Map(expressions.map((expression) => [canonicalJson(expression), expression]))
  return [...byContent].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, expression]) => expression)
}

/** Only the filters of an `exists` matter. */
const normaliseExists = (node: Node): Node => {
  const where = normalise({ op: "and", all: filters(node) })
  const scan = scanOf(node)
  return where.op === "literal" && where.value === true ? scan : { op: "filter", input: scan, where }
}

/** The conditions of a node's filters, whichever order they stand in. */
export const filters = (node: Node): ReadonlyArray<Expression> =>
  node.op === "scan" ? [] : node.op === "filter" ? [...filters(node.input), node.where] : filters(node.input)

/** The parts of a normal form that must all be true. */
export const conjuncts = (expression: Expression): ReadonlyArray<Expression> => {
  const normal = normalise(expression)
  if (normal.op === "literal" && normal.value === true) return []
  return normal.op === "and" ? normal.all : [normal]
}

/** The normal form of a plan. O(n log n) in the size of the plan. */
export const toSelect = (plan: Plan): Select => {
  const root = renameSources(plan.root)
  const order: Array<Order> = []
  let limit: Expression | null = null
  let project: Select["project"] = null
  const read = (node: Node): void => {
    if (node.op === "scan") return
    read(node.input)
    if (node.op === "order") order.push(...node.by)
    else if (node.op === "limit") limit = node.count
    else if (node.op === "project") project = node.columns
  }
  read(root)
  const seen = new Set<string>()
  const scan = scanOf(root)
  return {
    table: scan.table,
    source: scan.as,
    where: conjuncts({ op: "and", all: filters(root) }),
    order: order.map((key) => ({ ...key, value: normalise(key.value) })).filter(({ value }) => {
      const content = canonicalJson(value)
      if (seen.has(content)) return false
      seen.add(content)
      return true
    }),
    limit,
    project: project === null ? null : Object.fromEntries(Object.entries<Expression>(project).map(([name, value]) => [name, normalise(value)]))
  }
}

/** 128 bits over the normal form and the cardinality: equal for plans that differ only in how they were written. */
export const hash = (plan: Plan): string => hashOf({ select: toSelect(plan), cardinality: plan.cardinality })

/**
 * What `exists` can keep exact: under `and`, its conditions tie columns of its own table by equality to something outside
 * (a column right around it, a parameter, the principal) or to a literal, and no other condition looks at rows around it.
 * Calls `refuse` with construct and advice otherwise. `source` is the name of its own table's row.
 */
export const checkExists = (where: Expression, source: string, refuse: (construct: string, advice: string) => void): void => {
  let tied = false
  for (const part of conjuncts(where)) {
    if (equatedColumn(part, source) !== undefined) tied = true
    else if (mentionsOutside(part, new Set([source]))) {
      refuse("exists with a condition on a row around it that is not an equality under and", "tie its table to that row by column.eq(…), with columns of one type")
    }
  }
  if (!tied) refuse("exists that is not tied to anything", "compare a column of its table by eq with the row around it, a parameter or the principal")
}

/** For a conjunct `column = value` over `source`: the column, and a value that is no part of that row. */
export const equatedColumn = (conjunct: Expression, source: string): { readonly column: Expression & { readonly op: "column" }; readonly value: Expression } | undefined => {
  if (conjunct.op === "column" && conjunct.source === source) return { column: conjunct, value: alwaysTrue }
  if (conjunct.op === "not" && conjunct.value.op === "column" && conjunct.value.source === source) return { column: conjunct.value, value: alwaysFalse }
  if (conjunct.op !== "compare" || conjunct.operator !== "=") return undefined
  for (const [column, value] of [[conjunct.left, conjunct.right], [conjunct.right, conjunct.left]] as const) {
    if (column.op !== "column" || column.source !== source || column.type.kind !== typeOf(value).kind) continue
    if (value.op === "literal" || value.op === "parameter" || value.op === "principal") return { column, value }
    if (value.op === "column" && value.source !== source) return { column, value }
  }
  return undefined
}

/** Whether a condition reads columns of other sources than these and its own. */
const mentionsOutside = (expression: Expression, inside: ReadonlySet<string>): boolean => {
  let outside = false
  mapTop(expression, (part) => {
    if (part.op === "column") outside ||= !inside.has(part.source)
    else if (part.op === "exists") {
      const scope = new Set(inside).add(scanOf(part.query).as)
      outside ||= filters(part.query).some((where) => mentionsOutside(where, scope))
    }
    return undefined
  })
  return outside
}
