import type { ErrorCode } from "@headwater/core/Message"
import { Metric } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { Hub } from "../src/Hub.ts"
import { Board, Mailer } from "./board.ts"
import { type Client, connect, enter, hello, serve, type Server } from "./harness.ts"

let server: Server
beforeAll(async () => {
  server = await serve({ maxMessageBytes: 100_000, maxSubscriptions: 20, messagesPerSecond: 100 })
})
afterAll(() => server?.stop())

const mutate = (client: Client, seq: number, name: string, payload: object, more: object = {}) =>
  client.send({ type: "mutate", seq, name, payload, ...more })

const run = (client: Client, seq: number, name: string, payload: object, more: object = {}) => {
  mutate(client, seq, name, payload, more)
  return client.outcome(seq)
}

const refusalOf = (client: Client, seq: number) =>
  client.until(() => client.messages.find((message) => message.type === "outcome" && message.seq === seq), `a refusal of ${seq}`).then((message: any) => message.reason)

describe("mutations", () => {
  it("P3 an outcome arrives with its effect, to its client alone", async () => {
    const ann = await enter(server, "ann", [["tasks", { projectId: "p" }]])
    const bob = await enter(server, "bob", [["tasks", { projectId: "p" }]])
    assert.deepStrictEqual(ann.rows(0)!.slice(0, 2), [[1, "p", "one", false, 0], [2, "p", "two", false, 0]])
    assert.deepStrictEqual(await run(ann, 1, "createTask", { id: 10, projectId: "p", title: "ten" }), {
      type: "success", value: { id: 10, projectId: "p", title: "ten", done: false, rank: 0 }
    })
    const frame = ann.messages.find((message) => message.type === "frame" && message.receipts !== undefined) as any
    assert.deepStrictEqual(frame.patches[0].rows[0][1], [[10, "p", "ten", false, 0]])
    await bob.until(() => bob.rows(0)!.some((row) => row[0] === 10))
    await server.query("update app.tasks set title = 'from outside' where id = 10")
    await bob.until(() => bob.rows(0)!.some((row) => row[2] === "from outside"))
    assert.strictEqual(bob.receipts.size, 0)
  })

  it("a declared error undoes what was written, and is stored", async () => {
    const ann = await enter(server, "ann")
    assert.deepStrictEqual(await run(ann, 1, "createTask", { id: 20, projectId: "p", title: "" }), { type: "error", error: { _tag: "TitleEmpty", id: 20 } })
    assert.lengthOf(await server.query("select from app.tasks where id = 20"), 0)
    assert.deepStrictEqual(await server.query("select rejected, mutation from headwater.receipts where client = $1", [ann.hello.client]), [{ rejected: true, mutation: "createTask" }])
  })

  it("P4 a mutation that is sent again has its effect once, and the first outcome, until that is acknowledged", async () => {
    const ann = await enter(server, "ann")
    const payload = { id: "a" }
    const first = await run(ann, 1, "bumpAndMail", payload)
    ann.receipts.clear()
    assert.deepStrictEqual(await run(ann, 1, "bumpAndMail", payload), first)
    // Another connection, which has applied nothing yet, gets it by itself.
    const again = await enter(server, "ann", [], { client: ann.hello.client })
    assert.deepStrictEqual(await again.outcome(1), first)
    assert.strictEqual((await again.message("welcome")).nextSeq, 2)
    mutate(again, 1, "bumpAndMail", payload)
    again.send({ type: "ack", seq: 1 })
    await run(again, 2, "setRank", { id: 1, rank: 5 })
    assert.deepStrictEqual(await server.query("select seq::int from headwater.receipts where client = $1", [ann.hello.client]), [{ seq: 2 }])
    mutate(again, 1, "bumpAndMail", payload)
    assert.strictEqual((await refusalOf(again, 1))._tag, "AlreadyAcknowledged")
    assert.deepStrictEqual(await server.query("select value from counters where id = 'a'"), [{ value: first.value }])
    const { sent } = await server.runtime.runPromise(Mailer)
    assert.strictEqual(sent.filter((id) => id === "a").length, first.value)
  })

  it("P4 another payload under the same number is a copied store", async () => {
    const ann = await enter(server, "ann")
    await run(ann, 1, "setRank", { id: 1, rank: 6 })
    mutate(ann, 1, "setRank", { id: 1, rank: 7 })
    assert.strictEqual((await refusalOf(ann, 1))._tag, "ClientForked")
  })

  it("P5 a number that leaves a gap is refused, and a mutation that depends on a rejected one is rejected", async () => {
    const ann = await enter(server, "ann")
    mutate(ann, 2, "setRank", { id: 1, rank: 8 })
    assert.deepInclude(await refusalOf(ann, 2), { _tag: "SequenceGap" })
    assert.strictEqual((await run(ann, 1, "createTask", { id: 30, projectId: "p", title: "" })).type, "error")
    assert.deepInclude((await run(ann, 2, "setRank", { id: 30, rank: 1 }, { after: [1] })).reason, { _tag: "DependencyRejected", seq: 1 })
    assert.strictEqual((await run(ann, 3, "setRank", { id: 1, rank: 1 }, { after: [] })).type, "success")
  })

  it("what was never run leaves its number free", async () => {
    const ann = await enter(server, "ann")
    mutate(ann, 1, "noSuchThing", {})
    assert.deepInclude(await refusalOf(ann, 1), { _tag: "UnknownMutation" })
    assert.deepInclude((await run(ann, 1, "setRank", { id: "one", rank: 1 })).reason, { _tag: "InvalidPayload", message: "The payload of setRank does not fit: id is not a value of type int4." })
    assert.strictEqual((await run(ann, 2, "setRank", { id: 1, rank: 1 })).type, "success")
  })

  it("an attempt undoes its own writes and no others", async () => {
    const ann = await enter(server, "ann")
    await server.query("update app.tasks set rank = 3 where id = 1")
    assert.deepStrictEqual(await run(ann, 1, "insertOr", { id: 1, otherId: 40, projectId: "p", title: "forty" }), { type: "success", value: "tasks_pkey" })
    assert.deepStrictEqual(await server.query("select title, (select rank from app.tasks where id = 1) from app.tasks where id = 40"), [{ title: "forty!", rank: 3 }])
  })

  it("an unexpected failure undoes everything and tells nothing of itself (P7, P12)", async () => {
    const ann = await enter(server, "ann", [["tasks", { projectId: "p" }]])
    await server.query("update app.tasks set rank = 4 where id = 1")
    assert.strictEqual((await run(ann, 1, "misbehave", { what: "die", id: 0 })).reason._tag, "ServerFailure")
    assert.notInclude(JSON.stringify(ann.messages), "hunter2")
    assert.deepStrictEqual(await server.query("select rank from app.tasks where id = 1"), [{ rank: 4 }])
    assert.strictEqual((await run(ann, 2, "misbehave", { what: "nothing", id: 0 })).type, "success")
  })

  it("a deferred constraint refuses its mutation before the commit, and its receipt stays", async () => {
    const ann = await enter(server, "ann")
    const { reason } = await run(ann, 1, "misbehave", { what: "deferred", id: 50 })
    assert.deepInclude(reason, { _tag: "WriteRefused", table: "app.tasks", constraint: "tasks_project_id_fkey" })
    assert.lengthOf(await server.query("select from app.tasks where id = 50"), 0)
    assert.strictEqual((await run(ann, 2, "setRank", { id: 1, rank: 1 })).type, "success")
  })

  it("a constraint's refusal names table, key and constraint, and no data", async () => {
    const ann = await enter(server, "ann")
    const { reason } = await run(ann, 1, "createTask", { id: 60, projectId: "p", title: "two" })
    assert.deepStrictEqual(reason, {
      _tag: "WriteRefused", table: "app.tasks", key: reason.key, constraint: "tasks_title",
      message: "The constraint tasks_title refuses the write to app.tasks."
    })
  })
})

