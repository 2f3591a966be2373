/**
 * A column as the contract declares it. (The typed builders come here too.)
 */
import type { Value } from "../data/Value.ts"
import type { ColumnType } from "./ColumnType.ts"

/** Any column, as the engine sees it. (Not `nullable` and `generated`: those are the builder's methods.) */
export interface Any {
  readonly type: ColumnType
  readonly isNullable: boolean
  /** The column's name in the database where it differs from the property's (`named`). */
  readonly columnName: string | undefined
  /** The declared default, or undefined for none. */
  readonly defaultValue: Value | undefined
  /** The database fills it in: writes may leave it out, or must where it is a generated column. */
  readonly isGenerated: boolean
}
