/** What handlers, and the database's constraints, must not be able to do to others. */
import type { Hello } from "@headwater/core/Message"
import * as CommitSignal from "@headwater/cdc/CommitSignal"
import { Effect, Layer } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { Attack, gate, serveAttack } from "./attackBoard.ts"
import * as PostgresWriter from "../src/PostgresWriter.ts"
import { type Client, enter as enterAs, pgLayer } from "./harness.ts"

let server: Awaited<ReturnType<typeof serveAttack>>
beforeAll(async () => {
  server = await serveAttack({ writer: { connections: 1, handlerTimeout: "1 second" } })
})
afterAll(() => server?.stop())

const enter = (token: string, queries: ReadonlyArray<readonly [string, Record<string, any>]> = [], options: Partial<Hello> = {}) =>
  enterAs(server, token, queries, { contract: { name: Attack.contractName, hash: Attack.hash }, ...options })

const run = (client: Client, seq: number, name: string, payload: object) => {
  client.send({ type: "mutate", seq, name, payload })
  return client.outcome(seq)
}

const misbehave = (client: Client, seq: number, what: string) => run(client, seq, "misbehave", { what })

describe("P12 a handler", () => {
  it("runs what is to be done after its commit on another connection than the next mutation's", async () => {
    const ann = await enter("ann")
    const eve = await enter("eve")
    gate.close()
    // Waits for the gate, then writes; by then the only connection is another mutation's.
    assert.strictEqual((await misbehave(ann, 1, "afterCommit tx")).type, "success")
    eve.send({ type: "mutate", seq: 1, name: "misbehave", payload: { what: "hold" } })
    while ((await server.query("select from pg_stat_activity where datname = current_database() and state = 'idle in transaction'")).length === 0);
    gate.open()
    await eve.outcome(1)
    assert.deepStrictEqual(await server.query("select price from cards where id = 1"), [{ price: 1 }])
    assert.strictEqual((await misbehave(ann, 2, "afterCommit")).type, "success")
    while ((await server.query("select from log")).length === 0);
    assert.lengthOf(await server.query("select from log l join headwater.receipts r on r.transaction = l.mutation"), 0)
  })

  it("that writes when its mutation is over writes nothing", async () => {
    const ann = await enter("ann")
    const eve = await enter("eve")
    gate.close()
    assert.strictEqual((await misbehave(ann, 1, "late")).type, "success")
    eve.send({ type: "mutate", seq: 1, name: "misbehave", payload: { what: "hold" } })
    while ((await server.query("select from pg_stat_activity where datname = current_database() and state = 'idle in transaction'")).length === 0);
    gate.open()
    assert.strictEqual((await eve.outcome(1)).type, "success")
    assert.deepStrictEqual(await server.query("select price from cards where id = 1"), [{ price: 1 }])
  })

  it("P7 that does not await a write is judged by it all the same", async () => {
    const eve = await enter("eve")
    const outcome = await misbehave(eve, 1, "not awaited")
    assert.lengthOf(await server.query("select from cards where id = 600"), 0)
    assert.strictEqual(outcome.reason?._tag, "WriteRefused")
  })

  for (const what of ["swallowed", "interrupt", "throw", "type", "undeclared", "cycle"]) {
    it(`that goes wrong (${what}) ends its mutation with a receipt that tells nothing, and nothing else`, async () => {
      const ann = await enter("ann")
      assert.strictEqual((await misbehave(ann, 1, what)).reason?._tag, "ServerFailure")
      assert.notInclude(JSON.stringify(ann.messages), "internal")
      assert.notInclude(JSON.stringify(ann.messages), "no_such_table")
      assert.strictEqual((await misbehave(ann, 2, "nothing")).type, "success")
      assert.isUndefined(ann.closed())
    })
  }

  it("whose payload's schema throws ends its mutation with a receipt", async () => {
    const ann = await enter("ann")
    assert.strictEqual((await run(ann, 1, "checked", { text: "throw" })).reason._tag, "ServerFailure")
    assert.notInclude(JSON.stringify(ann.messages), "internal")
    assert.strictEqual((await run(ann, 2, "checked", { text: "fine" })).type, "success")
  })

  it("that never ends gives its connection back", async () => {
    const ann = await enter("ann")
    const eve = await enter("eve")
    ann.send({ type: "mutate", seq: 1, name: "misbehave", payload: { what: "never" } })
    assert.strictEqual((await run(eve, 1, "createCard", { id: 700, projectId: "p", title: "after" })).type, "success")
    assert.strictEqual((await ann.outcome(1)).reason._tag, "ServerFailure")
  })

  it("whose work after the commit throws has been committed, and the server goes on", async () => {
    const ann = await enter("ann")
    assert.strictEqual((await misbehave(ann, 1, "afterCommit throws")).type, "success")
    assert.strictEqual((await misbehave(ann, 2, "nothing")).type, "success")
  })
})

