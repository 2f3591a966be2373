import { assert, describe, it } from "@effect/vitest"
import * as Engine from "../../src/internal/engine.ts"
import * as memoryStorage from "../../src/internal/memoryStorage.ts"
import { Board, columns } from "../board.ts"
import { online, start } from "../engines.ts"
import * as FakeServer from "../FakeServer.ts"

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
})
