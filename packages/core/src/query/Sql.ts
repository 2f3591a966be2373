/**
 * Plans as SQL for Postgres: text and parameters, no I/O.
 *
 * Whatever an expression means by `Semantics`, it means here: text is compared by code point (ordered under COLLATE "C";
 * equality is left to the column's collation, which must be deterministic, so that the user's index serves), enums in
 * the order of their declaration whether the column is of an enum type or text, and what SQL would refuse is NULL. The
 * meaning does not depend on the session's settings. How values are printed does: callers pin `sessionSettings`.
 *
 * Every value is a parameter `$n`, given as text (null for NULL) of no stated type. The statement's text depends on the plan,
 * not on the values, but for a limit that is NULL. A table without a schema in its name is in `public`.
 */
import type { Bound, Range } from "../change/Range.ts"
import type { Value } from "../data/Value.ts"
import * as ColumnType from "../schema/ColumnType.ts"
import type { Any } from "../schema/Table.ts"
import type { Expression, Node, Order, Select } from "./Plan.ts"
import { typeOf } from "./Plan.ts"

/** What `ColumnType.fromText` expects, by setting. */
export const sessionSettings: { readonly [name: string]: string } = {
  DateStyle: "ISO, MDY",
  TimeZone: "UTC",
  extra_float_digits: "1"
}

export interface Statement {
  readonly text: string
  readonly parameters: ReadonlyArray<string | null>
}

export interface Query extends Statement {
  /** What each row consists of: texts, to be read by `ColumnType.fromText`. */
  readonly columns: ReadonlyArray<{ readonly name: string; readonly type: ColumnType.ColumnType }>
}

/** By `Table.tableName`. */
export type Tables = ReadonlyMap<string, Any>

/** As SQL's identifier, whatever characters it holds. */
export const identifier = (name: string): string => `"${name.replaceAll("\"", "\"\"")}"`

/** As SQL's text constant, whatever `standard_conforming_strings` is. */
export const string = (text: string): string => {
  const quoted = `'${text.replaceAll("'", "''")}'`
  return text.includes("\\") ? `E${quoted.replaceAll("\\", "\\\\")}` : quoted
}

/** The schema and the name of a table. */
export const qualifiedName = (tableName: string): { readonly schema: string; readonly name: string } => {
  const dot = tableName.indexOf(".")
  return dot < 0 ? { schema: "public", name: tableName } : { schema: tableName.slice(0, dot), name: tableName.slice(dot + 1) }
}

export const table = (tableName: string): string => {
  const { name, schema } = qualifiedName(tableName)
  return `${identifier(schema)}.${identifier(name)}`
}

/** The column's name in the database. */
export const columnName = (table: Any, property: string): string => table.columns[property]?.columnName ?? property

/**
 * A whole query at once, in the database's snapshot. `columns` says what its rows consist of: `"row"` is every declared column in
 * declared order, `"project"` what the application sees of it (the same where the query projects nothing).
 */
export const select = (
  { limit, order, project, source, table, where }: Select,
  tables: Tables,
  bound: Bound,
  { columns }: { readonly columns: "row" | "project" } = { columns: "row" }
): Query => {
  const compiler = new Compiler(tables, bound, 1)
  const scopes = [{ source, table: compiler.table(table) }]
  const output = columns === "project" && project !== null
    ? Object.entries(project).map(([name, value]) => ({ name, type: typeOf(value), text: compiler.typed(value, scopes) }))
    : compiler.row(scopes)
  return {
    text: compiler.statement(output, scopes, [compiler.every(where, scopes)], order, limit === null ? null : compiler.count(limit)),
    parameters: compiler.parameters,
    columns: output.map(({ name, type }) => ({ name, type }))
  }
}

/** The rows of a range: every declared column in declared order. */
export const range = ({ after, bound, limit, order, source, table, where }: Range, tables: Tables): Query => {
  const compiler = new Compiler(tables, bound, 1)
  const scopes = [{ source, table: compiler.table(table) }]
  const output = compiler.row(scopes)
  const beyond = after === null ? [] : [compiler.after(order, after, scopes)]
  return {
    text: compiler.statement(output, scopes, [compiler.every(where, scopes), ...beyond], order, limit),
    parameters: compiler.parameters,
    columns: output.map(({ name, type }) => ({ name, type }))
  }
}

