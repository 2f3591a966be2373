/**
 * Who may read a table's rows and columns, and who may change them. What no rule allows is denied.
 *
 * Rules are expressions over the row, the principal, and rows that exist elsewhere; they see unfiltered tables. They
 * become part of first reads, of the graph and of the check of every write.
 */
import type { Json } from "../data/Value.ts"
import * as Build from "../internal/build.ts"
import type { Condition, Fields } from "../query/Expr.ts"
import * as Plan from "../query/Plan.ts"
import * as Column from "../schema/Column.ts"
import { wireOf } from "../schema/Field.ts"
import type * as Table from "../schema/Table.ts"

/** The source that rules name their row by. */
export const source = "row"

export type Rule<A> = boolean | ((row: Fields<A>) => Condition | boolean)

/** Who reads a column: for others it holds `mask`, which is NULL unless the column cannot hold that. */
type ColumnRule<A, V> = null extends V
  ? { readonly read: Rule<A>; readonly mask?: V }
  : { readonly read: Rule<A>; readonly mask: V }

export interface Access {
  readonly table: Table.Any
  readonly read: Plan.Expression
  readonly insert: Plan.Expression
  /** `before` over the row as it was, `after` over what it becomes. */
  readonly update: { readonly before: Plan.Expression; readonly after: Plan.Expression }
  readonly delete: Plan.Expression
  readonly columns: { readonly [property: string]: { readonly read: Plan.Expression; readonly mask: Json } }
  readonly origins: Build.Origins
}

/** The rules of one table. What is left out is denied. */
export const make = <T extends Table.Any>(table: T, rules: {
  readonly read?: Rule<Table.Type<T>>
  /** Of the row that is written. */
  readonly insert?: Rule<Table.Type<T>>
  /** A single rule must hold for the row before and after. */
  readonly update?: Rule<Table.Type<T>> | { readonly before: Rule<Table.Type<T>>; readonly after: Rule<Table.Type<T>> }
  readonly delete?: Rule<Table.Type<T>>
  /** Of rows that may be read, the columns that not everybody sees. Queries and orders of those who do not, see the mask too. */
  readonly columns?: { readonly [K in keyof Table.Type<T>]?: ColumnRule<Table.Type<T>, Table.Type<T>[K]> }
}): Access => Build.defining(`access to ${table.tableName}`, () => {
  const origins: Array<Build.Origins> = [{ tables: new Map([[table.tableName, table]]), principals: new Set() }]
  const compile = (rule: Rule<never> | undefined): Plan.Expression => {
    if (rule === undefined || typeof rule === "boolean") return rule === true ? Plan.alwaysTrue : Plan.alwaysFalse
    const compiled = Build.tableCondition(table, source, rule)
    origins.push(compiled.origins)
    return compiled.expression
  }
  const columns: Record<string, { readonly read: Plan.Expression; readonly mask: Json }> = {}
  for (const [property, rule] of Object.entries((rules.columns ?? {}) as { readonly [property: string]: ColumnRule<never, unknown> | undefined })) {
    if (rule === undefined) continue
    const column = Object.hasOwn(table.columns, property) ? table.columns[property] : undefined
    if (column === undefined) throw new TypeError(`access to ${table.tableName}: "${property}" is not a column`)
    if (table.primaryKey.includes(property)) throw new TypeError(`access to ${table.tableName}: "${property}" is in the primary key, by which readers tell rows apart: it cannot be masked`)
    const mask = Column.check(column, rule.mask ?? null)
    if (!mask.ok) throw new TypeError(`access to ${table.tableName}: the mask of "${property}" ${mask.message}`)
    columns[property] = { read: compile(rule.read), mask: wireOf(column.type, mask.value) }
  }
  const update = rules.update
  const both = typeof update === "object" ? undefined : compile(update as Rule<never> | undefined)
  return {
    table,
    read: compile(rules.read as Rule<never> | undefined),
    insert: compile(rules.insert as Rule<never> | undefined),
    update: typeof update === "object"
      ? { before: compile(update.before as Rule<never>), after: compile(update.after as Rule<never>) }
      : { before: both!, after: both! },
    delete: compile(rules.delete as Rule<never> | undefined),
    columns,
    origins: Build.mergeOrigins(origins)
  }
})
