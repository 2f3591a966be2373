/**
 * Runs mutations in database transactions, each once, however often it is sent (P4, P5).
 *
 * A client's mutations are numbered from 1 without gaps. The outcome of each is stored with its effects, in the same
 * transaction, as a *receipt*; receipts come back through the change stream, which is how clients hear of them (P3). What has no
 * receipt has had no effect.
 */
import type { Receipt, Refusal } from "@headwater/core/Message"
import type { Transaction } from "@headwater/core/Transaction"
import type { Row } from "@headwater/core/Row"
import type * as Range from "@headwater/core/Range"
import type * as Sql from "@headwater/core/Sql"
import type * as Table from "@headwater/core/Table"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type { Authorization } from "./Authorization.ts"

export class Writer extends Context.Service<Writer, {
  /** Makes the client id that of an identity, or finds that it is. Fails with `ClientTaken` where it is another's. */
  readonly claim: (client: string, identity: string) => Effect.Effect<Claim, ClientTaken | WriterUnavailable>

  /**
   * Runs `run` in a transaction and commits it with its outcome. What `run` fails with is an outcome too: its effects are undone,
   * and it is stored all the same. `run` runs again after a conflict with other transactions; never once it has been committed.
   * Interrupting it takes nothing back that has been committed.
   */
  readonly write: <R>(
    command: Command,
    rules: Rules,
    run: Effect.Effect<Outcome, Outcome, R>
  ) => Effect.Effect<Result, WriterUnavailable, Exclude<R, Transaction>>

  /** Where receipts are captured, so that they can be read and followed like any rows. */
  readonly receipts: ReceiptsTable
}>()("@headwater/server/Writer") {}

/** What `Transaction` goes by: the contract's tables and access rules. */
export interface Rules {
  readonly tables: Sql.Tables
  readonly authorization: Authorization["Service"]
}

export interface ReceiptsTable {
  readonly table: Table.Any
  /** The receipts of a client after a number. */
  readonly range: (client: string, after: number) => Range.Range
  readonly decode: (row: Row) => { readonly client: string; readonly receipt: Receipt }
  /** The property that holds the `traceparent` of the transaction. */
  readonly trace: string
}

export interface Claim {
  /** The number that follows the last receipt's. */
  readonly nextSeq: number
}

export interface Command {
  readonly client: string
  readonly identity: string
  readonly seq: number
  readonly name: string
  /** Of name and payload: the same number with another payload is a copied store's. */
  readonly hash: string
  readonly principal: Row
  /** Receipts up to here may be forgotten. */
  readonly acknowledged: number
  /** Rejected if one of these was. */
  readonly after: ReadonlyArray<number>
}

export type Outcome = Receipt["outcome"]

export type Result =
  /** The receipt is in the change stream, or will be. */
  | { readonly _tag: "Committed"; readonly outcome: Outcome; readonly milliseconds: number }
  /** It was committed before; so is its receipt. */
  | { readonly _tag: "Repeated" }
  /** Its number is free again. */
  | { readonly _tag: "NotRun"; readonly reason: Refusal }

/** The client id belongs to another identity: take a new one. */
export class ClientTaken extends Data.TaggedError("ClientTaken")<{ readonly message: string }> {}

/** The database could not be reached for as long as it was tried. Whether the mutation was committed may be unknown: send it again. */
export class WriterUnavailable extends Data.TaggedError("WriterUnavailable")<{ readonly message: string; readonly cause: unknown }> {}
