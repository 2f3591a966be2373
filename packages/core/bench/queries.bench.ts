/**
 * One changed row through one live query over 100,000 rows, beside code written by hand for that query alone.
 *
 * The hand-written code counts its differences and keeps its result; the graph also builds what it would tell subscribers.
 * Both take turns; each result is compared with a recomputation after each round.
 */
import { isDeepStrictEqual } from "node:util"
import * as Graph from "../src/ivm/Graph.ts"
import type { Select } from "../src/query/Plan.ts"
import {
  answer, byId, check, collect, column, compare, type Issue, type IssueChange, issues, literal, makeChanges, makeIssues, median, now, read, report, shapeOf, stepOf
} from "./support.ts"

const rowCount = 100_000
const warmUp = 20_000
const rounds = 7
const perRound = 4_000
const batch = 100
/** Changes in one measurement: short, so that most are not disturbed by other work on the machine. */
const slice = 400

interface Contestant {
  apply(changes: ReadonlyArray<IssueChange>): void
  result(): ReadonlyArray<Issue>
}

const take = (rows: Map<string, Issue>, transaction: ReadonlyArray<IssueChange>): void => {
  for (const { after, before } of transaction) {
    if (after !== null) rows.set(after.id, after)
    else rows.delete(before!.id)
  }
}

interface Workload {
  readonly name: string
  readonly goal: number
  readonly query: Partial<Select>
  readonly recompute: (rows: ReadonlyMap<string, Issue>) => ReadonlyArray<Issue>
  readonly byHand: (rows: Map<string, Issue>) => Contestant
}

const compareId = (a: Issue, b: Issue): number => a.id < b.id ? -1 : a.id > b.id ? 1 : 0
const latest = (a: Issue, b: Issue): number => b.updatedAt - a.updatedAt || compareId(a, b)

const filterByHand = (rows: Map<string, Issue>): Contestant => {
  const passes = (issue: Issue) => issue.status === "open" && issue.priority >= 3
  const result = new Map<string, Issue>()
  let told = 0
  for (const issue of rows.values()) if (passes(issue)) result.set(issue.id, issue)
  return {
    apply(changes) {
      for (const { after, before } of changes) {
        if (after !== null && passes(after)) {
          result.set(after.id, after)
          told++
        } else if (before !== null && passes(before)) {
          result.delete(before.id)
          told++
        }
      }
      if (told < 0) throw new Error()
    },
    result: () => [...result.values()].sort(compareId)
  }
}

