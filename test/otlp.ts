/** An OTLP collector, as the world has them: OTLP over HTTP, as JSON. */
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

export interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly links?: ReadonlyArray<{ readonly traceId: string; readonly spanId: string }>
}

/** Keeps what it receives; `until` waits for a condition on it. */
export const collector = async () => {
  const spans: Array<Span> = []
  const waiters = new Set<() => void>()
  const server = createServer((request, response) => {
    let body = ""
    request.setEncoding("utf8").on("data", (text: string) => void (body += text)).on("end", () => {
      if (request.url === "/v1/traces") {
        for (const resource of JSON.parse(body).resourceSpans) for (const scope of resource.scopeSpans) spans.push(...scope.spans)
        for (const waiter of waiters) waiter()
      }
      response.writeHead(200, { "content-type": "application/json" }).end("{}")
    })
  }).listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    spans,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    until: (test: () => boolean) => new Promise<void>((resolve) => {
      const check = () => {
        if (!test()) return
        waiters.delete(check)
        resolve()
      }
      waiters.add(check)
      check()
    }),
    close: () => server.close()
  }
}