it("P4 what a client that was away for long sends again is not run, nor what depends on it; its receipts are gone, and clients that ran nothing", async () => {
  const [away, idle, here] = [await enter("eve"), await enter("eve"), await enter("eve")]
  assert.strictEqual((await run(away, 1, "createCard", { id: 910, projectId: "p", title: "away" })).type, "success")
  assert.strictEqual((await run(here, 1, "misbehave", { what: "nothing" })).type, "success")
  for (const client of [away, idle]) client.close()
  await server.query("update headwater.clients set seen = now() - interval '31 days' where client = any($1)", [[away.hello.client, idle.hello.client]])
  const pruner = await Effect.runPromise(Effect.scoped(Effect.andThen(
    Layer.build(PostgresWriter.layerWith({ connections: 1 }).pipe(Layer.provide([CommitSignal.layerMemory, pgLayer(server.database.url)]))),
    Effect.promise(async () => {
      while ((await server.query("select from headwater.clients where client = $1", [idle.hello.client])).length > 0);
      return server.query("select client from headwater.receipts where client = any($1)", [[away.hello.client, here.hello.client]])
    })
  )))
  assert.deepStrictEqual(pruner, [{ client: here.hello.client }])
  await server.query("delete from cards where id = 910")
  const back = await enter("eve", [], { client: away.hello.client })
  assert.strictEqual((await back.message("welcome")).nextSeq, 2)
  back.send({ type: "mutate", seq: 1, name: "createCard", payload: { id: 910, projectId: "p", title: "away" } })
  assert.strictEqual((await back.message("outcome")).reason._tag, "AlreadyAcknowledged")
  back.send({ type: "mutate", seq: 2, name: "createCard", payload: { id: 911, projectId: "p", title: "builds on it" }, after: [1] })
  assert.strictEqual((await back.outcome(2)).reason._tag, "DependencyRejected")
  assert.lengthOf(await server.query("select from cards where id in (910, 911)"), 0)
})

describe("P7 a row that a handler gives back", () => {
  it("is told to whom wrote it, whether or not that may read it", async () => {
    const eve = await enter("eve")
    assert.deepStrictEqual(await run(eve, 1, "createProject", { id: "new", name: "New" }), { type: "success", value: { id: "new", name: "New" } })
    assert.deepStrictEqual((await run(eve, 2, "discloseCard", { id: 1, how: "filtered" })).value, { id: 1, projectId: "p", title: "one", price: 1, code: null })
    assert.deepStrictEqual((await run(eve, 3, "discloseCard", { id: 1, how: "unfiltered" })).value, { id: 1, projectId: "p", title: "one", price: 1, code: null })
  })

  it.each(["unfiltered", "deleted", "inserted", "kept"])("is not told to whom may not read it (%s)", async (how) => {
    const ann = await enter("ann")
    assert.strictEqual((await run(ann, 1, "discloseCard", { id: 3, how: "kept" })).value.title, "three")
    const eve = await enter("eve")
    assert.strictEqual((await run(eve, 1, "discloseCard", { id: 3, how })).reason?._tag, "ServerFailure")
    assert.notInclude(JSON.stringify(eve.messages), "three")
    assert.lengthOf(await server.query("select from cards where id = 3"), 1)
  })
})

