import { assert, describe, it } from "@effect/vitest"
import type { Mutate, Outcome, Refusal } from "@headwater/core/Message"
import * as Outbox from "../src/Outbox.ts"
import * as Random from "./random.ts"

const success: Outcome = { type: "success", value: null }
const failure: Outcome = { type: "error", error: { _tag: "No" } }
const refusal = (_tag: Exclude<Refusal["_tag"], "WriteRefused" | "DependencyRejected">): Refusal => ({ _tag, message: _tag })

const make = () => Outbox.make({ client: "c1", acknowledged: 0, isSpent: false, entries: [] })
const add = (outbox: Outbox.Outbox, name: string, dependencies: ReadonlyArray<number> = []) =>
  outbox.add({ name, payload: { name }, dependencies, since: 0, trace: undefined }).id
const names = (messages: ReadonlyArray<Mutate>) => messages.map(({ name, seq }) => `${seq}${name}`).join(" ")
const ids = (answers: ReadonlyArray<Outbox.Answer>) => answers.map(({ id }) => id)

describe("Outbox", () => {
  it("P5 mutations get their numbers when they are first sent, in order", () => {
    const outbox = make()
    add(outbox, "a")
    add(outbox, "b")
    assert.deepStrictEqual(outbox.take(10), [], "offline")
    outbox.welcome(1, [])
    assert.strictEqual(names(outbox.take(1)), "1a")
    add(outbox, "c")
    assert.strictEqual(names(outbox.take(10)), "2b 3c")
    assert.deepStrictEqual(outbox.take(10), [])
    assert.deepStrictEqual(outbox.entries.map(({ status }) => status), ["sent", "sent", "sent"])
  })

  it("P4 what is unanswered after a cut is sent again under its number", () => {
    const outbox = make()
    add(outbox, "a")
    add(outbox, "b")
    outbox.welcome(1, [])
    outbox.take(10)
    outbox.disconnected()
    add(outbox, "c")
    assert.deepStrictEqual(outbox.take(10), [])
    outbox.welcome(2, [])
    assert.strictEqual(names(outbox.take(10)), "1a 2b 3c")
    outbox.receipt(1, success)
    outbox.receipt(2, success)
    assert.strictEqual(outbox.acknowledged, 2)
    assert.deepStrictEqual(outbox.receipt(2, success), [], "a repeated receipt says nothing new")
  })

  it("P5 a number that was never run is used again by those after it, and what they were sent as before is forgotten", () => {
    const outbox = make()
    const [, b] = [add(outbox, "a"), add(outbox, "b"), add(outbox, "c"), add(outbox, "d")]
    outbox.welcome(1, [])
    outbox.take(10)
    assert.deepStrictEqual(outbox.outcome(2, refusal("UnknownMutation")), [])
    assert.deepStrictEqual(outbox.entries.map(({ name, seq, status }) => [name, seq, status]), [["a", 1, "sent"], ["b", null, "parked"], ["c", null, "queued"], ["d", null, "queued"]])
    assert.strictEqual(names(outbox.take(10)), "2c 3d")
    // The answers to the old 3 and 4.
    assert.deepStrictEqual(outbox.outcome(3, refusal("SequenceGap")), [])
    assert.deepStrictEqual(outbox.outcome(4, refusal("SequenceGap")), [])
    assert.deepStrictEqual(ids([...outbox.receipt(1, success), ...outbox.receipt(2, success), ...outbox.receipt(3, success)]), [1, 3, 4])
    assert.strictEqual(outbox.acknowledged, 3)
    outbox.disconnected()
    outbox.welcome(4, ["b"])
    assert.deepStrictEqual(outbox.take(10), [])
    outbox.disconnected()
    outbox.welcome(4, [])
    assert.strictEqual(names(outbox.take(10)), "4b")
    assert.isFalse(outbox.mustRenew)
    assert.strictEqual(b, 2)
  })

  it("P5 what depends on a parked mutation is held back, the rest is not", () => {
    const outbox = make()
    const a = add(outbox, "a")
    const b = add(outbox, "b", [a])
    add(outbox, "c")
    add(outbox, "d", [b])
    outbox.welcome(1, ["a"])
    assert.strictEqual(names(outbox.take(10)), "1c")
  })

  it("P5 dependencies are named by number, and what was not sent is rejected with them", () => {
    const outbox = make()
    const a = add(outbox, "a")
    add(outbox, "b", [a])
    outbox.welcome(1, [])
    assert.deepStrictEqual(outbox.take(10).map(({ after }) => after), [undefined, [1]])
    outbox.disconnected()
    const c = add(outbox, "c", [a])
    const d = add(outbox, "d", [c])
    add(outbox, "e")
    assert.deepStrictEqual(ids(outbox.receipt(1, failure)), [a, c, d])
    outbox.welcome(2, [])
    assert.strictEqual(names(outbox.take(10)), "2b 3e")
  })

  it("P4 after a fork the rest goes on under another client id, once what may have run is answered", () => {
    const outbox = make()
    for (const name of ["a", "b", "c"]) add(outbox, name)
    outbox.welcome(1, [])
    outbox.take(10)
    assert.deepStrictEqual(outbox.outcome(2, refusal("ClientForked")), [])
    assert.isFalse(outbox.mustRenew, "a is unanswered")
    assert.deepStrictEqual(outbox.take(10), [])
    outbox.receipt(1, success)
    assert.isTrue(outbox.mustRenew)
    outbox.renew("c2")
    assert.deepStrictEqual([outbox.client, outbox.acknowledged], ["c2", 0])
    outbox.welcome(1, [])
    assert.strictEqual(names(outbox.take(10)), "1b 2c")
  })

  it("P4 a store that forgot what it acknowledged runs nothing again: each number has its own answer", () => {
    const outbox = make()
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => add(outbox, name))
    outbox.welcome(1, [])
    outbox.take(3)
    outbox.disconnected()
    outbox.welcome(4, [])
    assert.strictEqual(names(outbox.take(3)), "1a 2b 3c")
    assert.deepStrictEqual(ids(outbox.outcome(1, refusal("AlreadyAcknowledged"))), [a])
    assert.deepStrictEqual(outbox.entries.map(({ name, seq }) => [name, seq]), [["b", 2], ["c", 3], ["d", null]])
    assert.deepStrictEqual(ids(outbox.outcome(2, refusal("AlreadyAcknowledged"))), [b])
    assert.deepStrictEqual(outbox.take(10), [])
    assert.isFalse(outbox.mustRenew, "c is unanswered")
    assert.deepStrictEqual(outbox.receipt(3, success), [{ id: c, outcome: success }])
    assert.isTrue(outbox.mustRenew)
    outbox.renew("c2")
    outbox.welcome(1, [])
    assert.strictEqual(names(outbox.take(10)), "1d")
    assert.deepStrictEqual(outbox.entries.map(({ id }) => id), [d])
  })

  it("P4 a restored database that lost receipts is told what is pending under another client id", () => {
    const outbox = make()
    for (const name of ["a", "b"]) add(outbox, name)
    outbox.welcome(1, [])
    outbox.take(10)
    outbox.receipt(1, success)
    outbox.disconnected()
    outbox.welcome(1, [])
    assert.isTrue(outbox.mustRenew)
    outbox.renew("c2")
    outbox.welcome(1, [])
    assert.strictEqual(names(outbox.take(10)), "1b")
  })

  it("P4 numbers that were given in another order than mutations were written are found again after a restart", () => {
    const outbox = make()
    const a = add(outbox, "a")
    add(outbox, "b")
    outbox.welcome(1, ["a"])
    outbox.take(10)
    outbox.disconnected()
    outbox.welcome(2, [])
    assert.strictEqual(names(outbox.take(10)), "1b 2a")
    const { acknowledged, client, isSpent, put } = outbox.takeChange()!
    const restored = Outbox.make({ acknowledged, client, isSpent, entries: [...put].sort((x, y) => x.id - y.id) })
    restored.welcome(2, [])
    assert.isFalse(restored.mustRenew)
    assert.strictEqual(names(restored.take(10)), "1b 2a")
    assert.strictEqual(a, 1)
  })

  it("what another user wrote is not sent as this one", () => {
    const outbox = make()
    const a = add(outbox, "a")
    outbox.welcome(1, [])
    outbox.take(10)
    assert.deepStrictEqual(ids(outbox.abandon("c2", refusal("Unauthenticated"))), [a])
    assert.deepStrictEqual([outbox.client, outbox.entries, outbox.acknowledged], ["c2", [], 0])
  })

  it("P4 P5 against a server that refuses, forgets to answer and is cut off, each mutation runs once and in order", () => {
    const counts = { runs: 0, cuts: 0, freed: 0, renewed: 0, rejected: 0, restored: 0 }
    for (const seed of Random.seeds(300)) Random.withSeed(seed, (random) => run(random, counts))
    if (process.env.SEED === undefined) for (const [what, count] of Object.entries(counts)) assert.isAbove(count, 20, what)
  })
})

