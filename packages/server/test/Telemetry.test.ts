import { Layer } from "effect"
import { FetchHttpClient } from "effect/http"
import { Otlp } from "effect/observability"
import { assert, it } from "vitest"
import { collector } from "../../../test/otlp.ts"
import * as Telemetry from "../src/Telemetry.ts"
import { enter, serve } from "./harness.ts"

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
  await otlp.until(() => mine().length >= 5)
  const named = (name: string) => {
    const found = mine().filter((span) => span.name === name)
    assert.lengthOf(found, 1, name)
    return found[0]!
  }
  const [mutation, transaction, commit, step, fanout] = ["mutation", "transaction", "commit", "step", "fanout"].map((name) => named(`headwater.${name}`))
  assert.strictEqual(mutation!.parentSpanId, client)
  assert.strictEqual(transaction!.parentSpanId, mutation!.spanId)
  assert.strictEqual(commit!.parentSpanId, transaction!.spanId)
  assert.strictEqual(step!.parentSpanId, commit!.spanId)
  assert.strictEqual(fanout!.parentSpanId, step!.spanId)
  for (const one of [ann, bob]) {
    const frame = one.messages.filter((message) => message.type === "frame").at(-1) as any
    assert.strictEqual(frame.trace, `00-${traceId}-${fanout!.spanId}-01`)
  }
  assert.strictEqual(mine().length, 5, "no more spans than that")
  await server.stop()
  otlp.close()
}, 60_000)

it("a traceparent that is none is ignored", () => {
  for (const text of ["", "00-0-0-00", `00-${"0".repeat(32)}-b7ad6b7169203331-01`, `01-${"a".repeat(32)}-b7ad6b7169203331-01`, `00-${"A".repeat(32)}-b7ad6b7169203331-01`]) {
    assert.isUndefined(Telemetry.parse(text))
  }
  assert.deepInclude(Telemetry.parse(`00-${"a".repeat(32)}-b7ad6b7169203331-00`), { spanId: "b7ad6b7169203331", sampled: false })
})
