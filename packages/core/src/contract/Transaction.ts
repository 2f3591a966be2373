/**
 * The one way to write: a database transaction on the server, the overlay of pending writes on a client.
 *
 * A handler that needs nothing else runs on both ends. There it runs synchronously and again on every rebase, so ids and
 * times come in the payload. Reads see what the principal may read, and what the handler itself has written.
 *
 * Writes have no error in their types. One that an access rule, the engine or the database refuses dies with
 * `WriteRefused`, which ends the mutation and rolls it back; `attempt` makes it an error that a handler can act on.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Query from "../query/Query.ts"
import type * as Table from "../schema/Table.ts"
import type { WriteRefused } from "./WriteRefused.ts"

export { WriteRefused } from "./WriteRefused.ts"

export interface Service {
  /** The row with that key, or null where there is none that the principal may read. */
  readonly get: <T extends Table.Any>(table: T, key: Table.Key<T>) => Effect.Effect<Table.Type<T> | null>

  /** A query's value now. A named query takes its parameters. */
  readonly run: {
    <A, C extends Query.Cardinality>(query: Query.Query<A, C>): Effect.Effect<Query.Result<A, C>>
    <N extends string, P, A, C extends Query.Cardinality>(query: Query.Named<N, P, A, C>, parameters: P): Effect.Effect<Query.Result<A, C>>
  }

  /** Gives the row back as it was written, with what the database filled in. A key that exists is refused. */
  readonly insert: <T extends Table.Any>(table: T, row: Table.Insert<T>) => Effect.Effect<Table.Type<T>>

  /** Changes the columns that are named, beside the key. Refused where there is no such row that the principal may read. */
  readonly update: <T extends Table.Any>(table: T, changes: Table.Update<T>) => Effect.Effect<void>

  /** Nothing happens where there is no such row that the principal may read. */
  readonly delete: <T extends Table.Any>(table: T, key: Table.Key<T>) => Effect.Effect<void>

  /** Undoes the writes of `effect`, and only those, if it fails or one of them is refused. */
  readonly attempt: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | WriteRefused, R>

  /** Runs `effect` once this transaction has been committed: once, and not at all if the process ends before. Never on a client. */
  readonly afterCommit: <R>(effect: Effect.Effect<void, never, R>) => Effect.Effect<void, never, R>

  /** Reads and writes without access rules inside `effect`. A client cannot know what it would see: there it abandons the optimistic run. */
  readonly unfiltered: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export class Transaction extends Context.Service<Transaction, Service>()("@headwater/core/Transaction") {
  /** Undoes the writes of `effect`, and only those, if it fails or one of them is refused: a savepoint. */
  static attempt<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | WriteRefused, R | Transaction> {
    return Effect.flatMap(Transaction, (transaction) => transaction.attempt(effect))
  }

  /** Runs `effect` once, after the commit: a handler may run again, a mail should not be sent again. Not at all if the process ends before. */
  static afterCommit<R>(effect: Effect.Effect<void, never, R>): Effect.Effect<void, never, R | Transaction> {
    return Effect.flatMap(Transaction, (transaction) => transaction.afterCommit(effect))
  }

  /** On the server: runs `effect` without access rules. On a client the optimistic run is abandoned. */
  static unfiltered<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Transaction> {
    return Effect.flatMap(Transaction, (transaction) => transaction.unfiltered(effect))
  }
}
