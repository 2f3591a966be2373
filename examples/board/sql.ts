/** Runs SQL in the board's database, past Headwater: `npm run sql -- "update cards set status = 'done'"`. */
import { Client } from "pg"
import { readSettings } from "./settings.ts"

const text = process.argv.slice(2).join(" ")
if (text.trim() === "") {
  console.error(`usage: npm run sql -- "update cards set title = 'Hello' where status = 'todo'"`)
  process.exit(1)
}
const client = new Client({ connectionString: process.env["DATABASE_URL"] || readSettings().databaseUrl })
try {
  await client.connect()
  for (const result of [await client.query(text)].flat()) {
    if (result.fields?.length > 0) console.table(result.rows)
    else console.log(`${result.command} ${result.rowCount ?? ""}`.trim())
  }
} catch (error) {
  const { code, message } = error as { readonly code?: string; readonly message: string }
  console.error(code === "ECONNREFUSED" ? "The board's Postgres does not answer. Is npm start running?" : message)
  process.exitCode = 1
} finally {
  await client.end().catch(() => {})
}
