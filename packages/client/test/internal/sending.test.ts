import { assert, describe, it } from "@effect/vitest"
import type * as Engine from "../../src/internal/engine.ts"
import type * as Outbox from "../../src/Outbox.ts"
import { columns } from "../board.ts"
import { ids, mutated, online, rows, start, success } from "../engines.ts"
import * as FakeServer from "../FakeServer.ts"

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
