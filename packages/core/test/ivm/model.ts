/**
 * A small world for the graph: three tables with few distinct values, random shapes over them, and the slowest obvious
 * evaluation of those.
 */
import type { Bound, Range, RangeRows } from "../../src/change/Range.ts"
import type { Change } from "../../src/change/Change.ts"
import type { Step } from "../../src/change/Step.ts"
import * as Key from "../../src/data/Key.ts"
import type { Row } from "../../src/data/Row.ts"
import type { Json, Value } from "../../src/data/Value.ts"
import type { Comparison, Expression, Node, Order, Select } from "../../src/query/Plan.ts"
import * as Plan from "../../src/query/Plan.ts"
import * as Semantics from "../../src/query/Semantics.ts"
import type { Mask, Shape } from "../../src/query/Shape.ts"
import type { ColumnType } from "../../src/schema/ColumnType.ts"
import type * as Table from "../../src/schema/Table.ts"
import * as Naive from "../naive.ts"
import type { Random } from "../query/randomCondition.ts"

const text: ColumnType = { kind: "text" }
const int4: ColumnType = { kind: "int4" }
const numeric: ColumnType = { kind: "numeric" }
const boolean: ColumnType = { kind: "boolean" }
const int8: ColumnType = { kind: "int8" }

const table = (tableName: string, primaryKey: ReadonlyArray<string>, types: { readonly [name: string]: ColumnType }): Table.Any => ({
  tableName,
  primaryKey,
  optimistic: {}, indexes: {},
  columns: Object.fromEntries(Object.entries(types).map(([name, type]) => [name, {
    type, isNullable: !primaryKey.includes(name), columnName: undefined, defaultValue: undefined, isGenerated: false, schema: undefined
  }]))
})

const columns = {
  tasks: { id: text, project: text, assignee: text, done: boolean, rank: int4, score: numeric, title: text },
  members: { id: int4, project: text, user: text, team: text, score: numeric },
  teams: { id: text, user: text, open: boolean }
} as const
type TableName = keyof typeof columns

export const tables: ReadonlyMap<string, Table.Any> = new Map(
  (Object.keys(columns) as Array<TableName>).map((name) => [name, table(name, ["id"], columns[name])])
)

const domain: { readonly [name: string]: ReadonlyArray<Value> } = {
  project: ["p", "q", "r", null],
  assignee: ["u", "v", "w", null],
  user: ["u", "v", "w", null],
  team: ["x", "y", "z", null],
  done: [true, false, null],
  open: [true, false, null],
  rank: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, null],
  score: ["1", "1.0", "2", "2.50", "NaN", null],
  title: ["ab", "Ab", "b", "\u{1f600}", "\ue000", null]
}

export const of = <A>(random: Random, values: ReadonlyArray<A>): A => values[random.below(values.length)]!
export const chance = (random: Random, percent: number): boolean => random.below(100) < percent

const ids: { readonly [T in TableName]: (random: Random) => Value } = {
  tasks: (random) => `t${random.below(30)}`,
  members: (random) => random.below(12),
  teams: (random) => of(random, ["x", "y", "z"])
}

const randomRow = (random: Random, name: TableName, id: Value): Row =>
  Object.freeze({ id, ...Object.fromEntries(Object.keys(columns[name]).filter((column) => column !== "id").map((column) => [column, of(random, domain[column]!)])) })

/** What the database holds. */
export class World {
  readonly rows = new Map([...tables.keys()].map((name) => [name, new Map<Key.Key, Row>()]))
  readonly #keys = new Map([...tables].map(([name, table]) => [name, Key.make(table)]))
  position = 0

  all = (name: string): ReadonlyArray<Row> => [...this.rows.get(name)!.values()]
  keyOf = (name: string, row: Row): Key.Key => this.#keys.get(name)!(row)

  /** Makes random changes, netted. */
  step(random: Random): Step {
    const changes: Array<Change> = []
    const truncated: Array<string> = []
    for (const name of tables.keys() as Iterable<TableName>) {
      const held = this.rows.get(name)!
      if (chance(random, 2)) {
        truncated.push(name)
        held.clear()
      }
      if (chance(random, name === "tasks" ? 20 : 50)) continue
      const base = new Map(held)
      for (let i = random.below(name === "tasks" ? 6 : 3); i >= 0; i--) {
        const id = ids[name](random)
        const key = this.keyOf(name, { id })
        const old = held.get(key)
        if (old !== undefined && chance(random, 30)) held.delete(key)
        else if (old !== undefined && chance(random, 15)) held.set(key, Object.freeze({ ...old }))
        else if (old !== undefined && chance(random, 50)) {
          const column = of(random, Object.keys(columns[name]).slice(1))
          held.set(key, Object.freeze({ ...old, [column]: of(random, domain[column]!) }))
        } else held.set(key, randomRow(random, name, id))
      }
      for (const key of new Set([...base.keys(), ...held.keys()])) {
        const before = base.get(key) ?? null
        const after = held.get(key) ?? null
        // As a source gives them: other objects than those of the step before.
        if (before !== after) changes.splice(random.below(changes.length + 1), 0, { table: name, before: before && { ...before }, after })
      }
    }
    const chunks: Array<ReadonlyArray<Change>> = []
    while (changes.length > 0) chunks.push(changes.splice(0, 1 + random.below(4)))
    return { position: ++this.position, transactions: [], truncated, chunks }
  }

