import { Client } from "pg"
import { assert, inject, test } from "vitest"
import { freshDatabase } from "./postgres.ts"

const query = async (url: string, text: string) => {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

test("a fresh database is empty, and goes with its replication slots", async () => {
  const database = await freshDatabase()
  await query(database.url, `select pg_create_logical_replication_slot('${database.name}', 'pgoutput')`)
  await database.drop()
  const all = await query(inject("services").postgres, "select datname as name from pg_database union select slot_name from pg_replication_slots")
  assert.notInclude(all.map((row) => row.name), database.name)
})
