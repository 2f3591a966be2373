/** How much work the graph does: counted, not timed. */
import { assert, describe, it } from "@effect/vitest"
import type { Change } from "../../src/change/Change.ts"
import type { Row } from "../../src/data/Row.ts"
import * as Graph from "../../src/ivm/Graph.ts"
import type { Comparison, Expression, Select } from "../../src/query/Plan.ts"
import * as Semantics from "../../src/query/Semantics.ts"
import type { ColumnType } from "../../src/schema/ColumnType.ts"
import { shapeOf, tables } from "./model.ts"

const text: ColumnType = { kind: "text" }
const int4: ColumnType = { kind: "int4" }
const task = (column: string, type = text): Expression => ({ op: "column", source: "t", column, type, nullable: true })
const member = (column: string): Expression => ({ op: "column", source: "m", column, type: text, nullable: true })
const parameter = (name: string, type = text): Expression => ({ op: "parameter", name, type, nullable: false })
const user: Expression = { op: "principal", field: "user", type: text, nullable: false }
const compare = (operator: Comparison, left: Expression, right: Expression): Expression => ({ op: "compare", operator, left, right })
const isMember = (project: Expression): Expression => ({
  op: "exists",
  query: { op: "filter", input: { op: "scan", table: "members", as: "m" }, where: { op: "and", all: [compare("=", member("project"), project), compare("=", member("user"), user)] } }
})
const byId = { value: { ...task("id"), nullable: false } as Expression, descending: false }
const shape = (query: Partial<Select>) => shapeOf({ table: "tasks", source: "t", where: [], order: [byId], limit: null, project: null, ...query })

const row = (id: string, values: Row = {}): Row => ({ id, project: null, assignee: null, done: null, rank: null, score: null, title: null, ...values })
const of = (user: string): { readonly parameters: Row; readonly principal: Row } => ({ parameters: {}, principal: { user } })

/** A graph beside its tables. */
const world = (options: Partial<Graph.Options> = {}) => {
  const graph = Graph.make({ tables, ...options })
  const rows = new Map([...tables.keys()].map((name) => [name, new Map<string, Row>()]))
  return {
    graph,
    apply(...changes: ReadonlyArray<readonly [table: string, id: string, after: Row | null]>): Graph.Pass {
      const netted = changes.map(([table, id, after]): Change => {
        const held = rows.get(table)!
        const before = held.get(id) ?? null
        if (after === null) held.delete(id)
        else held.set(id, after)
        return { table, before, after }
      })
      return graph.apply({ position: graph.position + 1, transactions: [], truncated: [], chunks: [netted] })
    },
    answer(): ReadonlyArray<Graph.Pass> {
      const passes: Array<Graph.Pass> = []
      for (let needs = graph.takeNeeds(); needs.length > 0; needs = graph.takeNeeds()) {
        for (const need of needs) {
          passes.push(graph.fill(need, need.ranges.map(({ after, bound, limit, order, table, where }) => {
            const test = Semantics.condition(where)
            const compareTo = Semantics.compareToValues(order)
            const all = [...rows.get(table)!.values()].filter((one) => test(one, bound) && (after === null || compareTo(one, after, bound) > 0))
            if (order.length > 0) all.sort(Semantics.comparator(order, { bound }))
            if (limit === null || all.length <= limit) return { rows: all, completeTo: null }
            return { rows: all.slice(0, limit), completeTo: Semantics.orderValues(order)(all[limit - 1]!, bound) }
          })))
        }
      }
      return passes
    }
  }
}

/** Bindings tested for one change while there are `count` bindings that it does not concern. */
const testedBeside = (count: number, query: Partial<Select>, boundOf: (i: number) => Graph.Binding["bound"]): number => {
  const { answer, apply, graph } = world()
  for (let i = 0; i < count; i++) apply(["members", `m${i}`, { id: i, project: `p${i}`, user: `u${i}`, team: null, score: null }])
  for (let i = 0; i < count; i++) graph.bind(shape(query), boundOf(i))
  answer()
  apply(["tasks", "a", row("a", { project: "p3", rank: 35 })])
  const before = graph.counters.tested
  apply(["tasks", "a", row("a", { project: "p3", rank: 35, title: "changed" })])
  assert.strictEqual(graph.counters.scanned, 0)
  return graph.counters.tested - before
}

