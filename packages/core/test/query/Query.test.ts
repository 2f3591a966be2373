import { assert, describe, it } from "@effect/vitest"
import { Column, type Expr, Plan, Query, Table, UnsupportedQuery } from "@headwater/core"
import { Schema } from "effect"
import { Board, Collaborator, Me, Project, Task, User } from "../board.ts"

/** What is thrown where the query is defined. */
const refused = (define: () => unknown): UnsupportedQuery => {
  try {
    define()
  } catch (error) {
    assert.instanceOf(error, UnsupportedQuery)
    assert.include(error.message, error.query)
    assert.include(error.message, error.construct)
    return error
  }
  return assert.fail("it was not refused")
}
const rows = Query.from(Task)
const any = (value: unknown) => value as never

describe("what cannot be kept exact is UnsupportedQuery where it is defined", () => {
  const cases: ReadonlyArray<readonly [string, () => unknown]> = [
    ["where after limit", () => rows.limit(10).where((t) => t.done)],
    ["where after one", () => rows.one().where((t) => t.done)],
    ["orderBy after limit", () => rows.limit(10).orderBy("rank")],
    ["a second limit", () => rows.limit(10).limit(5)],
    ["limit of a fraction", () => rows.limit(1.5)],
    ["limit below 0", () => rows.limit(-1)],
    ["orderBy of JSON", () => rows.orderBy("labels")],
    ["orderBy of a constant", () => Query.make("q", { a: Column.int4 }, ({ a }) => rows.orderBy(() => a))],
    ["equality of JSON", () => rows.where((t) => t.labels.eq(["a"]))],
    ["JSON compared with JSON", () => rows.where((t) => t.labels.lt(t.labels))],
    ["like on a uuid", () => rows.where((t) => t.id.like("a%"))],
    ["like on a timestamp", () => rows.where((t) => t.createdAt.like("2026%"))],
    ["like on an enum", () => rows.where((t) => t.priority.like("l%"))],
    ["text compared with a uuid", () => rows.where((t) => t.title.eq(t.id))],
    ["text compared with a timestamp", () => rows.where((t) => t.title.lt(t.createdAt))],
    ["a literal that is no uuid", () => rows.where((t) => t.id.eq(any("1")))],
    ["a literal beyond int4", () => rows.where((t) => t.estimate.eq(2 ** 40))],
    ["a literal that is no instant", () => rows.where((t) => t.createdAt.gt("yesterday"))],
    ["null as a literal", () => rows.where((t) => t.estimate.eq(any(null)))],
    ["a value instead of a condition", () => rows.where(() => any(true))],
    ["a text as a condition", () => rows.where((t) => any(t.title))],
    ["a parameter of a list", () => Query.make("q", { ids: Schema.Array(Schema.String) }, () => rows)],
    ["a parameter that only an if looks at", () => Query.make("q", { mine: Column.boolean }, ({ mine }) => mine ? rows.where((t) => t.done) : rows)],
    ["a parameter used as two types", () => Query.make("q", { a: Schema.String }, ({ a }) => rows.where((t) => t.title.eq(a).and(t.id.eq(any(a)))))],
    ["a parameter of another query", () => {
      let leaked: Expr.Expr<string> | undefined
      Query.make("a", { a: Column.text }, ({ a }) => rows.where((t) => t.title.eq(leaked = a)))
      return Query.make("b", {}, () => rows.where((t) => t.title.eq(leaked!)))
    }],
    ["a row outside of its callback", () => {
      let leaked: Expr.Fields<Task> | undefined
      rows.where((t) => (leaked = t).done)
      return Query.plan(rows.where(() => leaked!.done))
    }],
    ["a limit that is no parameter", () => rows.limit(any(Me.expr.admin))],
    ["exists in select", () => rows.select((t) => ({ id: t.id, any: Query.from(Project).where((p) => p.id.eq(t.projectId)).exists() }))],
    ["exists in orderBy", () => rows.orderBy((t) => Query.from(Project).where((p) => p.id.eq(t.projectId)).exists())],
    ["exists of a limited query", () => rows.where((t) => Query.from(Project).where((p) => p.id.eq(t.projectId)).limit(1).exists())],
    ["exists without a tie", () => rows.where(() => Query.from(Project).exists())],
    ["exists tied by an inequality", () => rows.where((t) => Query.from(Project).where((p) => p.id.gt(t.projectId)).exists())],
    ["exists tied under or", () => rows.where((t) => Query.from(Project).where((p) => p.id.eq(t.projectId).or(p.archived)).exists())],
    ["exists tied by columns of two types", () => {
      class Count extends Table.make("counts", { columns: { n: Column.float8 }, primaryKey: ["n"] }) {}
      return rows.where((t) => Query.from(Count).where((c) => c.n.eq(t.estimate as Expr.Expr<number>)).exists())
    }],
    ["exists that reaches over the query around it", () => rows.where((t) => Query.from(Project).where((p) => p.id.eq(t.projectId).and(
      Query.from(Collaborator).where((c) => c.projectId.eq(p.id).and(c.userId.eq(t.assigneeId))).exists())).exists())],
    ["select of nothing", () => rows.select(() => ({}))],
    ["select of a value", () => rows.select(() => any({ one: 1 }))],
    ["a < b", () => rows.where((t) => any(any(t.rank) < any(t.estimate)))],
    ["a template", () => rows.where((t) => t.title.eq(`${any(t.title)}!`))],
    ["a + b", () => rows.where((t) => t.rank.eq(any(t.rank) + 1))],
    ["two tables of one name", () => {
      class Other extends Table.make("app.tasks", { columns: { id: Column.uuid }, primaryKey: ["id"] }) {}
      return rows.where((t) => Query.from(Other).where((o) => o.id.eq(t.id)).exists())
    }]
  ]
  for (const [name, define] of cases) it(name, () => void refused(define))

  it("names the query and the construct, and says what to do", () => {
    const error = refused(() => Query.make("openTasks", {}, () => rows.limit(10).where((t) => t.done)))
    assert.deepInclude(error, { _tag: "UnsupportedQuery", query: "query openTasks", construct: "where after limit" })
    assert.deepInclude(refused(() => rows.limit(10).where((t) => t.done)), { query: "a query over app.tasks" })
    assert.include(error.message, "say where first")
    const parameter = refused(() => Query.make("byIds", { ids: Schema.Array(Schema.String) }, () => rows))
    assert.deepInclude(parameter, { query: "query byIds", construct: "parameter ids" })
  })
})

