/**
 * Commit tokens of transactions that Headwater did not run: obtained inside one, they let any reader wait for its commit by
 * `ChangeSource.positionOf`. Other languages say `SELECT * FROM headwater.commit_token()`.
 */
import type { CommitToken } from "@headwater/core/Position"
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import type * as SqlError from "effect/sql/SqlError"

/** Of the transaction around. Leaves a mark in the change stream, so that it is found even if nothing captured was written. */
export const obtain: Effect.Effect<CommitToken, SqlError.SqlError, SqlClient.SqlClient> = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [[epoch, transaction]] = (yield* sql.unsafe("SELECT epoch, transaction FROM headwater.commit_token()").values) as unknown as [[string, string]]
  return { epoch, transaction }
})