describe("access", () => {
  it("P7 a write is checked on the row before and after, and a refusal that is swallowed is not committed", async () => {
    const bob = await enter(server, "bob")
    const tags = async (...mutations: ReadonlyArray<readonly [string, object]>) => {
      const all: Array<string> = []
      let seq = (await bob.message("welcome")).nextSeq
      for (const [name, payload] of mutations) {
        const outcome = await run(bob, seq++, name, payload)
        all.push(outcome.type === "refused" ? outcome.reason._tag : outcome.type)
      }
      return all
    }
    assert.deepStrictEqual(await tags(
      ["createTask", { id: 70, projectId: "q", title: "not his" }],
      ["setRank", { id: 3, rank: 1 }],
      ["moveTask", { id: 1, projectId: "q" }],
      ["deleteTask", { id: 1 }],
      ["misbehave", { what: "swallow", id: 71 }],
      ["deleteTask", { id: 3 }],
      ["setRank", { id: 1, rank: 2 }]
    ), ["WriteRefused", "WriteRefused", "WriteRefused", "WriteRefused", "WriteRefused", "success", "success"])
    assert.deepStrictEqual(await server.query("select id, project_id from app.tasks where id in (1, 3, 70, 71) order by id"), [{ id: 1, project_id: "p" }, { id: 3, project_id: "q" }])
    const admin = await enter(server, "admin:ann")
    await server.query("insert into app.tasks (id, project_id, title) values (72, 'p', 'seventy-two')")
    assert.strictEqual((await run(admin, 1, "deleteTask", { id: 72 })).type, "success")
    assert.lengthOf(await server.query("select from app.tasks where id = 72"), 0)
  })

  it("P7 handlers read what their caller may read, unless they say otherwise", async () => {
    const bob = await enter(server, "bob")
    assert.deepStrictEqual(await run(bob, 1, "countTasks", { projectId: "q", all: false }), { type: "success", value: 0 })
    assert.deepStrictEqual(await run(bob, 2, "countTasks", { projectId: "q", all: true }), { type: "success", value: 1 })
  })

  it("P7 what no rule allows is denied, and a masked column is masked in results and outcomes", async () => {
    const bob = await enter(server, "bob", [["users", {}], ["allTasks", {}]])
    assert.deepStrictEqual(bob.rows(0), [["ann", "Ann", null], ["bob", "Bob", "bob@example.com"], ["eve", "Eve", null]])
    assert.isTrue(bob.rows(1)!.length > 0 && bob.rows(1)!.every((row) => row[1] === "p"))
    bob.send({ type: "subscribe", id: 9, query: "secrets", parameters: {} })
    assert.deepInclude(await bob.message("error"), { id: 9, code: "Forbidden", fatal: false })
    assert.deepStrictEqual(await run(bob, 1, "readUser", { id: "ann" }), { type: "success", value: { id: "ann", name: "Ann", email: null } })
    assert.deepStrictEqual(await run(bob, 2, "readUser", { id: "bob" }), { type: "success", value: { id: "bob", name: "Bob", email: "bob@example.com" } })
    const ann = await enter(server, "ann", [["users", {}]])
    await server.query("update users set email = 'new@example.com' where id = 'ann'")
    await ann.until(() => ann.rows(0)!.some((row) => row[2] === "new@example.com"))
    assert.notInclude(JSON.stringify(bob.messages), "new@example.com")
  })

  it("P7 a mask that turns without its row sends the row again in that step, to those for whom it turns", async () => {
    const bob = await enter(server, "bob", [["users", {}]])
    const eve = await enter(server, "eve", [["users", {}]])
    const mails = (client: Client) => client.rows(0)!.map((row) => row[2])
    const { email } = (await server.query("select email from users where id = 'ann'"))[0]
    assert.deepStrictEqual([mails(bob), mails(eve)], [[null, "bob@example.com", null], [null, null, null]])
    const frames = () => bob.messages.filter((message) => message.type === "frame")
    const before = frames().length
    await server.query("insert into collaborators values ('staff', 'bob')")
    await bob.until(() => frames().length > before)
    assert.deepStrictEqual(mails(bob), [email, "bob@example.com", null])
    assert.deepStrictEqual(await run(bob, 1, "readUser", { id: "ann" }), { type: "success", value: { id: "ann", name: "Ann", email } })
    await server.query("delete from collaborators where project_id = 'staff'")
    await bob.until(() => mails(bob)[0] === null)
    assert.deepStrictEqual((await run(bob, 2, "readUser", { id: "ann" })).value.email, null)
    assert.deepStrictEqual(mails(eve), [null, null, null])
    assert.notInclude(JSON.stringify(eve.messages), "@example.com")
  })

  it("P7 a revoked collaborator's rows leave in the frame of that step, and come back in another", async () => {
    await server.query("insert into collaborators values ('q', 'eve')")
    const eve = await enter(server, "eve", [["tasks", { projectId: "q" }], ["allTasks", {}], ["topTasks", { projectId: "q" }]])
    assert.deepStrictEqual([0, 1, 2].map((id) => eve.rows(id)!.length), [1, 1, 1])
    const frames = () => eve.messages.filter((message) => message.type === "frame")
    const before = frames().length
    await server.query("begin; delete from collaborators where user_id = 'eve'; update app.tasks set title = 'hidden' where id = 3; commit")
    await eve.until(() => frames().length > before)
    assert.deepStrictEqual([0, 1, 2].map((id) => eve.rows(id)!.length), [0, 0, 0])
    assert.strictEqual(frames().length, before + 1)
    assert.notInclude(JSON.stringify(eve.messages), "hidden")
    await server.query("insert into collaborators values ('q', 'eve')")
    await eve.until(() => frames().length > before + 1)
    assert.deepStrictEqual([0, 1, 2].map((id) => eve.rows(id)!.map((row) => row[2])), [["hidden"], ["hidden"], ["hidden"]])
    await server.query("delete from collaborators where user_id = 'eve'")
  })

  it("all collaborators of a project share one binding and one encoding", async () => {
    const hub = await server.runtime.runPromise(Hub)
    const names = Array.from({ length: 30 }, (_, i) => `user${i}`)
    await server.query("insert into projects values ('shared', 'Shared'); insert into app.tasks (id, project_id, title) values (900, 'shared', 'old')")
    await server.query("insert into collaborators select 'shared', unnest($1::text[])", [names])
    const before = hub.stats()
    const all = await Promise.all(names.map((name) => enter(server, name, [["tasks", { projectId: "shared" }]])))
    assert.strictEqual(hub.stats().bindings - before.bindings, 1)
    const encoded = hub.stats().encodedRows
    const built = hub.stats().builtFrames
    await server.query("update app.tasks set title = 'new' where id = 900")
    await Promise.all(all.map((one) => one.until(() => one.rows(0)![0]![2] === "new")))
    assert.strictEqual(hub.stats().encodedRows - encoded, 1)
    assert.strictEqual(hub.stats().builtFrames - built, 1)
    for (const one of all) one.close()
  })
})