describe("a condition that is not part of the result is refused", () => {
  const dropped: ReadonlyArray<readonly [string, () => unknown]> = [
    ["a && b", () => rows.where((t) => t.rank.gt(1) && t.estimate.gt(1))],
    ["a || b", () => rows.where((t) => any(any(t.rank.gt(1) && null) || t.estimate.gt(1)))],
    ["a boolean column && b", () => rows.where((t) => t.done && t.estimate.gt(1))],
    ["exists && b", () => rows.where((t) => Query.from(Project).where((p) => p.id.eq(t.projectId)).exists() && t.done)],
    ["inside exists", () => rows.where((t) => Query.from(Project).where((p) => p.archived.not() && p.id.eq(t.projectId)).exists())],
    ["in a select", () => rows.select((t) => ({ late: t.rank.gt(1) && t.estimate.gt(1) }))],
    ["beside the query that make gives back", () => Query.make("q", { a: Column.int4 }, ({ a }) => {
      a.gt(1)
      return rows
    })]
  ]
  for (const [name, define] of dropped) {
    it(name, () => assert.match(refused(define).message, /is not part of the result/))
  }

  it("a condition may be kept in a variable, and used in a query inside", () => {
    const query = rows.where((t) => {
      const mine = t.assigneeId.eq(Me.expr.userId)
      const inProject = Query.from(Project).where((p) => p.id.eq(t.projectId)).exists()
      return inProject.and(mine).or(t.done)
    })
    assert.strictEqual(Query.plan(query).plan.root.op, "order")
  })
})

