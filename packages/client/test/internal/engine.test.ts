import { assert, describe, it } from "@effect/vitest"
import type { Patch, Receipt } from "@headwater/core/Message"
import * as Engine from "../../src/internal/engine.ts"
import type { LiveQuery } from "../../src/internal/liveQueries.ts"
import * as memoryStorage from "../../src/internal/memoryStorage.ts"
import type { Optimistic } from "../../src/internal/optimistic.ts"
import * as OverlayTransaction from "../../src/internal/overlayTransaction.ts"
import type * as Outbox from "../../src/Outbox.ts"
import { Board, columns, Task, wire } from "../board.ts"
import * as FakeServer from "../FakeServer.ts"

type Row = { readonly id: string; readonly rank: number; readonly title: string }

const optimistic = (show: (tx: OverlayTransaction.OverlayTransaction, payload: never) => void): Optimistic =>
  (overlay, payload, context) => show(OverlayTransaction.make(overlay, context), payload as never)

const start = async (options: Partial<Engine.Options> = {}) => {
  const server = FakeServer.make()
  const world = FakeServer.world(server)
  const engine = Engine.make({
    contract: Board,
    url: "ws://test",
    token: () => "token",
    storage: memoryStorage.make(),
    stored: undefined,
    environment: world.environment,
    optimistic: {
      createTask: optimistic((tx, payload: object) => void tx.insert(Task, payload)),
      moveTask: optimistic((tx, payload: object) => tx.update(Task, payload)),
      renameTask: optimistic((tx, { id, title }: { id: string; title: string }) => {
        if (title === "boom") throw new Error("boom")
        const task = tx.get(Task, { id })
        if (task !== null) tx.update(Task, { id, title: `${title} (was ${String(task.title)})` })
      }),
      removeTask: optimistic((tx, payload: object) => tx.delete(Task, payload))
    },
    ...options
  })
  await FakeServer.settled()
  return { engine, server, world }
}

const rows = (patch: ReadonlyArray<readonly [string, number]>, binding = 1, fields: Partial<Patch> = {}): Patch => ({
  binding, reset: true, rows: [["app.tasks", patch.map(([id, rank]) => wire(id, rank))]], add: patch.map(([id]) => id), remove: [], ...fields
})
const success = (seq: number): Receipt => ({ seq, outcome: { type: "success", value: null } })
const ids = (query: LiveQuery) => (query.snapshot.value as ReadonlyArray<Row> | undefined)?.map(({ id, rank }) => `${id}${rank}`).join(" ")

/** Online with `allTasks` live over a1 b2. */
const online = async (options: Partial<Engine.Options> = {}) => {
  const { engine, server, world } = await start(options)
  const tasks = engine.query("allTasks", {}, undefined)
  let told = 0
  const leave = tasks.subscribe(() => told++)
  await FakeServer.settled()
  const { peer } = server
  const hello = peer.hello()
  peer.welcome({ columns, principal: { userId: "me" } })
  // Those that were asked for after hello, and before welcome.
  const [subscription = hello.subscriptions[0]!] = peer.take("subscribe")
  peer.frame(10, { opened: [{ id: subscription.id, binding: 1 }], patches: [rows([["a", 1], ["b", 2]])] })
  assert.strictEqual(tasks.snapshot.status, "live")
  told = 0
  return { engine, server, world, peer, tasks, leave, id: subscription.id, told: () => told }
}

const mutated = (result: ReturnType<Engine.Engine["mutate"]>) => {
  if ("refused" in result) throw result.refused
  return result
}

