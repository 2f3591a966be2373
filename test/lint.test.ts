import { spawn } from "node:child_process"
import * as path from "node:path"
import { text } from "node:stream/consumers"
import { assert, test } from "vitest"

const root = path.join(import.meta.dirname, "..")

const lint = async (tree: string) => {
  const child = spawn(process.execPath, ["scripts/lint.mjs", path.join("test/lint", tree)], { cwd: root })
  const closed = new Promise((resolve) => child.once("close", resolve))
  const output = await text(child.stderr)
  return { code: await closed, output }
}

/** Each fixture is a tree that breaks one rule, and lint must say all of this about it. */
const fixtures: Record<string, ReadonlyArray<string>> = {
  "client-imports": ["client-imports: @headwater/client pulls in react (from test/lint/client-imports/packages/client/src/internal/view.ts)"],
  "dependency-direction": [
    "dependency-direction: core imports no other package",
    "dependency-direction: cdc imports core only",
    "dependency-direction: client imports core and crdt only"
  ],
  "effect-by-module": ["effect-by-module"],
  "exports-match-tree": ["exports-match-tree"],
  "no-cycle": ["import(no-cycle)"],
  "no-floating-promises": ["typescript(no-floating-promises)"],
  "runs-anywhere": ["runs-anywhere"],
  "schema-types-only": ["schema-types-only"],
  "types-on-subpaths": ["types-on-subpaths"],
  "unique-module-names": ["unique-module-names"],
  unused: ["Unused files", "orphan.ts", "Unused exports", "forgotten", "Unused dependencies", "left-pad"]
}

for (const [name, messages] of Object.entries(fixtures)) {
  test.concurrent(`lint finds what breaks ${name}`, async () => {
    const { code, output } = await lint(name)
    assert.strictEqual(code, 1)
    for (const message of messages) assert.include(output, message)
  })
}
