import { assert, describe, it } from "@effect/vitest"
import { columns, wire } from "../board.ts"
import { ids, online, rows, type Row } from "../engines.ts"
import * as FakeServer from "../FakeServer.ts"

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
