/** The board's own Postgres, durable, with its data in `.data/postgres`. Ends when the server does. */
import * as path from "node:path"
import { startPostgres } from "../../test/postgres.ts"
import { dataDir, readSettings } from "./settings.ts"

const postgres = await startPostgres({
  dataDir: path.join(dataDir, "postgres"),
  port: readSettings().postgresPort,
  // Enough for the example, and small enough for a laptop.
  settings: { max_connections: 60, max_wal_senders: 10, max_replication_slots: 10, max_slot_wal_keep_size: "1GB" }
})
let stopping = false
const stop = async () => {
  stopping = true
  await postgres.stop()
  process.exit(0)
}
process.once("SIGTERM", () => void stop())
process.once("disconnect", () => void stop())
// Its process does not keep this one alive; the supervisor's channel does.
await postgres.ended
if (!stopping) process.exit(1)
