import { defaultClientConditions, defaultServerConditions } from "vite"
import { defineConfig } from "vitest/config"

const roots = ["packages/*/test", "examples/*/test", "test"]
const files = (pattern: string) => roots.map((root) => `${root}/**/${pattern}`)
const special = files("*.{dom,chromium}.test.{ts,tsx}")

export default defineConfig({
  // Packages are tested as sources: nothing is built first.
  resolve: { conditions: ["source", ...defaultClientConditions] },
  ssr: { resolve: { conditions: ["source", ...defaultServerConditions] } },
  test: {
    globalSetup: ["test/setup.ts"],
    reporters: ["default", "./test/reporter.ts"],
    // Tests mostly wait for a database: all cores, not all but one.
    maxWorkers: "100%",
    testTimeout: 30_000,
    hookTimeout: 30_000,
    projects: [
      { extends: true, test: { name: "node", include: files("*.test.{ts,tsx}"), exclude: ["**/node_modules/**", ...special] } },
      { extends: true, test: { name: "jsdom", include: files("*.dom.test.{ts,tsx}"), environment: "jsdom" } },
      { extends: true, test: { name: "chromium", include: files("*.chromium.test.{ts,tsx}"), fileParallelism: false } }
    ]
  }
})
