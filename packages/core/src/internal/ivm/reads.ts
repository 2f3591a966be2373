/**
 * What a binding still has to read. Only a binding that is not ready has one.
 */
import type { Range } from "../../change/Range.ts"
import type { Expression } from "../../query/Plan.ts"

export interface Read {
  /**
   * "whole": all that passes the filter, from the start, whatever an `exists` admits. "first": from the start, by admitted
   * keys. "more": behind the window's edge. "admitted": from the start, by keys that an `exists` admits since.
   */
  readonly kind: "whole" | "first" | "more" | "admitted"
  readonly ranges: ReadonlyArray<Range>
  /** For "more": the edge that it starts at. */
  readonly edge: unknown
}

export class Reads {
  /** Those under way, by the id of their need. */
  readonly open = new Map<number, Read>()
  /** Conjuncts for the rows of keys that an `exists` admits since: to be read when the pass ends, or after a "first" one. */
  admitted: Array<ReadonlyArray<Expression>> = []
  /** All must be read again. */
  isStale = false
  /** The last "first" one: those before it may lack keys that were admitted since. */
  latest: Read | null = null
  /** What "more" asks for grows while what it reads does not pass. */
  effort = 1

  has(kind: Read["kind"]): boolean {
    for (const read of this.open.values()) if (read.kind === kind) return true
    return false
  }
}
