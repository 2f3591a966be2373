/**
 * Tells change readers that something may have been committed, so that they need not wait for their next poll.
 *
 * Carries no data. Signals may merge or get lost, which costs latency and nothing else.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"

export class CommitSignal extends Context.Service<CommitSignal, {
  /** Wakes the subscribers on all servers. Belongs after the commit; waits for nobody. */
  readonly send: Effect.Effect<void>

  /** Once this completes, the effect in it waits for a signal. A slow subscriber holds at most one. */
  readonly subscribe: Effect.Effect<Effect.Effect<void>, never, Scope.Scope>
}>()("@headwater/cdc/CommitSignal") {}

/** Among the subscribers in this process. */
export const makeMemory = Effect.map(PubSub.sliding<void>(1), (signals) => ({
  send: Effect.asVoid(PubSub.publish(signals, undefined)),
  subscribe: Effect.map(PubSub.subscribe(signals), PubSub.take)
}))

export const layerMemory: Layer.Layer<CommitSignal> = Layer.effect(CommitSignal, makeMemory)
