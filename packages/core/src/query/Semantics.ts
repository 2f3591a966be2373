/**
 * What an expression means: SQL's three-valued logic over canonical values, compiled to closures.
 *
 * Agrees with what `Sql` makes of the same expression, on every row. Every expression is total: none throws, and what SQL would
 * refuse (a pattern that ends in a lone escape) is NULL. Comparison and order are those of `ColumnType`; numbers of two
 * types compare as Postgres converts them (exactly among integers, else as doubles). A condition passes where it
 * is true; NULL does not pass.
 *
 * A condition is compiled as two tests that allocate nothing: whether it is true and whether it is false; NULL is neither.
 * The kinds of operands and types are told apart once, when it is compiled.
 */
import type { Bound } from "../change/Range.ts"
import type { Row } from "../data/Row.ts"
import type { Value } from "../data/Value.ts"
import * as Like from "../internal/like.ts"
import * as ColumnType from "../schema/ColumnType.ts"
import type { Comparison, Expression, Node, Order } from "./Plan.ts"
import { typeOf } from "./Plan.ts"

export type Evaluate = (row: Row, bound: Bound) => Value
export type Test = (row: Row, bound: Bound) => boolean

/** A row around the one at hand, by its alias. `row` is set before a query inside is asked. */
export interface Scope {
  readonly source: string
  row: Row
}

export interface Options {
  /** The alias of the row that the closures are given. Only needed beside `outer`: other columns are that row's. */
  readonly source?: string
  /** The rows around, innermost first. */
  readonly outer?: ReadonlyArray<Scope>
  /**
   * Compiles the query of an `exists` to a test of the row at hand. `outer` are the scopes of the query's own expressions, that row
   * first (alias "" where `source` is not given); it and `bound` are set when the test runs.
   */
  readonly exists?: (query: Node, outer: ReadonlyArray<Scope>) => Test
}

const none: Options = {}

/** The value of an expression for a row. `bound` holds every parameter and principal field that it mentions. */
export const compile = (expression: Expression, options: Options = none): Evaluate => {
  switch (expression.op) {
    case "column": {
      const { column } = expression
      const scope = scopeOf(expression.source, options)
      return scope === undefined ? (row) => row[column]! : () => scope.row[column]!
    }
    case "literal": {
      const value = literal(expression)
      return () => value
    }
    case "parameter": {
      const { name } = expression
      return (_, bound) => bound.parameters[name] ?? null
    }
    case "principal": {
      const { field } = expression
      return (_, bound) => bound.principal[field] ?? null
    }
    case "if": {
      const test = truth(expression.condition, true, options)
      const then = compile(expression.then, options)
      const otherwise = compile(expression.else, options)
      return (row, bound) => test(row, bound) ? then(row, bound) : otherwise(row, bound)
    }
    case "isNull":
    case "exists":
      return truth(expression, true, options)
    default: {
      const isTrue = truth(expression, true, options)
      const isFalse = truth(expression, false, options)
      return (row, bound) => isTrue(row, bound) ? true : isFalse(row, bound) ? false : null
    }
  }
}

/** Whether all are true; none is true. */
export const condition = (conjuncts: ReadonlyArray<Expression>, options: Options = none): Test =>
  every(conjuncts.map((expression) => truth(expression, true, options)))

/**
 * The order of rows. `bound` may be left out where the order mentions neither parameters nor the principal. Cost: as many
 * evaluations as it takes to tell two rows apart.
 */
export const comparator = (order: ReadonlyArray<Order>, options: Options & { readonly bound?: Bound } = none): (a: Row, b: Row) => number => {
  const bound = options.bound ?? unbound
  return inTurn(order.map(({ descending, value }) => {
    const compare = nullable(ColumnType.compare(typeOf(value)), descending)
    if (value.op === "column" && scopeOf(value.source, options) === undefined) {
      const { column } = value
      return (a: Row, b: Row) => compare(a[column]!, b[column]!)
    }
    const evaluate = compile(value, options)
    return (a: Row, b: Row) => compare(evaluate(a, bound), evaluate(b, bound))
  }))
}

