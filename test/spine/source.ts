/** A change source over the board's database. */
import { PgClient } from "@effect/sql-pg"
import { ChangeSource } from "@headwater/cdc/ChangeSource"
import * as Install from "@headwater/cdc/Install"
import * as PostgresTriggers from "@headwater/cdc/PostgresTriggers"
import * as PostgresWal from "@headwater/cdc/PostgresWal"
import { Effect, Redacted, Stream } from "effect"
import { Board } from "./contract.ts"
import { type Fold, ofStep } from "./shadow.ts"

export type SourceName = "triggers" | "wal"

const tables = Object.values(Board.tables)

export const pgLayer = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 6 })

export const install = (url: string, source: SourceName) => Effect.asVoid(Effect.provide(Install.install({ source, tables }), pgLayer(url)))

export const layer = (source: SourceName) => source === "wal" ? PostgresWal.layer(tables) : PostgresTriggers.layer(tables)

/** Keeps its steps until the scope closes. Acknowledges none, so that the database forgets none. */
export const collect = Effect.gen(function*() {
  const source = yield* ChangeSource
  const start = yield* source.position
  const steps: Array<Fold> = []
  yield* source.steps(start).pipe(
    Stream.runForEach((step) => Effect.sync(() => void steps.push(ofStep(step)))),
    Effect.tapCause(Effect.logError),
    Effect.forkScoped
  )
  const positionOf = (transaction: string) => Effect.runPromise(source.positionOf({ epoch: source.epoch, transaction }))
  return { epoch: source.epoch, start, steps, positionOf }
})
