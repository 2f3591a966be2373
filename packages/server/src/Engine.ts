/**
 * Owns the graph: applies the change source's steps in order and performs the reads that the graph states it needs.
 *
 * One fiber applies steps; each read has a fiber of its own and splices its rows between two steps, so a read never stops the
 * engine. What a step or a splice does is told to the listener synchronously, before anything else happens to the graph.
 * `bind`, `gate` and `release` are synchronous too and may be called at any time but from within the listener's callbacks.
 *
 * When the source has lost its place, the engine begins a new graph at the source's position; its listener binds again what it
 * holds, and finds out by comparing results what the lost steps did.
 */
import { ChangeSource, ChangeSourceError, CorruptStep, type Reading } from "@headwater/cdc/ChangeSource"
import * as Graph from "@headwater/core/Graph"
import type { Epoch, Position } from "@headwater/core/Position"
import type { Bound, Range, RangeRows } from "@headwater/core/Range"
import type { Expression } from "@headwater/core/Plan"
import type { Row } from "@headwater/core/Row"
import type { Shape } from "@headwater/core/Shape"
import type { Step } from "@headwater/core/Step"
import type * as Table from "@headwater/core/Table"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as Telemetry from "./Telemetry.ts"

export class Engine extends Context.Service<Engine, {
  readonly epoch: Epoch

  /** That of the last step applied. */
  readonly position: () => Position

  /** False from `PositionLost` until its steps flow again, and after a failure. */
  readonly healthy: () => boolean

  /** Throws `BudgetExceeded`. */
  readonly bind: (shape: Shape, bound: Bound) => Graph.Binding
  readonly gate: (condition: Expression, bound: Bound) => Graph.Gate
  readonly condition: (expression: Expression) => Graph.Condition
  readonly release: (held: Graph.Binding | Graph.Gate) => void

  /** Reads rows, then calls `use` once, between two steps, with what the ranges hold at that position. */
  readonly read: (
    ranges: ReadonlyArray<Range>,
    use: (rows: ReadonlyArray<RangeRows>, position: Position) => void
  ) => Effect.Effect<void, ChangeSourceError>

  /** Sets the one listener. */
  readonly listen: (listener: Listener) => void

  /** Fails when the engine cannot go on: another epoch, or something that an operator must do first. */
  readonly failure: Effect.Effect<never, ChangeSourceError>

  readonly counters: () => Graph.Counters
  readonly sizes: () => Graph.Sizes
}>()("@headwater/server/Engine") {}

export interface Listener {
  /** After each step. `receipts` are the rows that it added to the receipts' table, `trace` is its `traceparent`. */
  readonly stepped: (pass: Graph.Pass, position: Position, receipts: ReadonlyArray<Row>, trace: string | undefined) => void
  /** After rows were spliced in, at the position of the last step. */
  readonly filled: (pass: Graph.Pass, position: Position) => void
  /** A new graph stands at `position`: bind everything again. The old bindings still answer `rows()`. */
  readonly restarted: (position: Position) => void
  /** The engine will not go on. */
  readonly failed: (error: ChangeSourceError) => void
}

export interface Options {
  readonly tables: ReadonlyMap<string, Table.Any>
  /** The receipts' table, of whose new rows the listener is told as they are, and its column that holds a `traceparent`. */
  readonly receipts: string
  readonly trace: string
  /** Reads at the same time; each takes a connection of the source's pool. */
  readonly reads: number
}

const silent: Listener = { stepped() {}, filled() {}, restarted() {}, failed() {} }

/** Ranges in one read: bindings that came at the same time share a snapshot. */
const rangesPerRead = 256

