import { assert, describe, it } from "@effect/vitest"
import { Access, Column, Contract, type Expr, Plan, Principal, Query, Table } from "@headwater/core"
import type { Row } from "@headwater/core/Row"
import * as Shape from "@headwater/core/Shape"
import { Board, Collaborator, isCollaborator, Me, openTasks, Project, Task, User } from "../board.ts"
import { evaluate, rows, rowsOf, type Tables } from "./naive.ts"
import { otherwise, random, type Random, seedOf, tree } from "./randomCondition.ts"

const plan = (query: Query.Query<unknown, Query.Cardinality>) => Query.plan(query).plan
const shapeOf = (query: Query.Query<unknown, Query.Cardinality>, access = Object.values(Board.access)) =>
  Shape.compile(Contract.make("board", { principal: Me, tables: Object.values(Board.tables), access }), plan(query))
const mentions = (expressions: ReadonlyArray<Plan.Expression>, op: Plan.Expression["op"]) => {
  let found = false
  for (const expression of expressions) Plan.forEachPart(expression, (part) => void (found ||= part.op === op))
  return found
}

describe("gates and row rules", () => {
  it("a thousand collaborators of one project share a binding: the rule is a gate, the principal is not in it", () => {
    const shape = Shape.compile(Board, openTasks.plan)
    assert.strictEqual(shape.gates.length, 1)
    assert.deepStrictEqual(shape.principalFields, [])
    assert.deepStrictEqual(shape.parameterNames, ["projectId"])
    assert.isFalse(mentions(shape.select.where, "exists"))
    assert.isFalse(mentions(shape.select.where, "principal"))
    assert.isTrue(mentions(shape.gates, "exists") && mentions(shape.gates, "principal") && mentions(shape.gates, "parameter"))
    assert.deepStrictEqual(shape.select, Plan.toSelect(openTasks.plan))
  })

  it("a rule that decides by the row stays with the principal in the binding", () => {
    const shape = Shape.compile(Board, Board.queries.myTasks.plan)
    assert.deepStrictEqual(shape.gates, [])
    assert.deepStrictEqual(shape.principalFields, ["admin", "userId"])
    assert.isTrue(mentions(shape.select.where, "exists"))
  })

  it("of a conjunction, what is pinned is a gate and the rest decides by row; the principal stays out if that does not ask for it", () => {
    const access = [Access.make(Task, { read: (t) => isCollaborator(t.projectId).and(t.priority.eq("low")) })]
    const shape = Shape.compile(Contract.make("board", { principal: Me, tables: [Task, Collaborator], access }), openTasks.plan)
    assert.strictEqual(shape.gates.length, 1)
    assert.deepStrictEqual(shape.principalFields, [])
    assert.strictEqual(shape.select.where.length, Plan.toSelect(openTasks.plan).where.length + 1)
  })

  it("a rule that looks at no row is a gate", () => {
    const shape = shapeOf(Query.from(Task), [Access.make(Task, { read: () => Me.expr.admin })])
    assert.strictEqual(shape.gates.length, 1)
    assert.deepStrictEqual(shape.select.where, [])
  })

  it("a column that is pinned under or, or by another column, is not pinned", () => {
    const access = [Access.make(Task, { read: (t) => isCollaborator(t.projectId) })]
    const byOr = shapeOf(Query.from(Task).where((t) => t.projectId.eq(id<Project["id"]>(1)).or(t.done)), access)
    assert.deepStrictEqual([byOr.gates.length, byOr.principalFields], [0, ["userId"]])
    const byColumn = shapeOf(Query.from(Task).where((t) => t.title.eq(t.title)), access)
    assert.strictEqual(byColumn.gates.length, 0)
    const byLiteral = shapeOf(Query.from(Task).where((t) => t.projectId.eq(id<Project["id"]>(1))), access)
    assert.strictEqual(byLiteral.gates.length, 1)
  })

  it("P7 what no rule allows is denied: a gate that is never open", () => {
    assert.deepStrictEqual(shapeOf(Query.from(Collaborator)).gates, [Plan.alwaysFalse])
    assert.deepStrictEqual(shapeOf(Query.from(Collaborator), [Access.make(Collaborator, { insert: true })]).gates, [Plan.alwaysFalse])
    assert.deepStrictEqual(shapeOf(Query.from(Project), [Access.make(Project, { read: true })]).gates, [])
  })

  it("equal shapes have one hash, also when rules or queries were written in another way; other rules have another", () => {
    const one = [Access.make(Task, { read: (t) => isCollaborator(t.projectId).or(Me.expr.admin) })]
    const same = [Access.make(Task, { read: (t) => Me.expr.admin.eq(true).or(isCollaborator(t.projectId)) })]
    const other = [Access.make(Task, { read: (t) => isCollaborator(t.projectId) })]
    const query = Query.from(Task).where((t) => t.rank.between(1, 2))
    const rewritten = Query.from(Task).where((t) => t.rank.le(2)).where((t) => t.rank.ge(1))
    assert.strictEqual(shapeOf(query, one).hash, shapeOf(rewritten, same).hash)
    assert.notStrictEqual(shapeOf(query, one).hash, shapeOf(query, other).hash)
    assert.notStrictEqual(shapeOf(query, one).hash, shapeOf(query.limit(1), one).hash)
    const masked = [Access.make(Task, { read: true, columns: { estimate: { read: false } } })]
    assert.notStrictEqual(shapeOf(query, masked).hash, shapeOf(query, [Access.make(Task, { read: true })]).hash)
  })

  it("an order by a column that is masked by other rows is UnsupportedQuery, one by the row and the principal is not", () => {
    const access = (read: Access.Rule<User>) => [Access.make(User, { read: true, columns: { email: { read, mask: null } } }), Access.make(Collaborator, { read: true })]
    const byEmail = Query.from(User).orderBy("email")
    assert.throws(() => shapeOf(byEmail, access((u) => Query.from(Collaborator).where((c) => c.userId.eq(u.id)).exists())), Plan.UnsupportedQuery, /orderBy of a masked column/)
    assert.isTrue(mentions(shapeOf(byEmail, access((u) => u.id.eq(Me.expr.userId))).select.order.map(({ value }) => value), "if"))
  })

  it("a query whose exists is tied by a masked column is UnsupportedQuery", () => {
    const access = [
      Access.make(Task, { read: true }),
      Access.make(User, { read: true, columns: { email: { read: (u) => u.id.eq(Me.expr.userId) } } })
    ]
    assert.throws(() => shapeOf(Query.from(Task).where((t) => Query.from(User).where((u) => u.email.eq(t.title)).exists()), access), Plan.UnsupportedQuery)
  })
})