describe("connections", () => {
  it("P8 a client that comes back to its session gets the difference; to another, the whole", async () => {
    const ann = await enter(server, "ann", [["tasks", { projectId: "p" }], ["users", {}]])
    const { epoch, session } = await ann.message("welcome")
    const last = ann.messages.filter((message) => message.type === "frame").at(-1) as any
    ann.close()
    await server.query("update app.tasks set title = 'while away' where id = 2")
    const resume = { epoch, position: last.to, session }
    const subscriptions = [{ id: 0, query: "tasks", parameters: { projectId: "p" }, held: true as const }, { id: 1, query: "users", parameters: {}, held: true as const }]
    const again = await connect(server.url)
    again.bindings.set(ann.opened.get(0)!, new Map(ann.bindings.get(ann.opened.get(0)!)))
    again.bindings.set(ann.opened.get(1)!, new Map(ann.bindings.get(ann.opened.get(1)!)))
    again.send(hello("ann", { client: ann.hello.client, subscriptions, resume }))
    const frame = await again.message("frame")
    // The change may still be on its way when the first frame goes out.
    await again.until(() => again.rows(0)!.some((row) => row[2] === "while away"))
    assert.isTrue(again.messages.every((message) => message.type !== "frame" || message.patches.every((patch) => patch.reset === undefined)))
    assert.isAtLeast(frame.to, last.to)
    const other = await connect(server.url)
    other.send(hello("bob", { subscriptions, resume }))
    assert.isTrue((await other.message("frame")).patches.every((patch) => patch.reset === true))
  })

  it("a client id belongs to whom it first belonged to", async () => {
    const ann = await enter(server, "ann")
    const bob = await connect(server.url)
    bob.send(hello("bob", { client: ann.hello.client }))
    assert.deepInclude(await bob.message("error"), { code: "ClientTaken", fatal: true })
  })

  it("the older of two connections of a client ends", async () => {
    const ann = await enter(server, "ann")
    await enter(server, "ann", [], { client: ann.hello.client })
    assert.strictEqual((await ann.until(() => ann.closed())).code, 4001)
  })

  it("welcome says who one is, and ping is answered with the position", async () => {
    const ann = await enter(server, "admin:ann", [["users", {}]])
    assert.deepStrictEqual((await ann.message("welcome")).principal, { userId: "ann", admin: true })
    ann.send({ type: "ping" })
    assert.isAtLeast((await ann.message("pong")).position, (await ann.message("welcome")).position)
  })

  it("P9 a client that does not read is given merged frames, and costs the server a bounded buffer", async () => {
    const slow = await enter(server, "ann", [["tasks", { projectId: "p" }]])
    const quick = await enter(server, "bob", [["tasks", { projectId: "p" }]])
    ;(slow.ws as any)._socket.pause()
    await server.query(`do $$ begin
      for i in 0..299 loop
        update app.tasks set title = i || ' ' || repeat('x', 60000) where id = 2;
        commit;
      end loop;
    end $$`)
    await quick.until(() => quick.rows(0)!.some((row) => `${row[2]}`.startsWith("299 ")))
    ;(slow.ws as any)._socket.resume()
    await slow.until(() => slow.rows(0)!.some((row) => `${row[2]}`.startsWith("299 ")))
    const frames = slow.messages.filter((message) => message.type === "frame").length
    assert.isBelow(frames, 250, `${frames} frames for 300 steps`)
    await server.query("update app.tasks set title = 'two' where id = 2")
  }, 60_000)
})

