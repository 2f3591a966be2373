/**
 * Where changes come from: the database's committed transactions as an ordered stream of steps, and reads that are
 * exact at a position of that stream.
 *
 * Position k denotes the set D(k) of transactions delivered up to it; the state at k is their sum. A database snapshot S
 * sees some other set V(S): a log reader sees a commit before snapshots do, and snapshots see commits that the stream has
 * not delivered yet. `read` hides the difference: rows(k) = rows(S) − ΣΔ(V(S)∖D(k)) + ΣΔ(D(k)∖V(S)). Snapshots, transaction
 * visibility and corrections never leave this package.
 *
 * Every source passes `test/ChangeSourceContract.ts`.
 */
import type { Epoch, CommitToken, Position } from "@headwater/core/Position"
import type { Range, RangeRows } from "@headwater/core/Range"
import type { Step } from "@headwater/core/Step"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"

export class ChangeSource extends Context.Service<ChangeSource, {
  /** Constant while the layer lives; a source that finds itself in another epoch fails its streams with `EpochChanged`. */
  readonly epoch: Epoch

  /** The position of the last step known to this source; a `steps` that starts there sees everything after it. */
  readonly position: Effect.Effect<Position, ChangeSourceError>

  /**
   * The steps after `after`, in order, each once, none missing; endless. Fails with `PositionLost` when steps after
   * `after` are no longer held. Reconnects by itself while it can go on without a gap. One subscriber at a time.
   */
  readonly steps: (after: Position) => Stream.Stream<Step, ChangeSourceError>

  /**
   * Reads ranges in one database snapshot. Completes once the result can be corrected, without holding up `steps`: whoever
   * waits for it must go on pulling them. `reading.at(k)` is exact at any position k from `reading.from` to the one last
   * delivered now. What it needs for that is held until the scope closes: keep it short.
   */
  readonly read: (ranges: ReadonlyArray<Range>) => Effect.Effect<Reading, ChangeSourceError, Scope.Scope>

  /** Steps up to here will not be asked for again by this source's subscriber. */
  readonly acknowledge: (position: Position) => Effect.Effect<void, ChangeSourceError>

  /** The first position whose state includes that commit, once there is one. Fails with `EpochChanged` for a foreign token. */
  readonly positionOf: (token: CommitToken) => Effect.Effect<Position, ChangeSourceError>

  readonly promises: Promises
}>()("@headwater/cdc/ChangeSource") {}

export interface Reading {
  /**
   * The position last delivered when `read` was called; or a later one, delivered by now, where one of the tables was
   * truncated in between: what it held before cannot be read any more.
   */
  readonly from: Position
  /**
   * One result per range, exact at `position`. Cost: the rows read plus the changes of the difference. Throws `CorruptStep`
   * where the changes do not add up to a set of rows.
   */
  readonly at: (position: Position) => ReadonlyArray<RangeRows>
}

/** Which of the promises P1–P13 the source holds; shown by `explain`. */
export interface Promises {
  readonly name: string
  /** All writers are seen, not only Headwater's. */
  readonly outsideWrites: boolean
  /** Every delivered position is a state that the database's commits allow. */
  readonly exact: boolean
}

export class ChangeSourceError extends Data.TaggedError("ChangeSourceError")<{
  readonly reason: PositionLost | EpochChanged | SourceUnavailable | CorruptStep | SourceMisconfigured | CatalogMismatch
}> {
  override get message(): string {
    return this.reason.message
  }
}

/** The steps after that position are no longer held: read everything again. */
export class PositionLost extends Data.TaggedError("PositionLost")<{ readonly after: Position; readonly message: string }> {}

/** The database is not the one that the positions came from (restored, or failed over with loss). */
export class EpochChanged extends Data.TaggedError("EpochChanged")<{ readonly expected: Epoch; readonly actual: Epoch; readonly message: string }> {}

/** The database cannot be reached now; the source goes on trying where it can. */
export class SourceUnavailable extends Data.TaggedError("SourceUnavailable")<{ readonly message: string; readonly cause?: unknown }> {}

/** What was captured does not add up to sets of rows: read everything again. */
export class CorruptStep extends Data.TaggedError("CorruptStep")<{ readonly table: string; readonly message: string }> {}

/** Something must be done by an operator first; the message says what. */
export class SourceMisconfigured extends Data.TaggedError("SourceMisconfigured")<{ readonly message: string }> {}

/** The database's tables are not as the contract declares them. Lists everything that is off. */
export class CatalogMismatch extends Data.TaggedError("CatalogMismatch")<{
  readonly problems: ReadonlyArray<{ readonly table: string; readonly column: string | null; readonly message: string }>
}> {
  override get message(): string {
    const lines = this.problems.map(({ column, message, table }) => `  ${table}${column === null ? "" : `.${column}`}: ${message}`)
    return `The database differs from the contract:\n${lines.join("\n")}`
  }
}