describe("a mutation", () => {
  it("P3 is shown at once, confirmed by its frame, and acknowledged", async () => {
    const { engine, peer, tasks, told } = await online()
    const { outcome } = mutated(engine.mutate("moveTask", { id: "a", rank: 3 }, undefined))
    assert.strictEqual(ids(tasks), "b2 a3")
    assert.deepStrictEqual(engine.pending.snapshot.map(({ name, payload, status }) => ({ name, payload, status })), [{ name: "moveTask", payload: { id: "a", rank: 3 }, status: "sent" }])
    const [message] = peer.take("mutate")
    assert.deepStrictEqual(message, { type: "mutate", seq: 1, name: "moveTask", payload: { id: "a", rank: 3 } })
    const before = tasks.snapshot
    peer.frame(11, { patches: [{ binding: 1, rows: [["app.tasks", [wire("a", 3)]]], add: [], remove: [] }], receipts: [success(1)] })
    assert.deepStrictEqual(await outcome, { ok: true, value: undefined })
    assert.strictEqual(tasks.snapshot, before, "what was shown is what is confirmed: nobody is told")
    assert.strictEqual(told(), 1)
    assert.deepStrictEqual(engine.pending.snapshot, [])
    assert.deepStrictEqual(peer.take("ack"), [{ type: "ack", seq: 1 }])
  })

  it("P5 that is rejected rolls back visibly, and can be retried or dismissed", async () => {
    const { engine, peer, tasks } = await online()
    const { outcome } = mutated(engine.mutate("renameTask", { id: "a", title: "x" }, undefined))
    assert.strictEqual((tasks.snapshot.value as ReadonlyArray<Row>)[0]!.title, "x (was Task a)")
    peer.frame(11, { receipts: [{ seq: 1, outcome: { type: "error", error: { _tag: "TitleTooLong", max: 5 } } }] })
    assert.strictEqual((tasks.snapshot.value as ReadonlyArray<Row>)[0]!.title, "Task a")
    const settled = await outcome
    assert.isFalse(settled.ok)
    const [rejected] = engine.rejected.snapshot
    assert.deepInclude(rejected!, { name: "renameTask", payload: { id: "a", title: "x" } })
    assert.deepInclude(rejected!.error as object, { _tag: "TitleTooLong", max: 5 })
    rejected!.retry()
    assert.strictEqual((tasks.snapshot.value as ReadonlyArray<Row>)[0]!.title, "x (was Task a)")
    assert.deepStrictEqual(engine.rejected.snapshot, [])
    assert.deepStrictEqual(peer.take("mutate").map(({ seq }) => seq), [1, 2])
    peer.frame(12, { receipts: [{ seq: 2, outcome: { type: "refused", reason: { _tag: "WriteRefused", table: "app.tasks", key: "a", constraint: "c", message: "no" } } }] })
    assert.deepInclude((engine.rejected.snapshot[0]!.error as { reason: object }).reason, { _tag: "WriteRefused", constraint: "c" })
    engine.rejected.snapshot[0]!.dismiss()
    assert.deepStrictEqual(engine.rejected.snapshot, [])
  })

  it("P5 names those before it whose rows it read or wrote", async () => {
    const { engine, peer } = await online()
    engine.mutate("createTask", { id: "c", projectId: "p1", title: "C", rank: 9 }, undefined)
    engine.mutate("moveTask", { id: "b", rank: 7 }, undefined)
    engine.mutate("renameTask", { id: "c", title: "x" }, undefined)
    engine.mutate("archive", {}, undefined)
    assert.deepStrictEqual(peer.take("mutate").map(({ after, name }) => [name, after]), [
      ["createTask", undefined], ["moveTask", undefined], ["renameTask", [1]], ["archive", undefined]
    ])
  })

  it("runs its handler again only when what it read was touched, with the time of its first run", async () => {
    let runs = 0
    const nows: Array<string> = []
    const { engine, peer, tasks, world } = await online({
      optimistic: {
        renameTask: (overlay, payload, context) => {
          runs++
          nows.push(context.now)
          const tx = OverlayTransaction.make(overlay, context)
          const { id, title } = payload as { id: string; title: string }
          tx.update(Task, { id, title: `${title} ${String(tx.get(Task, { id })!.rank)}` })
        }
      }
    })
    engine.mutate("renameTask", { id: "a", title: "x" }, undefined)
    const title = () => (tasks.snapshot.value as ReadonlyArray<Row>).find(({ id }) => id === "a")!.title
    assert.deepStrictEqual([runs, title()], [1, "x 1"])
    await world.advance(1000)
    peer.frame(11, { patches: [{ binding: 1, rows: [["app.tasks", [wire("b", 5)]]], add: [], remove: [] }] })
    assert.deepStrictEqual([runs, title()], [1, "x 1"])
    peer.frame(12, { patches: [{ binding: 1, rows: [["app.tasks", [wire("a", 6)]]], add: [], remove: [] }] })
    assert.deepStrictEqual([runs, title()], [2, "x 6"])
    assert.strictEqual(nows[0], nows[1])
  })

  it("P12 whose optimistic handler fails, or reads what is not held, is sent all the same", async () => {
    const { engine, peer, tasks, world } = await online()
    engine.mutate("renameTask", { id: "a", title: "boom" }, undefined)
    engine.mutate("renameTask", { id: "unknown", title: "x" }, undefined)
    assert.strictEqual(ids(tasks), "a1 b2")
    assert.strictEqual(engine.abandoned, 2)
    assert.strictEqual(world.warnings.length, 1, "one warning for each mutation is enough")
    assert.strictEqual(peer.take("mutate").length, 2)
  })

  it("with a payload that does not fit fails at once, by name", async () => {
    const { engine, peer } = await online()
    const result = engine.mutate("moveTask", { id: "a", rank: "high" }, undefined)
    assert.isTrue("refused" in result && result.refused.reason._tag === "InvalidPayload" && result.refused.message.includes("rank"))
    assert.deepStrictEqual(peer.take("mutate"), [])
  })

  it("P10 offline is queued, keeps its place, and makes the page warn before it is left", async () => {
    const { engine, peer, server, tasks, world } = await online()
    const leaves = () => {
      const event = new Event("beforeunload", { cancelable: true })
      world.page.dispatchEvent(event)
      return !event.defaultPrevented
    }
    assert.isTrue(leaves())
    peer.cut()
    const { outcome } = mutated(engine.mutate("moveTask", { id: "a", rank: 3 }, undefined))
    engine.mutate("moveTask", { id: "b", rank: 4 }, undefined)
    assert.strictEqual(ids(tasks), "a3 b4")
    assert.deepStrictEqual(engine.pending.snapshot.map(({ status }) => status), ["queued", "queued"])
    assert.isFalse(leaves())
    await world.advance(1000)
    server.peer.hello()
    server.peer.welcome({ columns })
    assert.deepStrictEqual(server.peer.take("mutate").map(({ seq }) => seq), [1, 2])
    server.peer.frame(12, { opened: [{ id: 1, binding: 1 }], patches: [rows([["a", 3], ["b", 4]])], receipts: [success(1), success(2)] })
    assert.isTrue((await outcome).ok)
    assert.isTrue(leaves())
  })

  it("P4 that was sent before a cut is sent again, and answered once", async () => {
    const { engine, peer, server, world } = await online()
    const { outcome } = mutated(engine.mutate("moveTask", { id: "a", rank: 3 }, undefined))
    peer.cut()
    await world.advance(1000)
    const hello = server.peer.hello()
    assert.deepInclude(hello, { acknowledged: 0, client: "client-1" })
    server.peer.welcome({ columns, nextSeq: 2 })
    assert.deepStrictEqual(server.peer.take("mutate").map(({ seq }) => seq), [1])
    server.peer.frame(12, { receipts: [success(1)] })
    server.peer.frame(13, { receipts: [success(1)] })
    assert.isTrue((await outcome).ok)
  })

  it("of another user is not sent as this one, and can be retried", async () => {
    const { engine, server, world } = await start()
    engine.mutate("moveTask", { id: "a", rank: 3 }, undefined)
    server.peer.hello()
    server.peer.send({ type: "error", code: "ClientTaken", message: "taken", fatal: true })
    await world.advance(0)
    assert.strictEqual(server.peer.hello().client, "client-2")
    assert.strictEqual((engine.rejected.snapshot[0]!.error as { reason: { _tag: string } }).reason._tag, "Unauthenticated")
    server.peer.welcome({ columns })
    engine.rejected.snapshot[0]!.retry()
    assert.deepStrictEqual(server.peer.take("mutate").map(({ seq }) => seq), [1])
  })

  it("whose token has expired is parked until there is a new one", async () => {
    let tokens = 0
    const { engine, peer, server, world } = await online({ token: () => `token ${++tokens}` })
    engine.mutate("moveTask", { id: "a", rank: 3 }, undefined)
    peer.send({ type: "outcome", seq: 1, reason: { _tag: "Unauthenticated", message: "expired" } })
    assert.strictEqual(engine.pending.snapshot[0]!.status, "parked")
    await world.advance(0)
    assert.strictEqual(server.peer.hello().token, "token 2")
    server.peer.welcome({ columns })
    assert.strictEqual(server.peer.take("mutate")[0]!.seq, 1)
  })

  it("P4 after a fork goes on under another client id", async () => {
    const { engine, peer, server, world } = await online()
    engine.mutate("moveTask", { id: "a", rank: 3 }, undefined)
    peer.send({ type: "outcome", seq: 1, reason: { _tag: "ClientForked", message: "forked" } })
    await world.advance(0)
    assert.deepInclude(server.peer.hello(), { client: "client-2", acknowledged: 0 })
    server.peer.welcome({ columns })
    assert.strictEqual(server.peer.take("mutate")[0]!.seq, 1)
    assert.strictEqual(server.peers.length, 2)
  })
})