export const make = Effect.fnUntraced(function*(options: Options) {
  const source = yield* ChangeSource
  const telemetry = yield* Telemetry.Telemetry
  const failure = yield* Deferred.make<never, ChangeSourceError>()
  const wake = yield* Queue.sliding<void>(1)
  const reads = yield* Semaphore.make(options.reads)

  let listener = silent
  let healthy = true
  let graph = Graph.make({ tables: options.tables, position: yield* source.position })
  /** Counts graphs, so that a read for an earlier one is dropped. */
  let generation = 0

  const pass = (of: Graph.Pass) => {
    listener.filled(of, graph.position)
    Queue.offerUnsafe(wake, undefined)
  }

  const apply = (step: Step) => {
    const started = telemetry.now()
    const receipts: Array<Row> = []
    let changes = 0
    for (const chunk of step.chunks) {
      changes += chunk.length
      for (const change of chunk) {
        if (change.table === options.receipts && change.before === null && change.after !== null) receipts.push(change.after)
      }
    }
    const traces = new Set<string>()
    for (const receipt of receipts) {
      const trace = receipt[options.trace]
      if (typeof trace === "string") traces.add(trace)
    }
    const { position, transactions } = step
    telemetry.span("headwater.commit", [...traces], { source: source.promises.name, epoch: source.epoch, position, transactions: transactions.length }, (commit) =>
      telemetry.span("headwater.step", commit === undefined ? [] : [commit], { position, changes }, (trace) =>
        listener.stepped(graph.apply(step), position, receipts, trace)))
    telemetry.count("steps", 1)
    telemetry.count("changes", changes)
    telemetry.observe("stepChanges", changes)
    telemetry.observe("fanoutMillis", telemetry.now() - started)
  }

  /** Another read may add up where this one does not. */
  const rowsOf = (reading: Reading): ReadonlyArray<RangeRows> | ChangeSourceError => {
    try {
      return reading.at(graph.position)
    } catch (error) {
      if (error instanceof CorruptStep) return new ChangeSourceError({ reason: error })
      throw error
    }
  }

  const perform = (needs: ReadonlyArray<Graph.Need>, of: number): Effect.Effect<void> => {
    const ranges = needs.flatMap((need) => need.ranges)
    return Effect.scoped(Effect.flatMap(source.read(ranges), (reading) =>
      Effect.suspend(() => {
        if (of !== generation) return Effect.void
        const rows = rowsOf(reading)
        if (rows instanceof ChangeSourceError) return Effect.fail(rows)
        let from = 0
        for (const need of needs) {
          pass(graph.fill(need, rows.slice(from, from + need.ranges.length)))
          from += need.ranges.length
        }
        return Effect.void
      }))).pipe(
        reads.withPermit,
        Effect.tapError((error) => Effect.logWarning("A read failed and is tried again", error.message)),
        Effect.retry({ schedule: patience, while: () => of === generation }),
        Effect.catchCause((cause) => Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError("A read failed", cause))
      )
  }

  const read = Effect.forever(Effect.flatMap(Queue.take(wake), () =>
    Effect.suspend(() => {
      const needs = graph.takeNeeds()
      const batches: Array<Array<Graph.Need>> = []
      let size = rangesPerRead
      for (const need of needs) {
        if (size >= rangesPerRead) {
          batches.push([])
          size = 0
        }
        batches.at(-1)!.push(need)
        size += need.ranges.length
      }
      return Effect.forEach(batches, (batch) => Effect.forkChild(perform(batch, generation)), { discard: true })
    })))

  const steps = Effect.suspend(() =>
    Stream.runForEachArray(source.steps(graph.position), (batch) =>
      // All that the source has handed out is applied before anybody else runs: `reading.at` counts on that.
      Effect.andThen(
        Effect.sync(() => {
          for (const step of batch) apply(step)
          Queue.offerUnsafe(wake, undefined)
        }),
        source.acknowledge(batch.at(-1)!.position)
      )))

  const restart = Effect.flatMap(source.position, (position) =>
    Effect.sync(() => {
      generation++
      graph = Graph.make({ tables: options.tables, position })
      healthy = true
      listener.restarted(position)
      Queue.offerUnsafe(wake, undefined)
    }))

  const run: Effect.Effect<never, ChangeSourceError> = Effect.gen(function*() {
    while (true) {
      const error = yield* Effect.flip(Effect.andThen(steps, Effect.never))
      switch (error.reason._tag) {
        case "PositionLost":
        case "CorruptStep":
          healthy = false
          yield* Effect.logWarning("The change source lost its place; live queries are read again", error.message)
          yield* Effect.retry(restart, { schedule: patience })
          break
        case "SourceUnavailable":
          yield* Effect.logWarning("The change source is unavailable; trying again", error.message)
          yield* Effect.sleep("250 millis")
          break
        default:
          return yield* error
      }
    }
  })

  yield* run.pipe(
    Effect.catch((error) =>
      Effect.suspend(() => {
        healthy = false
        listener.failed(error)
        Deferred.doneUnsafe(failure, Effect.fail(error))
        return Effect.logFatal("The engine stopped", error.message)
      })),
    // A defect of ours. What is shown stays true to the last step, and the health check says that no more will come.
    Effect.tapCause((cause) =>
      Effect.suspend(() => {
        healthy = false
        return Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logFatal("The engine stopped", cause)
      })),
    Effect.forkScoped
  )
  yield* Effect.forkScoped(Effect.tapCause(read, (cause) => Effect.logFatal("The engine reads no more", cause)))

  return Engine.of({
    epoch: source.epoch,
    position: () => graph.position,
    healthy: () => healthy,
    bind: (shape, bound) => {
      Queue.offerUnsafe(wake, undefined)
      return graph.bind(shape, bound)
    },
    gate: (condition, bound) => {
      Queue.offerUnsafe(wake, undefined)
      return graph.gate(condition, bound)
    },
    condition: (expression) => {
      Queue.offerUnsafe(wake, undefined)
      return graph.condition(expression)
    },
    release: (held) => graph.release(held),
    read: (ranges, use) =>
      Effect.scoped(Effect.flatMap(source.read(ranges), (reading) =>
        Effect.suspend(() => {
          const rows = rowsOf(reading)
          return rows instanceof ChangeSourceError ? Effect.fail(rows) : Effect.sync(() => use(rows, graph.position))
        }))).pipe(
          Effect.retry({ schedule: patience, times: 8, while: ({ reason: { _tag } }) => _tag === "SourceUnavailable" || _tag === "CorruptStep" })
        ),
    listen: (to) => {
      listener = to
    },
    failure: Deferred.await(failure),
    counters: () => graph.counters,
    sizes: () => graph.sizes
  })
})

/** Grows from 50 ms to 5 s, and goes on for ever. */
const patience = Schedule.jittered(Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("5 seconds")]))

export const layer = (options: Options) => Layer.effect(Engine, make(options))
