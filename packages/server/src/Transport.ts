/**
 * WebSockets on Node: from an upgrade request to a session.
 *
 * Frames go to the `ws` socket as they are, without an effect for each. What a slow peer has not taken waits in its socket up to
 * the hub's bound; the hub merges what follows until the socket drains.
 *
 * Browsers say where a page comes from: another origin than the server's own is refused with 403 unless it is listed. A request
 * without `Origin` does not come from a page, and only its token tells who it is.
 */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as NodeWS from "@effect/platform-node/NodeWS"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import type * as Http from "node:http"
import type { Socket } from "node:net"
import type { Duplex } from "node:stream"
import { Session } from "./Session.ts"

export interface Options {
  /** Where clients connect to; `/sync` by default. */
  readonly path?: `/${string}` | undefined
  /** Origins of pages ("https://app.example.com") that may connect, beside the server's own. `"*"` lets all in. */
  readonly origins?: ReadonlyArray<string> | undefined
}

/** A route of the `HttpRouter` around it. */
export const layerWebSocket = ({ origins, path = "/sync" }: Options = {}): Layer.Layer<never, never, HttpRouter.HttpRouter | Session> =>
  HttpRouter.use((router) =>
    Effect.gen(function*() {
      const accept = acceptor(yield* Session)
      yield* router.add("GET", path, Effect.gen(function*() {
        const request = NodeHttpServerRequest.toIncomingMessage(yield* HttpServerRequest.HttpServerRequest) as Http.IncomingMessage
        if (!isUpgrade(request)) return HttpServerResponse.text("This is a WebSocket endpoint: connect with a WebSocket.", { status: 426, headers: { upgrade: "websocket" } })
        if (!isAllowed(request, origins)) return HttpServerResponse.text(refusal(request), { status: 403 })
        // The answer is on the wire when the socket closes: there is nothing left to respond to.
        yield* Effect.callback<void>((resume) => {
          const ws = accept(request, request.socket, Buffer.alloc(0), () => resume(Effect.void))
          return Effect.sync(() => ws.close())
        })
        return HttpServerResponse.empty()
      }))
    }))

/** Takes the upgrades of that path in a server that exists, and leaves all others to who else takes upgrades there. The result stops that. */
export const attach = (session: Session["Service"], server: Http.Server, { origins, path = "/sync" }: Options): () => void => {
  const accept = acceptor(session)
  const onUpgrade = (request: Http.IncomingMessage, socket: Duplex, head: Buffer) => {
    const isOurs = pathOf(request) === path
    if (!isOurs && server.listenerCount("upgrade") > 1) return
    // Nobody else listens to a socket that was upgraded, and an error that nobody hears ends the process.
    socket.on("error", () => {})
    if (!isOurs) {
      socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
      return
    }
    if (!isUpgrade(request) || !isAllowed(request, origins)) {
      const body = isUpgrade(request) ? refusal(request) : "Only WebSockets are served here."
      socket.end(`HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
      return
    }
    accept(request, socket as Socket, head, () => {})
  }
  server.on("upgrade", onUpgrade)
  return () => void server.off("upgrade", onUpgrade)
}

/** Whether a load balancer should send clients here: 200, else 503. */
export const layerHealth = ({ path = "/health" }: { readonly path?: `/${string}` | undefined } = {}): Layer.Layer<never, never, HttpRouter.HttpRouter | Session> =>
  HttpRouter.use((router) =>
    Effect.flatMap(Session, (session) =>
      router.add("GET", path, Effect.sync(() =>
        session.healthy()
          ? HttpServerResponse.jsonUnsafe({ status: "ok" })
          : HttpServerResponse.jsonUnsafe({ status: "unavailable" }, { status: 503 })))))

const isUpgrade = (request: Http.IncomingMessage): boolean => request.headers.upgrade?.toLowerCase() === "websocket"

const isAllowed = (request: Http.IncomingMessage, origins: ReadonlyArray<string> = []): boolean => {
  const { host, origin } = request.headers
  if (origin === undefined || origins.includes(origin) || origins.includes("*")) return true
  try {
    return new URL(origin).host === host
  } catch {
    return false
  }
}

const refusal = (request: Http.IncomingMessage): string =>
  `Pages of ${JSON.stringify(request.headers.origin)} may not connect here: list that origin in \`origins\`.`

/** Bytes that may wait in a socket for a ping to be answered still. */
const maxPongs = 64 * 1024

/** Undefined where the request's target is no path. */
export const pathOf = (request: Http.IncomingMessage): string | undefined =>
  URL.parse(request.url ?? "/", "http://host")?.pathname

/** Takes over a socket from its HTTP server. */
const acceptor = (session: Session["Service"]) => {
  const server = new NodeWS.WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    // A peer that pings and does not read would be owed ever more.
    autoPong: false,
    // A message that is a little too large is told so; one that is much too large is not read.
    maxPayload: session.maxMessageBytes * 2
  })
  return (request: Http.IncomingMessage, socket: Socket, head: Buffer, onClose: () => void): { readonly close: () => void } => {
    let close: () => void = () => socket.destroy()
    socket.once("close", () => onClose())
    server.handleUpgrade(request, socket, head, (ws): void => {
      close = () => ws.close(1001, "going away")
      // A peer that does not answer the close keeps its socket no longer than this.
      const endSoon = () => void setTimeout(() => ws.terminate(), 2000).unref()
      const handle = session.open({
        send: (message) => {
          if (ws.readyState === ws.OPEN) ws.send(message, { binary: false })
        },
        buffered: () => ws.bufferedAmount,
        pause: (paused) => paused ? ws.pause() : ws.resume(),
        close: (code, reason) => {
          // Else its answer is not read.
          ws.resume()
          ws.close(code, reason.slice(0, 100))
          endSoon()
        }
      }, {
        headers: headersOf(request),
        address: socket.remoteAddress ?? "",
        isEnding: () => (socket as Socket & { readonly server?: Http.Server }).server?.listening === false
      })
      ws.on("message", (data: Buffer, isBinary: boolean) => handle.receive(isBinary ? undefined : data.toString()))
      ws.on("ping", (data: Buffer) => {
        if (ws.bufferedAmount < maxPongs) ws.pong(data)
      })
      ws.on("close", handle.closed)
      // What is wrong with the protocol closes the socket by itself.
      ws.on("error", endSoon)
      socket.on("drain", handle.drained)
    })
    return { close: () => close() }
  }
}

const headersOf = (request: Http.IncomingMessage): Headers => {
  const headers = new Headers()
  for (const [name, value] of Object.entries(request.headers)) {
    if (name.startsWith(":") || value === undefined) continue
    for (const one of Array.isArray(value) ? value : [value]) headers.append(name, one)
  }
  return headers
}