describe("Graph, work", () => {
  const bound = (parameters: Row) => ({ parameters, principal: {} })

  it("W1 a change is tested for the bindings that it concerns, however many others there are", () => {
    const workloads: ReadonlyArray<readonly [Partial<Select>, (i: number) => Graph.Binding["bound"], number]> = [
      [{ where: [compare("=", task("project"), parameter("project"))] }, (i) => bound({ project: `p${i}` }), 1],
      [{ where: [{ op: "in", value: task("project"), list: [parameter("project"), parameter("title")] }] }, (i) => bound({ project: `p${i}`, title: `p${i + 1}` }), 2],
      [{ where: [compare(">=", task("rank", int4), parameter("rank", int4)), compare("<", task("rank", int4), parameter("title", int4))] }, (i) => bound({ rank: 10 * i, title: 10 * i + 10 }), 1],
      [{ where: [isMember(task("project"))] }, (i) => of(`u${i}`), 1],
      [{ where: [{ op: "or", any: [isMember(task("project")), compare("=", task("title"), user)] }] }, (i) => of(`u${i}`), 1]
    ]
    for (const [query, boundOf, concerned] of workloads) {
      for (const count of [10, 400]) assert.strictEqual(testedBeside(count, query, boundOf), concerned, JSON.stringify(query))
    }
  })

  it("W2 where no index serves, each binding is tested, counted and capped", () => {
    const { answer, apply, graph } = world({ scanCap: 20 })
    const query = shape({ where: [{ op: "like", value: task("title"), pattern: parameter("title"), insensitive: true }] })
    const bindings = Array.from({ length: 20 }, (_, i) => graph.bind(query, bound({ title: `%${i}` })))
    answer()
    apply(["tasks", "a", row("a", { title: "5" })])
    assert.strictEqual(graph.counters.scanned, 20)
    assert.strictEqual(bindings.filter((binding) => binding.rows().length === 1).length, 1)
    assert.throws(() => graph.bind(query, bound({ title: "more" })), Graph.BudgetExceeded)
    assert.strictEqual(graph.bind(query, bound({ title: "%5" })), bindings[5]!, "one that lives costs nothing")
    graph.release(bindings[0]!)
    assert.isFalse(graph.bind(query, bound({ title: "more" })).ready)
  })

  it("W3 a refill reads rows in proportion to what it keeps", () => {
    const { answer, apply, graph } = world({ margin: 10 })
    const id = (n: number) => `t${String(n).padStart(5, "0")}`
    for (let n = 0; n < 3000; n++) apply(["tasks", id(n), row(id(n), { project: "p" })])
    const binding = graph.bind(shape({ where: [compare("=", task("project"), parameter("project"))], limit: { op: "literal", value: "10", type: { kind: "int8" } } }), bound({ project: "p" }))
    answer()
    assert.strictEqual(graph.counters.filled, 20)
    let refills = 0
    for (let n = 0; n < 1000; n++) {
      const { deltas, waiting } = apply(["tasks", id(n), null])
      if (waiting.length > 0) {
        refills++
        assert.strictEqual(deltas.length, 0, "what waits is told nothing")
        const told = answer().flatMap((pass) => pass.deltas)
        assert.strictEqual(told.length, 1)
        assert.strictEqual(told[0]!.removed.length, told[0]!.added.length)
      }
      assert.strictEqual(binding.rows()[0]!["id"], id(n + 1))
      assert.strictEqual(binding.rows().length, 10)
    }
    assert.isAtMost(graph.counters.filled, 20 + 1000 + 20, "as many as went")
    assert.isAtMost(refills, 100, "and not for each that went")
  })

  it("W4 a limited query under exists reads limit and margin for each key that it admits, not the table", () => {
    const { answer, apply, graph } = world({ margin: 5 })
    for (let n = 0; n < 2000; n++) apply(["tasks", `t${n}`, row(`t${n}`, { project: `p${n % 100}` })])
    for (const project of ["p1", "p2", "p3"]) apply(["members", project, { id: Number(project[1]), project, user: "u", team: null, score: null }])
    const binding = graph.bind(shape({ where: [isMember(task("project"))], limit: { op: "literal", value: "5", type: { kind: "int8" } } }), of("u"))
    answer()
    const members = 3
    assert.isAtMost(graph.counters.filled - members, 3 * 10)
    assert.strictEqual(binding.rows().length, 5)
    const before = graph.counters.filled
    const { waiting } = apply(["members", "p4", { id: 4, project: "p4", user: "u", team: null, score: null }])
    assert.deepStrictEqual(waiting, [binding])
    answer()
    assert.isAtMost(graph.counters.filled - before, 10, "only the key that came")
  })

  it("W5 a thousand members of one project share one binding, and each has a gate", () => {
    const { answer, apply, graph } = world()
    const gateOf = isMember(parameter("project"))
    const tasks = shape({ where: [compare("=", task("project"), parameter("project"))] })
    const member = (n: number): Row => ({ id: n, project: "p", user: `u${n}`, team: null, score: null })
    for (let n = 0; n < 1000; n++) apply(["members", `${n}`, member(n)])
    const gates = Array.from({ length: 1000 }, (_, n) => graph.gate(gateOf, { parameters: { project: "p" }, principal: { user: `u${n}` } }))
    const bindings = gates.map(() => graph.bind(tasks, { parameters: { project: "p" }, principal: { user: "any" } }))
    answer()
    assert.strictEqual(new Set(bindings).size, 1)
    assert.deepStrictEqual([graph.sizes.bindings, graph.sizes.gates, graph.sizes.arrangements], [1, 1000, 1])
    assert.isTrue(gates.every(({ open, ready }) => ready && open))
    assert.strictEqual(graph.gate(gateOf, { parameters: { project: "p" }, principal: { user: "u5" } }), gates[5]!)
    const { deltas } = apply(["tasks", "a", row("a", { project: "p" })])
    assert.strictEqual(deltas.length, 1)
    const revoked = apply(["members", "7", null], ["tasks", "a", row("a", { project: "p", title: "not for 7" })])
    assert.deepStrictEqual(revoked.gates, [gates[7]!])
    assert.isFalse(gates[7]!.open)
    assert.strictEqual(revoked.deltas.length, 1)
  })

  it("W6 rows that are revoked leave in the same step, and nobody else's are looked at", () => {
    const { answer, apply, graph } = world()
    for (let n = 0; n < 300; n++) apply(["tasks", `t${n}`, row(`t${n}`, { project: `p${n % 30}` })], ["members", `${n}`, { id: n, project: `p${n % 30}`, user: `u${n % 50}`, team: null, score: null }])
    const bindings = Array.from({ length: 50 }, (_, n) => graph.bind(shape({ where: [isMember(task("project"))] }), of(`u${n}`)))
    answer()
    const tested = graph.counters.tested
    // The only membership of user 7 in project 7.
    const { deltas } = apply(["members", "7", null], ["members", "157", null])
    assert.deepStrictEqual(deltas.map(({ binding }) => binding), [bindings[7]!])
    assert.strictEqual(deltas[0]!.removed.length, 10)
    assert.strictEqual(graph.counters.tested - tested, 10)
  })
})