/** A condition, for a statement of the caller's, whose parameters begin with `$first` and where `source` is an alias of `table`. */
export const condition = (
  expression: Expression,
  tables: Tables,
  bound: Bound,
  { first = 1, source, table }: { readonly first?: number; readonly source: string; readonly table: string }
): Statement => {
  const compiler = new Compiler(tables, bound, first)
  return { text: compiler.value(expression, [{ source, table: compiler.table(table) }]), parameters: compiler.parameters }
}

/** The names in scope, innermost first. */
type Scopes = ReadonlyArray<{ readonly source: string; readonly table: Any }>

interface Output {
  readonly name: string
  readonly type: ColumnType.ColumnType
  readonly text: string
}

class Compiler {
  readonly parameters: Array<string | null> = []
  readonly #tables: Tables
  readonly #bound: Bound
  readonly #first: number

  constructor(tables: Tables, bound: Bound, first: number) {
    this.#tables = tables
    this.#bound = bound
    this.#first = first
  }

  table(name: string): Any {
    const table = this.#tables.get(name)
    if (table === undefined) throw new TypeError(`There is no table ${name} among ${[...this.#tables.keys()].join(", ")}`)
    return table
  }

  statement(output: ReadonlyArray<Output>, [scope]: Scopes, where: ReadonlyArray<string>, order: ReadonlyArray<Order>, limit: number | null): string {
    const { source, table: from } = scope!
    const list = output.map(({ name, text }) => `${text}::text AS ${identifier(name)}`).join(", ")
    const conditions = where.filter((part) => part !== "TRUE")
    return `SELECT ${list} FROM ${table(from.tableName)} AS ${identifier(source)}` +
      (conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`) +
      this.#orderBy(order, [scope!]) +
      (limit === null ? "" : ` LIMIT ${this.#parameter(String(Math.max(limit, 0)), "bigint")}`)
  }

  row(scopes: Scopes): ReadonlyArray<Output> {
    const { source, table } = scopes[0]!
    return Object.entries(table.columns).map(([name, { type }]) => ({ name, type, text: this.#column(source, name, scopes) }))
  }

  /** A query's limit, which varies with no row. Null is none. */
  count(limit: Expression): number | null {
    const value = this.#constant(limit)
    return value === null ? null : Number(value)
  }

  every(conjuncts: ReadonlyArray<Expression>, scopes: Scopes): string {
    return conjuncts.length === 0 ? "TRUE" : conjuncts.map((part) => this.value(part, scopes)).join(" AND ")
  }

  /** An operand or a condition, in parentheses where it needs them. */
  value(expression: Expression, scopes: Scopes): string {
    switch (expression.op) {
      case "column":
        return this.#column(expression.source, expression.column, scopes)
      case "literal":
      case "parameter":
      case "principal": {
        const { type } = expression
        const value = this.#constant(expression)
        if (expression.op === "literal" && type.kind === "boolean" && value !== null) return value ? "TRUE" : "FALSE"
        return this.#parameter(value === null ? null : ColumnType.toText(type, value), ColumnType.postgres(type).cast)
      }
      case "compare":
        return this.#compare(expression, scopes)
      case "in":
        return this.#in(expression, scopes)
      case "isNull": {
        const value = this.typed(expression.value, scopes)
        // JSON's null reads as NULL.
        return typeOf(expression.value).kind === "jsonb" ? `(nullif(${value}, 'null'::jsonb) IS NULL)` : `(${value} IS NULL)`
      }
      case "like":
        return this.#like(expression, scopes)
      case "and":
        return this.#junction(expression.all, " AND ", "TRUE", scopes)
      case "or":
        return this.#junction(expression.any, " OR ", "FALSE", scopes)
      case "not":
        return `(NOT ${this.value(expression.value, scopes)})`
      case "exists":
        return this.#exists(expression.query, scopes)
      case "if":
        return `(CASE WHEN ${this.value(expression.condition, scopes)} THEN ${this.typed(expression.then, scopes)} ELSE ${this.typed(expression.else, scopes)} END)`
    }
  }

  /** The same, an enum as text. */
  typed(expression: Expression, scopes: Scopes): string {
    const text = this.value(expression, scopes)
    return typeOf(expression).kind === "enum" && expression.op !== "if" ? `${text}::text` : text
  }

  #column(source: string, property: string, scopes: Scopes): string {
    const scope = scopes.find((scope) => scope.source === source)
    if (scope?.table.columns[property] === undefined) throw new TypeError(`There is no column ${property} of ${source} here`)
    return `${identifier(source)}.${identifier(columnName(scope.table, property))}`
  }

  #parameter(text: string | null, cast: string | null): string {
    const place = `$${this.parameters.push(text) + this.#first - 1}`
    return cast === null ? place : `${place}::${cast}`
  }

  #constant(expression: Expression): Value {
    switch (expression.op) {
      case "literal":
        return expression.value === null ? null : ColumnType.fromWire(expression.type, expression.value) ?? null
      case "parameter":
        return this.#bound.parameters[expression.name] ?? null
      case "principal":
        return this.#bound.principal[expression.field] ?? null
      default:
        throw new TypeError(`A value is expected here, not ${expression.op}`)
    }
  }

  /** With what its order by SQL is `ColumnType.compare`'s. */
  #ordered(expression: Expression, scopes: Scopes): string {
    const type = typeOf(expression)
    const text = this.typed(expression, scopes)
    return type.kind === "text" ? `${text} COLLATE "C"` : type.kind === "enum" ? ranked(type, text) : text
  }

  #compare({ left, operator, right }: Expression & { readonly op: "compare" }, scopes: Scopes): string {
    return operator === "=" || operator === "<>"
      ? this.#equals(left, operator, right, scopes)
      : `(${this.#ordered(left, scopes)} ${operator} ${this.#ordered(right, scopes)})`
  }

