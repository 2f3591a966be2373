import { it } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import { CommitSignal } from "../src/CommitSignal.ts"

/** Every layer runs it, Postgres on a real server. */
export const contract = (name: string, layer: Layer.Layer<CommitSignal, unknown>) => {
  it.live(`${name}: C1 a signal sent after subscribe wakes the subscriber, however many come at once`, () => Effect.gen(function*() {
    const { send, subscribe } = yield* CommitSignal
    const woken = yield* subscribe
    yield* Effect.all([send, send, send])
    yield* woken
  }).pipe(Effect.scoped, Effect.provide(layer)))

  it.live(`${name}: C2 a slow subscriber holds at most one`, () => Effect.gen(function*() {
    const { send, subscribe } = yield* CommitSignal
    const slow = yield* subscribe
    const fast = yield* subscribe
    yield* Effect.repeat(Effect.andThen(send, fast), { times: 99 })
    // Hears the one held and the few that come meanwhile, not ten.
    yield* Effect.flip(Effect.timeout(Effect.repeat(slow, { times: 9 }), "50 millis"))
  }).pipe(Effect.scoped, Effect.provide(layer)))
}