describe("queries", () => {
  it("comparing with nothing is false: in([]) lets no row pass", () => {
    assert.deepStrictEqual(Plan.toSelect(Query.plan(rows.where((t) => t.rank.in([]))).plan).where, [Plan.alwaysFalse])
  })

  it("fields are own properties, so a row can be spread", () => {
    const { plan } = Query.plan(rows.select((t) => ({ ...t, name: t.title })))
    assert.deepStrictEqual(Object.keys(Plan.toSelect(plan).project ?? {}), [...Object.keys(Task.columns), "name"])
  })

  it("where after select sees what was selected", () => {
    const { plan } = Query.plan(rows.select((t) => ({ id: t.id, late: t.rank.gt(10) })).where((row) => row.late))
    assert.deepStrictEqual(Plan.toSelect(plan).where, Plan.toSelect(Query.plan(rows.where((t) => t.rank.gt(10))).plan).where)
  })

  it("says which tables and principals it needs", () => {
    const { origins } = Board.queries.myTasks
    assert.deepStrictEqual([...origins.tables.keys()], ["app.tasks"])
    assert.deepStrictEqual([...origins.principals], [Me.fields])
    const nested = Query.plan(rows.where((t) => Query.from(User).where((u) => u.id.eq(t.assigneeId).and(u.email.isNotNull())).exists()))
    assert.deepStrictEqual([...nested.origins.tables.keys()].sort(), ["app.tasks", "users"])
  })

  it("parameters travel as JSON and arrive canonical", () => {
    const query = Query.make("q", { at: Column.timestamptz, n: Column.int8, text: Column.text.nullable(), count: Schema.optionalKey(Schema.Int) }, ({ at, count, n, text }) =>
      Query.from(Task).where((t) => t.createdAt.gt(at).and(t.title.eq(text)).and(n.eq(n))).limit(count))
    const wire = Query.encodeParameters(query, { at: "2026-01-31T13:00:00.50+01:00", n: 2n ** 60n, text: null, count: 7 })
    assert.deepStrictEqual(wire, { ok: true, value: { at: "2026-01-31T12:00:00.5Z", n: "1152921504606846976", text: null, count: 7 } })
    const decoded = Query.decodeParameters(query, JSON.parse(JSON.stringify(wire.ok && wire.value)))
    assert.deepStrictEqual(decoded, { ok: true, value: { at: "2026-01-31T12:00:00.5Z", n: 2n ** 60n, text: null, count: 7n } })
    assert.deepStrictEqual(Query.decodeParameters(query, { at: "2026-01-31T12:00:00Z", n: "1", text: "x" }), { ok: true, value: { at: "2026-01-31T12:00:00Z", n: 1n, text: "x", count: null } })
  })

  it("a parameter that is a pattern has a bounded length", () => {
    const query = Query.make("q", { search: Column.text, title: Column.text }, ({ search, title }) => Query.from(Task).where((t) => t.title.ilike(search).or(t.title.eq(title))))
    const long = "_".repeat(1001)
    assert.isTrue(Query.decodeParameters(query, { search: long.slice(1), title: long }).ok)
    const refused = { ok: false, field: "search", message: "search is a pattern of 1001 characters, and may have 1000" } as const
    assert.deepStrictEqual(Query.decodeParameters(query, { search: long, title: "" }), refused)
    assert.deepStrictEqual(Query.encodeParameters(query, { search: long, title: "" }), refused)
  })

  it("a wrong parameter is named", () => {
    const { openTasks, searchTasks } = Board.queries
    assert.deepStrictEqual(Query.decodeParameters(openTasks, { projectId: "1" }), { ok: false, field: "projectId", message: "projectId is not a value of type uuid" })
    assert.deepStrictEqual(Query.decodeParameters(openTasks, {}), { ok: false, field: "projectId", message: "projectId is missing" })
    assert.deepStrictEqual(Query.decodeParameters(openTasks, null), { ok: false, field: "", message: "must be an object" })
    assert.deepStrictEqual(Query.decodeParameters(openTasks, JSON.parse(`{"__proto__":{"projectId":"x"}}`)), { ok: false, field: "projectId", message: "projectId is missing" })
    assert.deepStrictEqual(Query.encodeParameters(searchTasks, { search: "x", limit: 1.5 }), { ok: false, field: "limit", message: "limit is refused: expected an integer" })
    assert.deepStrictEqual(Query.encodeParameters(searchTasks, { search: "x", lmit: 1 }), { ok: false, field: "lmit", message: "lmit is not a field here" })
  })
})