describe("a storage that takes its time", () => {
  /** Durable when told. */
  const slow = () => {
    const commits: Array<{ readonly change: Outbox.Change; readonly done: () => void }> = []
    const storage: Engine.Options["storage"] = {
      commit: (change) => new Promise((done) => void commits.push({ change, done }))
    }
    const flush = async () => {
      for (let next = commits.shift(); next !== undefined; next = commits.shift()) next.done()
      await FakeServer.settled()
    }
    return { storage, commits, flush }
  }

  it("P10 a mutation is durable before enqueue resolves, its number before it is sent", async () => {
    const { commits, flush, storage } = slow()
    const { engine, peer } = await online({ storage })
    const { stored } = mutated(engine.mutate("moveTask", { id: "a", rank: 3 }, undefined))
    let durable = false
    void stored!.then(() => (durable = true))
    await FakeServer.settled()
    assert.deepStrictEqual([durable, peer.take("mutate").length], [false, 0])
    assert.deepStrictEqual(commits.flatMap(({ change }) => change.put.map(({ seq }) => seq)), [null, 1])
    await flush()
    assert.deepStrictEqual([durable, peer.take("mutate").length], [true, 1])
    peer.frame(11, { receipts: [success(1)] })
    assert.deepStrictEqual(commits.map(({ change }) => [change.acknowledged, change.remove]), [[1, [1]]])
  })

  it("P4 P10 what it held is shown again, and sent again under its number and client id", async () => {
    const entry = { name: "moveTask", payload: { id: "a", rank: 3 }, dependencies: [], since: 5, trace: undefined, after: [], doomed: null }
    const { flush, storage } = slow()
    const stored: Outbox.Stored = {
      client: "earlier", acknowledged: 6, isSpent: false,
      entries: [{ ...entry, id: 8, status: "sent", seq: 7 }, { ...entry, id: 9, payload: { id: "b", rank: 0 }, status: "queued", seq: null }]
    }
    const { engine, server } = await start({ storage, stored })
    const tasks = engine.query("allTasks", {}, undefined)
    tasks.subscribe(() => undefined)
    const { peer } = server
    assert.deepInclude(peer.hello(), { client: "earlier", acknowledged: 6 })
    peer.welcome({ columns, nextSeq: 7 })
    peer.frame(10, { opened: [{ id: 1, binding: 1 }], patches: [rows([["a", 1], ["b", 2]])] })
    assert.strictEqual(ids(tasks), "b0 a3")
    assert.deepStrictEqual(engine.pending.snapshot.map(({ id, payload, since }) => [id, payload, since]), [[8, { id: "a", rank: 3 }, 5], [9, { id: "b", rank: 0 }, 5]])
    await flush()
    assert.deepStrictEqual(peer.take("mutate").map(({ payload, seq }) => [seq, payload]), [[7, { id: "a", rank: 3 }], [8, { id: "b", rank: 0 }]])
  })
})

