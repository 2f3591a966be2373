/**
 * One changed row while 10 to 100,000 clients watch `assigneeId = $1`, each for another user.
 *
 * Hot: all changes touch the same 10 bindings and their 1,000 rows, whatever else is bound: what grows with the number of
 * bindings is search. Spread: changes touch all bindings evenly, beside a bare hash index from user to rows that takes the
 * same changes: what that grows by is the memory's. Contestants of all sizes take turns; results are compared with
 * a recomputation.
 */
import { isDeepStrictEqual } from "node:util"
import * as Graph from "../src/ivm/Graph.ts"
import type { Select } from "../src/query/Plan.ts"
import { byId, check, collect, column, compare, heapUsed, type Issue, type IssueChange, issues, makeIssue, median, now, parameter, random, read, report, shapeOf, stepOf, userId } from "./support.ts"

const sizes = [10, 100, 1_000, 10_000, 100_000]
const users = 100_000
const hotUsers = 10
const rowsPerHotUser = 100
/** Changes that a contestant takes in its turn. */
const perTurn = 1000
/** Of those, changes in one measurement: short, so that most are not disturbed by other work on the machine. */
const perMeasurement = 50
/** Measurements at the start of a turn that do not count: the others' turns have emptied the caches. */
const cold = 6
const turns = 24
const warmUps = 8

type Rows = Map<string, Issue>

/** Hot users have 100 issues each, others one. */
const makeRows = (): Rows => {
  const from = random(1)
  const rows: Rows = new Map()
  const add = (user: number) => {
    const issue: Issue = { ...makeIssue(from, rows.size, 1), assigneeId: userId(user) }
    rows.set(issue.id, issue)
  }
  for (let user = 0; user < users; user++) for (let i = 0; i < (user < hotUsers ? rowsPerHotUser : 1); i++) add(user)
  return rows
}

/** Updates of issues of the first `among` users: of their fields, and one in five passes an issue on to another of them. */
const makeUpdates = (rows: Rows, among: number, count: number, seed: number): Array<IssueChange> => {
  const from = random(seed)
  const ids = Array.from(rows.values()).filter(({ assigneeId }) => assigneeId! < userId(among)).map(({ id }) => id)
  return Array.from({ length: count }, (_, clock): IssueChange => {
    const before = rows.get(ids[from.below(ids.length)]!)!
    const updatedAt = 1_702_000_000 + clock
    const after: Issue = from.below(5) === 0 ? { ...before, assigneeId: userId(from.below(among)), updatedAt } : { ...before, points: from.below(100), updatedAt }
    rows.set(after.id, after)
    return { table: "issues", before, after }
  })
}

class HashIndex {
  readonly groups = new Map<string, Rows>()
  told = 0

  constructor(rows: Rows, among: number) {
    for (let user = 0; user < among; user++) this.groups.set(userId(user), new Map())
    for (const issue of rows.values()) this.groups.get(issue.assigneeId!)?.set(issue.id, issue)
  }

  apply({ after, before }: IssueChange): void {
    const then = this.groups.get(before!.assigneeId!)
    const now = this.groups.get(after!.assigneeId!)
    if (now !== undefined) {
      now.set(after!.id, after!)
      this.told++
    }
    if (then !== undefined && then !== now) {
      then.delete(before!.id)
      this.told++
    }
  }
}

interface Bound {
  readonly graph: Graph.Graph
  readonly bindings: ReadonlyArray<Graph.Binding>
  position: number
}

const bind = (query: Partial<Select>, rows: Rows, count: number): Bound => {
  const byUser = Map.groupBy(rows.values(), ({ assigneeId }) => assigneeId!)
  const shape = shapeOf({ where: [compare("=", "assigneeId", parameter("assigneeId"))], ...query }, ["assigneeId"])
  const graph = Graph.make({ tables: new Map([["issues", issues]]) })
  const bindings = Array.from({ length: count }, (_, user) => graph.bind(shape, { parameters: { assigneeId: userId(user) }, principal: {} }))
  for (const need of graph.takeNeeds()) {
    const [{ bound, limit }] = need.ranges as [Graph.Need["ranges"][number]]
    const found = byUser.get(bound.parameters["assigneeId"] as string) ?? []
    graph.fill(need, [{ rows: limit === null ? found : found.toSorted((a, b) => b.updatedAt - a.updatedAt || (a.id < b.id ? -1 : 1)), completeTo: null }])
  }
  return { graph, bindings, position: 0 }
}

const checkAll = (what: string, { bindings }: Bound, rows: Rows, limit: number | null): void => {
  const byUser = Map.groupBy(rows.values(), ({ assigneeId }) => assigneeId!)
  for (let user = 0; user < bindings.length; user += Math.max(1, Math.floor(bindings.length / 500))) {
    const found = (byUser.get(userId(user)) ?? []).sort((a, b) => limit === null ? a.id < b.id ? -1 : 1 : b.updatedAt - a.updatedAt || (a.id < b.id ? -1 : 1))
    check(what, isDeepStrictEqual(bindings[user]!.rows(), limit === null ? found : found.slice(0, limit)))
  }
}