  /** Makes these changes: a row for each key, or null. */
  commit(...changes: ReadonlyArray<readonly [name: TableName, id: Value, after: Row | null]>): Step {
    const chunk = changes.map(([table, id, after]): Change => {
      const held = this.rows.get(table)!
      const key = this.keyOf(table, { id })
      const before = held.get(key) ?? null
      if (after === null) held.delete(key)
      else held.set(key, Object.freeze(after))
      return { table, before: before && { ...before }, after }
    })
    return { position: ++this.position, transactions: [], truncated: [], chunks: [chunk] }
  }

  /** Every condition, by looking at all rows. */
  test = (conditions: ReadonlyArray<Expression>, row: Row, bound: Bound): boolean => Semantics.condition(conditions, { source: "t", exists: Naive.exists(this.all) })(row, bound)

  result({ limit, order, table, where }: Select, bound: Bound): ReadonlyArray<Row> {
    const rows = this.all(table).filter((row) => this.test(where, row, bound)).sort(Semantics.comparator(order, { bound }))
    const count = limit === null ? null : Semantics.compile(limit)({}, bound) as bigint | null
    return count === null ? rows : rows.slice(0, Math.max(0, Number(count)))
  }

  /** A correct answer, of as many rows as it likes. */
  read(random: Random, { after, bound, limit, order, table, where }: Range): RangeRows {
    const compareTo = Semantics.compareToValues(order)
    const rows = this.all(table)
      .filter((row) => this.test(where, row, bound) && (after === null || compareTo(row, after, bound) > 0))
      .sort(order.length === 0 ? () => 0 : Semantics.comparator(order, { bound }))
      .map((row) => ({ ...row }))
    if (limit === null) return { rows, completeTo: null }
    // Corrections shift how far it is complete, and may leave rows behind that in.
    const count = Math.max(1, limit + random.below(4) - 2)
    if (count >= rows.length) return { rows, completeTo: null }
    return { rows: rows.slice(0, count + random.below(3)), completeTo: Semantics.orderValues(order)(rows[count - 1]!, bound) }
  }
}

// Expressions

const column = (source: string, name: TableName, property: string): Expression =>
  ({ op: "column", source, column: property, type: (columns[name] as { readonly [property: string]: ColumnType })[property]!, nullable: property !== "id" })
const literal = (type: ColumnType, value: Json): Expression => ({ op: "literal", value, type })

/** Parameters and principal fields by their types' columns. */
const openValues = { project: text, assignee: text, user: text, team: text, rank: int4, score: numeric, title: text, done: boolean, open: boolean } as const
const open = (random: Random, property: string): Expression => {
  const type = (openValues as { readonly [name: string]: ColumnType })[property]!
  return chance(random, 40) ? { op: "principal", field: property, type, nullable: true } : { op: "parameter", name: property, type, nullable: true }
}

export const randomBound = (random: Random): Bound => {
  const values = () => Object.fromEntries(Object.keys(openValues).map((name) => [name, chance(random, 8) ? null : of(random, domain[name]!)]))
  return { parameters: { ...values(), limit: of<Value>(random, [-1n, 0n, 1n, 2n, 3n, 5n, 50n, null]) }, principal: values() }
}

const comparisons: ReadonlyArray<Comparison> = ["=", "=", "=", "<>", "<", "<=", ">", ">="]

const leaf = (random: Random, source: string, name: TableName, mayBeOpen: boolean): Expression => {
  const properties = Object.keys(columns[name]).filter((property) => property !== "id")
  const property = of(random, properties)
  const type = (columns[name] as { readonly [property: string]: ColumnType })[property]!
  const value = (): Expression => mayBeOpen && chance(random, 60) ? open(random, property) : literal(type, of(random, domain[property]!) as Json)
  switch (random.below(8)) {
    case 0:
      return { op: "isNull", value: column(source, name, property) }
    case 1:
      return { op: "in", value: column(source, name, property), list: [value(), value(), value()].slice(random.below(2)) }
    case 2:
      return name === "tasks"
        ? { op: "like", value: column(source, name, "title"), pattern: mayBeOpen && chance(random, 50) ? open(random, "title") : literal(text, "%b"), insensitive: chance(random, 50) }
        : { op: "isNull", value: column(source, name, property) }
    case 3:
      return type.kind === "boolean" ? column(source, name, property) : { op: "not", value: { op: "isNull", value: column(source, name, property) } }
    default:
      return { op: "compare", operator: of(random, comparisons), left: column(source, name, property), right: value() }
  }
}

