/** What a client with a raw WebSocket, and a valid token of little worth, must not achieve. */
import type { ErrorCode, Hello } from "@headwater/core/Message"
import { createServer } from "node:http"
import { type AddressInfo, connect as connectTcp } from "node:net"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { Session } from "../src/Session.ts"
import * as Transport from "../src/Transport.ts"
import { Attack, gate, hanging, serveAttack } from "./attackBoard.ts"
import { type Client, connect, enter as enterAs, hello as helloAs } from "./harness.ts"

let server: Awaited<ReturnType<typeof serveAttack>>
beforeAll(async () => {
  server = await serveAttack({ pendingBytes: 100_000, messagesPerSecond: 100_000, maxSubscriptions: 50 })
})
afterAll(() => server?.stop())

const contract = { name: Attack.contractName, hash: Attack.hash }
type Queries = ReadonlyArray<readonly [string, Record<string, any>]>
const enter = (token: string, queries: Queries = [], options: Partial<Hello> = {}) => enterAs(server, token, queries, { contract, ...options })
const hello = (token: string, options: Partial<Hello> = {}) => helloAs(token, { contract, ...options })

/** Everybody else is served on. */
const stillServes = async () => {
  const ann = await enter("ann", [["cards", { projectId: "q" }]])
  assert.isAtLeast(ann.rows(0)!.length, 1)
  ann.close()
}

const endsWith = async (client: Client, code: ErrorCode) => {
  assert.deepInclude(await client.message("error"), { code, fatal: true })
  await client.until(() => client.closed())
  await stillServes()
}

/** The server's end of a connection. */
const farEnd = (client: Client) => {
  const far = [...server.sockets].find((socket) => socket.remotePort === (client.ws as any)._socket.localPort)
  assert.isDefined(far)
  return far!
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe("P12 a connection's failure is its own", () => {
  it("a parameter's schema that throws", async () => {
    const eve = await enter("eve", [["cards", { projectId: "p" }]])
    eve.send({ type: "subscribe", id: 7, query: "titled", parameters: { title: "throw" } })
    assert.deepInclude(await eve.message("error"), { code: "ServerFailure" })
    assert.notInclude(JSON.stringify(eve.messages), "internal")
    await stillServes()
  })

  for (const token of ["throw", "type"]) {
    it(`authentication that goes wrong (${token})`, async () => {
      const client = await connect(server.url)
      client.send(hello(token))
      await endsWith(client, "ServerFailure")
      assert.notInclude(JSON.stringify(client.messages), "internal")
    })
  }

  it("P9 authentication that does not end ends with its connection", async () => {
    const before = hanging.interrupted
    const client = await connect(server.url)
    client.send(hello("never"))
    client.send({ type: "ping" })
    await turn()
    client.close()
    await client.until(() => client.closed())
    while (hanging.interrupted === before) await turn()
  })

  const odd: ReadonlyArray<string> = ["\u0000", "a\u0000b", "\ud800", "x\udfff"]
  it.each(odd.map((client) => ({ client })))("a client id that the database cannot hold is malformed ($client)", async ({ client }) => {
    const one = await connect(server.url)
    one.send(hello("eve", { client }))
    await endsWith(one, "MalformedMessage")
  })

  it("requests that are no URL, and peers that are gone, do not end a server that sessions were attached to", async () => {
    const session = await server.runtime.runPromise(Session)
    const http = createServer()
    const detach = Transport.attach(session, http, {})
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve))
    const { port } = http.address() as AddressInfo
    const send = (text: string) => new Promise<string>((resolve) => {
      let answer = ""
      const socket = connectTcp(port, "127.0.0.1", () => socket.write(text))
      socket.on("data", (data) => {
        answer += data.toString()
        socket.end()
      })
      socket.on("close", () => resolve(answer))
      socket.on("error", () => {})
    })
    const upgrade = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${more}\r\n`
    for (const path of ["//", "http://[", "/elsewhere", "//:0/sync"]) assert.include(await send(upgrade(path)), "404", path)
    assert.include(await send(upgrade("/sync", "Origin: https://evil.example\r\n")), "403")
    assert.include(await send(upgrade("/sync", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n")), "400")
    // Resets while it is refused.
    await new Promise<void>((resolve) => {
      const socket = connectTcp(port, "127.0.0.1", () => {
        socket.write(upgrade("/sync", "Origin: https://evil.example\r\n"), () => socket.resetAndDestroy())
      })
      socket.on("close", () => resolve())
      socket.on("error", () => {})
    })
    const client = await connect(`ws://127.0.0.1:${port}/sync`)
    client.send(hello("eve"))
    await client.message("welcome")
    client.close()
    detach()
    await new Promise((resolve) => http.close(resolve))
  })
})

