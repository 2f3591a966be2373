/**
 * A network that the test controls: a TCP proxy before the server, and sockets that tell what passes.
 *
 * A client that is cut finds its connection destroyed, perhaps in the middle of a message; one that is stalled hears nothing
 * until it is released or cut.
 */
import { once } from "node:events"
import * as net from "node:net"
import { WebSocket } from "ws"

export interface Link {
  readonly url: string
  /** Once so many more bytes came from the server; at once for 0. False where nothing is connected. */
  readonly cut: (afterBytes: number) => boolean
  readonly stall: () => void
  /** Ends `stall`: what was held back arrives. */
  readonly release: () => void
  /** New connections fail while this is true. */
  refuse: boolean
  readonly connections: () => number
  readonly close: () => Promise<void>
}

/** One client's way to the server. */
export const link = async (serverPort: number, path: string): Promise<Link> => {
  const pairs = new Set<readonly [client: net.Socket, server: net.Socket]>()
  let stalled = false
  let budget = Infinity
  let connections = 0
  const destroy = () => {
    budget = Infinity
    for (const [client, server] of pairs) {
      client.destroy()
      server.destroy()
    }
  }
  const proxy = net.createServer((client) => {
    if (self.refuse) return void client.destroy()
    connections++
    const server = net.connect(serverPort, "127.0.0.1")
    const pair = [client, server] as const
    pairs.add(pair)
    for (const [socket, other] of [[client, server], [server, client]] as const) {
      socket.setNoDelay(true)
      socket.on("error", () => {})
      socket.on("close", () => {
        pairs.delete(pair)
        other.destroy()
      })
    }
    client.on("data", (bytes) => void server.write(bytes))
    server.on("data", (bytes) => {
      if (bytes.length < budget) {
        budget -= bytes.length
        client.write(bytes)
        return
      }
      // The rest of the message never arrives.
      const last = bytes.subarray(0, budget)
      pairs.delete(pair)
      budget = Infinity
      server.destroy()
      client.end(last)
    })
    if (stalled) server.pause()
  })
  proxy.listen(0, "127.0.0.1")
  await once(proxy, "listening")
  const self: Link = {
    url: `ws://127.0.0.1:${(proxy.address() as net.AddressInfo).port}${path}`,
    cut(afterBytes) {
      if (pairs.size === 0) return false
      if (afterBytes === 0) destroy()
      else budget = afterBytes
      return true
    },
    stall() {
      stalled = true
      for (const [, server] of pairs) server.pause()
    },
    release() {
      stalled = false
      for (const [, server] of pairs) server.resume()
    },
    refuse: false,
    connections: () => connections,
    async close() {
      destroy()
      proxy.close()
      await once(proxy, "close")
    }
  }
  return self
}

export interface Tap {
  /** Each message from the server, before the client sees it. */
  readonly received: (text: string) => void
  /** The client has dealt with the last one. */
  readonly handled: () => void
  readonly sent: (text: string) => void
  readonly opened: () => void
}

/** A constructor of WebSockets that also tell `tap`. */
export const tapped = (tap: Tap) =>
  class extends WebSocket {
    constructor(url: string | URL, protocols?: string | Array<string>) {
      super(url, protocols, { perMessageDeflate: false })
      this.on("open", tap.opened)
    }

    override send(data: Parameters<WebSocket["send"]>[0], ...rest: ReadonlyArray<unknown>) {
      tap.sent(String(data))
      ;(super.send as (...args: ReadonlyArray<unknown>) => void)(data, ...rest)
    }

    override emit(event: string | symbol, ...args: Array<unknown>): boolean {
      if (event !== "message") return super.emit(event, ...args as [])
      // A client that has given a socket up does not listen to it any more.
      if (this.onmessage === null) return false
      tap.received(String(args[0]))
      const heard = super.emit(event, ...args as [])
      tap.handled()
      return heard
    }
  }