describe("masks", () => {
  it("P7 a condition and an order on a masked column see the mask; without one the principal stays out of the binding", () => {
    const access = Object.values(Board.access)
    const plain = shapeOf(Query.from(User), access)
    assert.deepStrictEqual(plain.masks.map(({ column, mask }) => [column, mask]), [["email", null]])
    assert.deepStrictEqual(plain.principalFields, [])
    const asked = shapeOf(Query.from(User).where((u) => u.email.isNotNull()), access)
    assert.deepStrictEqual(asked.principalFields, ["userId"])
    assert.isTrue(mentions(asked.select.where, "if"))
    const ordered = shapeOf(Query.from(User).orderBy("email"), access)
    assert.isTrue(mentions(ordered.select.order.map((key) => key.value), "if"))
  })

  it("a column that everybody reads has no mask, one that nobody reads is never asked", () => {
    const shape = shapeOf(Query.from(User).orderBy("name"), [Access.make(User, { read: true, columns: { name: { read: true, mask: "" }, email: { read: false } } })])
    assert.deepStrictEqual(shape.masks, [{ column: "email", readable: Plan.alwaysFalse, mask: null }])
    assert.isFalse(mentions(shape.select.order.map((key) => key.value), "if"))
  })
})

describe("writes", () => {
  it("an insert is checked after, a delete before, an update before and after; what no rule allows is false", () => {
    const rule = Shape.readRule(Contract.make("board", { principal: Me, tables: [Task, Collaborator], access: [Access.make(Task, { read: (t) => isCollaborator(t.projectId) })] }), "app.tasks")
    assert.deepStrictEqual(Shape.writeCheck(Board, "app.tasks", "insert"), { before: null, after: rule })
    assert.deepStrictEqual(Shape.writeCheck(Board, "app.tasks", "update"), { before: rule, after: rule })
    assert.deepStrictEqual(Shape.writeCheck(Board, "app.tasks", "delete"), { before: { op: "principal", field: "admin", type: { kind: "boolean" }, nullable: false }, after: null })
    assert.deepStrictEqual(Shape.writeCheck(Board, "users", "update"), { before: Plan.alwaysFalse, after: Plan.alwaysFalse })
    assert.deepStrictEqual(Shape.writeCheck(Board, "collaborators", "insert"), { before: null, after: Plan.alwaysFalse })
  })

  it("before and after can be told apart", () => {
    const access = [Access.make(Task, { update: { before: (t) => t.done.not(), after: (t) => t.done } })]
    const { after, before } = Shape.writeCheck(Contract.make("board", { principal: Me, tables: [Task], access }), "app.tasks", "update")
    assert.strictEqual(before?.op, "not")
    assert.strictEqual(after?.op, "column")
  })
})