/** What an order compares, of one row. */
export const orderValues = (order: ReadonlyArray<Order>, options: Options = none): (row: Row, bound: Bound) => Array<Value> => {
  const all = order.map(({ value }) => compile(value, options))
  return (row, bound) => all.map((evaluate) => evaluate(row, bound))
}

/** Compares what `orderValues` gives as `comparator` compares the rows. */
export const compareOrderValues = (order: ReadonlyArray<Order>): (a: ReadonlyArray<Value>, b: ReadonlyArray<Value>) => number =>
  inTurn(order.map(({ descending, value }, i) => {
    const compare = nullable(ColumnType.compare(typeOf(value)), descending)
    return (a: ReadonlyArray<Value>, b: ReadonlyArray<Value>) => compare(a[i]!, b[i]!)
  }))

/** Compares a row with what `orderValues` gave of another. Allocates nothing. */
export const compareToValues = (order: ReadonlyArray<Order>, options: Options = none): (row: Row, values: ReadonlyArray<Value>, bound: Bound) => number => {
  const all = order.map(({ descending, value }) => ({ compare: nullable(ColumnType.compare(typeOf(value)), descending), evaluate: compile(value, options) }))
  return (row, values, bound) => {
    for (let i = 0; i < all.length; i++) {
      const result = all[i]!.compare(all[i]!.evaluate(row, bound), values[i]!)
      if (result !== 0) return result
    }
    return 0
  }
}

/** Names the member whose absence is a mistake of the caller. */
const unbound: Bound = new Proxy({} as Bound, {
  get: (_, member) => {
    throw new TypeError(`The order mentions ${String(member)}, and no bound was given`)
  }
})

/** NULLs are last ascending and first descending. */
const nullable = (compare: (a: Value, b: Value) => number, descending: boolean): (a: Value, b: Value) => number =>
  descending
    ? (a, b) => a === null || b === null ? Number(b === null) - Number(a === null) : compare(b, a)
    : (a, b) => a === null || b === null ? Number(a === null) - Number(b === null) : compare(a, b)

const inTurn = <A>(all: ReadonlyArray<(a: A, b: A) => number>): (a: A, b: A) => number => {
  const [first, second] = all
  if (first === undefined) return () => 0
  if (second === undefined) return first
  if (all.length === 2) return (a, b) => first(a, b) || second(a, b)
  return (a, b) => {
    for (let i = 0; i < all.length; i++) {
      const result = all[i]!(a, b)
      if (result !== 0) return result
    }
    return 0
  }
}

/** The scope of a column that is not the row's own. */
const scopeOf = (source: string, { outer, source: own }: Options): Scope | undefined =>
  source === own ? undefined : outer?.find((scope) => scope.source === source)

const literal = ({ type, value }: Expression & { readonly op: "literal" }): Value => {
  if (value === null) return null
  const canonical = ColumnType.fromWire(type, value)
  if (canonical === undefined) throw new TypeError(`A plan holds ${JSON.stringify(value)} as a literal of type ${type.kind}`)
  return canonical
}

/** Whether a condition is `wanted`. */
const truth = (expression: Expression, wanted: boolean, options: Options): Test => {
  switch (expression.op) {
    case "and":
      return (wanted ? every : some)(expression.all.map((part) => truth(part, wanted, options)))
    case "or":
      return (wanted ? some : every)(expression.any.map((part) => truth(part, wanted, options)))
    case "not":
      return truth(expression.value, !wanted, options)
    case "compare":
      return comparison(wanted ? expression.operator : negated[expression.operator], expression.left, expression.right, options)
    case "in":
      return membership(expression.value, expression.list, wanted, options)
    case "isNull": {
      const value = compile(expression.value, options)
      return (row, bound) => (value(row, bound) === null) === wanted
    }
    case "like":
      return matching(expression, wanted, options)
    case "exists": {
      if (options.exists === undefined) throw new TypeError("An exists cannot be evaluated here")
      const scope: Scope = { source: options.source ?? "", row: noRow }
      const exists = options.exists(expression.query, [scope, ...options.outer ?? []])
      return (row, bound) => {
        scope.row = row
        return exists(row, bound) === wanted
      }
    }
    case "column": {
      const { column } = expression
      const scope = scopeOf(expression.source, options)
      return scope === undefined ? (row) => row[column] === wanted : () => scope.row[column] === wanted
    }
    default: {
      const value = compile(expression, options)
      return (row, bound) => value(row, bound) === wanted
    }
  }
}

