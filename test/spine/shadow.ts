/**
 * Folds steps into a shadow of the database, by plain SQL. A step that does not fit what is there throws.
 */
import type { Step } from "@headwater/core/Step"
import type { Client, QueryResult } from "pg"
import { sql, tableNames, type TableName, tables } from "./database.ts"

const isBoards = (table: string): table is TableName => Object.hasOwn(tables, table)

/** Makes the shadow equal to the source, wherein nothing may happen meanwhile. */
export const copy = async (source: Client, shadow: Client): Promise<void> => {
  for (const table of tableNames) {
    for (const { row } of (await source.query<{ row: string }>(`select y::text as row from ${table} y`)).rows) {
      await shadow.query(`insert into ${table} select ($1::${table}).*`, [row])
    }
  }
}

export const fold = async (shadow: Client, step: Step): Promise<void> => {
  const deletes: Array<string> = []
  const inserts: Array<string> = []
  for (const changes of step.chunks) {
    for (const { after, before, table } of changes) {
      if (!isBoards(table)) continue
      const columns = tables[table].columns
      const values = (row: Readonly<Record<string, unknown>>) => columns.map(([property, , type]) => sql(row[property], type)).join(", ")
      // Compared as a whole: what is removed must be what is there.
      if (before !== null) deletes.push(`delete from ${table} where row(${columns.map(([, name]) => name).join(", ")}) is not distinct from row(${values(before)})`)
      if (after !== null) inserts.push(`insert into ${table} (${columns.map(([, name]) => name).join(", ")}) values (${values(after)})`)
    }
  }
  const truncates = step.truncated.filter(isBoards).map((table) => `truncate ${table}`)
  const statements = [...truncates, ...deletes, ...inserts]
  if (statements.length === 0) return
  const results = [await shadow.query(statements.join(";\n"))].flat() as Array<QueryResult>
  results.slice(truncates.length).forEach(({ rowCount }, i) => {
    if (rowCount !== 1) throw new Error(`the step at ${step.position} does not fit: ${rowCount} rows for ${statements[truncates.length + i]}`)
  })
}