const id = <A extends string>(n: number) => `00000000-0000-4000-8000-00000000000${n}` as A
const ids = [1, 2, 3]

const data = (random: Random): Tables => {
  const one = <A>(...of: ReadonlyArray<A>): A => of[random.below(of.length)]!
  const some = () => ids.filter(() => random.below(3) > 0)
  return {
    "projects": some().map((n) => ({ id: id(n), name: one("a", "b"), archived: one(true, false) })),
    "users": some().map((n) => ({ id: id(n), name: one("a", "b"), email: one("x", "y", null) })),
    "app.tasks": Array.from({ length: 8 }, (_, n) => ({
      id: id(n), projectId: id(one(...ids)), assigneeId: one(id(one(...ids)), null), title: one("a", "ab", "b"), done: one(true, false),
      rank: random.below(5), priority: one("low", "high"), labels: [], estimate: one(null, 0, 1, 2, 3), createdAt: "2026-01-01T00:00:00Z"
    })),
    "collaborators": ids.flatMap((projectId) => some().map((userId) => ({ projectId: id(projectId), userId: id(userId), role: one("viewer", "editor") })))
  }
}

const readers: ReadonlyArray<(t: Expr.Fields<Task>) => Expr.Condition | boolean> = [
  () => true,
  () => Me.expr.admin,
  (t) => isCollaborator(t.projectId),
  (t) => isCollaborator(t.projectId).or(Me.expr.admin),
  (t) => isCollaborator(t.projectId).and(t.done.not()),
  (t) => isCollaborator(t.projectId).not().or(t.assigneeId.eq(Me.expr.userId)),
  (t) => Query.from(Project).where((p) => p.id.eq(t.projectId).and(p.archived.not()).and(isCollaborator(p.id))).exists(),
  (t) => t.assigneeId.eq(Me.expr.userId).or(t.priority.eq("low"))
]

/** As `query` of this principal should see the data: rows that may be read, with masks. Rules see everything. */
const visible = (contract: Contract.Any, tables: Tables, principal: Row): Tables =>
  Object.fromEntries(Object.entries(tables).map(([name, all]) => {
    const access = contract.access[name]
    const bound = { parameters: {}, principal }
    const holds = (rule: Plan.Expression, row: Row) => evaluate(rule, { row }, bound, tables) === true
    return [name, all.filter((row) => access !== undefined && holds(access.read, row)).map((row) => masked(row, Object.entries(access!.columns)
      .filter(([, { read }]) => !holds(read, row)).map(([column, { mask }]) => [column, mask] as const)))]
  }))

const masked = (row: Row, masks: ReadonlyArray<readonly [string, Row[string]]>): Row => ({ ...row, ...Object.fromEntries(masks) })