const noRow: Row = {}

const every = (tests: ReadonlyArray<Test>): Test => {
  const [first, second] = tests
  if (first === undefined) return () => true
  if (second === undefined) return first
  if (tests.length === 2) return (row, bound) => first(row, bound) && second(row, bound)
  return (row, bound) => {
    for (let i = 0; i < tests.length; i++) if (!tests[i]!(row, bound)) return false
    return true
  }
}

const some = (tests: ReadonlyArray<Test>): Test => {
  const [first, second] = tests
  if (first === undefined) return () => false
  if (second === undefined) return first
  if (tests.length === 2) return (row, bound) => first(row, bound) || second(row, bound)
  return (row, bound) => {
    for (let i = 0; i < tests.length; i++) if (tests[i]!(row, bound)) return true
    return false
  }
}

/** Of two values that are not NULL; both orders are total, so that each has an opposite. */
const negated = { "=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<" } as const
const flipped = { "=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<=" } as const

/** How values of two types compare. */
interface Meeting {
  readonly equals: (a: Value, b: Value) => boolean
  readonly compare: (a: Value, b: Value) => number
  /** `===` is its equality where one side is not NaN. */
  readonly isIdentity: boolean
}

const meeting = (left: ColumnType.ColumnType, right: ColumnType.ColumnType): Meeting => {
  if (left.kind === right.kind) {
    return { equals: ColumnType.equals(left), compare: ColumnType.compare(left), isIdentity: left.kind !== "numeric" }
  }
  if (left.kind === "float8" || right.kind === "float8") {
    const compare = ColumnType.compare({ kind: "float8" })
    // An int8 beyond 2^53 is rounded, as Postgres does.
    const asDoubles = (a: Value, b: Value): number => compare(Number(a), Number(b))
    return { equals: (a, b) => asDoubles(a, b) === 0, compare: asDoubles, isIdentity: left.kind !== "int8" && right.kind !== "int8" }
  }
  // JavaScript compares a number and a bigint exactly.
  const compare = ColumnType.compare({ kind: "int8" })
  return { equals: (a, b) => compare(a, b) === 0, compare, isIdentity: false }
}

/** True where both are not NULL and compare so. */
const comparison = (operator: Comparison, left: Expression, right: Expression, options: Options): Test => {
  if (left.op === "literal" && right.op !== "literal") return comparison(flipped[operator], right, left, options)
  const { compare, equals, isIdentity } = meeting(typeOf(left), typeOf(right))
  const a = compile(left, options)
  if (right.op === "literal") {
    const value = literal(right)
    if (value === null) return () => false
    return isIdentity && value === value && (operator === "=" || operator === "<>")
      ? identicalTo(value, operator === "=", left, a, options)
      : withConstant(operator, a, value, equals, compare)
  }
  const b = compile(right, options)
  switch (operator) {
    case "=":
      if (isIdentity && typeOf(left).kind !== "float8" && typeOf(right).kind !== "float8") return identical(left, a, right, b, options)
      return (row, bound) => {
        const x = a(row, bound)
        if (x === null) return false
        const y = b(row, bound)
        return y !== null && equals(x, y)
      }
    case "<>":
      return (row, bound) => {
        const x = a(row, bound)
        if (x === null) return false
        const y = b(row, bound)
        return y !== null && !equals(x, y)
      }
    case "<":
      return (row, bound) => {
        const x = a(row, bound)
        if (x === null) return false
        const y = b(row, bound)
        return y !== null && compare(x, y) < 0
      }
    case "<=":
      return (row, bound) => {
        const x = a(row, bound)
        if (x === null) return false
        const y = b(row, bound)
        return y !== null && compare(x, y) <= 0
      }
    case ">":
      return comparison("<", right, left, options)
    case ">=":
      return comparison("<=", right, left, options)
  }
}

