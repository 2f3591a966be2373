/**
 * How expressions come to be: the objects behind `Expr`, and the checks of what a callback does with them.
 *
 * While a callback runs, the conditions that it builds are remembered; one that its result does not contain was dropped
 * (`a && b` drops `a`), and the definition is refused. Sources have fresh names while they are in scope, so a row that
 * leaves its callback is recognised, and a query can be used inside itself.
 */
import type { Condition, Order } from "../query/Expr.ts"
import * as Plan from "../query/Plan.ts"
import * as ColumnType from "../schema/ColumnType.ts"
import * as Field from "../schema/Field.ts"
import type * as Table from "../schema/Table.ts"

/** What a plan cannot say about where its parts come from. */
export interface Origins {
  readonly tables: ReadonlyMap<string, Table.Any>
  readonly principals: ReadonlySet<object>
}

/** A parameter whose schema does not say which column type it has: the first use decides. */
export interface Slot {
  readonly name: string
  type: ColumnType.ColumnType | undefined
  /** What its schema says where no use does. */
  readonly fallback: ColumnType.ColumnType | undefined
}

interface Frame {
  /** In the order in which they were built. */
  readonly built: Array<Built>
  /** Boolean columns that were looked at. */
  readonly touched: Set<Built>
}

const definitions: Array<string> = []
const frames: Array<Frame> = []

export const unsupported = (construct: string, advice: string): never => {
  const query = definitions[0] ?? "a query"
  throw new Plan.UnsupportedQuery({ query, construct, message: `${query}: ${construct}: ${advice}` })
}

/** Names what is being defined in the messages of what `define` throws; what is around it names it better. */
export const defining = <A>(name: string, define: () => A): A => {
  definitions.push(name)
  try {
    return define()
  } finally {
    definitions.pop()
  }
}

/** Runs a callback and refuses it if a condition that it built is not part of what `result` finds in its result. */
export const collect = <A>(run: () => A, result: (value: A) => ReadonlyArray<object>): A => {
  const frame: Frame = { built: [], touched: new Set() }
  frames.push(frame)
  let value: A
  try {
    value = run()
  } finally {
    frames.pop()
  }
  const reached = new Set<object>()
  const visit = (part: object): void => {
    if (reached.has(part)) return
    reached.add(part)
    partsOf(part).forEach(visit)
  }
  result(value).forEach(visit)
  const dropped = [...frame.built, ...frame.touched].find((built) => !reached.has(built))
  if (dropped !== undefined) {
    unsupported(`the condition on ${subject(dropped.expression)} is not part of the result`, "a && b drops a, and a || b drops b: write a.and(b) or a.or(b)")
  }
  return value
}

const parts = new WeakMap<object, ReadonlyArray<object>>()
const partsOf = (part: object): ReadonlyArray<object> => parts.get(part) ?? []
/** Says what a query or expression is made of. */
export const consistsOf = (whole: object, of: ReadonlyArray<object>): void => void parts.set(whole, of)

const subject = (expression: Plan.Expression): string => {
  let found: string | undefined
  Plan.forEachPart(expression, (part) => {
    if (found !== undefined) return
    if (part.op === "column") found = part.column
    else if (part.op === "parameter") found = `parameter ${part.name}`
    else if (part.op === "principal") found = `principal field ${part.field}`
  })
  return found ?? "nothing"
}

const noPrincipals: ReadonlySet<object> = new Set()
const noTables: ReadonlyMap<string, Table.Any> = new Map()
export const noOrigins: Origins = { tables: noTables, principals: noPrincipals }

export const mergeOrigins = (origins: ReadonlyArray<Origins>): Origins => {
  const tables = new Map<string, Table.Any>()
  const principals = new Set<object>()
  for (const origin of origins) {
    for (const [name, table] of origin.tables) {
      const other = tables.get(name)
      if (other !== undefined && other.columns !== table.columns) unsupported(`two tables are named ${name}`, "import the one table from both places")
      tables.set(name, table)
    }
    for (const principal of origin.principals) principals.add(principal)
  }
  return { tables, principals }
}

/** What is behind each `Expr`. */
export class Built {
  readonly expression: Plan.Expression
  readonly origins: Origins
  readonly slot: Slot | undefined

  constructor(expression: Plan.Expression, of: ReadonlyArray<Built>, origins?: Origins, slot?: Slot) {
    this.expression = expression
    this.origins = origins ?? (of.length === 0 ? noOrigins : mergeOrigins(of.map((part) => part.origins)))
    this.slot = slot
    consistsOf(this, of)
  }

  get type(): ColumnType.ColumnType | undefined {
    return this.slot === undefined ? Plan.typeOf(this.expression) : this.slot.type
  }

  eq(value: unknown) {
    return compare("=", this, value)
  }