describe("P12 bytes that are no protocol end their own connection", () => {
  const upgrade = (more = "", path = "/sync") =>
    `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${more}\r\n`
  /** A client's frame, masked with zeros. */
  const frame = (first: number, body: Buffer | string, length: ReadonlyArray<number> = [0x80 | Buffer.from(body).length]) =>
    Buffer.concat([Buffer.from([first, ...length, 0, 0, 0, 0]), Buffer.from(body)])
  const raw: ReadonlyArray<{ readonly what: string; readonly bytes: ReadonlyArray<string | Buffer> }> = [
    { what: "a target that is no path", bytes: ["GET // HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"] },
    { what: "an upgrade of a target that is no path", bytes: [upgrade("", "//")] },
    { what: "an upgrade elsewhere", bytes: [upgrade("", "/elsewhere")] },
    { what: "another method", bytes: ["POST /sync HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"] },
    { what: "no HTTP", bytes: ["\u0016\u0003\u0001\u0002\u0000\r\n\r\n"] },
    { what: "a bad key", bytes: [upgrade().replace("dGhl", "!")] },
    { what: "an old version", bytes: [upgrade().replace("Version: 13", "Version: 1")] },
    { what: "another protocol", bytes: [upgrade().replace("websocket", "h2c")] },
    { what: "a frame that is not masked", bytes: [upgrade(), Buffer.from([0x81, 1, 65])] },
    { what: "a compressed frame that was not agreed on", bytes: [upgrade("Sec-WebSocket-Extensions: permessage-deflate\r\n"), frame(0xc1, "abc")] },
    { what: "text that is not UTF-8", bytes: [upgrade(), frame(0x81, Buffer.from([0xff, 0xfe]))] },
    { what: "a continuation of nothing", bytes: [upgrade(), frame(0x80, "abc")] },
    { what: "a length beyond all bounds", bytes: [upgrade(), frame(0x81, "", [0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])] },
    { what: "a ping that is too long", bytes: [upgrade(), frame(0x89, "", [0xfe, 0x01, 0x00])] },
    { what: "a close code that is none", bytes: [upgrade(), frame(0x88, Buffer.from([0, 1]))] },
    { what: "very many fragments", bytes: [upgrade(), Buffer.concat(Array.from({ length: 100_000 }, (_, i) => frame(i === 0 ? 0x01 : 0x00, "a")))] }
  ]

  it.each(raw)("$what", async ({ bytes }) => {
    await new Promise<void>((resolve, reject) => {
      const socket = connectTcp(server.port, "127.0.0.1", async () => {
        const [first, ...rest] = bytes
        socket.write(first!)
        for (const more of rest) {
          await new Promise((resolve) => socket.once("data", resolve))
          socket.write(more)
        }
      })
      socket.on("data", () => {})
      socket.on("error", () => {})
      socket.on("close", () => resolve())
      socket.setTimeout(8000, () => {
        socket.destroy()
        reject(new Error("the connection stays open"))
      })
    })
    await stillServes()
  })
})

