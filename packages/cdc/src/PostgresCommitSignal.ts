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
  /** Said once, however often it is tried again. */
  let told: string | undefined
  const listen = Effect.flatMap(pg.listen(channel), (incoming) => {
    told = undefined
    // Wakes before it waits: signals are lost while nobody listens.
    return Effect.forever(Effect.andThen(heard.send, Queue.takeAll(incoming)))
  })
  yield* Effect.scoped(Effect.raceFirst(notify, listen)).pipe(
    Effect.tapError((error) => {
      const { message } = Database.reasonOf(error)
      if (message === told) return Effect.void
      told = message
      return Effect.logWarning(`Commits are found by polling until signals arrive again: ${message}`)
    }),
    Effect.retry(Schedule.spaced("1 second")), Effect.forkScoped
  )
  return { ...heard, send: sent.send }
}))
