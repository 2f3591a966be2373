import { type Binding, BudgetExceeded, type Delta, type Gate, type Pass } from "@headwater/core/Graph"
import type { Bound } from "@headwater/core/Range"
import type { Row } from "@headwater/core/Row"
import type { Shape } from "@headwater/core/Shape"
import { assert, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Hub from "../src/internal/hub.ts"

/** A query for the rows of one group; with `gated`, only for principals whom the gate lets in. */
const shape = (gated: boolean, masked = false): Shape => ({
  hash: `${gated}${masked}`,
  gates: gated ? [{ op: "literal", value: true, type: { kind: "boolean" } }] : [],
  masks: masked ? [{ column: "text", readable: { op: "literal", value: true, type: { kind: "boolean" } }, mask: null }] : [],
  select: { table: "t" }
} as unknown as Shape)

/** Of scanned bindings, for all together. */
const scanCap = 20

/** Stands for engine and graph: computes every result anew from the table, and is told when to be ready. */
const fake = () => {
  interface Fake extends Binding { ready: boolean; shown: ReadonlyArray<Row>; count: number }
  interface FakeGate extends Gate { ready: boolean; open: boolean; user: string; count: number }
  const rows = new Map<string, Row>()
  const groups = new Set<Fake>()
  const gates = new Set<FakeGate>()
  const members = new Set<string>()
  let position = 1
  let ids = 0
  const resultOf = (bound: Bound) => [...rows.values()].filter((row) => row["group"] === bound.parameters["group"])
  const deltaOf = (binding: Fake): Delta | undefined => {
    const now = resultOf(binding.bound)
    const before = new Map(binding.shown.map((row) => [row["id"], row]))
    const delta: Delta = {
      binding,
      reset: false,
      added: now.filter((row) => !before.has(row["id"]!)),
      changed: now.filter((row) => before.has(row["id"]!) && before.get(row["id"]!) !== row),
      removed: binding.shown.filter((row) => !now.some((other) => other["id"] === row["id"])).map((row) => `${row["id"]}`),
      boundary: undefined
    }
    binding.shown = now
    return delta.added.length + delta.changed.length + delta.removed.length === 0 ? undefined : delta
  }
  const source: Hub.Environment["source"] = {
    position: () => position,
    bind: (shape, bound) => {
      for (const other of groups) {
        if (other.shape === shape && other.bound.parameters["group"] === bound.parameters["group"]) return other.count++, other
      }
      if (shape.hash === "scanned" && [...groups].filter((one) => one.isScanned).length >= scanCap) throw new BudgetExceeded({ shape, message: "full" })
      const made: Fake = { id: ++ids, shape, bound, isScanned: shape.hash === "scanned", ready: false, shown: [], count: 1, rows: () => made.shown, boundary: undefined }
      groups.add(made)
      return made
    },
    gate: (_, bound) => {
      for (const other of gates) if (other.user === `${bound.principal["user"]}`) return other.count++, other
      const gate: FakeGate = { ready: false, open: false, user: `${bound.principal["user"]}`, count: 1 }
      gates.add(gate)
      return gate
    },
    release: (held) => {
      const one = held as Fake | FakeGate
      if (--one.count > 0) return
      groups.delete(one as Fake)
      gates.delete(one as FakeGate)
    }
  }
  const pass = (deltas: ReadonlyArray<Delta | undefined>, flipped: ReadonlyArray<Gate>, waiting: ReadonlyArray<Binding>): Pass => ({
    deltas: deltas.filter((delta) => delta !== undefined), gates: flipped, waiting, masks: []
  })
  return {
    source,
    rows,
    members,
    groups: () => [...groups],
    result: (group: string): Array<Row> => resultOf({ parameters: { group }, principal: {} }),
    /** `stall` are groups that cannot follow. */
    step: (change: () => void, stall: ReadonlySet<string> = new Set()): [Pass, number] => {
      change()
      position++
      const waiting = [...groups].filter((one) => one.ready && stall.has(`${one.bound.parameters["group"]}`))
      for (const one of waiting) one.ready = false
      const flipped = [...gates].filter((gate) => gate.ready && gate.open !== members.has(gate.user))
      for (const gate of flipped) gate.open = !gate.open
      return [pass([...groups].filter((one) => one.ready).map(deltaOf), flipped, waiting), position]
    },
    fill: (only: (binding: Binding) => boolean = () => true): Pass => {
      const filled = [...groups].filter((one) => !one.ready && only(one))
      const first = [...gates].filter((gate) => !gate.ready)
      for (const gate of first) {
        gate.ready = true
        gate.open = members.has(gate.user)
      }
      return pass(filled.map((one) => {
        one.ready = true
        const reset = one.shown.length === 0
        const delta = deltaOf(one)
        return reset ? { binding: one, reset, added: one.shown, changed: [], removed: [], boundary: undefined } : delta
      }), first, [])
    },
    /** As `Engine` does it when its source lost its place: everything is bound again. */
    restart: (to: number) => {
      groups.clear()
      gates.clear()
      position = to
    }
  }
}

const encoder: Hub.Environment["encoder"] = {
  keyOf: (_, row) => `${row["id"]}`,
  rowText: (_, row, masked) => JSON.stringify([row["id"], row["group"], masked === 0 ? row["text"] : null]),
  masked: (_, row, bound) => row["id"] === bound.principal["user"] ? 0 : 1,
  boundaryText: (_, boundary) => JSON.stringify(boundary),
  audience: (_, bound) => `${bound.principal["user"]}`,
  restarted: () => {}
}

const setup = (limits: Partial<Hub.Limits> = {}, masked = encoder.masked) => {
  const graph = fake()
  let time = 0
  const timers: Array<() => void> = []
  const resyncs: Array<string> = []
  const hub = Hub.make({
    source: graph.source,
    encoder: { ...encoder, masked },
    limits: { ...Hub.defaultLimits, gatherMillis: 0, ...limits },
    now: () => time,
    later: (_, run) => void timers.push(run),
    fanout: (trace, _, run) => run(trace),
    sent: () => {},
    answered: () => {},
    resynced: (reason) => void resyncs.push(reason)
  })
  return {
    graph, hub, resyncs,
    pass: (time_: number) => void (time += time_),
    fire: () => timers.splice(0).forEach((run) => run()),
    step: (...step: Parameters<typeof graph.step>) => hub.stepped(...graph.step(...step), [], undefined),
    fill: (...only: Parameters<typeof graph.fill>) => hub.filled(graph.fill(...only))
  }
}

/** What a client makes of the messages, as `docs/spec` says. */
const client = (hub: Hub.Hub, name: string, options: { readonly atLeast?: number; readonly blocked?: () => boolean } = {}) => {
  const sent: Array<Uint8Array> = []
  const frames: Array<any> = []
  const bindings = new Map<number, Map<string, unknown>>()
  const opened = new Map<number, number>()
  const receipts: Array<number> = []
  let to = 0
  let resyncs = 0
  let superseded = false
  let outpaced = false
  const tooLarge: Array<number> = []
  const connection = hub.connect({
    client: name,
    atLeast: options.atLeast ?? 0,
    tooLarge: (id) => void tooLarge.push(id),
    superseded: () => void (superseded = true),
    overrun: () => {},
    outpaced: () => void (outpaced = true),
    peer: {
      buffered: () => options.blocked?.() === true ? Infinity : 0,
      send: (message) => {
        if (typeof message !== "string") sent.push(message)
        const frame = JSON.parse(typeof message === "string" ? message : new TextDecoder().decode(message))
        if (frame.type === "resync") return void resyncs++
        frames.push(frame)
        assert.isAtLeast(frame.to, to, "P8: no frame goes back")
        to = frame.to
        for (const { binding, id } of frame.opened ?? []) {
          opened.set(id, binding)
          if (!bindings.has(binding)) bindings.set(binding, new Map())
        }
        for (const patch of frame.patches) {
          const held = bindings.get(patch.binding)
          assert.isDefined(held, "a patch is for a binding that was opened")
          if (patch.reset) held!.clear()
          for (const key of patch.remove) assert.isTrue(held!.delete(key), `removed ${key} was held`)
          const rows = new Map<string, unknown>(patch.rows.flatMap(([, rows]: any) => rows.map((row: any) => [row[0], row])))
          for (const key of patch.add) {
            assert.isFalse(held!.has(key), `added ${key} was not held`)
            held!.set(key, undefined)
          }
          for (const [key, row] of rows) if (held!.has(key)) held!.set(key, row)
        }
        for (const receipt of frame.receipts ?? []) receipts.push(receipt.seq)
      }
    }
  })
  return {
    connection, frames, receipts, sent,
    to: () => to,
    resyncs: () => resyncs,
    superseded: () => superseded,
    outpaced: () => outpaced,
    tooLarge,
    bindings, opened,
    rows: (id: number) => opened.has(id) ? [...bindings.get(opened.get(id)!)!.values()].toSorted(byText) : undefined
  }
}

const byText = (a: unknown, b: unknown) => JSON.stringify(a) < JSON.stringify(b) ? -1 : 1
const row = (id: string, group: string, text: number): Row => ({ id, group, text })
const bound = (group: string, user = "u"): Bound => ({ parameters: { group }, principal: { user } })
const wire = (rows: ReadonlyArray<Row>) => rows.map((row) => [row["id"], row["group"], row["text"]]).toSorted(byText)

const open = shape(false)
const gated = shape(true)
const masked = shape(false, true)

it("P2 what came with hello is answered together, once all of it is ready", () => {
  const { fill, graph, hub } = setup()
  graph.rows.set("1", row("1", "a", 1))
  const one = client(hub, "c")
  one.connection.subscribe(1, open, bound("a"), { first: true })
  one.connection.subscribe(2, open, bound("b"), { first: true })
  one.connection.received([])
  fill((binding) => binding.bound.parameters["group"] === "a")
  assert.lengthOf(one.frames, 0)
  fill()
  assert.lengthOf(one.frames, 1)
  assert.deepStrictEqual([one.rows(1), one.rows(2)], [[["1", "a", 1]], []])
})

it("P1 while one query of a connection waits, none of them moves; another connection's do", () => {
  const { fill, graph, hub, step } = setup()
  const one = client(hub, "one")
  const two = client(hub, "two")
  for (const [to, groups] of [[one, ["a", "b"]], [two, ["a"]]] as const) {
    groups.forEach((group, i) => to.connection.subscribe(i, open, bound(group), { first: true }))
    to.connection.received([])
  }
  fill()
  const before = one.to()
  step(() => void graph.rows.set("1", row("1", "a", 1)).set("2", row("2", "b", 1)), new Set(["b"]))
  step(() => void graph.rows.set("1", row("1", "a", 2)).set("3", row("3", "a", 1)))
  assert.deepStrictEqual([one.to(), one.rows(0)], [before, []])
  assert.deepStrictEqual(two.rows(0), [["1", "a", 2], ["3", "a", 1]])
  fill()
  assert.deepStrictEqual([one.rows(0), one.rows(1)], [[["1", "a", 2], ["3", "a", 1]], [["2", "b", 1]]])
  assert.strictEqual(one.to(), two.to())
})

it("P9 one connection cannot take all bindings that have to be scanned, neither at once nor in turn", () => {
  const { fill, hub } = setup({ scanned: 15 })
  const scanned = { ...open, hash: "scanned" }
  const greedy = client(hub, "greedy")
  greedy.connection.received([])
  for (let i = 0; i < 15; i++) greedy.connection.subscribe(i, scanned, bound(`g${i}`))
  assert.throws(() => greedy.connection.subscribe(15, scanned, bound("g15")), /maxScanned/)
  const other = client(hub, "other")
  other.connection.received([])
  for (let i = 0; i < 5; i++) other.connection.subscribe(i, scanned, bound(`o${i}`))
  assert.throws(() => other.connection.subscribe(5, scanned, bound("o5")), /full/)
  fill()
  // What nobody watches any more makes room.
  for (let i = 0; i < 15; i++) greedy.connection.unsubscribe(i)
  for (let i = 20; i < 35; i++) greedy.connection.subscribe(i, scanned, bound(`g${i}`))
  for (let i = 20; i < 35; i++) greedy.connection.unsubscribe(i)
  other.connection.subscribe(5, scanned, bound("o5"))
  greedy.connection.subscribe(40, open, bound("a"))
  fill()
  assert.deepStrictEqual([0, 4, 5].map((id) => other.rows(id)), [[], [], []])
  assert.deepStrictEqual(greedy.rows(40), [])
  assert.strictEqual(hub.stats().bindings, 7)
})

it.each([{ maxResultRows: 3 }, { maxResultBytes: 50 }, { frameBytes: 220 }])("P12 a result that is too large for a frame ends its own subscriptions, and no others (%o)", (limits) => {
  const { fill, graph, hub, step } = setup(limits)
  const put = (group: string, count: number, text = 0) => {
    for (let i = 0; i < count; i++) graph.rows.set(`${group}${i}`, row(`${group}${i}`, group, text))
  }
  put("a", 2)
  put("b", 20)
  const one = client(hub, "one")
  const two = client(hub, "two")
  one.connection.subscribe(1, open, bound("b"), { first: true })
  one.connection.subscribe(2, open, bound("a"), { first: true })
  two.connection.subscribe(1, open, bound("a"), { first: true })
  for (const { connection } of [one, two]) connection.received([])
  fill()
  assert.deepStrictEqual([one.tooLarge, two.tooLarge], [[1], []])
  assert.isUndefined(one.rows(1))
  assert.isFalse(one.connection.has(1))
  assert.deepStrictEqual([one.rows(2), two.rows(1)], Array(2).fill(wire(graph.result("a"))))
  // It changes by more than that, and what there is after it is little.
  step(() => graph.rows.clear())
  step(() => put("a", 1, 7))
  one.connection.subscribe(1, open, bound("b"))
  fill()
  assert.deepStrictEqual([one.rows(1), one.rows(2), two.rows(1)], [[], [["a0", "a", 7]], [["a0", "a", 7]]])
  assert.deepStrictEqual([one.tooLarge, two.tooLarge], [[1], []])
})

it("P12 a live result that changes by too much is sent anew, or ends where that is too much as well", () => {
  const { fill, graph, hub, step } = setup({ maxResultRows: 3 })
  const one = client(hub, "one")
  one.connection.subscribe(1, open, bound("a"), { first: true })
  one.connection.subscribe(2, open, bound("b"), { first: true })
  one.connection.received([])
  fill()
  for (const round of [1, 2]) step(() => void [1, 2, 3].forEach((i) => graph.rows.set(`${round}${i}`, row(`${round}${i}`, round === 1 ? "a" : "b", i))))
  // Six of one step, of which three remain.
  step(() => void [1, 2, 3].forEach((i) => graph.rows.delete(`1${i}`) && graph.rows.set(`3${i}`, row(`3${i}`, "a", i))))
  assert.deepStrictEqual(one.rows(1), wire(graph.result("a")))
  step(() => void [1, 2, 3, 4].forEach((i) => graph.rows.set(`4${i}`, row(`4${i}`, "a", i))))
  assert.deepStrictEqual(one.tooLarge, [1])
  step(() => void graph.rows.set("21", row("21", "b", 9)))
  assert.deepStrictEqual(one.rows(2), wire(graph.result("b")))
})

it("a thousand connections share one binding, one encoding and one frame", () => {
  const { fill, graph, hub, step } = setup()
  const all = Array.from({ length: 1000 }, (_, i) => client(hub, `c${i}`))
  for (const one of all) {
    one.connection.subscribe(1, open, bound("a", one.to().toString()), { first: true })
    one.connection.received([])
  }
  fill()
  const before = hub.stats()
  step(() => void graph.rows.set("1", row("1", "a", 1)))
  const after = hub.stats()
  assert.strictEqual(after.bindings, 1)
  assert.strictEqual(after.encodedRows - before.encodedRows, 1)
  assert.strictEqual(after.builtFrames - before.builtFrames, 1)
  assert.strictEqual(after.sentFrames - before.sentFrames, 1000)
  assert.isTrue(all.every((one) => one.sent.at(-1) === all[0]!.sent.at(-1)))
})

it("a gate that closes takes its rows away in the frame of that step, and gives all of them back when it opens", () => {
  const { fill, graph, hub, step } = setup()
  graph.rows.set("1", row("1", "a", 1))
  graph.members.add("ann")
  const ann = client(hub, "ann")
  const bob = client(hub, "bob")
  ann.connection.subscribe(1, gated, bound("a", "ann"), { first: true })
  bob.connection.subscribe(1, gated, bound("a", "bob"), { first: true })
  ann.connection.received([])
  bob.connection.received([])
  fill()
  assert.deepStrictEqual([ann.rows(1), bob.rows(1)], [[["1", "a", 1]], []])
  step(() => {
    graph.members.delete("ann")
    graph.members.add("bob")
    graph.rows.set("2", row("2", "a", 1))
  })
  assert.deepStrictEqual([ann.rows(1), bob.rows(1)], [[], [["1", "a", 1], ["2", "a", 1]]])
  assert.strictEqual(ann.frames.length, 2)
  // What nobody may see is not told: there is nothing in it for Ann.
  step(() => void graph.rows.set("3", row("3", "a", 1)))
  assert.strictEqual(ann.frames.length, 2)
  assert.strictEqual(hub.stats().bindings, 1)
})

it("P7 queries with other parameters share a gate, and it closes for all of them", () => {
  const { fill, graph, hub, step } = setup()
  graph.rows.set("1", row("1", "a", 1)).set("2", row("2", "b", 1))
  graph.members.add("ann")
  const ann = client(hub, "ann")
  ann.connection.subscribe(1, gated, bound("a", "ann"), { first: true })
  ann.connection.subscribe(2, gated, bound("b", "ann"), { first: true })
  ann.connection.received([])
  fill()
  assert.deepStrictEqual([ann.rows(1), ann.rows(2)], [[["1", "a", 1]], [["2", "b", 1]]])
  step(() => void graph.members.delete("ann"))
  assert.deepStrictEqual([ann.rows(1), ann.rows(2)], [[], []])
})

it("P7 a masked column is masked for those who may not read it, from the same binding", () => {
  const { fill, graph, hub, step } = setup()
  graph.rows.set("ann", row("ann", "a", 1))
  const ann = client(hub, "ann")
  const bob = client(hub, "bob")
  for (const [one, user] of [[ann, "ann"], [bob, "bob"]] as const) {
    one.connection.subscribe(1, masked, bound("a", user), { first: true })
    one.connection.received([])
  }
  fill()
  step(() => void graph.rows.set("ann", row("ann", "a", 2)).set("bob", row("bob", "a", 3)))
  assert.deepStrictEqual(ann.rows(1), [["ann", "a", 2], ["bob", "a", null]])
  assert.deepStrictEqual(bob.rows(1), [["ann", "a", null], ["bob", "a", 3]])
  assert.strictEqual(hub.stats().bindings, 1)
})

it("P3 a receipt is in the first frame whose position includes its commit, and is repeated when asked for", () => {
  const { fill, graph, hub } = setup()
  const one = client(hub, "c")
  one.connection.subscribe(1, open, bound("a"), { first: true })
  one.connection.received([])
  fill()
  const receipt = { seq: 1, outcome: { type: "success", value: null } } as const
  const [pass, at] = graph.step(() => void graph.rows.set("1", row("1", "a", 1)), new Set(["a"]))
  hub.stepped(pass, at, [{ client: "c", receipt }, { client: "other", receipt }], undefined)
  assert.deepStrictEqual(one.receipts, [], "the frame is held, and its receipt with it")
  hub.filled(graph.fill())
  assert.deepStrictEqual([one.receipts, one.rows(1)], [[1], [["1", "a", 1]]])
  one.connection.repeat(1)
  assert.deepStrictEqual(one.receipts, [1, 1])
  one.connection.acknowledge(1)
  one.connection.repeat(1)
  assert.deepStrictEqual(one.receipts, [1, 1])
})

it("a client that comes back gets what changed since, even if nobody watched, and all of it after the window", () => {
  const { fill, graph, hub, pass, step } = setup()
  for (let i = 0; i < 50; i++) graph.rows.set(`${i}`, row(`${i}`, "a", 1))
  const one = client(hub, "c")
  one.connection.subscribe(1, open, bound("a"), { first: true })
  one.connection.received([])
  fill()
  const from = one.to()
  const binding = one.opened.get(1)
  one.connection.close()
  step(() => void graph.rows.set("0", row("0", "a", 2)))
  step(() => void graph.rows.delete("1"))
  pass(59_000)
  hub.sweep()
  const again = client(hub, "c", { atLeast: from })
  again.connection.subscribe(1, open, bound("a"), { first: true, held: from })
  assert.lengthOf(again.frames, 0)
  again.bindings.set(binding!, new Map(one.bindings.get(binding!)))
  again.connection.received([])
  assert.lengthOf(again.frames[0].patches[0].rows[0][1], 1)
  assert.deepStrictEqual(again.rows(1), wire(graph.result("a")))
  again.connection.close()
  pass(61_000)
  hub.sweep()
  assert.deepStrictEqual([hub.stats().bindings, hub.stats().windowBytes], [0, 0])
  const late = client(hub, "c", { atLeast: from })
  late.connection.subscribe(1, open, bound("a"), { first: true, held: from })
  late.connection.received([])
  fill()
  assert.isTrue(late.frames[0].patches[0].reset)
  assert.deepStrictEqual(late.rows(1), wire(graph.result("a")))
})

it("P8 nothing is sent before the engine is where the client has been", () => {
  const { fill, graph, hub, step } = setup()
  const one = client(hub, "c", { atLeast: 3 })
  one.connection.subscribe(1, open, bound("a"), { first: true })
  one.connection.received([])
  fill()
  step(() => void graph.rows.set("1", row("1", "a", 1)))
  assert.lengthOf(one.frames, 0)
  step(() => {})
  assert.deepStrictEqual([one.to(), one.rows(1)], [3, [["1", "a", 1]]])
})

it("P8 a client that the engine does not catch up with is told so, not held for ever", () => {
  const { graph, hub, pass } = setup()
  const early = client(hub, "early", { atLeast: 2 })
  const ahead = client(hub, "ahead", { atLeast: 1000 })
  for (const one of [early, ahead]) one.connection.received([])
  hub.stepped(...graph.step(() => {}), [], undefined)
  pass(10_000)
  hub.sweep()
  assert.deepStrictEqual([early.outpaced(), ahead.outpaced(), ahead.frames.length], [false, true, 0])
})

it("P9 a stalled client is given merged frames when it drains; past the bound it starts over", () => {
  let blocked = false
  const { fill, graph, hub, resyncs, step } = setup({ pendingBytes: 4_000 })
  const slow = client(hub, "slow", { blocked: () => blocked })
  const quick = client(hub, "quick")
  for (const one of [slow, quick]) {
    one.connection.subscribe(1, open, bound("a"), { first: true })
    one.connection.received([])
  }
  fill()
  blocked = true
  for (let i = 0; i < 500; i++) step(() => void graph.rows.set("1", row("1", "a", i)))
  assert.lengthOf(slow.frames, 1)
  assert.lengthOf(quick.frames, 501)
  blocked = false
  slow.connection.drained()
  assert.lengthOf(slow.frames, 2)
  assert.deepStrictEqual([slow.rows(1), slow.resyncs(), resyncs], [quick.rows(1), 0, []])
  blocked = true
  for (let i = 0; i < 300; i++) step(() => void graph.rows.set(`${i}`, row(`${i}`, "a", i)))
  blocked = false
  slow.connection.drained()
  assert.deepStrictEqual([slow.rows(1), slow.resyncs(), resyncs], [quick.rows(1), 1, ["SlowConsumer"]])
})

it("steps under load share frames", () => {
  const { fill, fire, graph, hub, pass, step } = setup({ gatherMillis: 5 })
  const all = [client(hub, "1"), client(hub, "2")]
  for (const one of all) {
    one.connection.subscribe(1, open, bound("a"), { first: true })
    one.connection.received([])
  }
  fill()
  for (let i = 0; i < 10; i++) step(() => void graph.rows.set(`${i}`, row(`${i}`, "a", i)))
  assert.lengthOf(all[0]!.frames, 1)
  const before = hub.stats().builtFrames
  fire()
  assert.lengthOf(all[0]!.frames, 2)
  assert.strictEqual(hub.stats().builtFrames, before + 1)
  assert.deepStrictEqual(all[1]!.rows(1), wire(graph.result("a")))
  // After a pause a step goes out at once.
  pass(6)
  step(() => void graph.rows.delete("1"))
  assert.lengthOf(all[0]!.frames, 3)
})

it("P10 after the source lost its place, clients get the difference and not the whole", () => {
  const { fill, graph, hub } = setup()
  for (let i = 0; i < 10; i++) graph.rows.set(`${i}`, row(`${i}`, "a", 1))
  const one = client(hub, "c")
  one.connection.subscribe(1, open, bound("a"), { first: true })
  one.connection.received([])
  fill()
  graph.rows.set("1", row("1", "a", 2)).delete("2")
  graph.restart(100)
  hub.restarted()
  assert.lengthOf(one.frames, 1)
  fill()
  assert.strictEqual(one.to(), 100)
  assert.deepStrictEqual(one.frames[1].patches.map((patch: any) => [patch.reset, patch.rows, patch.remove]), [[undefined, [["t", [["1", "a", 2]]]], ["2"]]])
  assert.deepStrictEqual(one.rows(1), wire(graph.result("a")))
})

it("P7 a mask that fell while the source had lost its place is in the difference, although its row is the same", () => {
  let hidden = 0
  const { fill, graph, hub } = setup({}, () => hidden)
  graph.rows.set("1", row("1", "a", 1))
  const one = client(hub, "one")
  one.connection.subscribe(0, masked, bound("a"), { first: true })
  one.connection.received([])
  fill()
  assert.deepStrictEqual(one.rows(0), [["1", "a", 1]])
  graph.restart(100)
  hidden = 1
  hub.restarted()
  fill()
  assert.deepStrictEqual(one.rows(0), [["1", "a", null]])
})

it("a client that connects again takes over from its older connection", () => {
  const { graph, hub } = setup()
  const old = client(hub, "c")
  old.connection.received([])
  const young = client(hub, "c")
  young.connection.received([])
  assert.deepStrictEqual([old.superseded(), young.superseded()], [true, false])
  old.connection.close()
  hub.stepped(...graph.step(() => {}), [{ client: "c", receipt: { seq: 1, outcome: { type: "success", value: null } } }], undefined)
  assert.deepStrictEqual(young.receipts, [1])
})

const Act = Schema.Union([
  Schema.Struct({ op: Schema.tag("write"), id: Schema.Literals(["1", "2", "3", "4"]), group: Schema.Literals(["a", "b", ""]), stall: Schema.Literals(["a", "b", "", "", ""]) }),
  Schema.Struct({ op: Schema.tag("revoke"), user: Schema.Literals(["u0", "u1", "u2"]) }),
  Schema.Struct({ op: Schema.tag("fill"), only: Schema.Literals(["a", "b", ""]) }),
  Schema.Struct({ op: Schema.tag("subscribe"), who: Schema.Literals([0, 1, 2]), id: Schema.Literals([1, 2, 3]), group: Schema.Literals(["a", "b"]), gated: Schema.Boolean }),
  Schema.Struct({ op: Schema.tag("unsubscribe"), who: Schema.Literals([0, 1, 2]), id: Schema.Literals([1, 2, 3]) }),
  Schema.Struct({ op: Schema.tag("cut"), who: Schema.Literals([0, 1, 2]) }),
  Schema.Struct({ op: Schema.tag("block"), who: Schema.Literals([0, 1, 2]) }),
  Schema.Struct({ op: Schema.tag("fire") }),
  Schema.Struct({ op: Schema.tag("lose") })
])

it.prop("P1 at every frame each query that was opened equals its rows at the frame's position", [Schema.Array(Act).check(Schema.isMaxLength(200))], ([acts]) => {
  const { fill, fire, graph, hub, step } = setup({ gatherMillis: 1, pendingBytes: 600, windowBytes: 300 })
  // The states passed, by position: what a shadow database would hold.
  const past = new Map<number, { readonly rows: Map<string, Row>; readonly members: ReadonlySet<string> }>()
  const note = () => void past.set(graph.source.position(), { rows: new Map(graph.rows), members: new Set(graph.members) })
  note()
  const blocked = [false, false, false]
  const wanted = [0, 1, 2].map(() => new Map<number, { readonly group: string; readonly gated: boolean }>())
  const checked = [0, 0, 0]
  const connect = (who: number, atLeast: number) => client(hub, `c${who}`, { atLeast, blocked: () => blocked[who]! })
  const clients = [0, 1, 2].map((who) => connect(who, 0))
  for (const one of clients) one.connection.received([])
  const check = () => {
    clients.forEach((one, who) => {
      if (one.frames.length === checked[who]) return
      checked[who] = one.frames.length
      const state = past.get(one.to())!
      for (const [id, { gated, group }] of wanted[who]!) {
        const rows = one.rows(id)
        if (rows === undefined) continue
        const visible = !gated || state.members.has(`u${who}`)
        assert.deepStrictEqual(rows, visible ? wire([...state.rows.values()].filter((row) => row["group"] === group)) : [])
      }
    })
  }
  let version = 0
  const run = (act: typeof Act.Type) => {
    switch (act.op) {
      case "write":
        return step(() => {
          if (act.group === "") graph.rows.delete(act.id)
          else graph.rows.set(act.id, row(act.id, act.group, ++version))
          past.set(graph.source.position() + 1, { rows: new Map(graph.rows), members: new Set(graph.members) })
        }, new Set([act.stall]))
      case "revoke":
        return step(() => {
          if (!graph.members.delete(act.user)) graph.members.add(act.user)
          past.set(graph.source.position() + 1, { rows: new Map(graph.rows), members: new Set(graph.members) })
        })
      case "fill":
        return fill((binding) => act.only === "" || binding.bound.parameters["group"] === act.only)
      case "subscribe": {
        const { connection } = clients[act.who]!
        if (connection.has(act.id)) return
        wanted[act.who]!.set(act.id, act)
        clients[act.who]!.opened.delete(act.id)
        return connection.subscribe(act.id, act.gated ? gated : open, bound(act.group, `u${act.who}`))
      }
      case "unsubscribe":
        wanted[act.who]!.delete(act.id)
        clients[act.who]!.opened.delete(act.id)
        return clients[act.who]!.connection.unsubscribe(act.id)
      case "cut": {
        const old = clients[act.who]!
        old.connection.close()
        blocked[act.who] = false
        checked[act.who] = 0
        const young = clients[act.who] = connect(act.who, old.to())
        for (const [binding, rows] of old.bindings) young.bindings.set(binding, new Map(rows))
        for (const [id, want] of wanted[act.who]!) {
          young.connection.subscribe(id, want.gated ? gated : open, bound(want.group, `u${act.who}`), {
            first: true, ...old.opened.has(id) ? { held: old.to() } : {}
          })
        }
        return young.connection.received([])
      }
      case "block":
        if ((blocked[act.who] = !blocked[act.who])) return
        return clients[act.who]!.connection.drained()
      case "fire":
        return fire()
      case "lose":
        graph.restart(graph.source.position() + 1)
        note()
        return hub.restarted()
    }
  }
  for (const act of acts) {
    run(act)
    check()
  }
  // In the end all converge.
  blocked.fill(false)
  for (const one of clients) one.connection.drained()
  fill()
  fire()
  step(() => past.set(graph.source.position() + 1, { rows: new Map(graph.rows), members: new Set(graph.members) }))
  fire()
  check()
  clients.forEach((one, who) => {
    for (const [id, { gated, group }] of wanted[who]!) {
      assert.deepStrictEqual(one.rows(id), !gated || graph.members.has(`u${who}`) ? wire(graph.result(group)) : [])
    }
    one.connection.close()
  })
}, { arbitrary: { runs: 1000, size: 120 } })
