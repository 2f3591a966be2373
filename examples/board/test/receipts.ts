/** Counts the receipts that a change stream of one's own brings, whatever happens to the database meanwhile. */
import { PgClient } from "@effect/sql-pg"
import { CommitSignal, PostgresTriggers, PostgresWal } from "@headwater/cdc"
import { ChangeSource } from "@headwater/cdc/ChangeSource"
import { Receipts } from "@headwater/cdc/Receipts"
import { Deferred, Effect, Fiber, Layer, Redacted, References, Stream } from "effect"
import { Board } from "../src/contract/contract.ts"

const tables = Object.values(Board.tables)

export const countReceipts = async (url: string, source: "wal" | "triggers") => {
  /** By client and number. */
  const inserted = new Map<string, number>()
  const started = Deferred.makeUnsafe<void>()
  const layer = (source === "wal" ? PostgresWal.layer(tables) : PostgresTriggers.layer(tables)).pipe(
    Layer.provide([Layer.orDie(PgClient.layer({ url: Redacted.make(url), maxConnections: 3 })), CommitSignal.layerMemory]),
    Layer.provide(Layer.succeed(References.MinimumLogLevel, "Error"))
  )
  const fiber = Effect.runFork(Effect.gen(function*() {
    const changes = yield* ChangeSource
    const from = yield* changes.position
    yield* Deferred.succeed(started, undefined)
    yield* Stream.runForEach(changes.steps(from), (step) =>
      Effect.sync(() => {
        for (const { after, before, table } of [...step.chunks].flat()) {
          if (table !== Receipts.tableName || before !== null || after === null) continue
          const id = `${String(after["client"])} ${String(after["seq"])}`
          inserted.set(id, (inserted.get(id) ?? 0) + 1)
        }
      }))
  }).pipe(Effect.provide(layer), Effect.tapCause((cause) => Deferred.failCause(started, cause as never))))
  await Effect.runPromise(Deferred.await(started))
  return { inserted, stop: () => Effect.runPromise(Fiber.interrupt(fiber)) }
}
