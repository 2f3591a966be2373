/**
 * What the engine applies at once: the sum of one or more whole transactions, as a Z-set.
 */
import type { Change } from "./Change.ts"
import type { Position } from "./Position.ts"

export interface Step {
  /** Greater than that of the step before it. */
  readonly position: Position
  /** The committed transactions in it, as opaque ids that only the change source interprets. */
  readonly transactions: ReadonlyArray<string>
  /** Tables emptied by TRUNCATE: all rows held at the step's base are gone, then `chunks` apply (inserts only, there). */
  readonly truncated: ReadonlyArray<string>
  /** The netted changes, in arrays of bounded size; may be iterated several times. No order is promised. */
  readonly chunks: Iterable<ReadonlyArray<Change>>
}
