import { assert, describe, it } from "@effect/vitest"
import { Board, columns } from "../board.ts"
import { ids, online, start } from "../engines.ts"

describe("a connection", () => {
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
})
