/**
 * A `CommitSignal` over `LISTEN` and `NOTIFY`. Holds one connection to listen and notifies on another: in a user's
 * transaction `NOTIFY` would serialise commits and break `PREPARE TRANSACTION`.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import { CommitSignal, makeMemory } from "./CommitSignal.ts"
import * as Database from "./internal/database.ts"

const channel = "headwater"

export const layer: Layer.Layer<CommitSignal, never, PgClient.PgClient> = Layer.effect(CommitSignal, Effect.gen(function*() {
  const pg = yield* PgClient.PgClient
  const sent = yield* makeMemory
  const heard = yield* makeMemory
  const notify = Effect.forever(Effect.andThen(yield* sent.subscribe, pg.notify(channel, "")))
  const listen = Effect.flatMap(pg.listen(channel), (incoming) =>
    // Wakes before it waits: signals are lost while nobody listens.
    Effect.forever(Effect.andThen(heard.send, Queue.takeAll(incoming))))
  yield* Effect.scoped(Effect.raceFirst(notify, listen)).pipe(
    Effect.tapError((error) => Effect.logWarning(`Commits are found by polling until signals arrive again: ${Database.reasonOf(error).message}`)),
    Effect.retry(Schedule.spaced("1 second")), Effect.forkScoped
  )
  return { ...heard, send: sent.send }
}))
