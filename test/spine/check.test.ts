/**
 * The checker of the property test can fail: each planted fault is found, and under the right promise. The recording is one
 * of a perfect system: what its clients show is asked from the shadow.
 */
import type { Step } from "@headwater/core/Step"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Database, freshDatabase } from "../postgres.ts"
import { check, checkSource, type Problem } from "./check.ts"
import * as Board from "./database.ts"
import * as Random from "./random.ts"
import type { Delivery, Fields, Quiet, Recording, Shown } from "./recording.ts"
import * as Shadow from "./shadow.ts"

const seed = Random.seedOf()
const random = Random.make(seed)
const users = [random.uuid(), random.uuid()]
const projects = [random.uuid(), random.uuid()]
const live = [
  { query: "people", parameters: {} },
  { query: "cards", parameters: { projectId: projects[0] } },
  { query: "newest", parameters: {} },
  { query: "ranked", parameters: { from: 2, to: 9 } },
  { query: "titled", parameters: { pattern: "%a%" } }
] as const satisfies ReadonlyArray<{ readonly query: Board.QueryName; readonly parameters: Board.Parameters }>

/** Steps of random changes; the state after each is kept in a model, so that they fit. */
const history = (): ReadonlyArray<Step> => {
  const cards = new Map<string, Fields>()
  const collaborators = new Set<string>()
  const step = (position: number, changes: ReadonlyArray<Step["chunks"] extends Iterable<ReadonlyArray<infer C>> ? C : never>, truncated: ReadonlyArray<string> = []): Step =>
    ({ position, transactions: [`${position}`], truncated, chunks: [changes] })
  const steps = [step(10, [
    ...users.map((id, i) => ({ table: "users", before: null, after: { id, name: `user ${i}`, email: `${i}@example.com` } })),
    ...projects.map((id, i) => ({ table: "projects", before: null, after: { id, name: `project ${i}`, ownerId: users[0]!, shared: i === 0 } })),
    { table: "counters", before: null, after: { id: 1, value: 0n } }
  ])]
  const card = (id: string): Fields => ({
    id,
    projectId: random.pick(projects),
    title: random.pick(["a", "ba", "", "ü😀'", "a%"]),
    status: random.pick(["backlog", "todo", "doing", "done"]),
    rank: random.pick([1, 2.5, 9, NaN, Infinity]),
    cost: random.pick([null, "1.50", "NaN"]),
    labels: random.pick([[], ["x"]]),
    assigneeId: random.pick([null, ...users]),
    createdAt: `2026-01-0${1 + random.int(9)}T00:00:00${random.pick([".5", ".123456", ""])}Z`
  })
  for (let position = 20; position < 300; position += 10) {
    const member = { projectId: projects[1]!, userId: random.pick(users) }
    const key = JSON.stringify(member)
    if (position === 120) {
      cards.clear()
      steps.push(step(position, [], ["cards"]))
    } else if (random.chance(0.2)) {
      steps.push(step(position, [collaborators.has(key) ? { table: "collaborators", before: member, after: null } : { table: "collaborators", before: null, after: member }]))
      if (!collaborators.delete(key)) collaborators.add(key)
    } else {
      const ids = new Set(Array.from({ length: 1 + random.int(3) }, () => cards.size > 0 && random.chance(0.5) ? random.pick([...cards.keys()]) : random.uuid()))
      steps.push(step(position, [...ids].map((id) => {
        const before = cards.get(id) ?? null
        const after = before !== null && random.chance(0.3) ? null : card(id)
        if (after === null) cards.delete(id)
        else cards.set(id, after)
        return { table: "cards", before: before as never, after: after as never }
      })))
    }
  }
  steps.push(step(300, [{ table: "marks", before: null, after: { n: 1 } }]))
  const audit = { id: random.uuid(), mutation: random.uuid(), counter: 1 }
  steps.push(step(310, [
    { table: "counters", before: { id: 1, value: 0n }, after: { id: 1, value: 1n } },
    { table: "audits", before: null, after: audit },
    { table: "headwater.receipts", before: null, after: { client: "store", seq: 1n } }
  ]))
  return steps
}

