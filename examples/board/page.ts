/** Builds the page and serves it; `/sync` and `/session` go to the sync server, so the browser sees one origin. */
import { fileURLToPath } from "node:url"
import { build, createLogger, preview } from "vite"
import { readSettings } from "./settings.ts"

process.env["NODE_ENV"] = "production"

const { pagePort, syncPort } = readSettings()
const root = fileURLToPath(new URL(".", import.meta.url))
const target = `http://127.0.0.1:${syncPort}`
// That the server is down says the supervisor, once; and nothing may clear away what other processes wrote.
const logger = createLogger("warn", { allowClearScreen: false })
const { error: logError } = logger
logger.error = (message, options) => {
  if (!/proxy (socket )?error/.test(message)) logError(message, options)
}
try {
  await build({ root, logLevel: "warn" })
  await preview({
    root,
    customLogger: logger,
    preview: {
      host: "127.0.0.1",
      port: pagePort,
      strictPort: true,
      proxy: { "/session": target, "/sync": { target, ws: true } }
    }
  })
} catch (error) {
  console.error(`[page] ${error instanceof Error ? error.message : error}`)
  process.exit(1)
}
process.once("SIGTERM", () => process.exit(0))
process.once("disconnect", () => process.exit(0))
process.send?.("ready")
