/** A change source over the board's database. */
import { PgClient } from "@effect/sql-pg"
import { ChangeSource } from "@headwater/cdc/ChangeSource"
import * as Install from "@headwater/cdc/Install"
import * as PostgresWal from "@headwater/cdc/PostgresWal"
import type { Step } from "@headwater/core/Step"
import { Effect, Redacted, Stream } from "effect"
import { Board } from "./contract.ts"

export type SourceName = "wal"

const tables = Object.values(Board.tables)

export const pgLayer = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 6 })

export const install = (url: string, source: SourceName) => Effect.asVoid(Effect.provide(Install.install({ source, tables }), pgLayer(url)))

export const layer = (_source: SourceName) => PostgresWal.layer(tables)

/** Keeps its steps until the scope closes. */
export const collect = Effect.gen(function*() {
  const source = yield* ChangeSource
  const start = yield* source.position
  const steps: Array<Step> = []
  yield* source.steps(start).pipe(
    Stream.runForEach((step) => {
      steps.push({ ...step, chunks: [...step.chunks] })
      return source.acknowledge(step.position)
    }),
    Effect.tapCause(Effect.logError),
    Effect.forkScoped
  )
  return { epoch: source.epoch, start, steps }
})
