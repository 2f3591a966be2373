import * as Data from "effect/Data"
import type { Shape } from "../../query/Shape.ts"

/** The shape has more bindings than may be tested one by one for each changed row. */
export class BudgetExceeded extends Data.TaggedError("BudgetExceeded")<{ readonly shape: Shape; readonly message: string }> {}
