/** Who may sign tokens: whoever has a secret, never whoever has none. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { afterAll, assert, it } from "vitest"
import { issueToken, loadSecret, readToken } from "../src/server/session.ts"

const directory = mkdtempSync(path.join(tmpdir(), "headwater-board-"))
afterAll(() => rmSync(directory, { recursive: true }))

it("a secret is made once, and leaves nothing beside it", () => {
  const file = path.join(directory, "made", "secret")
  const secret = loadSecret(file)
  assert.strictEqual(secret.length, 32)
  assert.deepStrictEqual(loadSecret(file), secret)
  assert.deepStrictEqual(readdirSync(path.dirname(file)), ["secret"])
  const token = issueToken(secret, "ann" as never)
  assert.strictEqual(readToken(loadSecret(file), token), "ann")
})

it.each([0, 31])("a secret of %i bytes, as a crash may leave it, signs nothing", (length) => {
  const file = path.join(directory, `short-${length}`)
  writeFileSync(file, Buffer.alloc(length))
  assert.throws(() => loadSecret(file), `has ${length} bytes, and a secret has 32: delete the file`)
})