describe("P9 what connections take together is bounded", () => {
  const serveFew = async (run: (few: Awaited<ReturnType<typeof serveAttack>>) => Promise<void>) => {
    const few = await serveAttack({ maxConnections: 3, bytesPerSecond: 100_000, maxResultRows: 4, maxScanned: 2 })
    try {
      await run(few)
    } finally {
      await few.stop()
    }
  }

  it("one who says who he is finds room among those who do not; nobody makes room who was let in", () => serveFew(async (few) => {
    const enterFew = (token: string) => enterAs(few, token, [["cards", { projectId: "p" }]], { contract })
    const silent = [await connect(few.url), await connect(few.url), await connect(few.url)]
    const inside: Array<Client> = []
    for (const client of silent) {
      inside.push(await enterFew("eve"))
      await client.until(() => client.closed())
      assert.strictEqual(client.closed()!.code, 1013)
      assert.strictEqual((await client.message("goaway")).retryAfterMillis, 5000)
    }
    const late = await connect(few.url)
    await late.until(() => late.closed()?.code === 1013)
    assert.deepStrictEqual(inside.map((client) => client.closed()), [undefined, undefined, undefined])
    inside[0]!.close()
    await inside[0]!.until(() => inside[0]!.closed())
    await enterFew("eve")
  }))

  it("a result that is too large, and one query too many that has to be scanned, are refused, and their ids are free again", () => serveFew(async (few) => {
    const eve = await enterAs(few, "eve", [["cards", { projectId: "p" }], ["openLike", { pattern: "a%" }], ["openLike", { pattern: "b%" }]], { contract })
    await few.query("insert into cards (id, project_id, title) values (6, 'p', 'six')")
    await eve.until(() => eve.rows(0)!.length === 5)
    const ann = await enterAs(few, "ann", [], { contract })
    ann.send({ type: "subscribe", id: 1, query: "cards", parameters: { projectId: "p" } })
    assert.deepInclude(await ann.message("error"), { code: "BudgetExceeded", id: 1, fatal: false })
    ann.send({ type: "subscribe", id: 1, query: "cards", parameters: { projectId: "q" } })
    await ann.until(() => ann.rows(1)?.length === 1)
    eve.send({ type: "subscribe", id: 4, query: "openLike", parameters: { pattern: "c%" } })
    assert.deepInclude(await eve.message("error"), { code: "BudgetExceeded", id: 4, fatal: false })
    eve.send({ type: "subscribe", id: 4, query: "cards", parameters: { projectId: "q" } })
    await eve.until(() => eve.rows(4))
    assert.lengthOf(eve.rows(0)!, 5)
  }))

  it("text that comes too fast is read later, and all of it", () => serveFew(async (few) => {
    const eve = await enterAs(few, "eve", [], { contract })
    const [far] = few.sockets
    const query = "q".repeat(10_000)
    for (let id = 0; id < 25; id++) eve.send({ type: "unsubscribe", id: 0, padding: query })
    eve.send({ type: "subscribe", id: 1, query: "cards", parameters: { projectId: "p" } })
    while (!far!.isPaused()) await turn()
    await eve.until(() => eve.rows(1))
    while (far!.isPaused()) await turn()
  }))
})

describe("P9 a connection's memory is bounded", () => {
  it("what is said before welcome", async () => {
    const client = await connect(server.url)
    client.send(hello("never"))
    const payload = Array.from({ length: 9 }, () => "x".repeat(100_000))
    for (let i = 0; i < 10; i++) client.send({ type: "mutate", seq: i + 1, name: "createCard", payload })
    await endsWith(client, "LimitExceeded")
  })

  it("mutations that wait for their turn: who sends more has to wait, and loses none", async () => {
    const eve = await enter("eve")
    const far = farEnd(eve)
    const before = far.bytesRead
    gate.close()
    eve.send({ type: "mutate", seq: 1, name: "misbehave", payload: { what: "hold" } })
    const payload = { id: 1, projectId: "no such project", title: "x".repeat(900_000), price: null }
    for (let seq = 2; seq <= 40; seq++) eve.send({ type: "mutate", seq, name: "changeCard", payload })
    while (!far.isPaused()) await turn()
    assert.isBelow(far.bytesRead - before, 8_000_000)
    await stillServes()
    gate.open()
    for (let seq = 2; seq <= 40; seq++) assert.strictEqual((await eve.outcome(seq)).reason._tag, "WriteRefused")
    eve.close()
  })

  it("parameters of subscriptions", async () => {
    const eve = await enter("eve")
    eve.send({ type: "subscribe", id: 1, query: "cards", parameters: { projectId: "x".repeat(500_000) } })
    assert.deepInclude(await eve.message("error"), { id: 1, code: "LimitExceeded", fatal: false })
    eve.close()
  })

  /** Sends until the server's end holds too much, or is gone. */
  const flood = async (client: Client, times: number, send: (i: number) => void) => {
    const far = farEnd(client)
    ;(client.ws as any)._socket.pause()
    let most = 0
    for (let i = 0; i < times && !far.destroyed && most < 10_000_000; i++) {
      send(i)
      if (i % 1000 > 0) continue
      while (client.ws.bufferedAmount > 0 && !far.destroyed) await turn()
      most = Math.max(most, far.writableLength)
    }
    return most
  }

  it("answers to one who does not read", async () => {
    const eve = await enter("eve")
    const query = "q".repeat(250)
    assert.isBelow(await flood(eve, 100_000, (id) => eve.send({ type: "subscribe", id, query, parameters: {} })), 2_000_000)
    eve.ws.terminate()
    await stillServes()
  })

  it("pongs for one who does not read", async () => {
    const eve = await enter("eve")
    const data = Buffer.alloc(125)
    assert.isBelow(await flood(eve, 200_000, () => eve.ws.ping(data)), 2_000_000)
    eve.ws.terminate()
    await stillServes()
  })

  it("receipts of one who waits for a position that is not there", async () => {
    const welcome = await (await enter("eve")).message("welcome")
    const eve = await enter("eve", [], { resume: { epoch: welcome.epoch, position: Number.MAX_SAFE_INTEGER } })
    const text = "x".repeat(100_000)
    for (let seq = 1; seq <= 40; seq++) eve.send({ type: "mutate", seq, name: "misbehave", payload: { what: `echo ${text}` } })
    await eve.until(() => eve.closed())
    assert.deepInclude(await eve.message("error"), { code: "LimitExceeded", fatal: true })
  })
})

