/** Why a write did not happen: what `Transaction.attempt` turns into an error, and a reason of `SyncError`. */
import * as Data from "effect/Data"

/** A write that did not happen, because of a rule or a constraint. */
export class WriteRefused extends Data.TaggedError("WriteRefused")<{
  readonly table: string
  /** Of the row that was to be written, as the caller named it; null where it is not known. */
  readonly key: string | null
  /** The constraint that refused, by its name in the database; null for an access rule or a missing row. */
  readonly constraint: string | null
  /** Holds no data of another row. */
  readonly message: string
}> {}