it("what it does can be measured", async () => {
  const measure = async () => new Map((await server.runtime.runPromise(Metric.snapshot)).map((metric) => [metric.id, metric.state as any]))
  const before = await measure()
  const ann = await enter(server, "ann", [["tasks", { projectId: "p" }]])
  await run(ann, 1, "setRank", { id: 1, rank: Math.random() })
  // Its answer comes after that of the first.
  await run(ann, 2, "setRank", { id: 1, rank: Math.random() })
  const after = await measure()
  for (const id of ["headwater_steps_total", "headwater_changes_total", "headwater_frames_total", "headwater_frame_bytes_total"]) {
    assert.isAbove(after.get(id).count, before.get(id)?.count ?? 0, id)
  }
  for (const id of ["headwater_mutation_ms", "headwater_step_changes", "headwater_fanout_ms", "headwater_commit_to_patch_ms"]) {
    assert.isAbove(after.get(id).count, before.get(id)?.count ?? 0, id)
  }
})

describe("bad input", () => {
  /** Everybody else is served on. */
  const stillServes = async () => {
    const ann = await enter(server, "ann", [["tasks", { projectId: "p" }]])
    assert.isAtLeast(ann.rows(0)!.length, 2)
    ann.close()
  }

  const fatal: ReadonlyArray<readonly [what: string, messages: ReadonlyArray<object | string>, code: ErrorCode, message: RegExp]> = [
    ["what is not JSON", ["{"], "MalformedMessage", /not JSON/],
    ["a message of unknown type", [{ type: "dance" }], "MalformedMessage", /type is unknown: "dance"/],
    ["a field of the wrong type", [{ ...hello("ann"), acknowledged: "all" }], "MalformedMessage", /acknowledged/],
    ["a message that is too large", [{ ...hello("ann"), token: "x".repeat(150_000) }], "MessageTooLarge", /larger than 100000 bytes/],
    ["something before hello", [{ type: "ping" }], "MalformedMessage", /must be hello, not ping/],
    ["hello twice", [hello("ann"), hello("ann")], "MalformedMessage", /once/],
    ["another protocol", [{ ...hello("ann"), protocol: 9 }], "UnsupportedProtocol", /speaks protocol 1, not 9/],
    ["another contract", [{ ...hello("ann"), contract: { name: "shop", hash: "x" } }], "ContractMismatch", /serves the contract board, not "shop"/],
    ["another version without its definitions", [{ ...hello("ann"), contract: { name: "board", hash: "x" } }], "ContractMismatch", /another version/],
    ["no token", [hello(undefined)], "Unauthenticated", /token is missing: sign in/],
    ["a bad token", [hello("wrong")], "Unauthenticated", /not valid: sign in again/],
    ["too many subscriptions at once", [hello("ann", { subscriptions: Array.from({ length: 21 }, (_, id) => ({ id, query: "users", parameters: {} })) })], "LimitExceeded", /20 subscriptions/],
    ["too deep a payload", [hello("ann"), { type: "mutate", seq: 1, name: "setRank", payload: JSON.parse("[".repeat(40) + "]".repeat(40)) }], "MalformedMessage", /payload/],
    ["too many messages", [hello("ann"), ...Array.from({ length: 1500 }, () => ({ type: "ping" }))], "LimitExceeded", /messages/]
  ]

  it.for(fatal)("%s ends the connection with an error that says so, and nothing else", async ([, messages, code, message]) => {
    const client = await connect(server.url)
    for (const one of messages) client.send(one)
    const error = await client.message("error")
    assert.deepInclude(error, { code, fatal: true })
    assert.match(error.message, message)
    await client.until(() => client.closed())
    await stillServes()
  })

  const local: ReadonlyArray<readonly [what: string, subscription: object, code: ErrorCode, message: RegExp]> = [
    ["an unknown query", { query: "nothing", parameters: {} }, "UnknownQuery", /no query "nothing"/],
    ["a query of the prototype", { query: "constructor", parameters: {} }, "UnknownQuery", /no query/],
    ["a missing parameter", { query: "tasks", parameters: {} }, "InvalidParameters", /projectId is missing/],
    ["a parameter of another type", { query: "tasks", parameters: { projectId: 7 } }, "InvalidParameters", /projectId/]
  ]

  it.for(local)("%s fails that subscription alone", async ([, subscription, code, message]) => {
    const client = await enter(server, "ann", [["users", {}]])
    client.send({ type: "subscribe", id: 5, ...subscription })
    const error = await client.message("error")
    assert.deepInclude(error, { id: 5, code, fatal: false })
    assert.match(error.message, message)
    client.send({ type: "subscribe", id: 5, query: "tasks", parameters: { projectId: "p" } })
    await client.until(() => client.rows(5) !== undefined)
    client.send({ type: "subscribe", id: 5, query: "users", parameters: {} })
    await client.until(() => client.messages.some((message) => message.type === "error" && message.code === "SubscriptionInUse"))
    assert.isUndefined(client.closed())
  })

  it("of another version of the contract only what differs is refused, by name", async () => {
    const definitions = {
      queries: { ...Board.definitionHashes.queries, users: "other" }, mutations: { ...Board.definitionHashes.mutations, setRank: "other" }
    }
    const client = await enter(server, "ann", [["tasks", { projectId: "p" }]], { contract: { name: "board", hash: "other", definitions } })
    assert.deepStrictEqual((await client.message("welcome")).refused, { queries: ["users"], mutations: ["setRank"] })
    client.send({ type: "subscribe", id: 5, query: "users", parameters: {} })
    assert.deepInclude(await client.message("error"), { id: 5, code: "UnknownQuery" })
    mutate(client, 1, "setRank", { id: 1, rank: 1 })
    assert.strictEqual((await refusalOf(client, 1))._tag, "UnknownMutation")
    assert.strictEqual((await run(client, 1, "countTasks", { projectId: "p", all: true })).type, "success")
  })

  it("a binary message is refused", async () => {
    const client = await connect(server.url)
    client.ws.send(Buffer.from("{}"))
    assert.deepInclude(await client.message("error"), { code: "MalformedMessage" })
  })

  it("a page of another origin is refused with 403, one of the same origin is not", async () => {
    const failed = await connect(server.url, { headers: { origin: "https://evil.example" } }).then(() => "connected", (error: Error) => error.message)
    assert.include(failed, "403")
    const own = await connect(server.url, { headers: { origin: server.http } })
    own.close()
  })

  it("the endpoint tells a plain request what it is, and health is up", async () => {
    assert.strictEqual((await fetch(`${server.http}/sync`)).status, 426)
    const health = await fetch(`${server.http}/health`)
    assert.deepStrictEqual([health.status, await health.json()], [200, { status: "ok" }])
  })
})