describe("P7 what may not be read is not told", () => {
  it("masked columns decide neither order, nor window, nor filter", async () => {
    const eve = await enter("eve", [["byCode", {}], ["withCode", { code: "a" }], ["cards", { projectId: "p" }]])
    // By what eve sees: her own code, then NULLs by key.
    assert.deepStrictEqual(eve.rows(0)!.map((row) => [row[0], row[4]]), [[5, "epsilon"], [1, null]])
    assert.deepStrictEqual(eve.rows(1)!.map((row) => row[0]), [5])
    await server.query("update cards set code = 'aaaa' where id = 2")
    await server.query("update cards set title = 'one!' where id = 1")
    await eve.until(() => eve.rows(2)!.some((row) => row[2] === "one!"))
    assert.deepStrictEqual(eve.rows(0)!.map((row) => row[0]), [5, 1])
    assert.notMatch(JSON.stringify(eve.messages), /zeta|alpha|gamma|delta|aaaa/)
    await server.query("update cards set title = 'one' where id = 1")
    eve.close()
  })

  it("a mask that falls with its row's other columns falls in the frame of that step", async () => {
    const eve = await enter("eve", [["cards", { projectId: "p" }]])
    await server.query("update cards set title = 'not eve', code = 'secret-now' where id = 5")
    await eve.until(() => eve.rows(0)!.some((row) => row[2] === "not eve"))
    assert.notInclude(JSON.stringify(eve.messages), "secret-now")
    await server.query("update cards set title = 'eve', code = 'epsilon' where id = 5")
    eve.close()
  })

  it("a row that leaves in the step that turns its mask is not sent once more", async () => {
    await server.query("insert into docs values (1, 'one', 'note'), (2, 'two', 'hidden note'); insert into viewers values (1, 'eve'), (2, 'eve'); insert into editors values (1, 'eve')")
    // The editors first, so that they are looked at first.
    const other = await enter("ann", [["drafts", {}]])
    const eve = await enter("eve", [["docs", {}], ["firstDocs", {}]])
    assert.deepStrictEqual(eve.rows(0), [[1, "one", "note"], [2, "two", null]])
    const gone = (id: number) => () => eve.rows(0)!.every((row) => row[0] !== id) && eve.rows(1)!.every((row) => row[0] !== id)
    // What is read falls, and what is read would rise.
    await server.query("begin; delete from editors where doc_id = 1; delete from viewers where doc_id = 1; update docs set title = 'hidden title', note = 'hidden note' where id = 1; commit")
    await eve.until(gone(1))
    await server.query("begin; insert into editors values (2, 'eve'); delete from viewers where doc_id = 2; commit")
    await eve.until(gone(2))
    assert.notInclude(JSON.stringify(eve.messages), "hidden")
    assert.notInclude(JSON.stringify(eve.messages.slice(2)), "note\"")
    eve.close()
    other.close()
  })

  it("exists in a query sees what its reader may see", async () => {
    const eve = await enter("eve", [["projectsWith", { title: "three" }], ["projectsWith", { title: "two" }]])
    const ann = await enter("ann", [["projectsWith", { title: "three" }]])
    assert.deepStrictEqual([eve.rows(0)!.length, eve.rows(1)!.length, ann.rows(0)!.length], [0, 1, 1])
    eve.close()
    ann.close()
  })

  it("principals that JSON would take for one are told apart", async () => {
    const all = await enter("max/Infinity", [["papers", {}]])
    const none = await enter("nan/-Infinity", [["papers", {}]])
    assert.deepStrictEqual(all.rows(0)!.map((row) => row[2]), ["five", "fifty"])
    assert.deepStrictEqual(none.rows(0)!.map((row) => row[2]), ["hidden", "hidden"])
    await server.query("update papers set note = 'five!' where id = 1")
    await all.until(() => all.rows(0)!.some((row) => row[2] === "five!"))
    none.send({ type: "ping" })
    await none.message("pong")
    assert.notMatch(JSON.stringify(none.messages), /five|fifty/)
    all.close()
    none.close()
  })

  it("another's client id, session and position give nothing", async () => {
    const ann = await enter("ann", [["cards", { projectId: "q" }]])
    const { epoch, position, session } = await ann.message("welcome")
    ann.send({ type: "mutate", seq: 1, name: "createCard", payload: { id: 500, projectId: "q", title: "from ann" } })
    await ann.outcome(1)
    const thief = await connect(server.url)
    thief.send(hello("eve", { client: ann.hello.client, resume: { epoch, position, session } }))
    await endsWith(thief, "ClientTaken")
    assert.isUndefined(ann.closed())
    const eve = await enter("eve", [], {
      resume: { epoch, position, session }, subscriptions: [{ id: 0, query: "cards", parameters: { projectId: "q" }, held: true }]
    })
    await eve.until(() => eve.rows(0) !== undefined)
    assert.deepStrictEqual(eve.rows(0), [])
    assert.notMatch(JSON.stringify(eve.messages), /three|from ann/)
    eve.close()
    ann.close()
  })

  it("a principal with less, of the same person, does not resume what it saw with more", async () => {
    const high = await enter("ann/Infinity", [["papers", {}]])
    const { epoch, position, session } = await high.message("welcome")
    high.close()
    await server.query("update papers set note = 'fifty!' where id = 2")
    const low = await enter("ann/0", [], {
      client: high.hello.client, resume: { epoch, position, session }, subscriptions: [{ id: 0, query: "papers", parameters: {}, held: true }]
    })
    await low.until(() => low.rows(0) !== undefined)
    assert.isTrue((low.messages.find((message) => message.type === "frame") as any).patches[0].reset)
    assert.deepStrictEqual(low.rows(0)!.map((row) => row[2]), ["hidden", "hidden"])
    low.close()
  })
})