const exists = (name: TableName, as: string, all: ReadonlyArray<Expression>): Expression =>
  ({ op: "exists", query: { op: "filter", input: { op: "scan", table: name, as }, where: { op: "and", all } } })

const equal = (left: Expression, right: Expression): Expression => ({ op: "compare", operator: "=", left, right })

/** Over the rows of `source` of tasks (null: over none), tied by equality as the contract's rules may be. */
const randomExists = (random: Random, source: string | null): Expression => {
  const member = (property: string) => column("m", "members", property)
  const ties: Array<Expression> = []
  if (source !== null && chance(random, 80)) ties.push(equal(member("project"), column(source, "tasks", "project")))
  if (source !== null && chance(random, 15)) ties.push(equal(column(source, "tasks", "assignee"), member("user")))
  if (source !== null && chance(random, 10)) ties.push(equal(column(source, "tasks", "score"), member("score")))
  if (ties.length === 0 || chance(random, 60)) ties.push(equal(member("user"), open(random, "user")))
  if (chance(random, 15)) ties.push(leaf(random, "m", "members", false))
  if (chance(random, 15)) ties.push(leaf(random, "m", "members", true))
  if (chance(random, 25)) {
    const team = (property: string) => column("g", "teams", property)
    const inner = exists("teams", "g", [
      ...chance(random, 80) ? [equal(team("id"), member("team"))] : [],
      ...chance(random, 60) ? [equal(team("user"), open(random, "user"))] : [equal(team("user"), member("user"))],
      ...chance(random, 30) ? [team("open")] : []
    ])
    ties.push(chance(random, 30) ? { op: "not", value: inner } : inner)
  }
  return exists("members", "m", ties)
}

const condition = (random: Random, source: string, depth: number): Expression => {
  const choice = random.below(depth > 0 ? 10 : 6)
  if (choice < 4) return leaf(random, source, "tasks", true)
  if (choice < 6) return randomExists(random, source)
  if (choice === 6 && chance(random, 50)) {
    // A rule with a way round it for some principals.
    return { op: "or", any: [randomExists(random, source), equal(open(random, "title"), literal(text, "b")), ...chance(random, 40) ? [leaf(random, source, "tasks", true)] : []] }
  }
  if (choice === 6) return { op: "not", value: condition(random, source, depth - 1) }
  const all = Array.from({ length: 2 + random.below(2) }, () => condition(random, source, depth - 1))
  return choice === 7 ? { op: "and", all } : { op: "or", any: all }
}

export const randomGate = (random: Random): Expression => {
  const one = (): Expression => chance(random, 70) ? randomExists(random, null) : equal(open(random, "user"), literal(text, "u"))
  const all = [one(), one()]
  return of(random, [all[0]!, { op: "not", value: all[0]! }, { op: "or", any: all }, { op: "and", all }])
}

export const randomShape = (random: Random): Shape => {
  const source = "t"
  const where = Array.from({ length: random.below(3) }, () => condition(random, source, 2))
  if (chance(random, 40)) where.push(randomExists(random, source))
  const order: Array<Order> = Array.from({ length: random.below(3) }, () => ({
    value: chance(random, 85) ? column(source, "tasks", of(random, ["rank", "score", "title", "project"])) : open(random, "rank"), descending: chance(random, 50)
  }))
  order.push({ value: column(source, "tasks", "id"), descending: chance(random, 50) })
  const limit = of<Expression | null>(random, [null, null, literal(int8, "3"), literal(int8, "5"), { op: "parameter", name: "limit", type: int8, nullable: true }])
  const masks: Array<Mask> = chance(random, 30) ? [{ column: "title", readable: randomExists(random, source), mask: null }] : []
  return shapeOf({ table: "tasks", source, where: Plan.conjuncts({ op: "and", all: where }), order, limit, project: null }, masks)
}

export const shapeOf = (select: Select, masks: ReadonlyArray<Mask> = []): Shape => {
  const parameters = new Set<string>()
  const principal = new Set<string>()
  for (const expression of [...select.where, ...select.order.map(({ value }) => value), ...select.limit === null ? [] : [select.limit]]) {
    Plan.forEachPart(expression, (part) => {
      if (part.op === "parameter") parameters.add(part.name)
      else if (part.op === "principal") principal.add(part.field)
    })
  }
  const root: Node = { op: "scan", table: select.table, as: select.source }
  return {
    hash: JSON.stringify([select, masks]),
    plan: { version: 1, root, cardinality: "many", parameters: {} },
    select,
    gates: [],
    parameterNames: [...parameters],
    principalFields: [...principal],
    masks
  }
}