  #equals(left: Expression, operator: "=" | "<>", right: Expression, scopes: Scopes): string {
    // A bare parameter becomes of the column's type, enum or text, and its index serves.
    const bare = left.op === "column" && isConstant(right) || right.op === "column" && isConstant(left)
    return bare
      ? `(${this.value(left, scopes)} ${operator} ${this.value(right, scopes)})`
      : `(${this.typed(left, scopes)} ${operator} ${this.typed(right, scopes)})`
  }

  #in({ list, value }: Expression & { readonly op: "in" }, scopes: Scopes): string {
    if (list.length === 0) return "FALSE"
    const { kind } = typeOf(value)
    // Among several types of numbers IN would compare all as one of them.
    if (list.some((element) => typeOf(element).kind !== kind)) {
      return `(${list.map((element) => this.#equals(value, "=", element, scopes)).join(" OR ")})`
    }
    if (value.op === "column" && list.every(isConstant)) {
      return `(${this.value(value, scopes)} IN (${list.map((element) => this.value(element, scopes)).join(", ")}))`
    }
    return `(${this.typed(value, scopes)} IN (${list.map((element) => this.typed(element, scopes)).join(", ")}))`
  }

  #like({ insensitive, pattern, value }: Expression & { readonly op: "like" }, scopes: Scopes): string {
    const known = isConstant(pattern) ? this.#constant(pattern) : undefined
    if (typeof known === "string" && endsInEscape(known)) return "NULL::boolean"
    const fold = (text: string) => insensitive ? `lower(${text} COLLATE "C")` : text
    const like = `(${fold(this.value(value, scopes))} LIKE ${fold(this.value(pattern, scopes))})`
    // Looked at for each row, before LIKE can fail.
    return known === undefined ? `(CASE WHEN ${this.value(pattern, scopes)} ~ ${loneEscape} THEN NULL ELSE ${like} END)` : like
  }

  #junction(all: ReadonlyArray<Expression>, by: string, none: string, scopes: Scopes): string {
    return all.length === 0 ? none : `(${all.map((part) => this.value(part, scopes)).join(by)})`
  }

  #exists(query: Node, scopes: Scopes): string {
    const { limit, source, tableName, where } = innerOf(query)
    const inner = [{ source, table: this.table(tableName) }, ...scopes]
    const count = limit === null ? null : this.count(limit)
    if (count !== null && count <= 0) return "FALSE"
    const conditions = where.map((part) => this.value(part, inner)).join(" AND ")
    return `EXISTS (SELECT FROM ${table(tableName)} AS ${identifier(source)}${conditions === "" ? "" : ` WHERE ${conditions}`})`
  }

  #orderBy(order: ReadonlyArray<Order>, scopes: Scopes): string {
    // NULLS LAST for ASC and NULLS FIRST for DESC are the defaults, and a user's index has them too.
    // What is the same for all rows is left out: SQL would refuse a constant.
    const keys = order.filter(({ value }) => !isConstant(value))
      .map(({ descending, value }) => ({ text: this.#ordered(value, scopes), descending }))
      .filter(({ text }) => text !== "TRUE" && text !== "FALSE")
      .map(({ descending, text }) => text + (descending ? " DESC" : ""))
    return keys.length === 0 ? "" : ` ORDER BY ${keys.join(", ")}`
  }

  /** Rows that an order puts after one with these values. */
  after(order: ReadonlyArray<Order>, values: ReadonlyArray<Value>, scopes: Scopes): string {
    const keys = order.map(({ descending, value }, i) => ({ descending, value, type: typeOf(value), after: values[i]!, nullable: isNullable(value) }))
    if (keys.length === 0) return "FALSE"
    // The comparison of rows, which an index answers.
    if (keys.every(({ after, descending, nullable }) => !nullable && after !== null && descending === keys[0]!.descending)) {
      const [left, right] = [keys.map(({ value }) => this.#ordered(value, scopes)), keys.map(({ after, type }) => this.#edge(type, after))]
      const by = keys[0]!.descending ? "<" : ">"
      return keys.length === 1 ? `(${left[0]} ${by} ${right[0]})` : `((${left.join(", ")}) ${by} (${right.join(", ")}))`
    }
    const from = (i: number): string => {
      const { after, descending, nullable, type, value } = keys[i]!
      const key = () => this.#ordered(value, scopes)
      const edge = () => this.#edge(type, after)
      const beyond = after === null
        ? descending ? `${key()} IS NOT NULL` : "FALSE"
        : descending ? `${key()} < ${edge()}` : nullable ? `(${key()} > ${edge()} OR ${key()} IS NULL)` : `${key()} > ${edge()}`
      if (i === keys.length - 1) return `(${beyond})`
      return `(${beyond} OR (${after === null ? `${key()} IS NULL` : `${key()} = ${edge()}`} AND ${from(i + 1)}))`
    }
    // Alone, what an index answers: where it begins.
    const [{ after: edge, descending, nullable, type, value }] = keys as [typeof keys[0] & {}]
    if (edge === null || nullable && !descending) return from(0)
    return `(${this.#ordered(value, scopes)} ${descending ? "<=" : ">="} ${this.#edge(type, edge)} AND ${from(0)})`
  }

  /** A value of an order, as `#ordered` has it. */
  #edge(type: ColumnType.ColumnType, value: Value): string {
    const text = this.#parameter(ColumnType.toText(type, value), ColumnType.postgres(type).cast ?? "text")
    return type.kind === "text" ? `${text} COLLATE "C"` : type.kind === "enum" ? ranked(type, text) : text
  }
}

/** Text whose order is that of an enum's labels: the place in the declaration, then the label. */
const ranked = ({ values }: ColumnType.ColumnType & { readonly kind: "enum" }, text: string): string => {
  const digits = String(values.length + 1).length
  const labels = `ARRAY[${values.map(string).join(", ")}]::text[]`
  return `(lpad(coalesce(array_position(${labels}, ${text}), ${values.length + 1})::text, ${digits}, '0') || ${text}) COLLATE "C"`
}

const isConstant = (expression: Expression): boolean => expression.op === "literal" || expression.op === "parameter" || expression.op === "principal"

const isNullable = (expression: Expression): boolean =>
  expression.op === "column" ? expression.nullable : expression.op === "literal" ? expression.value === null : true

/** Matches a pattern that ends in an odd number of backslashes. */
const loneEscape = string(String.raw`(^|[^\\])(\\\\)*\\$`)
const endsInEscape = (pattern: string): boolean => /(?:^|[^\\])(?:\\\\)*\\$/.test(pattern)

/** The rows that an `exists` looks for: neither order nor projection decides whether there are any. */
const innerOf = (node: Node): { readonly tableName: string; readonly source: string; readonly where: ReadonlyArray<Expression>; readonly limit: Expression | null } => {
  switch (node.op) {
    case "scan":
      return { tableName: node.table, source: node.as, where: [], limit: null }
    case "filter": {
      const inner = innerOf(node.input)
      if (inner.limit !== null) throw new TypeError("A filter over a limit cannot be asked for by exists")
      return { ...inner, where: [...inner.where, node.where] }
    }
    case "project":
    case "order":
      return innerOf(node.input)
    case "limit": {
      const inner = innerOf(node.input)
      if (inner.limit !== null) throw new TypeError("A limit over a limit cannot be asked for by exists")
      return { ...inner, limit: node.count }
    }
  }
}

