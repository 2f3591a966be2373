/**
 * A table as the contract declares it. (The typed builder `make` and the row types come here too.)
 */
import type * as Column from "./Column.ts"

/** Any table, as the engine sees it: its statics. */
export interface Any {
  /** As given to `make`: "tasks" or "app.tasks". The identity of the table in plans, changes and on the wire. */
  readonly tableName: string
  /** By property name, in declared order. */
  readonly columns: { readonly [property: string]: Column.Any }
  /** Property names, in key order; never empty. */
  readonly primaryKey: ReadonlyArray<string>
}
