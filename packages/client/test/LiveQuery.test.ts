import { assert, describe, it } from "@effect/vitest"
import type { Receipt } from "@headwater/core/Message"
import { Mutation, Transaction } from "@headwater/core"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Scope, Stream, Tracer } from "effect"
import * as Client from "../src/Client.ts"
import * as LiveQuery from "../src/LiveQuery.ts"
import * as Persistence from "../src/Persistence.ts"
import { Board, columns, createTask, Me, moveTask, renameTask, Task, TitleTooLong, wire } from "./board.ts"
import * as FakeServer from "./FakeServer.ts"
import * as Random from "./random.ts"

class BoardClient extends Client.Service<BoardClient>()("test/BoardClient", Board) {}

const shared = {
  createTask: Mutation.handler(createTask, Effect.fnUntraced(function*({ id, projectId, rank, title }) {
    const tx = yield* Transaction
    if (title.length > 5) return yield* new TitleTooLong({ max: 5 })
    return yield* Transaction.attempt(tx.insert(Task, { id, projectId, rank, title })).pipe(
      Effect.catchTag("WriteRefused", () => tx.insert(Task, { id: `${id}2`, projectId, rank, title })))
  })),
  moveTask: Mutation.handler(moveTask, ({ id, rank }) => Transaction.use((tx) => tx.update(Task, { id, rank }))),
  renameTask: Mutation.handler(renameTask, Effect.fnUntraced(function*({ id, title }) {
    const { userId } = yield* Me
    if (title === "wait") yield* Effect.sleep("1 millis")
    yield* (yield* Transaction).update(Task, { id, title: `${title} by ${userId}` })
  }))
}

const online = (token?: Effect.Effect<string>) => Effect.gen(function*() {
  const server = FakeServer.make()
  const context = yield* Layer.build(BoardClient.layer({ url: "ws://test", optimistic: shared, ...(token && { token }) }).pipe(
    Layer.provide([Persistence.layerMemory, Layer.succeed(Client.WebSocketConstructor, server.WebSocket)])
  ))
  const client = Context.get(context, BoardClient)
  yield* Effect.promise(FakeServer.settled)
  const hello = server.peer.hello()
  server.peer.welcome({ columns, principal: { userId: "me" } })
  let to = 0
  const answer = (binding: number, rows: ReadonlyArray<readonly [string, number]>) => {
    const opened = server.peer.take("subscribe").map(({ id }) => ({ id, binding }))
    server.peer.frame(++to, { opened, patches: [{ binding, reset: true, rows: [["app.tasks", rows.map(([id, rank]) => wire(id, rank))]], add: rows.map(([id]) => id), remove: [] }] })
  }
  return { client, hello, peer: server.peer, server, answer, frame: (receipts: ReadonlyArray<Receipt>, trace?: string) => server.peer.frame(++to, { receipts, ...(trace && { trace }) }) }
})

const nextTurn = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
const settled = Effect.promise(FakeServer.settled)

