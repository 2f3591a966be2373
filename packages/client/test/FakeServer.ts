/** A scripted server behind a `WebSocket` constructor, and a world whose time moves only when told. */
import * as Codec from "@headwater/core/Codec"
import type { ClientMessage, Frame, Hello, ServerMessage, Welcome } from "@headwater/core/Message"
import type { Environment, WebSocketConstructor } from "../src/internal/environment.ts"

/** One connection, from the server's side. */
export class Peer {
  readonly received: Array<ClientMessage> = []
  closed = false
  readonly #socket: Socket
  constructor(socket: Socket) {
    this.#socket = socket
  }

  /** Delivered at once. */
  send(...messages: ReadonlyArray<ServerMessage>) {
    for (const message of messages) this.sendText(Codec.encodeServer(message))
  }

  sendText(data: string) {
    if (!this.closed) this.#socket.onmessage?.({ data } as never)
  }

  /** The connection breaks. */
  cut() {
    if (this.closed) return
    this.closed = true
    this.#socket.onclose?.({} as never)
  }

  /** Those of a type that nobody has taken yet. */
  take<T extends ClientMessage["type"]>(type: T): ReadonlyArray<Extract<ClientMessage, { type: T }>> {
    const taken = this.received.filter((message) => message.type === type)
    for (const message of taken) this.received.splice(this.received.indexOf(message), 1)
    return taken as never
  }

  hello(): Hello {
    const [hello] = this.take("hello")
    if (hello === undefined) throw new Error("No hello has come.")
    return hello
  }

  welcome(fields: Partial<Welcome> = {}) {
    this.send({
      type: "welcome", protocol: 1, features: [], epoch: "e1", session: "s1", position: 0, heartbeatMillis: 10_000, columns: {},
      refused: { queries: [], mutations: [] }, nextSeq: 1, ...fields
    })
  }

  frame(to: number, fields: Partial<Frame> = {}) {
    this.send({ type: "frame", to, patches: [], ...fields })
  }
}

interface Socket {
  onmessage: ((event: never) => void) | null
  onclose: ((event: never) => void) | null
  onopen: ((event: never) => void) | null
}

export interface FakeServer {
  readonly WebSocket: WebSocketConstructor
  readonly peers: ReadonlyArray<Peer>
  /** The newest connection. */
  readonly peer: Peer
  /** Whether new connections open. */
  reachable: boolean
  /** Whether pings are answered. */
  awake: boolean
}

export const make = (): FakeServer => {
  const peers: Array<Peer> = []
  const server = {
    peers: peers as ReadonlyArray<Peer>,
    reachable: true,
    awake: true,
    get peer() {
      return peers[peers.length - 1]!
    },
    WebSocket: class {
      onopen: ((event: never) => void) | null = null
      onmessage: ((event: never) => void) | null = null
      onerror: ((event: never) => void) | null = null
      onclose: ((event: never) => void) | null = null
      readonly peer = new Peer(this)
      constructor() {
        peers.push(this.peer)
        queueMicrotask(() => {
          if (server.reachable) this.onopen?.({} as never)
          else this.peer.cut()
        })
      }
      send(text: string) {
        const decoded = Codec.decodeClient(text)
        if (!decoded.ok) throw new Error(`The client sent something malformed: ${decoded.problem.message}`)
        this.peer.received.push(decoded.message)
        if (decoded.message.type === "ping" && server.awake) queueMicrotask(() => this.peer.send({ type: "pong", position: 0 }))
      }
      close() {
        this.peer.closed = true
      }
    } as WebSocketConstructor
  }
  return server
}

export interface World {
  readonly environment: Environment
  readonly reports: Array<unknown>
  readonly warnings: Array<string>
  readonly page: EventTarget
  now: number
  /** Runs what falls due, in order. */
  advance(millis: number): Promise<void>
}

export const world = (server: FakeServer): World => {
  const timers = new Set<{ readonly at: number; readonly run: () => void }>()
  const page = new EventTarget()
  let ids = 0
  const world: World = {
    now: 1_700_000_000_000,
    reports: [],
    warnings: [],
    page,
    async advance(millis) {
      const end = world.now + millis
      for (;;) {
        const [next] = [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)
        if (next === undefined) break
        timers.delete(next)
        world.now = Math.max(world.now, next.at)
        next.run()
        await settled()
      }
      world.now = end
    },
    environment: {
      now: () => world.now,
      random: () => 0.5,
      newId: () => `client-${++ids}`,
      timer: (run, millis) => {
        const timer = { at: world.now + millis, run }
        timers.add(timer)
        return () => void timers.delete(timer)
      },
      WebSocket: server.WebSocket,
      report: (error) => void world.reports.push(error),
      warn: (message) => void world.warnings.push(message),
      page: page as never
    }
  }
  return world
}

/** Whatever is already under way in promises has happened. */
export const settled = async () => {
  for (let i = 0; i < 20; i++) await Promise.resolve()
}
