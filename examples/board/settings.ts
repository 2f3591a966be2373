/** Where the parts of the running example find each other: decided once by `start.ts`, kept in `.data/`. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

/** `.data` at the repository's root unless BOARD_DATA names another folder. */
export const dataDir = path.resolve(process.env["BOARD_DATA"] ?? fileURLToPath(new URL("../../.data", import.meta.url)))

export interface Settings {
  /** The process that runs the parts. */
  readonly supervisor: number
  readonly databaseUrl: string
  /** The database is the example's own: it may make tables and install what it needs. */
  readonly ownDatabase: boolean
  readonly install: boolean
  readonly source: "auto" | "wal" | "triggers"
  readonly pagePort: number
  readonly postgresPort: number
  readonly syncPort: number
}

const file = path.join(dataDir, "board.json")

/** Where the board of this folder runs now, if it does. */
export const findRunning = (): Settings | null => {
  if (!existsSync(file)) return null
  const settings = readSettings()
  try {
    process.kill(settings.supervisor, 0)
    return settings
  } catch {
    return null
  }
}

export const readSettings = (): Settings => {
  if (!existsSync(file)) throw new Error(`The board has not been started yet: ${file} is missing. Run npm start first.`)
  return JSON.parse(readFileSync(file, "utf8"))
}

export const writeSettings = (settings: Settings) => {
  mkdirSync(dataDir, { recursive: true })
  writeFileSync(file, JSON.stringify(settings, null, 2))
}
