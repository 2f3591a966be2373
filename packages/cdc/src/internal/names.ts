/** How declared names stand in SQL: what `Sql` makes of them. */
import * as Sql from "@headwater/core/Sql"
import type * as Table from "@headwater/core/Table"

/** The table's qualified name, as `to_regclass` and statements take it. */
export const relation = (table: Table.Any): string => Sql.table(table.tableName)

export const identifier = Sql.identifier

export const literal = Sql.string

/** The column that a property stands for. */
export const column = Sql.columnName
