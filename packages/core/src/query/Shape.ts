/**
 * What the server compiles once for a query under the contract's access rules, however many clients bind it with however
 * many parameter values.
 */
import type { Json } from "../data/Value.ts"
import type { Expression, Plan, Select } from "./Plan.ts"

export interface Shape {
  /** Of everything below: equal shapes share bindings. */
  readonly hash: string
  /** The query's own plan, for `explain` and projections. */
  readonly plan: Plan
  /** Normal form with the row rules among its conjuncts and masked columns replaced by `if` where the query computes with them. */
  readonly select: Select
  /** Rules over parameters and principal only (and `exists` over those): all must be true for a subscriber, else its result is empty. */
  readonly gates: ReadonlyArray<Expression>
  /** Parameters that `select` mentions: with `principalFields`, what tells bindings apart. */
  readonly parameterNames: ReadonlyArray<string>
  readonly principalFields: ReadonlyArray<string>
  /**
   * Columns of the row that not everybody may read. A subscriber for whom `readable` (over the row, the parameters and the
   * principal) is not true sees `mask` (wire form) instead.
   */
  readonly masks: ReadonlyArray<{ readonly column: string; readonly readable: Expression; readonly mask: Json }>
}
