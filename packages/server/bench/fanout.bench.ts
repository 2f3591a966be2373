/**
 * One changed row to 1,000 sockets, beside `ws` that sends the same bytes to each.
 *
 * Both servers are in this process, all clients in another; contestants take turns. A step goes the whole way: graph, hub, frame,
 * sockets. CPU is this process's, user and system, for each message that arrived. Every client checks what it got.
 */
import { ChangeSource } from "@headwater/cdc/ChangeSource"
import type { Row } from "@headwater/core/Row"
import type { Step } from "@headwater/core/Step"
import { Context, Effect, Layer, ManagedRuntime, Queue, Stream } from "effect"
import { fork } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { setImmediate as immediate } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { WebSocket, WebSocketServer } from "ws"
import * as Headwater from "../src/Headwater.ts"
import { receipts } from "../src/PostgresWriter.ts"
import { Session } from "../src/Session.ts"
import * as Transport from "../src/Transport.ts"
import { Writer } from "../src/Writer.ts"
import { check, handlers, median, report, Task, Tasks } from "./support.ts"

const sockets = 1000
const perRound = 60
const rounds = 7

const rowAt = (version: number): Row => ({ id: 1, projectId: "p", title: `A title of usual length ${version}`, points: version % 13, updatedAt: BigInt(1_700_000_000 + version) })

/** Connects, and tells how many messages have come in, on which title they agree. */
const clients = async ([port, headwater]: ReadonlyArray<string>) => {
  let arrived = 0
  let expected = headwater === "true" ? sockets : 0
  let reached = () => {}
  const greeted = new Promise<void>((resolve) => {
    reached = resolve
  })
  const last: Array<string> = Array.from({ length: sockets }, () => "")
  const all = await Promise.all(Array.from({ length: sockets }, async (_, i) => {
    const ws = new WebSocket(`ws://127.0.0.1:${port}/sync`, { perMessageDeflate: false })
    await once(ws, "open")
    return { ws, i }
  }))
  for (const { i, ws } of all) {
    ws.on("message", (data: Buffer) => {
      const text = data.toString("latin1")
      if (!text.startsWith("{\"type\":\"frame\"")) return
      last[i] = /A title of usual length \d+/.exec(text)?.[0] ?? ""
      if (++arrived === expected) reached()
    })
    if (headwater === "true") {
      ws.send(JSON.stringify({
        type: "hello", protocol: 1, features: [], contract: { name: Tasks.contractName, hash: Tasks.hash }, client: `c${i}`, acknowledged: 0,
        subscriptions: [{ id: 1, query: "tasksOf", parameters: { projectId: "p" } }]
      }))
    }
  }
  if (headwater === "true") await greeted
  reached = () => process.send!({ arrived, agree: last.every((title) => title === last[0]), title: last[0] })
  process.on("message", ({ expect }: { readonly expect: number }) => {
    arrived = 0
    expected = expect
    process.send!("ready")
  })
  process.send!("connected")
}

interface Contestant {
  readonly name: string
  readonly port: number
  readonly publish: (version: number) => void
}

const startHeadwater = async (): Promise<Contestant> => {
  const steps = Effect.runSync(Queue.unbounded<Step>())
  let current = rowAt(0)
  let position = 1
  const source = ChangeSource.of({
    epoch: "bench",
    position: Effect.sync(() => position),
    steps: () => Stream.fromQueue(steps),
    read: (ranges) => Effect.sync(() => ({ from: position, at: () => ranges.map(({ table }) => ({ rows: table === Task.tableName ? [current] : [], completeTo: null })) })),
    acknowledge: () => Effect.void,
    positionOf: () => Effect.never,
    promises: { name: "bench", outsideWrites: true, exact: true }
  })
  const writer = Writer.of({ claim: () => Effect.succeed({ nextSeq: 1 }), write: () => Effect.never, receipts })
  const runtime = ManagedRuntime.make(Headwater.layer(Tasks, { gather: 0, heartbeat: "1 hour" }).pipe(
    Layer.provide([handlers, Layer.succeed(ChangeSource, source), Layer.succeed(Writer, writer)])
  ))
  const session = Context.get(await runtime.context(), Session)
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  Transport.attach(session, server, {})
  return {
    name: "headwater",
    port: (server.address() as AddressInfo).port,
    publish: (version) => {
      const after = rowAt(version)
      Queue.offerUnsafe(steps, { position: ++position, transactions: [], truncated: [], chunks: [[{ table: Task.tableName, before: current, after }]] })
      current = after
    }
  }
}

const startBare = async (): Promise<Contestant> => {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false, backlog: 4096 })
  await once(server, "listening")
  return {
    name: "ws",
    port: (server.address() as AddressInfo).port,
    publish: (version) => {
      const { id, points, projectId, title, updatedAt } = rowAt(version)
      const frame = Buffer.from(JSON.stringify({
        type: "frame", to: version, patches: [{ binding: 1, rows: [["tasks", [[id, projectId, title, points, String(updatedAt)]]]], add: [], remove: [] }]
      }))
      for (const client of server.clients) client.send(frame, { binary: false })
    }
  }
}

const main = async () => {
  const contestants = await Promise.all([startHeadwater(), startBare()].map(async (starting) => {
    const contestant = await starting
    const child = fork(fileURLToPath(import.meta.url), ["clients", String(contestant.port), String(contestant.name === "headwater")])
    const [connected] = await once(child, "message")
    check("all are connected", connected === "connected")
    return { ...contestant, child, cpu: [] as Array<number>, perSecond: [] as Array<number> }
  }))
  let version = 0
  for (let round = 0; round <= rounds; round++) {
    for (const { child, cpu, perSecond, publish } of round % 2 === 0 ? contestants : contestants.toReversed()) {
      child.send({ expect: perRound * sockets })
      await once(child, "message")
      const done = once(child, "message")
      const before = process.cpuUsage()
      const started = performance.now()
      for (let i = 0; i < perRound; i++) {
        publish(++version)
        await immediate()
        await immediate()
      }
      const [result] = await done as [{ readonly arrived: number; readonly agree: boolean; readonly title: string }]
      const used = process.cpuUsage(before)
      check(`${result.arrived} messages arrived`, result.arrived === perRound * sockets)
      check("all hold the last title", result.agree && result.title === rowAt(version)["title"])
      // The first round warms up.
      if (round === 0) continue
      cpu.push((used.user + used.system) / (perRound * sockets))
      perSecond.push(perRound * sockets / (performance.now() - started) * 1000)
    }
  }
  const bare = median(contestants[1]!.cpu)
  report(`one changed row to ${sockets} sockets`, contestants.map(({ cpu, name, perSecond }) => ({
    contestant: name,
    "CPU µs per message": Number(median(cpu).toFixed(2)),
    "messages per second": Math.round(median(perSecond)),
    "CPU beside ws": Number((median(cpu) / bare).toFixed(2))
  })))
  for (const { child } of contestants) child.kill()
  process.exit(0)
}

await (process.argv[2] === "clients" ? clients(process.argv.slice(3)) : main())