/** Receipts by client id, and what ran, in order. */
const run = (random: Random.Random, counts: { [count: string]: number }) => {
  let stored: Outbox.Stored = { client: "c0", acknowledged: 0, isSpent: false, entries: [] }
  let outbox = Outbox.make(stored)
  let clients = 0
  const receipts = new Map<string, Array<{ readonly name: string; readonly outcome: Outcome }>>()
  const ran: Array<string> = []
  const rejected = new Set<string>()
  const dependencies = new Map<string, ReadonlyArray<string>>()
  const nameOf = new Map<number, string>()
  /** What each connection has sent and its server has not looked at, oldest first. A cut connection's server goes on. */
  let connections: Array<{ client: string; queue: Array<Mutate>; told: Array<() => void> }> = []
  let current: typeof connections[number] | undefined
  const unknown = new Set<string>()
  let next = 0

  const save = () => {
    const change = outbox.takeChange()
    if (change === undefined) return
    const entries = new Map(stored.entries.map((entry) => [entry.id, entry]))
    for (const id of change.remove) entries.delete(id)
    for (const entry of change.put) entries.set(entry.id, entry)
    stored = { client: change.client, acknowledged: change.acknowledged, isSpent: change.isSpent, entries: [...entries.values()].sort((a, b) => a.id - b.id) }
  }
  const answered = (answers: ReadonlyArray<Outbox.Answer>) => {
    for (const answer of answers) {
      if ("refused" in answer || answer.outcome.type !== "success") {
        counts.rejected!++
        rejected.add(nameOf.get(answer.id)!)
      }
    }
  }
  const connect = () => {
    if (outbox.mustRenew) {
      counts.renewed!++
      outbox.renew(`c${++clients}`)
    }
    const of = receipts.get(outbox.client) ?? []
    receipts.set(outbox.client, of)
    // What earlier connections of a client had not begun is not run.
    for (const earlier of connections) if (earlier.client === outbox.client) earlier.queue.length = 0
    current = { client: outbox.client, queue: [], told: [] }
    connections.push(current)
    answered(outbox.welcome(of.length + 1, [...unknown]))
    for (let seq = outbox.acknowledged + 1; seq <= of.length; seq++) answered(outbox.receipt(seq, of[seq - 1]!.outcome))
  }
  const send = () => {
    if (current === undefined) return
    if (outbox.mustRenew) {
      cut()
      connect()
    }
    current.queue.push(...outbox.take(1 + random.int(5)))
    save()
  }
  const cut = () => {
    if (current === undefined) return
    counts.cuts!++
    outbox.disconnected()
    // Some servers notice; others go on with what they got.
    if (random.oneIn(2)) current.queue.length = 0
    current.told.length = 0
    current = undefined
  }
  const serve = (connection: typeof connections[number]) => {
    const message = connection.queue.shift()
    if (message === undefined) return
    const of = receipts.get(connection.client)!
    const tell = (f: () => void) => {
      if (connection === current) connection.told.push(f)
    }
    const free = (reason: Refusal) => {
      counts.freed!++
      tell(() => answered(outbox.outcome(message.seq, reason)))
    }
    if (unknown.has(message.name)) return free(refusal("UnknownMutation"))
    if (message.seq > of.length + 1) return free(refusal("SequenceGap"))
    if (message.seq <= of.length) {
      const receipt = of[message.seq - 1]!
      assert.strictEqual(receipt.name, message.name, "a number is used for one mutation")
      return tell(() => answered(outbox.receipt(message.seq, receipt.outcome)))
    }
    if (random.oneIn(12)) return free(refusal("LimitExceeded"))
    const dependent = message.after?.some((seq) => of[seq - 1]?.outcome.type !== "success")
    const outcome: Outcome = dependent || random.oneIn(6) ? failure : success
    if (outcome === success) {
      counts.runs!++
      ran.push(message.name)
    }
    of.push({ name: message.name, outcome })
    tell(() => answered(outbox.receipt(message.seq, outcome)))
  }
  const hear = () => current?.told.shift()?.()

  for (let step = 0; step < 120; step++) {
    switch (random.int(10)) {
      case 0:
      case 1: {
        const name = `m${next++}`
        const on = outbox.entries.filter(() => random.oneIn(4)).map(({ id }) => id)
        nameOf.set(add(outbox, name, on), name)
        dependencies.set(name, on.map((id) => nameOf.get(id)!))
        if (random.oneIn(10)) unknown.add(name)
        save()
        break
      }
      case 2:
        if (random.oneIn(3)) {
          cut()
          if (random.oneIn(3)) {
            // The page comes back with what was stored.
            counts.restored!++
            save()
            outbox = Outbox.make(stored)
          }
        }
        break
      case 3:
        if (current === undefined) connect()
        break
      case 4:
        if (random.oneIn(10)) unknown.clear()
        break
      case 5:
      case 6:
        send()
        break
      case 7:
        hear()
        break
      default:
        if (connections.length > 0) serve(random.pick(connections))
    }
    connections = connections.filter((connection) => connection === current || connection.queue.length > 0)
  }
  // Everything works from now on.
  for (const connection of connections) while (connection.queue.length > 0) serve(connection)
  unknown.clear()
  for (let round = 0; round < 2000 && (outbox.entries.length > 0 || current === undefined); round++) {
    if (current === undefined || round % 97 === 96) {
      cut()
      connect()
    }
    send()
    serve(current!)
    hear()
    save()
  }
  assert.deepStrictEqual(outbox.entries, [])
  assert.strictEqual(new Set(ran).size, ran.length, "nothing ran twice")
  for (let i = 0; i < next; i++) {
    const name = `m${i}`
    assert.notStrictEqual(ran.includes(name), rejected.has(name), `${name} ran, or was rejected`)
    for (const dependency of dependencies.get(name)!) {
      if (ran.includes(name)) {
        assert.isTrue(ran.includes(dependency), `${name} ran without ${dependency}`)
        assert.isBelow(ran.indexOf(dependency), ran.indexOf(name))
      }
    }
  }
}
