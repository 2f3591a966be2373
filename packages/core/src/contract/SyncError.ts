/**
 * The one error that is not the application's: what went wrong between a client and the database.
 *
 * Each reason is tagged; those that a server gives match `Refusal` in `protocol/Message`.
 */
import * as Data from "effect/Data"
import type { WriteRefused } from "./WriteRefused.ts"

export class SyncError extends Data.TaggedError("SyncError")<{ readonly reason: Reason }> {
  override get message(): string {
    return this.reason.message
  }
}

export type Reason =
  | WriteRefused
  | Unauthenticated
  | Forbidden
  | Timeout
  | DependencyRejected
  | UnknownMutation
  | InvalidPayload
  | ContractMismatch
  | BudgetExceeded
  | LimitExceeded
  | Closed
  | ServerFailure

type Fields = { readonly message: string }

/** No principal: the token is missing, wrong or out of date. */
export class Unauthenticated extends Data.TaggedError("Unauthenticated")<Fields> {}

/** The principal may not do this at all. (A single write is refused as `WriteRefused`.) */
export class Forbidden extends Data.TaggedError("Forbidden")<Fields> {}

/** The caller's own time limit ended; the mutation may still happen. */
export class Timeout extends Data.TaggedError("Timeout")<Fields> {}

/** An earlier mutation, whose rows this one read or wrote, was rejected. */
export class DependencyRejected extends Data.TaggedError("DependencyRejected")<{ readonly seq: number; readonly message: string }> {}

/** This server's contract has no mutation of that name, or has it differently. */
export class UnknownMutation extends Data.TaggedError("UnknownMutation")<Fields> {}

/** A field of the payload (or a parameter) does not fit; the message names it. */
export class InvalidPayload extends Data.TaggedError("InvalidPayload")<Fields> {}

/** Client and server were built from contracts that do not fit each other. */
export class ContractMismatch extends Data.TaggedError("ContractMismatch")<Fields> {}

/** A query costs the server more than it allows. */
export class BudgetExceeded extends Data.TaggedError("BudgetExceeded")<Fields> {}

/** Too many, too large or too fast. */
export class LimitExceeded extends Data.TaggedError("LimitExceeded")<Fields> {}

/** The client was closed. */
export class Closed extends Data.TaggedError("Closed")<Fields> {}

/** The server met something unexpected; its log says what. */
export class ServerFailure extends Data.TaggedError("ServerFailure")<Fields> {}