  ne(value: unknown) {
    return compare("<>", this, value)
  }

  lt(value: unknown) {
    return compare("<", this, value)
  }

  le(value: unknown) {
    return compare("<=", this, value)
  }

  gt(value: unknown) {
    return compare(">", this, value)
  }

  ge(value: unknown) {
    return compare(">=", this, value)
  }

  in(values: ReadonlyArray<unknown>) {
    const list = values.map((value) => operand(this, value, "in"))
    return condition({ op: "in", value: this.expression, list: list.map((item) => item.expression) }, [this, ...list])
  }

  between(low: unknown, high: unknown) {
    const [from, to] = [operand(this, low, "between"), operand(this, high, "between")]
    return condition({
      op: "and",
      all: [
        { op: "compare", operator: ">=", left: this.expression, right: from.expression },
        { op: "compare", operator: "<=", left: this.expression, right: to.expression }
      ]
    }, [this, from, to])
  }

  isNull() {
    return condition({ op: "isNull", value: this.expression }, [this])
  }

  isNotNull() {
    return condition({ op: "not", value: { op: "isNull", value: this.expression } }, [this])
  }

  and(other: unknown) {
    const [left, right] = [asCondition(this, "and"), asCondition(other, "and")]
    return condition({ op: "and", all: [left.expression, right.expression] }, [left, right])
  }

  or(other: unknown) {
    const [left, right] = [asCondition(this, "or"), asCondition(other, "or")]
    return condition({ op: "or", any: [left.expression, right.expression] }, [left, right])
  }

  not() {
    const value = asCondition(this, "not")
    return condition({ op: "not", value: value.expression }, [value])
  }

  like(pattern: unknown) {
    return like(this, pattern, false)
  }

  ilike(pattern: unknown) {
    return like(this, pattern, true)
  }

  asc() {
    return new BuiltOrder(this, false)
  }

  desc() {
    return new BuiltOrder(this, true)
  }

  [Symbol.toPrimitive](): never {
    return unsupported(`a JavaScript operator on ${subject(this.expression)}`, "an expression has no value here: use its methods (eq, lt, and, or, like …)")
  }

  toJSON() {
    return this.expression
  }
}

export class BuiltOrder {
  readonly of: Built
  readonly descending: boolean

  constructor(of: Built, descending: boolean) {
    this.of = of
    this.descending = descending
    consistsOf(this, [of])
  }
}

export const isOrder = (value: unknown): value is Order & BuiltOrder => value instanceof BuiltOrder

/** A condition that was built now, and must become part of the result. */
export const condition = (expression: Plan.Expression, of: ReadonlyArray<Built>, origins?: Origins): Built => {
  const built = new Built(expression, of, origins)
  frames.at(-1)?.built.push(built)
  return built
}

export const asBuilt = (value: unknown, construct: string): Built =>
  value instanceof Built ? value : unsupported(construct, "an expression is expected here")

/** A condition as callbacks give it back: an expression of type boolean. */
export const asCondition = (value: unknown, construct: string): Built => {
  const built = asBuilt(value, construct)
  if (built.slot !== undefined) decide(built.slot, { kind: "boolean" })
  else if (Plan.typeOf(built.expression).kind !== "boolean") unsupported(construct, `${subject(built.expression)} is no condition`)
  return built
}

const compare = (operator: Plan.Comparison, left: Built, value: unknown): Built => {
  const right = operand(left, value, operator)
  return condition({ op: "compare", operator, left: left.expression, right: right.expression }, [left, right])
}

/** The other side of a comparison: an expression of a type that compares with `left`, or a literal of `left`'s type. */
const operand = (left: Built, value: unknown, construct: string): Built => {
  let right: Built
  if (value instanceof Built) {
    right = value
    if (left.slot !== undefined && right.type !== undefined) decide(left.slot, right.type)
    else if (left.slot !== undefined) decide(left.slot, left.slot.fallback ?? right.slot?.fallback ?? unknownType(left.slot))
    if (right.slot !== undefined) decide(right.slot, left.type!)
    if (!comparable(left.type!, right.type!)) {
      unsupported(`${subject(left.expression)} ${construct} ${subject(right.expression)}`, `${name(left.type!)} and ${name(right.type!)} do not compare: declare both by the same column type`)
    }
  } else {
    if (value === null || value === undefined) return unsupported(`${subject(left.expression)} ${construct} ${String(value)}`, "nothing equals NULL: use isNull() or isNotNull()")
    if (left.slot !== undefined) decide(left.slot, left.slot.type ?? left.slot.fallback ?? literalTypes[typeof value] ?? unknownType(left.slot))
    right = literal(left.type!, value, `${subject(left.expression)} ${construct}`)
  }
  if (left.type!.kind === "jsonb") unsupported(`${subject(left.expression)} ${construct}`, "JSON has neither equality nor order: compare a column of another type")
  return right
}

