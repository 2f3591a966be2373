import { assert, it } from "@effect/vitest"
import { PgClient } from "@effect/sql-pg"
import { Cause, Effect } from "effect"
import * as Database from "../../src/internal/database.ts"
import { database, layerOf } from "../database.ts"

it.live("P10 a connection that breaks in a transaction is an error that can be retried, not a defect", () =>
  Effect.gen(function*() {
    const { sql, url } = yield* database()
    yield* Effect.gen(function*() {
      const pg = yield* PgClient.PgClient
      const exit = yield* Effect.exit(Database.transaction(pg, Effect.gen(function*() {
        const [[pid]] = (yield* Database.query(pg, "select pg_backend_pid()::text")) as unknown as [[string]]
        yield* sql(`select pg_terminate_backend(${pid})`)
        return yield* Effect.mapError(Database.query(pg, "select 'x'"), Database.failed)
      })))
      assert.isTrue(exit._tag === "Failure" && exit.cause.reasons.every(Cause.isFailReason))
      assert.deepStrictEqual(yield* Effect.retry(Database.query(pg, "select 'x'"), { times: 5 }), [["x"]])
    }).pipe(Effect.provide(layerOf(url)))
  }))
