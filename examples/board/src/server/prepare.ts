/** Before the server starts: waits for the database, makes the board's tables in its own one, and installs change capture. */
import { Catalog, Install } from "@headwater/cdc"
import { Data, Effect, Schedule } from "effect"
import { SqlClient } from "effect/sql"
import { readFileSync } from "node:fs"
import type { Settings } from "../../settings.ts"
import { Board } from "../contract/contract.ts"

/** What only a person can put right. */
export class CannotStart extends Data.TaggedError("CannotStart")<{ readonly message: string }> {}

const tables = Object.values(Board.tables)

export const prepare = Effect.fnUntraced(function*(settings: Settings) {
  const sql = yield* SqlClient.SqlClient
  let waits = false
  yield* sql`select 1`.pipe(
    Effect.tapError(({ isRetryable }) => {
      if (!isRetryable || waits) return Effect.void
      waits = true
      // Its own one starts at the same time.
      return Effect.logInfo(settings.ownDatabase ? "Waiting for the database …" : "Waiting for the database that DATABASE_URL names …")
    }),
    Effect.retry({ schedule: Schedule.spaced("100 millis"), times: 300, while: ({ isRetryable }) => isRetryable }),
    Effect.catchTag("SqlError", ({ reason }) =>
      Effect.fail(new CannotStart({ message: `The database does not let the board in: ${reason.cause instanceof Error ? reason.cause.message : reason.message}` })))
  )

  const [existing] = yield* sql<{ readonly found: boolean }>`select to_regclass('public.cards') is not null as found`
  if (!existing!.found) {
    const ddl = Catalog.ddl(tables).join("\n")
    if (!settings.install) {
      return yield* new CannotStart({ message: `The database has no table "cards". Start with --install to make the board's tables there, or run:\n\n${ddl}` })
    }
    yield* sql.withTransaction(Effect.forEach([...Catalog.ddl(tables), readFileSync(new URL("seed.sql", import.meta.url), "utf8")], (text) =>
      Effect.forEach(text.split(/;\s*$/m).filter((statement) => statement.trim() !== ""), (statement) => sql.unsafe(statement)), { discard: true }))
  }

  if (!settings.install) {
    const { installed } = yield* Install.status
    if (installed === null) {
      return yield* new CannotStart({
        message: "Headwater is not installed in this database. Start with --install, or run `headwater install` with a role that owns the tables."
      })
    }
    if (settings.source !== "auto" && settings.source !== installed.source) {
      return yield* new CannotStart({ message: `The database is installed for --source ${installed.source}. Add --install to change that.` })
    }
    return installed.source
  }
  const [wal] = yield* sql<{ readonly level: string }>`select current_setting('wal_level') as level`
  const source = settings.source !== "auto" ? settings.source : wal!.level === "logical" ? "wal" : "triggers"
  yield* Install.install({ source, tables })
  return source
})
