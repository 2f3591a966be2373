/** Starts once per run what the tests share, and tells what is absent. */
import type { TestProject } from "vitest/node"
import { findChromium } from "./chromium.ts"
import { startPostgres } from "./postgres.ts"

declare module "vitest" {
  export interface ProvidedContext {
    readonly services: {
      /** The URL of a real server, wherein tests make their own databases (`freshDatabase`). */
      readonly postgres: string
      /** The path of the browser, or null when there is none. */
      readonly chromium: string | null
    }
  }
}

export default async (project: TestProject) => {
  const chromium = findChromium() ?? null
  const required = (process.env["REQUIRE_SERVICES"] ?? "").split(",")
  if (required.includes("chromium") && chromium === null) {
    throw new Error("REQUIRE_SERVICES names chromium, which is not installed")
  }
  const postgres = await startPostgres()
  project.provide("services", { postgres: postgres.url(), chromium })
  return () => postgres.stop()
}