it("P7 under random rules, a shape's rows are those of the query over what its reader may see", () => {
  const seed = seedOf()
  let gated = 0
  let found = 0
  for (let i = 0; i < 400; i++) {
    const choose = random(seed + i)
    const message = `HEADWATER_SEED=${seed + i}`
    const tables = data(choose)
    const contract = Contract.make("board", {
      principal: Me,
      tables: [Project, User, Task, Collaborator],
      access: [
        Access.make(Project, { read: choose.below(2) === 0 ? (p) => isCollaborator(p.id) : (p) => p.archived.not() }),
        Access.make(Collaborator, { read: choose.below(2) === 0 ? (c) => c.userId.eq(Me.expr.userId) : true }),
        Access.make(User, { read: true, columns: { email: { read: (u) => u.id.eq(Me.expr.userId) }, name: { read: () => Me.expr.admin, mask: "?" } } }),
        Access.make(Task, {
          read: readers[choose.below(readers.length)]!,
          columns: {
            ...choose.below(2) === 0 ? { estimate: { read: (t) => t.assigneeId.eq(Me.expr.userId) } } : {},
            ...choose.below(3) === 0 ? { projectId: { read: () => Me.expr.admin, mask: id<Project["id"]>(1) } } : {},
            ...choose.below(3) === 0 ? { done: { read: (t) => isCollaborator(t.projectId), mask: false } } : {}
          }
        })
      ]
    })
    const condition = noPatterns(tree(choose, 2))
    const byProject = choose.below(2) === 0
    const byUser = choose.below(4) === 0
    const parameters = { ...byProject ? { projectId: Project.columns.id } : {}, ...byUser ? { userId: User.columns.id } : {} }
    const query = Query.make("q", parameters, (given) => {
      const { projectId, userId } = given as Query.Parameters<{ projectId: typeof Project.columns.id; userId: typeof User.columns.id }>
      let rows = Query.from(Task)
      if (byProject) rows = rows.where((t) => t.projectId.eq(projectId))
      if (choose.below(2) === 0) rows = rows.where((t) => otherwise(t, condition, choose))
      if (choose.below(3) === 0) rows = rows.where((t) => Query.from(Project).where((p) => p.id.eq(t.projectId).and(p.name.eq("a"))).exists().or(t.done))
      if (choose.below(4) === 0) rows = rows.where((t) => Query.from(User).where((u) => u.id.eq(t.assigneeId).and(u.name.eq("a"))).notExists())
      if (byUser) rows = rows.where((t) => Query.from(Collaborator).where((c) => c.projectId.eq(t.projectId).and(c.userId.eq(userId))).exists())
      rows = choose.below(2) === 0 ? rows.orderBy("estimate", "desc") : rows.orderBy("rank")
      return choose.below(2) === 0 ? rows.limit(3) : rows
    })
    let shape
    try {
      shape = Shape.compile(contract, query.plan)
    } catch (error) {
      // Only where a mask unties an exists.
      assert.instanceOf(error, Plan.UnsupportedQuery, message)
      continue
    }
    for (const admin of [true, false]) {
      for (const me of ids) {
        const bound = { parameters: { projectId: id(1 + choose.below(3)), userId: id(1 + choose.below(3)) }, principal: { userId: id(me), admin } }
        const open = shape.gates.every((gate) => evaluate(gate, {}, bound, tables) === true)
        if (!open) gated++
        // What tells bindings apart is all that the rows depend on.
        const told = {
          parameters: Object.fromEntries(shape.parameterNames.map((name) => [name, bound.parameters[name as "projectId"]])),
          principal: Object.fromEntries(shape.principalFields.map((name) => [name, bound.principal[name as "userId"]]))
        }
        const actual = open
          ? rowsOf(shape.select, told, tables).map((row) => masked(row, shape.masks
            .filter(({ readable }) => evaluate(readable, { t0: row }, bound, tables) !== true).map(({ column, mask }) => [column, mask] as const)))
          : []
        const expected = rows(query.plan.root, {}, bound, visible(contract, tables, bound.principal))
        found += expected.length
        assert.deepStrictEqual(actual, expected, message)
      }
    }
  }
  assert.isAbove(gated, 100)
  assert.isAbove(found, 1000)
})

/** The interpreter here knows no patterns. */
const noPatterns = (written: ReturnType<typeof tree>): ReturnType<typeof tree> =>
  written.is === "text" ? { is: "done" } : written.is === "not" ? { is: "not", of: noPatterns(written.of) }
    : written.is === "and" || written.is === "or" ? { is: written.is, all: written.all.map(noPatterns) } : written

it("a contract without access rules denies everything, and says so", () => {
  class Me2 extends Principal.make<Me2>()("t/Me", { userId: Column.uuid }) {}
  class T extends Table.make("t", { columns: { id: Column.uuid }, primaryKey: ["id"] }) {}
  const contract = Contract.make("t", { principal: Me2, tables: [T] })
  assert.match(contract.warnings[0]!, /no access rule for t/)
  assert.deepStrictEqual(Shape.compile(contract, plan(Query.from(T))).gates, [Plan.alwaysFalse])
})