describe("a live query", () => {
  it("is inert until somebody subscribes, one handle for equal parameters, and stays for its keep-alive", async () => {
    const { engine, peer, world } = await online()
    const tasks = engine.query("openTasks", { projectId: "p1" }, undefined)
    assert.strictEqual(engine.query("openTasks", { projectId: "p1" }, undefined), tasks)
    assert.notStrictEqual(engine.query("openTasks", { projectId: "p2" }, undefined), tasks)
    assert.deepStrictEqual(peer.take("subscribe"), [])
    // As StrictMode does.
    tasks.subscribe(() => undefined)()
    const leave = tasks.subscribe(() => undefined)
    const again = tasks.subscribe(() => undefined)
    const [subscription, ...others] = peer.take("subscribe")
    assert.deepInclude(subscription!, { query: "openTasks", parameters: { projectId: "p1" } })
    assert.deepStrictEqual(others, [])
    leave()
    leave()
    await world.advance(20_000)
    assert.deepStrictEqual(peer.take("unsubscribe"), [])
    again()
    await world.advance(9_999)
    assert.deepStrictEqual(peer.take("unsubscribe"), [])
    await world.advance(1)
    assert.deepStrictEqual(peer.take("unsubscribe"), [{ type: "unsubscribe", id: subscription!.id }])
    assert.deepStrictEqual(tasks.snapshot, { value: undefined, status: "loading", error: undefined })
  })

  it("P6 all queries of a frame change before the first listener hears of it, and each is told once", async () => {
    const { engine, peer, tasks } = await online()
    const titles = engine.query("titles", {}, undefined)
    const seen: Array<string> = []
    titles.subscribe(() => seen.push(`titles ${ids(tasks)} ${(titles.snapshot.value as ReadonlyArray<Row>).length}`))
    tasks.subscribe(() => seen.push(`tasks ${ids(tasks)} ${(titles.snapshot.value as ReadonlyArray<Row> | undefined)?.length}`))
    const [subscription] = peer.take("subscribe")
    peer.frame(11, {
      opened: [{ id: subscription!.id, binding: 2 }],
      patches: [rows([["a", 1], ["b", 2], ["c", 3]], 2), { binding: 1, rows: [["app.tasks", [wire("c", 3)]]], add: ["c"], remove: [] }]
    })
    assert.deepStrictEqual(seen.sort(), ["tasks a1 b2 c3 3", "titles a1 b2 c3 3"])
    // A projection that does not show what changed is not told.
    peer.frame(12, { patches: [{ binding: 2, rows: [["app.tasks", [wire("a", 1, { done: true })]]], add: [], remove: [] }, { binding: 1, rows: [["app.tasks", [wire("a", 1, { done: true })]]], add: [], remove: [] }] })
    assert.strictEqual(seen.length, 3)
  })

  it("P8 keeps the old state over a cut, and swaps all queries by the first frame", async () => {
    const { engine, id, peer, server, tasks, world } = await online()
    const titles = engine.query("titles", {}, undefined)
    titles.subscribe(() => undefined)
    const [second] = peer.take("subscribe")
    peer.frame(11, { opened: [{ id: second!.id, binding: 2 }], patches: [rows([["a", 1], ["b", 2]], 2)] })
    peer.cut()
    assert.deepStrictEqual([tasks.snapshot.status, ids(tasks)], ["stale", "a1 b2"])
    await world.advance(1000)
    const hello = server.peer.hello()
    assert.deepInclude(hello, { resume: { epoch: "e1", position: 11, session: "s1" } })
    assert.deepStrictEqual(hello.subscriptions.map((one) => [one.id, one.held]), [[id, true], [second!.id, true]])
    server.peer.welcome({ columns, session: "s2" })
    assert.strictEqual(tasks.snapshot.status, "stale")
    // The difference for one, nothing for the other: both are live at 12.
    server.peer.frame(12, { opened: [{ id, binding: 7 }, { id: second!.id, binding: 8 }], patches: [{ binding: 7, rows: [["app.tasks", [wire("a", 5)]]], add: [], remove: [] }] })
    assert.deepStrictEqual([tasks.snapshot.status, ids(tasks), titles.snapshot.status], ["live", "b2 a5", "live"])
  })

  it("P8 an older frame of the same epoch is never shown; another epoch starts anew", async () => {
    const { id, peer, server, tasks, world } = await online()
    peer.frame(9, { patches: [rows([["z", 1]])] })
    assert.deepStrictEqual([tasks.snapshot.status, ids(tasks)], ["stale", "a1 b2"])
    await world.advance(1000)
    const hello = server.peer.hello()
    assert.deepStrictEqual(hello.resume, { epoch: "e1", position: 10 }, "nothing is offered for resumption after that")
    assert.isUndefined(hello.subscriptions[0]!.held)
    server.peer.welcome({ columns, epoch: "e2" })
    server.peer.frame(3, { opened: [{ id, binding: 1 }], patches: [rows([["z", 1]])] })
    assert.deepStrictEqual([tasks.snapshot.status, ids(tasks)], ["live", "z1"])
  })

  it("after resync is stale until everything is reset", async () => {
    const { peer, tasks, told } = await online()
    peer.send({ type: "resync", reason: "SlowConsumer" })
    assert.strictEqual(tasks.snapshot.status, "stale")
    const value = tasks.snapshot.value
    peer.frame(20, { patches: [rows([["a", 1], ["b", 2]])] })
    assert.strictEqual(tasks.snapshot.status, "live")
    assert.strictEqual(tasks.snapshot.value, value, "the same content is the same array")
    assert.strictEqual(told(), 2)
  })

  it("that the server refuses fails with a typed error and keeps its value; the others go on", async () => {
    const { engine, peer, tasks } = await online()
    const other = engine.query("projects", {}, undefined)
    other.subscribe(() => undefined)
    const [subscription] = peer.take("subscribe")
    peer.send({ type: "error", code: "Forbidden", message: "not yours", id: subscription!.id, fatal: false })
    assert.deepInclude(other.snapshot, { status: "failed", value: undefined })
    assert.strictEqual(other.snapshot.error!.reason._tag, "Forbidden")
    assert.strictEqual(tasks.snapshot.status, "live")
    assert.strictEqual(engine.query("openTasks", { projectId: 1 }, undefined).snapshot.error!.reason._tag, "InvalidPayload")
  })

  it("P12 a subscriber that throws harms nobody", async () => {
    const { peer, tasks, world } = await online()
    tasks.subscribe(() => {
      throw new Error("mine")
    })
    let heard = 0
    tasks.subscribe(() => heard++)
    peer.frame(11, { patches: [{ binding: 1, rows: [["app.tasks", [wire("c", 3)]]], add: ["c"], remove: [] }] })
    assert.deepStrictEqual([heard, world.reports.length], [1, 1])
  })

  it("preload starts it, and resolves once it is live", async () => {
    const { engine, peer } = await online()
    const query = engine.query("taskById", { id: "a" }, undefined)
    let done = false
    void query.preload().then(() => (done = true))
    await FakeServer.settled()
    const [subscription] = peer.take("subscribe")
    assert.isFalse(done)
    peer.frame(11, { opened: [{ id: subscription!.id, binding: 3 }], patches: [rows([["a", 1]], 3)] })
    await FakeServer.settled()
    assert.isTrue(done)
    assert.deepInclude(query.snapshot.value as object, { id: "a" })
  })

  it("with a principal in its condition shows an optimistic row once the caller is known", async () => {
    const { engine, peer } = await online()
    for (const name of ["projects", "myTasks"]) engine.query(name, {}, undefined).subscribe(() => undefined)
    const [projects, mine] = peer.take("subscribe")
    peer.frame(11, {
      opened: [{ id: projects!.id, binding: 2 }, { id: mine!.id, binding: 3 }],
      patches: [{ binding: 2, reset: true, rows: [["projects", [["p1", "One", "me"], ["p2", "Two", "you"]]]], add: ["p1", "p2"], remove: [] }, rows([["a", 1]], 3)]
    })
    engine.mutate("createTask", { id: "c", projectId: "p1", title: "C", rank: 0 }, undefined)
    engine.mutate("createTask", { id: "d", projectId: "p2", title: "D", rank: 0 }, undefined)
    assert.strictEqual(ids(engine.query("myTasks", {}, undefined)), "c0 a1")
  })
})