const identicalTo = (value: Value, wanted: boolean, left: Expression, a: Evaluate, options: Options): Test => {
  if (!wanted) {
    return (row, bound) => {
      const x = a(row, bound)
      return x !== null && x !== value
    }
  }
  if (left.op !== "column" || scopeOf(left.source, options) !== undefined) return (row, bound) => a(row, bound) === value
  const { column } = left
  return (row) => row[column] === value
}

const withConstant = (
  operator: Comparison, a: Evaluate, value: Value, equals: (a: Value, b: Value) => boolean, compare: (a: Value, b: Value) => number
): Test => {
  switch (operator) {
    case "=":
      return (row, bound) => {
        const x = a(row, bound)
        return x !== null && equals(x, value)
      }
    case "<>":
      return (row, bound) => {
        const x = a(row, bound)
        return x !== null && !equals(x, value)
      }
    case "<":
      return (row, bound) => {
        const x = a(row, bound)
        return x !== null && compare(x, value) < 0
      }
    case "<=":
      return (row, bound) => {
        const x = a(row, bound)
        return x !== null && compare(x, value) <= 0
      }
    case ">":
      return (row, bound) => {
        const x = a(row, bound)
        return x !== null && compare(x, value) > 0
      }
    case ">=":
      return (row, bound) => {
        const x = a(row, bound)
        return x !== null && compare(x, value) >= 0
      }
  }
}

/** `===`; most often a column and a parameter. */
const identical = (left: Expression, a: Evaluate, right: Expression, b: Evaluate, options: Options): Test => {
  if (left.op === "column" && scopeOf(left.source, options) === undefined && right.op === "parameter") {
    const { column } = left
    const { name } = right
    return (row, bound) => {
      const x = row[column]!
      return x !== null && x === bound.parameters[name]
    }
  }
  return (row, bound) => {
    const x = a(row, bound)
    return x !== null && x === b(row, bound)
  }
}

/** True: some element equals. False: the list is empty, or nothing is NULL and no element equals. */
const membership = (subject: Expression, list: ReadonlyArray<Expression>, wanted: boolean, options: Options): Test => {
  if (list.length === 0) return () => !wanted
  const type = typeOf(subject)
  const value = compile(subject, options)
  if (list.every((element) => element.op === "literal" && element.type.kind === type.kind)) {
    const values = list.map((element) => literal(element as Expression & { readonly op: "literal" }))
    const isNumeric = type.kind === "numeric"
    const held: ReadonlySet<Value> = new Set(values.filter((element) => element !== null).map((element) => isNumeric ? ColumnType.hashKey(type, element) : element))
    if (!wanted && values.includes(null)) return () => false
    return (row, bound) => {
      const x = value(row, bound)
      return x !== null && held.has(isNumeric ? ColumnType.hashKey(type, x) : x) === wanted
    }
  }
  const tests = list.map((element) => comparison(wanted ? "=" : "<>", subject, element, options))
  return (wanted ? some : every)(tests)
}

const matching = ({ insensitive, pattern, value }: Expression & { readonly op: "like" }, wanted: boolean, options: Options): Test => {
  const subject = compile(value, options)
  const patterns = compile(pattern, options)
  // Patterns change seldom: that of the last row is kept compiled.
  let last: Value = null
  let match: ((text: string) => boolean) | null = null
  return (row, bound) => {
    const text = subject(row, bound)
    if (text === null) return false
    const current = patterns(row, bound)
    if (current !== last) match = (last = current) === null ? null : Like.compile(current as string, insensitive)
    return match !== null && match(text as string) === wanted
  }
}
