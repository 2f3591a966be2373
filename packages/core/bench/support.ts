/**
 * What the graph's benchmarks share: an issue tracker's rows from a fixed seed, changes to them, shapes, timing and tables.
 */
import type { Change } from "../src/change/Change.ts"
import type { Range, RangeRows } from "../src/change/Range.ts"
import type { Step } from "../src/change/Step.ts"
import type { Row } from "../src/data/Row.ts"
import type { Json } from "../src/data/Value.ts"
import type * as Graph from "../src/ivm/Graph.ts"
import type { Comparison, Expression, Order, Select } from "../src/query/Plan.ts"
import * as Semantics from "../src/query/Semantics.ts"
import type { Shape } from "../src/query/Shape.ts"
import type { ColumnType } from "../src/schema/ColumnType.ts"
import type * as Table from "../src/schema/Table.ts"

export interface Issue extends Row {
  readonly id: string
  readonly projectId: string
  readonly assigneeId: string | null
  readonly title: string
  readonly status: string
  readonly priority: number
  readonly points: number
  readonly createdAt: number
  readonly updatedAt: number
}

const text: ColumnType = { kind: "text" }
const int4: ColumnType = { kind: "int4" }
const types: { readonly [column: string]: ColumnType } = {
  id: { kind: "uuid" }, projectId: text, assigneeId: text, title: text, status: text, priority: int4, points: int4, createdAt: int4, updatedAt: int4
}

export const issues: Table.Any = {
  tableName: "issues",
  primaryKey: ["id"],
  optimistic: {}, indexes: {},
  columns: Object.fromEntries(Object.entries(types).map(([name, type]) => [name, {
    type, isNullable: name === "assigneeId", columnName: undefined, defaultValue: undefined, isGenerated: false, schema: undefined
  }]))
}

/** mulberry32 */
export const random = (seed: number) => {
  let state = seed
  const next = (): number => {
    state = state + 0x6d2b79f5 | 0
    let t = Math.imul(state ^ state >>> 15, 1 | state)
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t
    return ((t ^ t >>> 14) >>> 0) / 4294967296
  }
  return { next, below: (n: number): number => Math.floor(next() * n) }
}
export type Random = ReturnType<typeof random>

