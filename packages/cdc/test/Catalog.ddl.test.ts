import * as Column from "@headwater/core/Column"
import * as Table from "@headwater/core/Table"
import { Client } from "pg"
import { assert, it } from "vitest"
import { freshDatabase } from "../../../test/postgres.ts"
import * as Catalog from "../src/Catalog.ts"

class Task extends Table.make("app.tasks", {
  columns: { id: Column.uuid, projectId: Column.uuid.named("project_id"), title: Column.text, note: Column.text },
  primaryKey: ["id"],
  indexes: { by_title: ["projectId", "title"] }
}) {}

it("the index of a new table serves equality and the order by code point", async () => {
  const database = await freshDatabase()
  const client = new Client({ connectionString: database.url })
  await client.connect()
  try {
    for (const statement of Catalog.ddl([Task])) await client.query(statement)
    await client.query("set enable_seqscan = off; set enable_sort = off; set enable_bitmapscan = off")
    const ordered = await client.query(`explain select * from app.tasks where project_id = '00000000-0000-4000-8000-000000000000' order by title collate "C" limit 10`)
    assert.include(JSON.stringify(ordered.rows), "tasks_by_title")
    assert.notInclude(JSON.stringify(ordered.rows), "Sort")
    const equal = await client.query("explain select * from app.tasks where project_id = '00000000-0000-4000-8000-000000000000' and title = 'a'")
    assert.match(JSON.stringify(equal.rows), /Index Cond: .*title = 'a'/)
  } finally {
    await client.end()
    await database.drop()
  }
})
