/**
 * Fan-out: who is shown what, and the frames that keep it so. `internal/hub` has the rules; here it is wired to the engine.
 */
import type * as Contract from "@headwater/core/Contract"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Authorization } from "./Authorization.ts"
import { Engine } from "./Engine.ts"
import * as Encoder from "./internal/encoder.ts"
import * as Internal from "./internal/hub.ts"
import { Telemetry } from "./Telemetry.ts"
import { Writer } from "./Writer.ts"

export class Hub extends Context.Service<Hub, {
  /** Takes a connection in; see `internal/hub`. Synchronous. */
  readonly connect: Internal.Hub["connect"]
  readonly stats: () => Stats
  /** A mutation of this server was committed: from now on until its frame is the lag. */
  readonly committed: (client: string, seq: number) => void
  /** Set by whoever must end connections when the engine cannot go on. */
  readonly onFailure: (run: (message: string) => void) => void
}>()("@headwater/server/Hub") {}

export type { Peer } from "./internal/connection.ts"
export type Connection = Internal.Connection
export type Stats = Internal.Stats

export interface Options {
  /** How long patches, and bindings that nobody watches, are kept for clients that come back; one minute by default. */
  readonly window?: Duration.Input | undefined
  /** How much of that there may be; 64 MiB by default. */
  readonly windowBytes?: number | undefined
  /** What may wait for one connection's socket before its frames are merged; 256 KiB by default. */
  readonly socketBytes?: number | undefined
  /** What may be gathered for one connection before its client starts over; 4 MiB by default. */
  readonly pendingBytes?: number | undefined
  /** How long a connection that just got a frame waits for its next, so that steps under load share one; 4 ms by default. */
  readonly gather?: Duration.Input | undefined
  /**
   * Live queries of one connection that no index serves, so that each changed row of their tables is tested for them; 50 by default. A
   * query may have 1,000 of them at a time, with different parameters, for all connections.
   */
  readonly maxScanned?: number | undefined
  /** Rows of a result that are sent at once; 100,000 by default. A query with more fails with `BudgetExceeded`. */
  readonly maxResultRows?: number | undefined
  /** Their text, in UTF-16 units; 64 Mi by default, 128 Mi at most. All queries of a connection together may take 256 Mi. */
  readonly maxResultBytes?: number | undefined
}

const limitsOf = (options: Options): Internal.Limits => {
  const { defaultLimits } = Internal
  return {
    ...defaultLimits,
    ...options.window === undefined ? {} : { windowMillis: Duration.toMillis(options.window) },
    ...options.gather === undefined ? {} : { gatherMillis: Duration.toMillis(options.gather) },
    windowBytes: options.windowBytes ?? defaultLimits.windowBytes,
    socketBytes: options.socketBytes ?? defaultLimits.socketBytes,
    pendingBytes: options.pendingBytes ?? defaultLimits.pendingBytes,
    scanned: options.maxScanned ?? defaultLimits.scanned,
    maxResultRows: options.maxResultRows ?? defaultLimits.maxResultRows,
    maxResultBytes: Math.min(options.maxResultBytes ?? defaultLimits.maxResultBytes, defaultLimits.frameBytes / 2)
  }
}

/** Commits without a frame, or frames without a commit here, are remembered no longer than for this many. */
const maxCommitted = 10_000

export const layer = (contract: Contract.Any, options: Options = {}): Layer.Layer<Hub, never, Authorization | Engine | Telemetry | Writer> =>
  Layer.effect(Hub, Effect.gen(function*() {
    const engine = yield* Engine
    const telemetry = yield* Telemetry
    const { receipts } = yield* Writer
    const fork = Effect.runForkWith(yield* Effect.context<never>())
    const committed = new Map<string, number>()
    /** Whose frame was faster than the answer to their COMMIT. */
    const early = new Set<string>()
    let failed: (message: string) => void = () => {}
    const hub = Internal.make({
      source: engine,
      encoder: Encoder.make(contract, yield* Authorization, engine.condition),
      limits: limitsOf(options),
      now: telemetry.now,
      later: (millis, run) => void fork(Effect.delay(Effect.sync(run), millis)),
      fanout: (trace, connections, run) =>
        trace === undefined ? run(undefined) : telemetry.span("headwater.fanout", [trace], { connections }, run),
      sent: (frames, bytes) => {
        telemetry.count("frames", frames)
        telemetry.count("frameBytes", bytes)
      },
      answered: (client, seq) => {
        const key = `${client} ${seq}`
        const at = committed.get(key)
        if (at === undefined) {
          early.add(key)
          if (early.size > maxCommitted) early.delete(early.keys().next().value!)
          return
        }
        committed.delete(key)
        telemetry.observe("commitToPatch", telemetry.now() - at)
      },
      resynced: (reason) => telemetry.count("resyncs", 1, { reason })
    })
    engine.listen({
      stepped: (pass, position, rows, trace) => hub.stepped(pass, position, rows.map(receipts.decode), trace),
      filled: (pass) => hub.filled(pass),
      restarted: () => hub.restarted(),
      failed: (error) => failed(error.message)
    })
    yield* Effect.sleep("1 second").pipe(
      Effect.andThen(Effect.sync(() => {
        hub.sweep()
        const { bindings, connections, windowBytes } = hub.stats()
        telemetry.gauge("bindings", bindings)
        telemetry.gauge("connections", connections)
        telemetry.gauge("windowBytes", windowBytes)
      })),
      Effect.forever,
      Effect.tapCause((cause) => Effect.logError("The retained window is swept no more", cause)),
      Effect.forkScoped
    )
    return Hub.of({
      connect: hub.connect,
      stats: hub.stats,
      committed: (client, seq) => {
        const key = `${client} ${seq}`
        if (early.delete(key)) return telemetry.observe("commitToPatch", 0)
        committed.set(key, telemetry.now())
        if (committed.size > maxCommitted) committed.delete(committed.keys().next().value!)
      },
      onFailure: (run) => {
        failed = run
      }
    })
  }))