it("P9 outcomes that are not acknowledged are kept up to a bound, and nothing is run beyond it", async () => {
  const eve = await enter("eve")
  assert.strictEqual((await misbehave(eve, 1, "nothing")).type, "success")
  await server.query("update headwater.clients set last_seq = 10000 where client = $1", [eve.hello.client])
  const refused = () => eve.messages.filter((message) => message.type === "outcome")
  eve.send({ type: "mutate", seq: 10_001, name: "createCard", payload: { id: 900, projectId: "p", title: "unread" } })
  await eve.until(() => refused().length === 1)
  assert.deepInclude(refused()[0], { seq: 10_001, reason: { _tag: "LimitExceeded", message: "10000 outcomes wait for this client: acknowledge them first." } })
  assert.lengthOf(await server.query("select from cards where id = 900"), 0)
  eve.send({ type: "ack", seq: 1 })
  assert.strictEqual((await run(eve, 10_001, "createCard", { id: 900, projectId: "p", title: "unread" })).type, "success")
})

describe("P7 constraints say nothing of rows that the caller may not read", () => {
  /** The same refusal for what is there and for what is not. */
  const alike = async (name: string, there: object, not: object) => {
    const eve = await enter("eve")
    const [a, b] = [(await run(eve, 1, name, there)).reason, (await run(eve, 2, name, not)).reason]
    assert.isNotNull(a)
    assert.deepStrictEqual({ ...a, key: null }, { ...b, key: null })
  }

  it("an insert that no rule allows", () => alike("createCard", { id: 800, projectId: "q", title: "three" }, { id: 800, projectId: "q", title: "free" }))

  it("an insert under a parent that may not be read", () => alike("createCard", { id: 800, projectId: "q", title: "x" }, { id: 800, projectId: "no such project", title: "x" }))

  it("an update that moves a row where no rule allows it", () => alike("changeCard", { id: 1, projectId: "q", title: "three", price: null }, { id: 1, projectId: "q", title: "free", price: null }))

  it("an update of a row that may not be read, by a unique constraint", async () => {
    await server.query("insert into cards (id, project_id, title) values (30, 'q', 'thirty')")
    await alike("changeCard", { id: 3, projectId: null, title: "thirty", price: null }, { id: 3, projectId: null, title: "free", price: null })
  })

  it("an update of a row that may not be read, by a check", () =>
    alike("changeCard", { id: 3, projectId: null, title: null, price: 600 }, { id: 3, projectId: null, title: null, price: 400 }))

  it("an update of a row that is not there", () =>
    alike("changeCard", { id: 3, projectId: null, title: "x", price: null }, { id: 3333, projectId: null, title: "x", price: null }))

  it("a delete that no rule allows", async () => {
    const eve = await enter("eve")
    const there = (await run(eve, 1, "deleteCard", { id: 4 })).reason
    await server.query("delete from hidden")
    const not = (await run(eve, 2, "deleteCard", { id: 4 })).reason
    assert.deepStrictEqual(there, not)
    await server.query("insert into hidden values (4)")
  })

  it("but a write that is allowed is told which constraint refuses it", async () => {
    const eve = await enter("eve")
    assert.strictEqual((await run(eve, 1, "createCard", { id: 801, projectId: "p", title: "two" })).reason.constraint, "cards_project_id_title_key")
    assert.strictEqual((await run(eve, 2, "changeCard", { id: 1, projectId: null, title: "two", price: null })).reason.constraint, "cards_project_id_title_key")
    assert.strictEqual((await run(eve, 3, "changeCard", { id: 1, projectId: null, title: null, price: 10_000 })).reason.constraint, "price_limit")
  })
})