describe("the checker", () => {
  let database: Database
  let perfect: Recording
  const steps = history()

  const withShadow = async <A>(run: (shadow: Awaited<ReturnType<typeof Board.connect>>) => Promise<A>): Promise<A> => {
    const client = await Board.connect(database.url)
    try {
      await client.query(`create schema shadow; set search_path = shadow; ${Board.createTables}`)
      return await run(client)
    } finally {
      await client.query("drop schema if exists shadow cascade")
      await client.end()
    }
  }

  beforeAll(async () => {
    database = await freshDatabase()
    perfect = await withShadow(async (shadow) => {
      const deliveries: Array<Delivery> = []
      const quiets: Array<Quiet> = []
      for (const step of steps) {
        await Shadow.fold(shadow, Shadow.ofStep(step))
        for (const [i, user] of users.entries()) {
          const shown: Array<Shown> = []
          for (const { parameters, query } of live) {
            const { rows } = await shadow.query<Fields>(Board.queryText(query, user, parameters))
            shown.push({ query, parameters, rows, members: rows.toReversed() })
          }
          const { rows: carried } = await shadow.query<Fields>(Board.readableRows("users", user))
          deliveries.push({
            client: `client ${i}`,
            user,
            epoch: "e",
            position: step.position,
            shown,
            carried: carried.map((row) => ["users", row]),
            receipts: i === 0 && step.position === 310 ? ["store 1"] : [],
            messages: 0
          })
        }
        if (step.position === 300) {
          const contents = await Board.readContents(shadow)
          quiets.push({ mark: 1, contents })
        }
      }
      const audit = [...steps.at(-1)!.chunks].flat()[1]!.after!
      return {
        epoch: "e",
        start: 0,
        commits: steps.map(Shadow.ofStep),
        steps: steps.map(Shadow.ofStep),
        deliveries,
        quiets,
        mutations: [{ client: "client 0", name: "bump", bump: String(audit["mutation"]), outcome: "applied" }],
        stores: new Map([["client 0", new Set(["store"])]]),
        messages: new Map(),
        violations: []
      }
    })
  })
  afterAll(() => database.drop())

  const run = (change: Partial<Recording>): Promise<ReadonlyArray<Problem>> => withShadow((shadow) => check(shadow, { ...perfect, ...change }))
  const promises = (problems: ReadonlyArray<Problem>) => [...new Set(problems.map(({ promise }) => promise))]
  /** Changes a delivery of the second half, at which the newest cards are several. */
  const planted = (change: (delivery: Delivery) => Delivery, from = 180) => {
    const index = perfect.deliveries.findIndex(({ position, shown }) => position >= from && shown[2]!.rows!.length > 1)
    expect(index, `seed ${seed}`).toBeGreaterThan(0)
    return { deliveries: perfect.deliveries.with(index, change(perfect.deliveries[index]!)) }
  }
  const first = (delivery: Delivery, change: (rows: ReadonlyArray<Fields>) => ReadonlyArray<Fields>): Delivery =>
    ({ ...delivery, shown: delivery.shown.with(2, { ...delivery.shown[2]!, rows: change(delivery.shown[2]!.rows!) }) })

  it("finds nothing wrong with a perfect system", async () => {
    expect(await run({}), `seed ${seed}`).toEqual([])
  })

  it("finds a row too many, one too few, one twice, and another order", async () => {
    const other = { ...perfect.deliveries.at(-1)!.shown[2]!.rows![0]!, id: random.uuid() }
    expect(promises(await run(planted((delivery) => first(delivery, (rows) => [...rows, other]))))).toEqual(["P1"])
    expect(promises(await run(planted((delivery) => first(delivery, (rows) => rows.slice(1)))))).toEqual(["P1"])
    expect(promises(await run(planted((delivery) => first(delivery, (rows) => [rows[0]!, ...rows]))))).toEqual(["P1"])
    expect(promises(await run(planted((delivery) => first(delivery, (rows) => rows.toReversed()))))).toEqual(["P1"])
  })

  it("finds members that are not the result's", async () => {
    expect(promises(await run(planted((delivery) => ({ ...delivery, shown: delivery.shown.with(0, { ...delivery.shown[0]!, members: delivery.shown[0]!.members!.slice(1) }) }))))).toEqual(["P1"])
  })

  it("finds an older state", async () => {
    const stale = perfect.deliveries.find(({ client, position }) => position === 60 && client === "client 0")!
    expect(promises(await run(planted((delivery) => ({ ...delivery, shown: stale.shown }))))).toEqual(["P1"])
  })

  it("finds a mask that was left off in a frame", async () => {
    const seen = { id: users[1]!, name: "user 1", email: "1@example.com" }
    expect(promises(await run(planted((delivery) => ({ ...delivery, user: users[0]!, shown: [], carried: [["users", seen]] }))))).toEqual(["P7"])
  })

  it("finds a row of a private project in a frame", async () => {
    const hidden = steps.flatMap((step) => [...step.chunks].flat()).findLast(({ after, table }) => table === "cards" && after?.["projectId"] === projects[1])!.after!
    const outsider = { ...perfect.deliveries.at(-1)!, user: random.uuid(), shown: [], carried: [["cards", hidden]] as const, receipts: [] }
    expect(promises(await run({ deliveries: [...perfect.deliveries, outsider] }))).toEqual(["P7"])
  })

  it("finds a client that goes back", async () => {
    const [a, b] = perfect.deliveries.slice(-4, -2)
    expect(promises(await run({ deliveries: [...perfect.deliveries, { ...a!, shown: [] }, { ...b!, shown: [] }] }))).toEqual(["P8"])
  })

  it("finds a commit that is missing, comes twice, or is another one", async () => {
    const index = steps.findIndex((step) => step.position > 200 && [...step.chunks].flat().some(({ after, table }) => table === "cards" && after !== null))
    const step = steps[index]!
    const missing = { commits: steps.toSpliced(index, 1).map(Shadow.ofStep) }
    expect((await run(missing)).length).toBeGreaterThan(0)
    expect(promises(await run({ commits: steps.toSpliced(index, 0, step).map(Shadow.ofStep) }))).toContain("commits")
    const changed = { ...step, chunks: [[...step.chunks].flat().map((change) => change.after === null ? change : { ...change, after: { ...change.after, title: "other" } })] }
    expect((await run({ commits: steps.with(index, changed).map(Shadow.ofStep) })).length).toBeGreaterThan(0)
    expect(promises(await withShadow((shadow) => checkSource(shadow, perfect)))).toEqual([])
    expect(promises(await withShadow((shadow) => checkSource(shadow, { ...perfect, steps: missing.commits })))).toEqual(["steps"])
  })

  it("finds what nobody saw", async () => {
    const last = perfect.quiets[0]!
    expect(promises(await run({ quiets: [{ ...last, contents: { ...last.contents, marks: [...last.contents.marks, "(2)"] } }] }))).toEqual(["commits"])
    expect(promises(await run({ quiets: [last, { ...last, mark: 2 }] }))).toEqual(["commits"])
  })

  it("finds a receipt that is late, early, missing, or there twice", async () => {
    const late = perfect.deliveries.map((delivery) => ({ ...delivery, receipts: [] }))
    expect(promises(await run({ deliveries: late }))).toEqual(["P3"])
    expect(promises(await run({ deliveries: perfect.deliveries.map((delivery) => ({ ...delivery, receipts: delivery.position === 300 && delivery.client === "client 0" ? ["store 1"] : delivery.receipts })) }))).toEqual(["P3"])
    const again: Step = { position: 320, transactions: [], truncated: [], chunks: [[{ table: "headwater.receipts", before: null, after: { client: "store", seq: 1n } }]] }
    expect(promises(await run({ commits: [...perfect.commits, Shadow.ofStep(again)] }))).toEqual(["P4"])
    expect(promises(await run({ mutations: [...perfect.mutations, { client: "client 0", name: "moveCard", bump: undefined, outcome: "applied" }] }))).toEqual(["P4"])
  })

  it("finds a mutation that took effect twice, or not", async () => {
    const bump = perfect.mutations[0]!
    expect(promises(await run({ mutations: [{ ...bump, outcome: "rejected" }] }))).toEqual(["P4"])
    expect(promises(await run({ mutations: [{ ...bump, bump: random.uuid() }] }))).toEqual(["P4"])
    const twice: Step = { position: 320, transactions: [], truncated: [], chunks: [[{ table: "audits", before: null, after: { id: random.uuid(), mutation: bump.bump!, counter: 1 } }]] }
    expect(promises(await run({ commits: [...perfect.commits, Shadow.ofStep(twice)] }))).toEqual(["P4"])
  })

  it("passes on what was found during the run", async () => {
    expect(promises(await run({ violations: ["bytes"] }))).toEqual(["run"])
  })
})
