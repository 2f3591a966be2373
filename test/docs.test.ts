/**
 * The code in README and docs compiles: each fenced block that names a file (` ```ts contract.ts `) becomes that file; the
 * blocks of one page form a program.
 */
import { assert, it } from "vitest"
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const pages = ["README.md", ...readdirSync(path.join(root, "docs"), { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".md")).map((file) => path.join("docs", file))]

it("the snippets in README and docs compile", { timeout: 60_000 }, () => {
  // Inside the repository, so that packages resolve as they do for its own code.
  mkdirSync(path.join(root, "node_modules/.cache"), { recursive: true })
  const target = mkdtempSync(path.join(root, "node_modules/.cache/snippets-"))
  try {
    let count = 0
    for (const page of pages) {
      const folder = path.join(target, page.replaceAll(/[/.]/g, "_"))
      for (const [, file, code] of readFileSync(path.join(root, page), "utf8").matchAll(/^```tsx? (\S+)\n(.*?)^```$/gms)) {
        mkdirSync(folder, { recursive: true })
        writeFileSync(path.join(folder, file!), code!)
        count++
      }
    }
    assert.isAbove(count, 5)
    writeFileSync(path.join(target, "package.json"), `{ "type": "module" }`)
    writeFileSync(path.join(target, "tsconfig.json"), JSON.stringify({
      extends: path.join(root, "tsconfig.base.json"),
      compilerOptions: { noEmit: true, types: ["node"], noUnusedLocals: false },
      include: ["**/*.ts", "**/*.tsx"]
    }))
    const { stdout } = spawnSync(process.execPath, [path.join(root, "node_modules/typescript/bin/tsc"), "-p", target], { encoding: "utf8" })
    assert.strictEqual(stdout, "")
  } finally {
    rmSync(target, { recursive: true })
  }
})
