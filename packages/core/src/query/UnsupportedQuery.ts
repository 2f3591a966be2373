/**
 * Raised where a query, a rule or a table is defined, when not every database and evaluator could give the same answer.
 */
import * as Data from "effect/Data"

export class UnsupportedQuery extends Data.TaggedError("UnsupportedQuery")<{
  /** What cannot be honoured, e.g. "order by jsonb". */
  readonly construct: string
  /** What was wrong and what to do instead. */
  readonly message: string
}> {}