describe("LiveQuery", () => {
  it.live("get waits until it is live; values are those that were taken in time; both end with an error", () => Effect.gen(function*() {
    const { answer, client } = yield* online()
    const got = yield* Effect.forkChild(LiveQuery.get(client.allTasks()), { startImmediately: true })
    answer(1, [["a", 1]])
    assert.deepStrictEqual((yield* Fiber.join(got)).map(({ id }) => id), ["a"])
    const first = yield* Deferred.make<void>()
    const collected: Array<string> = []
    const running = yield* Effect.forkChild(LiveQuery.values(client.allTasks()).pipe(Stream.runForEach((value) => Effect.suspend(() => {
      collected.push(value.map(({ id }) => id).join(""))
      return Deferred.succeed(first, undefined)
    }))), { startImmediately: true })
    yield* Deferred.await(first)
    answer(1, [["a", 1], ["b", 2]])
    answer(1, [["a", 1], ["b", 2], ["c", 3]])
    while (collected.length < 2) yield* nextTurn
    assert.deepStrictEqual(collected, ["a", "abc"])
    yield* client.sync.close
    const exit = yield* Fiber.await(running)
    assert.isTrue(Exit.isFailure(exit))
    const failed = yield* Effect.flip(LiveQuery.get(client.projects()))
    assert.strictEqual(failed.reason._tag, "Closed")
  }))

  it.live("applying diffs to the value before gives the value after, and says no more than needed", () => Effect.gen(function*() {
    const { answer, client } = yield* online()
    const random = Random.make(Random.seeds(1)[0]!)
    const taken: Array<LiveQuery.Diff<Task>> = []
    yield* Effect.forkChild(LiveQuery.diffs(client.allTasks()).pipe(Stream.runForEach((diff) => Effect.sync(() => void taken.push(diff)))), { startImmediately: true })
    let value: ReadonlyArray<Task> = []
    const ranks = new Map<string, number>()
    for (let step = 0; step < 100; step++) {
      for (let i = random.int(3); i >= 0; i--) {
        const id = "abcdefgh"[random.int(8)]!
        if (random.oneIn(3)) ranks.delete(id)
        else ranks.set(id, random.int(10))
      }
      // Now and then nobody takes a value before the next one.
      answer(1, [...ranks])
      if (random.oneIn(3)) continue
      const expected = JSON.stringify([...ranks].sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1)))
      const shown = () => JSON.stringify(value.map(({ id, rank }) => [id, rank]))
      for (let turn = 0; turn < 100 && (taken.length > 0 || shown() !== expected); turn++) {
        for (const { added, changed, removed } of taken.splice(0)) {
          const gone = new Set([...removed.map(({ index }) => index), ...changed.map(({ from }) => from)])
          for (const { index, row } of removed) assert.strictEqual(value[index], row)
          for (const { before, from } of changed) assert.strictEqual(value[from], before)
          const next = value.filter((_, index) => !gone.has(index))
          for (const { index, row } of [...added, ...changed].sort((a, b) => a.index - b.index)) next.splice(index, 0, row)
          for (const { before, row } of changed) assert.notStrictEqual(before, row, `SEED=${random.seed}`)
          value = next
        }
        yield* nextTurn
      }
      assert.strictEqual(shown(), expected, `SEED=${random.seed}`)
    }
  }))
})

