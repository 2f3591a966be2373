/**
 * Spans and metrics of the server.
 *
 * Trace contexts travel as W3C `traceparent` texts: from the client in `mutate`, stored with the receipt, read from the change
 * stream with it, and on to clients in `frame`. So one trace leads from a mutation to every screen that shows it, without
 * anything kept in between. Where no tracer is installed no span is made, and `traceparent`s only pass through.
 *
 * Spans: `headwater.mutation` (child of the client's), `headwater.transaction` in it, `headwater.commit` as the change source
 * delivers it (child of the one transaction that it carries, else linked to each), `headwater.step` in that, `headwater.fanout` in that.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"

export class Telemetry extends Context.Service<Telemetry, {
  /** Runs synchronous work as a span: a child of the only parent, or linked to each of several. */
  readonly span: <A>(
    name: string,
    parents: ReadonlyArray<string>,
    attributes: Readonly<Record<string, unknown>>,
    run: (traceparent: string | undefined) => A
  ) => A

  /** Runs an effect as a span, which is that of whatever it does in turn. */
  readonly within: (
    name: string,
    parent: string | undefined,
    attributes: Readonly<Record<string, unknown>>
  ) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

  /** The `traceparent` of the span around, else undefined. */
  readonly current: Effect.Effect<string | undefined>

  readonly count: (counter: Counter, by: number, attributes?: Readonly<Record<string, string>>) => void
  readonly gauge: (gauge: Gauge, value: number) => void
  readonly observe: (histogram: Histogram, value: number) => void

  /** Milliseconds of a steady clock. */
  readonly now: () => number
}>()("@headwater/server/Telemetry") {}

export type Counter = keyof typeof counters
export type Gauge = keyof typeof gauges
export type Histogram = keyof typeof histograms

const counters = {
  steps: Metric.counter("headwater_steps_total", { description: "Steps applied", incremental: true }),
  changes: Metric.counter("headwater_changes_total", { description: "Row changes in applied steps", incremental: true }),
  frames: Metric.counter("headwater_frames_total", { description: "Frames sent", incremental: true }),
  frameBytes: Metric.counter("headwater_frame_bytes_total", { description: "Bytes of frames sent", incremental: true }),
  resyncs: Metric.counter("headwater_resyncs_total", { description: "Connections told to start over, by reason", incremental: true }),
  mutations: Metric.counter("headwater_mutations_total", { description: "Mutations run, by outcome", incremental: true }),
  retries: Metric.counter("headwater_mutation_retries_total", { description: "Transactions run again", incremental: true })
}

const gauges = {
  connections: Metric.gauge("headwater_connections", { description: "Connections that said hello" }),
  bindings: Metric.gauge("headwater_bindings", { description: "Bindings kept current" }),
  windowBytes: Metric.gauge("headwater_window_bytes", { description: "Bytes of patches retained for resuming clients" })
}

const histograms = {
  commitToPatch: Metric.histogram("headwater_commit_to_patch_ms", {
    description: "From the answer to COMMIT to the frame with its receipt, for mutations of this server",
    boundaries: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096]
  }),
  stepChanges: Metric.histogram("headwater_step_changes", {
    description: "Row changes in a step",
    boundaries: [1, 2, 4, 8, 16, 32, 64, 128, 1024, 8192, 65536]
  }),
  fanoutMillis: Metric.histogram("headwater_fanout_ms", {
    description: "Applying a step and handing its frames to the sockets",
    boundaries: [0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 256]
  }),
  mutationMillis: Metric.histogram("headwater_mutation_ms", {
    description: "A mutation, from its turn to its committed receipt",
    boundaries: [1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096]
  })
}

const make = Effect.gen(function*() {
  const context = yield* Effect.context<never>()
  const tracer = Context.get(context, Tracer.Tracer)
  const clock = Context.get(context, Clock.Clock)
  const traced = tracer !== Tracer.nativeTracer
  return Telemetry.of({
    span: (name, parents, attributes, run) => {
      if (!traced) return run(parents.length === 1 ? parents[0] : undefined)
      const around = parents.flatMap((parent) => parse(parent) ?? [])
      const span = tracer.span({
        name,
        parent: around.length === 1 ? Option.some(around[0]!) : Option.none(),
        annotations: Context.empty(),
        links: around.length === 1 ? [] : around.map((span) => ({ span, attributes: {} })),
        startTime: clock.currentTimeNanosUnsafe(),
        kind: "internal",
        root: around.length !== 1,
        sampled: true
      })
      for (const key in attributes) span.attribute(key, attributes[key])
      let exit: Exit.Exit<unknown, unknown> = Exit.void
      try {
        return run(format(span))
      } catch (defect) {
        exit = Exit.die(defect)
        throw defect
      } finally {
        span.end(clock.currentTimeNanosUnsafe(), exit)
      }
    },
    within: (name, parent, attributes) => (effect) => {
      if (!traced) return effect
      const around = parent === undefined ? undefined : parse(parent)
      return Effect.withSpan(effect, name, { attributes, captureStackTrace: false, ...around === undefined ? {} : { parent: around } }) as typeof effect
    },
    current: traced
      ? Effect.map(Effect.option(Effect.currentSpan), (span) => Option.isSome(span) ? format(span.value) : undefined)
      : Effect.succeed(undefined),
    count: (counter, by, attributes) =>
      (attributes === undefined ? counters[counter] : Metric.withAttributes(counters[counter], attributes)).updateUnsafe(by, context),
    gauge: (gauge, value) => gauges[gauge].updateUnsafe(value, context),
    observe: (histogram, value) => histograms[histogram].updateUnsafe(value, context),
    now: () => Number(clock.currentTimeNanosUnsafe()) / 1e6
  })
})

/** Takes tracer and clock from where it is built: install a tracer around the composition. */
export const layer: Layer.Layer<Telemetry> = Layer.effect(Telemetry, make)

const pattern = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/

/** Undefined for what is no `traceparent` of version 00 (https://www.w3.org/TR/trace-context/). */
export const parse = (traceparent: string): Tracer.ExternalSpan | undefined => {
  const parts = pattern.exec(traceparent)
  if (parts === null || /^0+$/.test(parts[1]!) || /^0+$/.test(parts[2]!)) return undefined
  return Tracer.externalSpan({ traceId: parts[1]!, spanId: parts[2]!, sampled: (Number.parseInt(parts[3]!, 16) & 1) === 1 })
}

const format = (span: Tracer.AnySpan): string => `00-${span.traceId}-${span.spanId}-${span.sampled ? "01" : "00"}`
