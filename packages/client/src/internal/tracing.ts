/**
 * Spans of the client, and trace contexts as W3C `traceparent` texts. Where no tracer is installed no span is made.
 *
 * Spans: `headwater.call` around a mutation, its `traceparent` travels with it; `headwater.apply` for a frame that carries a trace or the
 * outcome of a traced mutation, child of the server's fan-out.
 */
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import type { OnApply } from "./conversation.ts"

/** Runs a mutation's call as a span, and gives it the span's `traceparent`. */
export const call = <A, E>(mutation: string, run: (trace: string | undefined) => Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.flatMap(Effect.tracer, (tracer) =>
    tracer === Tracer.nativeTracer ? run(undefined) : Effect.useSpan(
      "headwater.call",
      { kind: "client", attributes: { "headwater.mutation": mutation } },
      (span) => Effect.withParentSpan(run(format(span)), span)
    ))

export const applied = (tracer: Tracer.Tracer, clock: Clock.Clock): OnApply => (frame, traces, run) => {
  const parent = frame.trace === undefined ? undefined : parse(frame.trace)
  const settled = traces.flatMap((trace) => parse(trace) ?? [])
  if (parent === undefined && settled.length === 0) return run()
  const around = parent ?? (settled.length === 1 ? settled[0] : undefined)
  const span = tracer.span({
    name: "headwater.apply",
    parent: Option.fromNullishOr(around),
    annotations: Context.empty(),
    links: settled.filter((other) => other !== around).map((other) => ({ span: other, attributes: {} })),
    startTime: clock.currentTimeNanosUnsafe(),
    kind: "internal",
    root: around === undefined,
    sampled: around?.sampled ?? true
  })
  span.attribute("headwater.position", frame.to)
  span.attribute("headwater.patches", frame.patches.length)
  let exit: Exit.Exit<unknown, unknown> = Exit.void
  try {
    run()
  } catch (defect) {
    exit = Exit.die(defect)
    throw defect
  } finally {
    span.end(clock.currentTimeNanosUnsafe(), exit)
  }
}

const pattern = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/

/** Undefined for what is no `traceparent` of version 00 (https://www.w3.org/TR/trace-context/). */
const parse = (traceparent: string): Tracer.ExternalSpan | undefined => {
  const parts = pattern.exec(traceparent)
  if (parts === null || /^0+$/.test(parts[1]!) || /^0+$/.test(parts[2]!)) return undefined
  return Tracer.externalSpan({ traceId: parts[1]!, spanId: parts[2]!, sampled: (Number.parseInt(parts[3]!, 16) & 1) === 1 })
}

const format = (span: Tracer.AnySpan): string => `00-${span.traceId}-${span.spanId}-${span.sampled ? "01" : "00"}`
