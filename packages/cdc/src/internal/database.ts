/**
 * Asks a Postgres database in text, so that no codec of the application's client decides what an answer is, and turns its
 * refusals into errors that say what to do.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import * as SqlError from "effect/sql/SqlError"
import { ChangeSourceError, SourceMisconfigured, SourceUnavailable } from "../ChangeSource.ts"

export type Texts = ReadonlyArray<string | null>

/** Every column of the statement must be text. Rows as arrays, in the order of its columns. */
export const query = (
  sql: SqlClient,
  statement: string,
  parameters: ReadonlyArray<unknown> = []
): Effect.Effect<ReadonlyArray<Texts>, SqlError.SqlError> =>
  sql.unsafe(statement, parameters).values as Effect.Effect<ReadonlyArray<Texts>, SqlError.SqlError>

/**
 * Runs `effect` in a transaction. Where the connection breaks, ROLLBACK fails too, which `withTransaction` takes for a defect:
 * here it is the error that it is.
 */
export const transaction = <A, E, R>(sql: SqlClient, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError.SqlError, R> =>
  Effect.catchCause(sql.withTransaction(effect), (cause) => {
    const broken = cause.reasons.find((reason) => Cause.isDieReason(reason) && SqlError.isSqlError(reason.defect))
    return broken === undefined ? Effect.failCause(cause) : Effect.fail((broken as Cause.Die).defect as SqlError.SqlError)
  })

/** The database's own words, rather than the client's "Failed to execute statement". */
export const reasonOf = (error: SqlError.SqlError): { readonly code: string | undefined; readonly message: string } => {
  const cause: unknown = error.reason.cause
  const { code, message } = typeof cause === "object" && cause !== null ? cause as { readonly code?: unknown; readonly message?: unknown } : {}
  return { code: typeof code === "string" ? code : undefined, message: typeof message === "string" ? message : error.message }
}

export const failed = (error: SqlError.SqlError): ChangeSourceError => {
  const { code, message } = reasonOf(error)
  const advice = code === undefined ? undefined : advices[code]
  return new ChangeSourceError({
    reason: advice === undefined
      ? new SourceUnavailable({ message: `The database cannot be read now: ${message}`, cause: error })
      : new SourceMisconfigured({ message: `The database refused: ${message}. ${advice}` })
  })
}

/** By SQLSTATE. */
const advices: { readonly [code: string]: string } = {
  "28000": "Check the user and pg_hba.conf.",
  "28P01": "Check the user and the password.",
  "3D000": "Check the database's name.",
  "3F000": "Run `headwater install`.",
  "42501": "Run `headwater install --role <role>` with the role that servers use, as an owner of the tables.",
  "42P01": "Run `headwater install`.",
  "42883": "Run `headwater install`."
}

export const misconfigured = (message: string): ChangeSourceError =>
  new ChangeSourceError({ reason: new SourceMisconfigured({ message }) })