describe("a connection", () => {
  it("that is told to go away comes back, and one that falls silent is given up", async () => {
    const { engine, peer, server, world } = await online()
    peer.send({ type: "goaway", reason: "restart", retryAfterMillis: 100 })
    assert.isTrue(peer.closed)
    await world.advance(200)
    assert.strictEqual(server.peers.length, 2)
    server.peer.hello()
    server.peer.welcome({ columns })
    assert.strictEqual(engine.connection.snapshot.status, "online")
    server.awake = false
    await world.advance(10_000)
    assert.strictEqual(server.peer.take("ping").length, 1)
    await world.advance(10_000)
    assert.strictEqual(engine.connection.snapshot.status, "offline")
    assert.isTrue(server.peers[1]!.closed)
  })

  it("asks for a new token when it is refused, and says so meanwhile", async () => {
    let tokens = 0
    const { engine, server } = await start({ token: () => Promise.resolve(`token ${++tokens}`) })
    assert.strictEqual(server.peer.hello().token, "token 1")
    server.peer.send({ type: "error", code: "Unauthenticated", message: "expired", fatal: true })
    assert.strictEqual(engine.connection.snapshot.status, "unauthenticated")
    await FakeServer.settled()
    assert.strictEqual(server.peer.hello().token, "token 2")
    server.peer.welcome({ columns })
    assert.deepStrictEqual(engine.connection.snapshot, { status: "online" })
  })

  it("to a server with another version of the contract goes on with what fits", async () => {
    const { engine, server, world } = await start()
    const tasks = engine.query("allTasks", {}, undefined)
    const titles = engine.query("titles", {}, undefined)
    for (const query of [tasks, titles]) query.subscribe(() => undefined)
    assert.isUndefined(server.peer.hello().contract.definitions)
    server.peer.send({ type: "error", code: "ContractMismatch", message: "other", fatal: true })
    await world.advance(0)
    assert.deepStrictEqual(server.peer.hello().contract.definitions, Board.definitionHashes)
    engine.mutate("moveTask", { id: "a", rank: 1 }, undefined)
    engine.mutate("archive", {}, undefined)
    server.peer.welcome({ columns, refused: { queries: ["titles"], mutations: ["moveTask"] } })
    assert.strictEqual(titles.snapshot.error!.reason._tag, "ContractMismatch")
    assert.strictEqual(tasks.snapshot.status, "loading")
    assert.deepStrictEqual(server.peer.take("mutate").map(({ name, seq }) => [name, seq]), [["archive", 1]])
    assert.deepStrictEqual(engine.pending.snapshot.map(({ name, status }) => [name, status]), [["moveTask", "parked"], ["archive", "sent"]])
  })

  it("P12 survives whatever the server sends", async () => {
    for (const text of ["", "{", "[]", `{"type":"frame"}`, `{"type":"unheard"}`, `{"type":"frame","to":11,"patches":[{"binding":1,"rows":[["app.tasks",[[1]]]],"add":[],"remove":[]}]}`,
      `{"type":"frame","to":11,"patches":[{"binding":1,"rows":[],"add":["nowhere"],"remove":[]}]}`]) {
      const { engine, peer, server, tasks, world } = await online()
      peer.sendText(text)
      assert.deepInclude(engine.connection.snapshot, { status: "offline" }, text)
      assert.strictEqual(engine.connection.snapshot.error!.code, "ProtocolError")
      assert.strictEqual(ids(tasks), "a1 b2")
      await world.advance(1000)
      assert.strictEqual(server.peers.length, 2)
    }
  })

  it("cannot be made: the client stays offline, and tries again", async () => {
    const server = FakeServer.make()
    server.reachable = false
    const world = FakeServer.world(server)
    const engine = Engine.make({ contract: Board, url: "", token: () => undefined, storage: memoryStorage.make(), stored: undefined, optimistic: {}, environment: world.environment })
    await FakeServer.settled()
    assert.strictEqual(engine.connection.snapshot.status, "offline")
    assert.isDefined(engine.connection.snapshot.retryAt)
    server.reachable = true
    world.page.dispatchEvent(new Event("online"))
    await FakeServer.settled()
    server.peer.hello()
  })

  it("that is closed ends calls, queries and timers", async () => {
    const { engine, tasks, world, peer } = await online()
    const { outcome } = mutated(engine.mutate("archive", {}, undefined))
    engine.close()
    assert.strictEqual(((await outcome) as { error: { reason: { _tag: string } } }).error.reason._tag, "Closed")
    assert.deepInclude(tasks.snapshot, { status: "failed" })
    assert.strictEqual(engine.connection.snapshot.status, "closed")
    assert.isTrue(peer.closed)
    assert.isTrue("refused" in engine.mutate("archive", {}, undefined))
    await world.advance(60_000)
    assert.strictEqual(engine.query("titles", {}, undefined).subscribe(() => undefined)(), undefined)
  })
})
