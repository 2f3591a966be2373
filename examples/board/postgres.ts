/** The board's own Postgres, durable, with its data in `.data/postgres`. Ends when the server does. */
import * as path from "node:path"
import { startPostgres } from "../../test/postgres.ts"
import { dataDir, readSettings } from "./settings.ts"

const postgres = await startPostgres({
  dataDir: path.join(dataDir, "postgres"),
  port: readSettings().postgresPort,
  // Enough for the example, and small enough for a laptop.
  settings: { max_connections: 60, max_wal_senders: 10, max_replication_slots: 10 }
})
process.once("SIGTERM", () => void postgres.stop().then(() => process.exit(0)))
process.once("disconnect", () => void postgres.stop().then(() => process.exit(0)))
// Its process does not keep this one alive; the supervisor's channel does.
await postgres.ended
console.error("[postgres] ended")
process.exit(1)
