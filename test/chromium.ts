/**
 * A real browser for tests: Debian's Chromium, which the tests drive from Node.
 *
 * Without it the tests that need it are skipped, counted and named; `REQUIRE_SERVICES=chromium` makes that a failure.
 */
import * as fs from "node:fs"
import { type Browser, chromium } from "playwright-core"
import { describe, inject } from "vitest"

/** `CHROME_BIN` wins. */
export const findChromium = (): string | undefined =>
  [process.env["CHROME_BIN"], "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
    .find((path) => path !== undefined && fs.existsSync(path))

/** A block of tests that use a browser. Its hooks and tests run only if there is one. */
export const describeChromium = (title: string, body: () => void): void => {
  describe.skipIf(inject("services").chromium === null)(`[needs chromium] ${title}`, body)
}

/** Takes 0.8 s: start one per file. */
export const launchChromium = (): Promise<Browser> => {
  const executablePath = inject("services").chromium
  if (executablePath === null) throw new Error("Chromium is not installed: put the test into describeChromium")
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox", // which root needs
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync"
    ]
  })
}
