import { assert, describe, it } from "@effect/vitest"
import * as OverlayTransaction from "../../src/internal/overlayTransaction.ts"
import { columns, Task, wire } from "../board.ts"
import { ids, mutated, online, rows, start, success, type Row } from "../engines.ts"

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
