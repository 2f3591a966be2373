import { assert, describe, it } from "@effect/vitest"
import { Column, Plan, Query } from "@headwater/core"
import * as Semantics from "@headwater/core/Semantics"
import { Arbitrary, Effect } from "effect"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { Board, Collaborator, isCollaborator, Project, Task } from "../board.ts"
import * as Random from "../random.ts"
import { changed, otherwise, plainly, random, seedOf, tree } from "./randomCondition.ts"

const golden = new URL("../golden/plans/", import.meta.url)

describe("plans", () => {
  it("golden files hold each query's plan, normal form and hash: a change of them is a change of every client's cache", () => {
    for (const [name, query] of Object.entries(Board.queries)) {
      const file = new URL(`${name}.json`, golden)
      const text = `${JSON.stringify({ plan: query.plan, select: Plan.toSelect(query.plan), hash: Plan.hash(query.plan) }, null, 2)}\n`
      if (!existsSync(file) && process.env["CI"] === undefined) writeFileSync(file, text)
      assert.strictEqual(text, readFileSync(file, "utf8"), name)
    }
  })

  it("a plan is JSON: it comes back the same, with the same hash", () => {
    for (const { plan } of Object.values(Board.queries)) {
      const back = JSON.parse(JSON.stringify(plan)) as Plan.Plan
      assert.deepStrictEqual(back, plan)
      assert.strictEqual(Plan.hash(back), Plan.hash(plan))
    }
  })

  it("ways to write one query have one normal form and one hash, another query another", () => {
    const seed = seedOf()
    for (let i = 0; i < 400; i++) {
      const choose = random(seed + i)
      const written = tree(choose)
      const message = `HEADWATER_SEED=${seed + i}`
      const one = Query.plan(Query.from(Task).where((t) => plainly(t, written))).plan
      const same = Query.plan(Query.from(Task).where((t) => otherwise(t, written, choose))).plan
      assert.deepStrictEqual(Plan.toSelect(same), Plan.toSelect(one), message)
      assert.strictEqual(Plan.hash(same), Plan.hash(one), message)

      const other = Query.plan(Query.from(Task).where((t) => plainly(t, changed(written, choose)))).plan
      assert.notStrictEqual(Plan.hash(other), Plan.hash(one), message)

    }
  })

  it.live("the normal form of a condition is true, false or NULL where the condition is", () =>
    Random.check(Arbitrary.all([Random.condition("o", 3), Random.rows(6), Random.bound]), 300, ([written, rows, bound]) => Effect.sync(() => {
      const options: Semantics.Options = {
        source: "o",
        exists: (query, outer) => {
          const test = Semantics.condition(Plan.filters(query), { ...options, source: Plan.scanOf(query).as, outer })
          return () => rows.some((row) => test(row, bound))
        }
      }
      const test = Semantics.compile(written, options)
      const normal = Plan.normalise(written)
      const testNormal = Semantics.compile(normal, options)
      for (const row of rows) assert.strictEqual(testNormal(row, bound), test(row, bound))
      assert.deepStrictEqual(Plan.normalise(normal), normal, "it is its own normal form")
    })))

  it("the hash does not depend on the order of where calls, on names of sources, or on queries made before", () => {
    const make = () => Query.plan(Query.from(Task).where((t) => t.rank.gt(1)).where((t) => isCollaborator(t.projectId))).plan
    const swapped = Query.plan(Query.from(Task).where((t) => isCollaborator(t.projectId)).where((t) => t.rank.gt(1))).plan
    assert.strictEqual(Plan.hash(make()), Plan.hash(make()))
    assert.strictEqual(Plan.hash(swapped), Plan.hash(make()))
  })

  it("everything that changes a result changes the hash", () => {
    const base = Query.from(Task).where((t) => t.rank.gt(1))
    const variants = [
      base, base.orderBy("rank"), base.orderBy("rank", "desc"), base.orderBy("rank").orderBy("title"), base.orderBy("title").orderBy("rank"),
      base.limit(1), base.limit(2), base.one(), base.select("id"), base.select("id", "title"), Query.from(Task).where((t) => t.rank.ge(1)),
      Query.from(Task).where((t) => t.estimate.gt(1)), Query.from(Project), Query.from(Collaborator)
    ]
    const hashes = variants.map((query) => Plan.hash(Query.plan<unknown, Query.Cardinality>(query).plan))
    assert.strictEqual(new Set(hashes).size, variants.length)
  })

  it("the order is total: the primary key comes last, once", () => {
    const order = (query: Query.Query<unknown, Query.Cardinality>) =>
      Plan.toSelect(Query.plan(query).plan).order.map(({ descending, value }) => `${value.op === "column" ? value.column : value.op}${descending ? " desc" : ""}`)
    assert.deepStrictEqual(order(Query.from(Task)), ["id"])
    assert.deepStrictEqual(order(Query.from(Task).orderBy("rank").orderBy("title", "desc").limit(3)), ["rank", "title desc", "id"])
    assert.deepStrictEqual(order(Query.from(Collaborator).orderBy("userId", "desc")), ["userId desc", "projectId"])
    assert.deepStrictEqual(order(Query.from(Task).orderBy((t) => [t.title.desc(), t.rank])), ["title desc", "rank", "id"])
  })

  it("a query used inside itself keeps its rows apart", () => {
    const open = Query.from(Task).where((t) => t.done.not())
    const nested = open.where((outer) => open.where((inner) => inner.projectId.eq(outer.projectId).and(inner.title.like("a%"))).exists())
    const [, exists] = Plan.toSelect(Query.plan(nested).plan).where.toSorted((a) => a.op === "exists" ? 1 : -1)
    const conditions = exists!.op === "exists" ? Plan.conjuncts(Plan.filters(exists!.query)[0]!) : []
    const key = conditions.map((condition) => Plan.equatedColumn(condition, "t1")).find((found) => found?.value.op === "column")
    assert.deepInclude(key?.column, { source: "t1", column: "projectId" })
    assert.deepInclude(key?.value, { source: "t0", column: "projectId" })
  })

  it("a parameter gets its type by its use, and is NULL when left out", () => {
    const { plan } = Query.make("q", { id: Column.uuid, low: Column.int4 }, ({ id, low }) => Query.from(Task).where((t) => t.estimate.gt(low).and(id.eq(id))))
    assert.deepStrictEqual(plan.parameters, { id: { type: { kind: "uuid" }, nullable: false }, low: { type: { kind: "int4" }, nullable: false } })
    assert.deepStrictEqual(Board.queries.searchTasks.plan.parameters, { search: { type: { kind: "text" }, nullable: false }, limit: { type: { kind: "int8" }, nullable: true } })
  })
})