const topByHand = (rows: Map<string, Issue>): Contestant => {
  const limit = 50
  const keep = 500
  let held: Array<Issue> = []
  let isAll = false
  let told = 0
  const scan = () => {
    const open: Array<Issue> = []
    for (const issue of rows.values()) if (issue.status === "open") open.push(issue)
    open.sort(latest)
    isAll = open.length <= keep
    held = open.slice(0, keep)
  }
  const place = (issue: Issue): number => {
    let low = 0
    let high = held.length
    while (low < high) {
      const middle = low + high >>> 1
      if (latest(held[middle]!, issue) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
  scan()
  return {
    apply(changes) {
      for (const { after, before } of changes) {
        if (after !== null) rows.set(after.id, after)
        else rows.delete(before!.id)
        let first = limit
        if (before !== null && before.status === "open") {
          const at = place(before)
          if (at < held.length && held[at]!.id === before.id) {
            held.splice(at, 1)
            first = Math.min(first, at)
          }
        }
        if (after !== null && after.status === "open") {
          const at = place(after)
          if (at < held.length || isAll) {
            held.splice(at, 0, after)
            first = Math.min(first, at)
            if (held.length > keep) {
              held.pop()
              isAll = false
            }
          }
        }
        if (!isAll && held.length < limit) scan()
        if (first < limit) told += 2
      }
      if (told < 0) throw new Error()
    },
    result: () => held.slice(0, limit)
  }
}

const workloads: ReadonlyArray<Workload> = [
  {
    name: "filter",
    goal: 3,
    query: { where: [compare("=", "status", literal("status", "open")), compare(">=", "priority", literal("priority", 3))] },
    recompute: (rows) => [...rows.values()].filter((issue) => issue.status === "open" && issue.priority >= 3).sort(compareId),
    byHand: filterByHand
  },
  {
    name: "top 50",
    goal: 3,
    query: {
      where: [compare("=", "status", literal("status", "open"))],
      order: [{ value: column("updatedAt"), descending: true }, byId],
      limit: { op: "literal", value: "50", type: { kind: "int8" } }
    },
    recompute: (rows) => [...rows.values()].filter((issue) => issue.status === "open").sort(latest).slice(0, 50),
    byHand: topByHand
  }
]

const contend = ({ byHand, goal, name, query, recompute }: Workload): { readonly [column: string]: string | number } => {
  const rows = makeIssues(rowCount, 1000)
  const changes = makeChanges(rows, warmUp + 2 * rounds * perRound, 1000)
  const hand = byHand(new Map(rows))
  const graph = Graph.make({ tables: new Map([["issues", issues]]) })
  const binding = graph.bind(shapeOf(query), { parameters: {}, principal: {} })
  answer(graph, rows)
  let position = 0
  let refills = 0
  let told = 0

  /** Times per transaction, one of each slice; contestants take turns by slice. */
  const run = (from: number, to: number, size: number): { readonly hand: ReadonlyArray<number>; readonly graph: ReadonlyArray<number> } => {
    const transactions: Array<ReadonlyArray<IssueChange>> = []
    for (let i = from; i < to; i += size) transactions.push(changes.slice(i, Math.min(i + size, to)))
    const times = { hand: [] as Array<number>, graph: [] as Array<number> }
    const database = new Map(rows)
    const perSlice = Math.ceil(slice / size)
    collect()
    for (let i = 0; i < transactions.length; i += perSlice) {
      const end = Math.min(i + perSlice, transactions.length)
      const byHand = () => {
        const start = now()
        for (let j = i; j < end; j++) hand.apply(transactions[j]!)
        times.hand.push((now() - start) / (end - i))
      }
      const byGraph = () => {
        let reading = 0
        const start = now()
        for (let j = i; j < end; j++) {
          // A step comes fresh from the decoder: made here, so that it is as warm.
          const pass = graph.apply(stepOf(transactions[j]!, ++position))
          told += pass.deltas.length
          if (pass.waiting.length === 0) continue
          // To read is the database's work; to take in what was read is the graph's.
          const pause = now()
          for (const transaction of transactions.slice(i, j + 1)) take(database, transaction)
          const answers = graph.takeNeeds().map((need) => [need, need.ranges.map((range) => read(database, range))] as const)
          reading += now() - pause
          for (const [need, found] of answers) graph.fill(need, found)
          refills++
        }
        times.graph.push((now() - start - reading) / (end - i))
      }
      if (i / perSlice % 2 === 0) {
        byHand()
        byGraph()
      } else {
        byGraph()
        byHand()
      }
      for (let j = i; j < end; j++) take(database, transactions[j]!)
    }
    for (const transaction of transactions) take(rows, transaction)
    const expected = recompute(rows)
    check(`${name} by hand`, isDeepStrictEqual(hand.result(), expected))
    check(`${name} by the graph`, isDeepStrictEqual(binding.rows(), expected))
    return times
  }

  run(0, warmUp, 1)
  const single: Array<ReturnType<typeof run>> = []
  const batched: typeof single = []
  for (let i = 0; i < rounds; i++) single.push(run(warmUp + i * perRound, warmUp + (i + 1) * perRound, 1))
  const start = warmUp + rounds * perRound
  for (let i = 0; i < rounds; i++) batched.push(run(start + i * perRound, start + (i + 1) * perRound, batch))
  const hand1 = median(single.flatMap(({ hand }) => hand))
  const graph1 = median(single.flatMap(({ graph }) => graph))
  const hand100 = median(batched.flatMap(({ hand }) => hand))
  const graph100 = median(batched.flatMap(({ graph }) => graph))
  return {
    query: name,
    "by hand, ns": Math.round(hand1),
    "graph, ns": Math.round(graph1),
    times: Number((graph1 / hand1).toFixed(2)),
    goal,
    "100 rows by hand, ns": Math.round(hand100),
    "100 rows graph, ns": Math.round(graph100),
    "times (100)": Number((graph100 / hand100).toFixed(2)),
    refills,
    told
  }
}

/** A first result of 100,000 rows: a map and the list to send by hand, rows that were read into the graph and told by it. */
const firstRead = (): { readonly [column: string]: string | number } => {
  const rows = [...makeIssues(rowCount, 1000).values()]
  const times = { hand: [] as Array<number>, graph: [] as Array<number> }
  for (let i = 0; i < 12; i++) {
    collect()
    const start = now()
    const result = new Map<string, Issue>()
    for (const issue of rows) result.set(issue.id, issue)
    const told = [...result.values()]
    const end = now()
    const graph = Graph.make({ tables: new Map([["issues", issues]]) })
    graph.bind(shapeOf({}), { parameters: {}, principal: {} })
    const [need] = graph.takeNeeds()
    collect()
    const begin = now()
    const { deltas } = graph.fill(need!, [{ rows, completeTo: null }])
    const done = now()
    check("first read", deltas[0]!.added.length === told.length)
    if (i < 3) continue
    times.hand.push(end - start)
    times.graph.push(done - begin)
  }
  const [hand, graph] = [median(times.hand), median(times.graph)]
  return { "by hand, ms": Number((hand / 1e6).toFixed(1)), "graph, ms": Number((graph / 1e6).toFixed(1)), times: Number((graph / hand).toFixed(2)), goal: 3 }
}

report("first read of 100,000 rows", [firstRead()])
report("one changed row through one live query", workloads.map(contend))