const statuses = ["open", "active", "done", "dropped"]
export const userId = (n: number): string => `user-${String(n).padStart(6, "0")}`
const issueId = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, "0")}`

export const makeIssue = ({ below, next }: Random, n: number, users: number): Issue => ({
  id: issueId(n),
  projectId: `project-${below(5000)}`,
  assigneeId: next() < 0.9 ? userId(below(users)) : null,
  title: `Issue ${n} about ${"something that goes on for a while".slice(0, 8 + below(24))}`,
  status: statuses[below(4)]!,
  priority: below(5),
  points: 1 + below(13),
  createdAt: 1_700_000_000 + n,
  updatedAt: 1_700_000_000 + below(1_000_000)
})

export const makeIssues = (count: number, users: number): Map<string, Issue> => {
  const from = random(42)
  const rows = new Map<string, Issue>()
  for (let n = 0; n < count; n++) {
    const issue = makeIssue(from, n, users)
    rows.set(issue.id, issue)
  }
  return rows
}

export interface IssueChange extends Change {
  readonly before: Issue | null
  readonly after: Issue | null
}

/** 60 % updates (each sets `updatedAt`), 25 % inserts, 15 % deletes. */
export const makeChanges = (base: ReadonlyMap<string, Issue>, count: number, users: number): Array<IssueChange> => {
  const from = random(7)
  const rows = new Map(base)
  const ids = [...base.keys()]
  let created = base.size
  return Array.from({ length: count }, (_, clock): IssueChange => {
    const kind = from.next()
    const at = from.below(ids.length)
    if (kind >= 0.6 && kind < 0.85) {
      const after = makeIssue(from, created++, users)
      rows.set(after.id, after)
      ids.push(after.id)
      return { table: "issues", before: null, after }
    }
    const before = rows.get(ids[at]!)!
    if (kind >= 0.85) {
      rows.delete(before.id)
      ids[at] = ids[ids.length - 1]!
      ids.pop()
      return { table: "issues", before, after: null }
    }
    const what = from.next()
    const updatedAt = 1_701_000_000 + clock
    const after: Issue = what < 0.4 ? { ...before, status: statuses[from.below(4)]!, updatedAt }
      : what < 0.55 ? { ...before, priority: from.below(5), updatedAt }
      : what < 0.7 ? { ...before, assigneeId: from.next() < 0.9 ? userId(from.below(users)) : null, updatedAt }
      : what < 0.85 ? { ...before, points: 1 + from.below(13), updatedAt }
      : { ...before, title: `Renamed ${clock}`, updatedAt }
    rows.set(after.id, after)
    return { table: "issues", before, after }
  })
}

export const stepOf = (changes: ReadonlyArray<Change>, position: number): Step => ({ position, transactions: [], truncated: [], chunks: [changes] })

export const column = (name: string): Expression => ({ op: "column", source: "t0", column: name, type: types[name]!, nullable: name === "assigneeId" })
export const literal = (name: string, value: Json): Expression => ({ op: "literal", value, type: types[name]! })
export const compare = (operator: Comparison, name: string, right: Expression): Expression => ({ op: "compare", operator, left: column(name), right })
export const parameter = (name: string): Expression => ({ op: "parameter", name, type: types[name]!, nullable: false })
export const byId: Order = { value: column("id"), descending: false }

export const shapeOf = (query: Partial<Select>, parameterNames: ReadonlyArray<string> = []): Shape => {
  const select: Select = { table: "issues", source: "t0", where: [], order: [byId], limit: null, project: null, ...query }
  return {
    hash: JSON.stringify(select), plan: { version: 1, root: { op: "scan", table: "issues", as: "t0" }, cardinality: "many", parameters: {} },
    select, gates: [], parameterNames, principalFields: [], masks: []
  }
}

/** Answers a read as a database would, by looking at all rows. */
export const read = (rows: ReadonlyMap<string, Row>, { after, bound, limit, order, where }: Range): RangeRows => {
  const test = Semantics.condition(where)
  const found: Array<Row> = []
  for (const row of rows.values()) if (test(row, bound)) found.push(row)
  if (limit === null) return { rows: found, completeTo: null }
  const compareTo = Semantics.compareToValues(order)
  const rest = after === null ? found : found.filter((row) => compareTo(row, after, bound) > 0)
  rest.sort(Semantics.comparator(order, { bound }))
  return rest.length <= limit ? { rows: rest, completeTo: null } : { rows: rest.slice(0, limit), completeTo: Semantics.orderValues(order)(rest[limit - 1]!, bound) }
}

/** Answers all reads; how many there were. */
export const answer = (graph: Graph.Graph, rows: ReadonlyMap<string, Row>): number => {
  let answered = 0
  for (let needs = graph.takeNeeds(); needs.length > 0; needs = graph.takeNeeds()) {
    for (const need of needs) graph.fill(need, need.ranges.map((range) => read(rows, range)))
    answered += needs.length
  }
  return answered
}

export const median = (numbers: ReadonlyArray<number>): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!

/** In nanoseconds. */
export const now = (): number => Number(process.hrtime.bigint())

export const collect = (): void => {
  if (globalThis.gc === undefined) throw new Error("Run with --expose-gc")
  globalThis.gc()
}

/** Bytes in use. */
export const heapUsed = (): number => {
  collect()
  collect()
  return process.memoryUsage().heapUsed
}

export const check = (what: string, isTrue: boolean): void => {
  if (!isTrue) throw new Error(`Wrong result: ${what}`)
}

export const report = (title: string, rows: ReadonlyArray<{ readonly [column: string]: string | number }>): void => {
  for (const row of rows) console.log(JSON.stringify({ bench: title, ...row }))
  console.log(`\n${title}`)
  console.table(rows)
}