const literalTypes: { readonly [type: string]: ColumnType.ColumnType | undefined } = {
  string: { kind: "text" },
  boolean: { kind: "boolean" },
  number: { kind: "float8" },
  bigint: { kind: "int8" }
}

const literal = (type: ColumnType.ColumnType, value: unknown, construct: string): Built => {
  if (type.kind === "jsonb") return unsupported(construct, "JSON has neither equality nor order: compare a column of another type")
  const canonical = Field.canonicalOf(type, value)
  if (canonical === undefined) return unsupported(`${construct} ${String(value)}`, `that is not a value of type ${name(type)}`)
  return new Built({ op: "literal", value: ColumnType.toWire(type, canonical), type }, [])
}

const like = (value: Built, pattern: unknown, insensitive: boolean): Built => {
  const construct = insensitive ? "ilike" : "like"
  const right = pattern instanceof Built ? pattern : literal({ kind: "text" }, pattern, construct)
  for (const side of [value, right]) {
    if (side.slot !== undefined) decide(side.slot, { kind: "text" })
    if (side.type!.kind !== "text") unsupported(`${construct} on ${subject(side.expression)}`, `it is ${name(side.type!)}, and patterns are for text`)
  }
  return condition({ op: "like", value: value.expression, pattern: right.expression, insensitive }, [value, right])
}

const name = (type: ColumnType.ColumnType): string => type.kind === "enum" ? `enum(${type.values.join(", ")})` : type.kind

const unknownType = (slot: Slot): never =>
  unsupported(`parameter ${slot.name}`, "its type is not known: compare it with a column, or declare it by one")

const numbers: ReadonlyArray<string> = ["int4", "int8", "float8"]

/** Equality and order are those of one type; the binary numbers compare with each other. */
const comparable = (a: ColumnType.ColumnType, b: ColumnType.ColumnType): boolean =>
  sameType(a, b) || numbers.includes(a.kind) && numbers.includes(b.kind)

export const sameType = (a: ColumnType.ColumnType, b: ColumnType.ColumnType): boolean =>
  a.kind === b.kind && (a.kind !== "enum" || b.kind !== "enum" || a.values.join("\0") === b.values.join("\0"))

/** Gives a parameter its type by a use; two uses must agree, except that integers and doubles meet in the wider one. */
export const decide = (slot: Slot, type: ColumnType.ColumnType): void => {
  if (slot.type === undefined) slot.type = type
  else if (!sameType(slot.type, type)) {
    const [a, b] = [numbers.indexOf(slot.type.kind), numbers.indexOf(type.kind)]
    if (a < 0 || b < 0) unsupported(`parameter ${slot.name}`, `it is used as ${name(slot.type)} and as ${name(type)}: declare two`)
    else if (b > a) slot.type = type
  }
}

let sources = 0
/** A name that no other source has while queries are built. Plans never hold one: `renameSources` replaces them. */
export const freshSource = (): string => `~${++sources}`

/** One expression per field of a row, as own properties, so that it can be spread. */
export type FieldMap = { readonly [name: string]: { readonly expression: Plan.Expression; readonly origins: Origins } }

/** With `watch`, boolean fields that are looked at count as conditions. */
export const row = (fields: FieldMap, watch: boolean): { readonly [name: string]: Built } => {
  const object: { [name: string]: Built } = {}
  for (const [field, { expression, origins }] of Object.entries(fields)) {
    const built = new Built(expression, [], origins)
    if (watch && Plan.typeOf(expression).kind === "boolean") {
      Object.defineProperty(object, field, {
        enumerable: true,
        get: () => {
          frames.at(-1)?.touched.add(built)
          return built
        }
      })
    } else object[field] = built
  }
  return object
}

export const tableFields = (table: Table.Any, source: string): FieldMap => {
  const origins: Origins = { tables: new Map([[table.tableName, table]]), principals: noPrincipals }
  return Object.fromEntries(Object.entries(table.columns).map(([property, column]) => [property, {
    expression: { op: "column", source, column: property, type: column.type, nullable: column.isNullable } as const,
    origins
  }]))
}

/** A condition over one row of `table`, with its columns under `source`. */
export const tableCondition = (table: Table.Any, source: string, rule: (row: never) => Condition | boolean): { readonly expression: Plan.Expression; readonly origins: Origins } => {
  const built = collect(() => rule(row(tableFields(table, source), true) as never), (result) => typeof result === "boolean" ? [] : [result])
  if (typeof built === "boolean") return { expression: built ? Plan.alwaysTrue : Plan.alwaysFalse, origins: noOrigins }
  const { expression, origins } = asCondition(built, "a rule")
  return { expression, origins }
}
