/**
 * What the server's outcomes and refusals are to the application: values, declared errors, and `SyncError`s by reason.
 *
 * Pure. Total: a reason that this version does not know is a `ServerFailure`, an outcome that does not fit a `ContractMismatch`.
 */
import type { ErrorMessage, Outcome, Refusal } from "@headwater/core/Message"
import * as Mutation from "@headwater/core/Mutation"
import * as SyncError from "@headwater/core/SyncError"
import { WriteRefused } from "@headwater/core/WriteRefused"

export type Settled =
  | { readonly ok: true; readonly value: unknown }
  /** A declared error of the mutation, or a `SyncError`. */
  | { readonly ok: false; readonly error: unknown }

export const syncError = (reason: SyncError.Reason): SyncError.SyncError => new SyncError.SyncError({ reason })

export const settled = (definition: Mutation.Any, outcome: Outcome): Settled => {
  switch (outcome.type) {
    case "success": {
      const value = Mutation.decodeSuccess(definition, outcome.value)
      return value.ok ? { ok: true, value: value.value } : { ok: false, error: undecodable(definition) }
    }
    case "error": {
      const error = Mutation.decodeError(definition, outcome.error)
      return { ok: false, error: error ?? undecodable(definition) }
    }
    case "refused":
      return { ok: false, error: refused(outcome.reason) }
  }
}

export const refused = (refusal: Refusal): SyncError.SyncError => {
  switch (refusal._tag) {
    case "WriteRefused":
      return syncError(new WriteRefused({ table: refusal.table, key: refusal.key, constraint: refusal.constraint, message: refusal.message }))
    case "DependencyRejected":
      return syncError(new SyncError.DependencyRejected({ seq: refusal.seq, message: refusal.message }))
    default:
      return failed(refusal._tag, refusal.message)
  }
}

export const queryFailed = ({ code, message }: ErrorMessage): SyncError.SyncError => failed(code, message)

const failed = (name: string, message: string) => syncError(new (reasons.get(name) ?? SyncError.ServerFailure)({ message }))

/** By the protocol's names: those that say no more than a message. */
const reasons = new Map([
  ["BudgetExceeded", SyncError.BudgetExceeded],
  ["ContractMismatch", SyncError.ContractMismatch],
  ["Forbidden", SyncError.Forbidden],
  ["InvalidParameters", SyncError.InvalidPayload],
  ["InvalidPayload", SyncError.InvalidPayload],
  ["LimitExceeded", SyncError.LimitExceeded],
  ["Unauthenticated", SyncError.Unauthenticated],
  ["UnknownMutation", SyncError.UnknownMutation],
  ["UnknownQuery", SyncError.ContractMismatch]
] as const as ReadonlyArray<readonly [string, new(fields: { readonly message: string }) => SyncError.Reason]>)

const undecodable = ({ name }: Mutation.Any) =>
  syncError(new SyncError.ContractMismatch({ message: `The server's answer to ${name} does not fit this client's contract.` }))
