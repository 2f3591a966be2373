import { assert, describe, it } from "@effect/vitest"
import { createClient } from "@headwater/client/promise"
import { SyncError } from "@headwater/core/SyncError"
import { build } from "esbuild"
import { fileURLToPath } from "node:url"
import { Board, columns, Task, TitleTooLong, wire } from "./board.ts"
import * as FakeServer from "./FakeServer.ts"

const online = async () => {
  const server = FakeServer.make()
  const client = createClient(Board, {
    url: "ws://test",
    WebSocket: server.WebSocket,
    token: () => Promise.resolve("token"),
    optimistic: {
      createTask: (tx, task) => void tx.insert(Task, task),
      moveTask: (tx, { id, rank }) => tx.update(Task, { id, rank }),
      // The compiler lets an async function pass for one that returns nothing.
      renameTask: async (tx, { id, title }) => tx.update(Task, { id, title })
    }
  })
  await FakeServer.settled()
  const { peer } = server
  assert.strictEqual(peer.hello().token, "token")
  peer.welcome({ columns })
  return { client, peer, server }
}

describe("createClient", () => {
  it("P12 mutation promises never reject: results tell declared errors, sync errors and bad payloads apart", async () => {
    const { client, peer } = await online()
    const created = client.createTask({ id: "a", projectId: "p", title: "A", rank: 1 })
    const renamed = client.renameTask({ id: "a", title: "x" })
    const enqueued = await client.archive.enqueue()
    peer.frame(1, {
      receipts: [
        { seq: 1, outcome: { type: "success", value: { id: "a", projectId: "p", title: "A", done: false, rank: 1, createdAt: "2026-01-01T00:00:00Z" } } },
        { seq: 2, outcome: { type: "error", error: { _tag: "TitleTooLong", max: 0 } } },
        { seq: 3, outcome: { type: "success", value: 7 } }
      ]
    })
    const a = await created
    assert.isTrue(a.ok && a.value.createdAt === "2026-01-01T00:00:00Z" && Object.isFrozen(a.value))
    const b = await renamed
    assert.isTrue(!b.ok && b.error instanceof TitleTooLong && b.error.max === 0)
    assert.isTrue(enqueued.ok)
    if (enqueued.ok) assert.deepStrictEqual(await enqueued.value.outcome, { ok: true, value: 7 })
    const bad = await client.moveTask({ id: "a", rank: "x" as never })
    assert.isTrue(!bad.ok && bad.error instanceof SyncError && bad.error.reason._tag === "InvalidPayload")
    const badToo = await client.moveTask.enqueue({ id: "a" } as never)
    assert.isFalse(badToo.ok)
    const waiting = client.moveTask({ id: "a", rank: 1 })
    await client.sync.close()
    const closed = await waiting
    assert.isTrue(!closed.ok && closed.error._tag === "SyncError" && closed.error.reason._tag === "Closed")
    assert.isFalse((await client.moveTask({ id: "a", rank: 1 })).ok)
  })

  it("P12 an answer that does not fit the contract is an error of its own call", async () => {
    const { client, peer } = await online()
    const archived = client.archive()
    const moved = client.moveTask({ id: "a", rank: 1 })
    peer.frame(1, { receipts: [{ seq: 1, outcome: { type: "success", value: "many" } }, { seq: 2, outcome: { type: "success", value: null } }] })
    const result = await archived
    assert.isTrue(!result.ok && result.error.reason._tag === "ContractMismatch")
    assert.isTrue((await moved).ok)
  })

  it("an optimistic function that waits shows nothing, and harms nothing", async () => {
    const { client, peer } = await online()
    const tasks = client.allTasks()
    tasks.subscribe(() => undefined)
    const [subscription] = peer.take("subscribe")
    peer.frame(1, { opened: [{ id: subscription!.id, binding: 1 }], patches: [{ binding: 1, reset: true, rows: [["app.tasks", [wire("a", 1)]]], add: ["a"], remove: [] }] })
    void client.renameTask({ id: "a", title: "x" })
    assert.strictEqual(tasks.snapshot.value![0]!.title, "Task a")
    assert.strictEqual(client.sync.abandoned(), 1)
    assert.strictEqual(peer.take("mutate").length, 1)
  })

  it("is disposed of, and is no promise", async () => {
    const { client, peer } = await online()
    assert.isFalse("then" in client)
    await client[Symbol.asyncDispose]()
    assert.isTrue(peer.closed)
    assert.deepStrictEqual(client.sync.connection.snapshot, { status: "closed" })
  })

  it("says so where there is no WebSocket", () => {
    const { WebSocket } = globalThis
    try {
      Reflect.deleteProperty(globalThis, "WebSocket")
      assert.throws(() => createClient(Board, { url: "ws://test" }), /no WebSocket/)
    } finally {
      globalThis.WebSocket = WebSocket
    }
  })

  it("brings neither Schema nor Effect's runtime into a browser", async () => {
    const { metafile } = await build({
      entryPoints: [fileURLToPath(new URL("../../../scripts/size/promise.ts", import.meta.url))],
      bundle: true, write: false, metafile: true, format: "esm", platform: "browser", conditions: ["source"]
    })
    const [output] = Object.values(metafile.outputs)
    const modules = Object.entries(output!.inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([path]) => path)
    assert.isAbove(modules.length, 20)
    for (const path of modules) assert.notMatch(path, /effect\/dist\/(Schema|Effect|Layer|Stream|Fiber)\w*\.js|dist\/internal\/schema/)
  })
})