describe("parameters at the edges", () => {
  const edges: ReadonlyArray<readonly [query: string, parameters: Record<string, unknown>]> = [
    ...["\\", "%\\", "a\\\\\\", "%".repeat(1000), "_".repeat(1000), ""].map((pattern) => ["like", { pattern }] as const),
    ...[0, -1, Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER].map((count) => ["firstCards", { count }] as const),
    ...["infinity", "-infinity", "294276-12-31T23:59:59.999999Z", "4714-11-24T00:00:00Z BC"].map((at) => ["priced", { at, price: "0", rank: 0, count: "0" }] as const),
    ...["NaN", "Infinity", "-Infinity", "1e9000", `0.${"0".repeat(9000)}1`, `-${"9".repeat(10_000)}`].map((price) => ["priced", { at: "infinity", price, rank: 0, count: "0" }] as const),
    ...["NaN", "Infinity", "-Infinity", 5e-324, 1.7976931348623157e308].map((rank) => ["priced", { at: "infinity", price: "0", rank, count: "0" }] as const),
    ...["9223372036854775807", "-9223372036854775808"].map((count) => ["priced", { at: "infinity", price: "0", rank: 0, count }] as const),
    ["cards", { projectId: "\ue000\uffff😀" }]
  ]

  it("are answered, and hold nobody up", async () => {
    const eve = await enter("eve", edges)
    await server.query("insert into numbers values (1, 'NaN', 'infinity', 'NaN', 1), (2, 1, '2020-01-01', 1, 1)")
    await eve.until(() => edges.every(([query], id) => query !== "priced" || eve.rows(id)!.length > 0))
    await stillServes()
    eve.close()
  })

  const refused: Queries = [
    ["like", { pattern: "a\u0000" }], ["like", { pattern: "\ud800" }], ["cards", { projectId: "\u0000" }], ["cards", { projectId: ["p"] }],
    ["cards", { projectId: { toString: "p" } }], ["cards", { projectId: null }], ["firstCards", { count: 1.5 }], ["firstCards", { count: 1e300 }],
    ["priced", { at: "infinity", price: "1e1000000", rank: 0, count: "0" }], ["priced", { at: "infinity", price: "0", rank: 0, count: "9223372036854775808" }],
    ["priced", { at: "294277-01-01T00:00:00Z", price: "0", rank: 0, count: "0" }], ["__proto__", {}], ["toString", {}]
  ]

  it("are refused beyond them", async () => {
    const eve = await enter("eve")
    refused.forEach(([query, parameters], id) => eve.send({ type: "subscribe", id, query, parameters }))
    // An own field of that name, which JSON.parse makes one.
    eve.send(`{"type":"subscribe","id":99,"query":"cards","parameters":{"__proto__":{"projectId":"p"}}}`)
    const errors = () => eve.messages.filter((message) => message.type === "error")
    await eve.until(() => errors().length === refused.length + 1)
    for (const error of errors()) assert.include(["InvalidParameters", "UnknownQuery"], error.code)
    assert.isUndefined(eve.closed())
    eve.close()
  })
})