describe("Client", () => {
  it.live("P3 a call is the outcome, typed; enqueue is durability, with the outcome later", () => Effect.gen(function*() {
    const { answer, client, frame, peer } = yield* online()
    const tasks = client.allTasks()
    tasks.subscribe(() => undefined)
    answer(1, [["a", 1]])
    const call = yield* Effect.forkChild(Effect.result(client.createTask({ id: "c", projectId: "p", title: "C", rank: 0 })), { startImmediately: true })
    assert.deepStrictEqual(tasks.snapshot.value!.map(({ id }) => id), ["c", "a"])
    const pending = yield* client.moveTask.enqueue({ id: "a", rank: -1 })
    assert.deepStrictEqual(client.sync.pending.snapshot.map(({ id, name }) => [id, name]), [[1, "createTask"], [2, "moveTask"]])
    assert.deepStrictEqual(tasks.snapshot.value!.map(({ id }) => id), ["a", "c"])
    assert.deepStrictEqual(peer.take("mutate").map(({ seq }) => seq), [1, 2])
    frame([
      { seq: 1, outcome: { type: "error", error: { _tag: "TitleTooLong", max: 3 } } },
      { seq: 2, outcome: { type: "refused", reason: { _tag: "Forbidden", message: "no" } } }
    ])
    const rejected = yield* Fiber.join(call)
    assert.isTrue(rejected._tag === "Failure" && rejected.failure instanceof TitleTooLong && rejected.failure.max === 3)
    const reason = yield* pending.outcome.pipe(Effect.catchReason("SyncError", "Forbidden", (forbidden) => Effect.succeed(forbidden.message)))
    assert.strictEqual(reason, "no")
    assert.deepStrictEqual(tasks.snapshot.value!.map(({ id }) => id), ["a"])
  }))

  it.live("shared handlers run over the overlay: attempt undoes, the principal is there, waiting abandons", () => Effect.gen(function*() {
    const { answer, client } = yield* online()
    const tasks = client.allTasks()
    tasks.subscribe(() => undefined)
    answer(1, [["a", 1]])
    yield* client.createTask.enqueue({ id: "a", projectId: "p", title: "A", rank: 5 })
    assert.deepStrictEqual(tasks.snapshot.value!.map(({ id }) => id), ["a", "a2"])
    yield* client.createTask.enqueue({ id: "d", projectId: "p", title: "too long", rank: 5 })
    assert.deepStrictEqual(tasks.snapshot.value!.map(({ id }) => id), ["a", "a2"])
    yield* client.renameTask.enqueue({ id: "a", title: "x" })
    assert.strictEqual(tasks.snapshot.value![0]!.title, "x by me")
    assert.strictEqual(client.sync.abandoned(), 0)
    yield* client.renameTask.enqueue({ id: "a", title: "wait" })
    assert.strictEqual(tasks.snapshot.value![0]!.title, "x by me")
    assert.strictEqual(client.sync.abandoned(), 1)
  }))

  it.live("asks its token Effect for each connection, and closes with its scope", () => Effect.gen(function*() {
    const scope = yield* Scope.make()
    let asked = 0
    const { client, hello, server } = yield* Effect.provideService(online(Effect.sync(() => `token ${++asked}`)), Scope.Scope, scope)
    assert.strictEqual(hello.token, "token 1")
    server.peer.send({ type: "error", code: "Unauthenticated", message: "expired", fatal: true })
    yield* settled
    assert.strictEqual(server.peer.hello().token, "token 2")
    const { peer } = server
    yield* Scope.close(scope, Exit.void)
    assert.isTrue(peer.closed)
    assert.strictEqual(client.sync.connection.snapshot.status, "closed")
  }))

  it.live("P13 a call's span travels with its mutation, and the apply is a child of the server's fan-out", () => {
    const spans: Array<Tracer.Span> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
    return Effect.gen(function*() {
      const { client, frame, peer } = yield* online()
      const call = yield* Effect.forkChild(client.moveTask({ id: "a", rank: 1 }).pipe(Effect.withSpan("click")), { startImmediately: true })
      const [{ trace } = { trace: undefined }] = peer.take("mutate")
      const click = spans.find(({ name }) => name === "click")!
      const mutation = spans.find(({ name }) => name === "headwater.call")!
      assert.strictEqual(trace, `00-${click.traceId}-${mutation.spanId}-01`)
      assert.strictEqual(mutation.attributes.get("headwater.mutation"), "moveTask")
      frame([{ seq: 1, outcome: { type: "success", value: null } }], `00-${click.traceId}-00f067aa0ba902b7-01`)
      yield* Fiber.join(call)
      const apply = spans.find(({ name }) => name === "headwater.apply")!
      assert.strictEqual(apply.traceId, click.traceId)
      assert.isTrue(apply.parent._tag === "Some" && apply.parent.value.spanId === "00f067aa0ba902b7")
      assert.deepStrictEqual(apply.links.map(({ span }) => span.spanId), [mutation.spanId])
      // A frame without a trace makes no span.
      frame([])
      assert.strictEqual(spans.filter(({ name }) => name === "headwater.apply").length, 1)
    }).pipe(Effect.provideService(Tracer.Tracer, tracer))
  })

  it.live("P13 without a tracer nothing is sent along", () => Effect.gen(function*() {
    const { client, peer } = yield* online()
    yield* client.moveTask.enqueue({ id: "a", rank: 1 })
    assert.deepStrictEqual(peer.take("mutate").map(({ trace }) => trace), [undefined])
  }))
})