/** Answers what the graph still has to read, after a turn; `index` is at the graph's position. */
const answer = ({ graph }: Bound, index: HashIndex, limit: number | null): void => {
  for (const need of graph.takeNeeds()) {
    graph.fill(need, need.ranges.map((range) => {
      const rows = index.groups.get(range.bound.parameters["assigneeId"] as string)!
      if (limit === null) throw new Error("Nothing to read without a limit")
      return read(rows, range)
    }))
  }
}

/** Nanoseconds per change and affected binding, of each measurement in a turn. */
const time = (changes: ReadonlyArray<IssueChange>, apply: (part: ReadonlyArray<IssueChange>) => number): ReadonlyArray<number> => {
  const times: Array<number> = []
  for (let i = 0; i < changes.length; i += perMeasurement) {
    const part = changes.slice(i, i + perMeasurement)
    const start = now()
    const affected = apply(part)
    const end = now()
    if (affected > 0 && i >= cold * perMeasurement) times.push((end - start) / affected)
  }
  return times
}

const timeGraph = (bound: Bound, changes: ReadonlyArray<IssueChange>): ReadonlyArray<number> => {
  const steps = changes.map((change) => stepOf([change], ++bound.position))
  let next = 0
  return time(changes, (part) => {
    let affected = 0
    for (let i = 0; i < part.length; i++) affected += bound.graph.apply(steps[next++]!).deltas.length
    return affected
  })
}

const timeIndex = (index: HashIndex, changes: ReadonlyArray<IssueChange>): ReadonlyArray<number> =>
  time(changes, (part) => {
    const before = index.told
    for (let i = 0; i < part.length; i++) index.apply(part[i]!)
    return index.told - before
  })

const measure = (name: string, query: Partial<Select>, limit: number | null) => {
  const rows = makeRows()
  const heaps: Array<number> = []
  const bound = sizes.map((size) => {
    const before = heapUsed()
    const made = bind(query, rows, size)
    heaps.push((heapUsed() - before) / size)
    return made
  })
  const indexes = sizes.map((size) => new HashIndex(rows, size))

  const run = (what: string, changesOf: (size: number, i: number) => { readonly changes: ReadonlyArray<IssueChange>; readonly result: Rows }) => {
    const all = sizes.map(changesOf)
    const graphTimes: Array<Array<number>> = sizes.map(() => [])
    const indexTimes: Array<Array<number>> = sizes.map(() => [])
    collect()
    for (let turn = 0; turn < warmUps + turns; turn++) {
      for (let j = 0; j < sizes.length; j++) {
        const at = (j + turn) % sizes.length
        const part = all[at]!.changes.slice(turn * perTurn, (turn + 1) * perTurn)
        const index = timeIndex(indexes[at]!, part)
        const graph = timeGraph(bound[at]!, part)
        answer(bound[at]!, indexes[at]!, limit)
        if (turn < warmUps) continue
        graphTimes[at]!.push(...graph)
        indexTimes[at]!.push(...index)
      }
    }
    bound.forEach((one, i) => checkAll(`${name}, ${what}, ${sizes[i]} bindings`, one, all[i]!.result, limit))
    return { graph: graphTimes.map(median), index: indexTimes.map(median) }
  }

  const count = (warmUps + turns) * perTurn
  const hotChanges = makeUpdates(rows, hotUsers, count, 2)
  const hot = run("hot", () => ({ changes: hotChanges, result: rows }))
  const spread = run("spread", (size, i) => {
    const result = new Map(rows)
    return { changes: makeUpdates(result, size, count, 3 + i), result }
  })
  const grows = (times: ReadonlyArray<number>, i: number) => Number((times[i]! / times[0]!).toFixed(2))
  report(`one changed row, ${name}, by number of bindings (times per affected binding)`, sizes.map((size, i) => ({
    bindings: size,
    "hot, ns": Math.round(hot.graph[i]!),
    "grows": grows(hot.graph, i),
    "hash index hot, ns": Math.round(hot.index[i]!),
    "index hot grows": grows(hot.index, i),
    "spread, ns": Math.round(spread.graph[i]!),
    "spread grows": grows(spread.graph, i),
    "hash index spread, ns": Math.round(spread.index[i]!),
    "index spread grows": grows(spread.index, i),
    "heap per binding, bytes": Math.round(heaps[i]!)
  })))
}

measure("filter", {}, null)
measure("top 10", { order: [{ value: column("updatedAt"), descending: true }, byId], limit: { op: "literal", value: "10", type: { kind: "int8" } } }, 10)
