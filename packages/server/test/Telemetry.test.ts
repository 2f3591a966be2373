import { Layer } from "effect"
import { FetchHttpClient } from "effect/http"
import { Otlp } from "effect/observability"
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { assert, it } from "vitest"
import * as Telemetry from "../src/Telemetry.ts"
import { enter, serve } from "./harness.ts"

interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly links?: ReadonlyArray<{ readonly traceId: string; readonly spanId: string }>
}

/** A collector as the world has them: OTLP over HTTP, as JSON. */
const collector = async () => {
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

it("P13 one trace leads from the client's mutation to the frames of all who see its effect", async () => {
  const otlp = await collector()
  const tracer = Otlp.layerJson({ baseUrl: otlp.url, resource: { serviceName: "headwater" }, tracerExportInterval: "50 millis" }).pipe(
    Layer.provide(FetchHttpClient.layer)
  )
  const server = await serve({ around: tracer })
  const ann = await enter(server, "ann", [["tasks", { projectId: "p" }]])
  const bob = await enter(server, "bob", [["tasks", { projectId: "p" }]])
  const traceId = "0af7651916cd43dd8448eb211c80319c"
  const client = "b7ad6b7169203331"
  ann.send({ type: "mutate", seq: 1, name: "createTask", payload: { id: 80, projectId: "p", title: "traced" }, trace: `00-${traceId}-${client}-01` })
  await ann.outcome(1)
  await bob.until(() => bob.rows(0)!.some((row) => row[0] === 80))
  const mine = () => otlp.spans.filter((span) => span.traceId === traceId)
  await otlp.until(() => mine().length >= 4)
  const named = (name: string) => {
    const found = mine().filter((span) => span.name === name)
    assert.lengthOf(found, 1, name)
    return found[0]!
  }
  const [mutation, transaction, step, fanout] = ["mutation", "transaction", "step", "fanout"].map((name) => named(`headwater.${name}`))
  assert.strictEqual(mutation!.parentSpanId, client)
  assert.strictEqual(transaction!.parentSpanId, mutation!.spanId)
  assert.strictEqual(step!.parentSpanId, transaction!.spanId)
  assert.strictEqual(fanout!.parentSpanId, step!.spanId)
  for (const one of [ann, bob]) {
    const frame = one.messages.filter((message) => message.type === "frame").at(-1) as any
    assert.strictEqual(frame.trace, `00-${traceId}-${fanout!.spanId}-01`)
  }
  assert.strictEqual(mine().length, 4, "no more spans than that")
  await server.stop()
  otlp.close()
}, 60_000)

it("a traceparent that is none is ignored", () => {
  for (const text of ["", "00-0-0-00", `00-${"0".repeat(32)}-b7ad6b7169203331-01`, `01-${"a".repeat(32)}-b7ad6b7169203331-01`, `00-${"A".repeat(32)}-b7ad6b7169203331-01`]) {
    assert.isUndefined(Telemetry.parse(text))
  }
  assert.deepInclude(Telemetry.parse(`00-${"a".repeat(32)}-b7ad6b7169203331-00`), { spanId: "b7ad6b7169203331", sampled: false })
})
