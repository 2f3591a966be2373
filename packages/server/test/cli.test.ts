import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { Client } from "pg"
import { freshDatabase } from "../../../test/postgres.ts"
import { run } from "../src/cli.ts"

const contract = new URL("board.ts", import.meta.url).pathname

/** What a command line prints, and its exit code. */
const headwater = (line: string, environment: Record<string, string> = {}) =>
  Effect.gen(function*() {
    const printed: Array<string> = []
    const errors: Array<string> = []
    const code = yield* run(line.split(" ").filter((word) => word !== ""), environment, { out: (text) => printed.push(text), error: (text) => errors.push(text) })
    return { code, printed: printed.join("\n"), errors: errors.join("\n") }
  })

const database = Effect.acquireRelease(Effect.promise(() => freshDatabase()), ({ drop }) => Effect.promise(drop))

const sql = (url: string, text: string) =>
  Effect.promise(async () => {
    const client = new Client({ connectionString: url })
    await client.connect()
    try {
      const result: unknown = await client.query(text)
      return (Array.isArray(result) ? result.at(-1) : result).rows as ReadonlyArray<Record<string, string>>
    } finally {
      await client.end()
    }
  })

it.live("a new project: ddl, install by hand or at once, status, uninstall", () => Effect.gen(function*() {
  const { url } = yield* database
  const database_ = `--database ${url}`
  const ddl = yield* headwater(`ddl --contract ${contract}`)
  assert.strictEqual(ddl.code, 0)
  assert.include(ddl.printed, "CREATE TABLE \"app\".\"tasks\"")

  const early = yield* headwater(`install ${database_} --contract ${contract}`)
  assert.strictEqual(early.code, 1)
  assert.include(early.errors, "app.tasks: there is no such table")
  assert.include(early.errors, "users: there is no such table")

  yield* sql(url, ddl.printed)
  assert.include((yield* headwater(`status ${database_}`)).printed, "Nothing is installed")
  const printed = yield* headwater(`install --print --source triggers --contract ${contract}`, { DATABASE_URL: url })
  assert.include((yield* headwater(`status ${database_}`)).printed, "Nothing is installed")
  yield* sql(url, printed.printed)
  const installed = yield* headwater(`install --contract ${contract}`, { DATABASE_URL: url })
  assert.include(installed.printed, "Installed for the source triggers")
  assert.include(installed.printed, "app.tasks: trigger headwater_capture, trigger zzz_headwater_truncate")
  const changed = yield* headwater(`install --source wal --contract ${contract}#Board`, { DATABASE_URL: url })
  assert.include(changed.printed, "publication headwater_receipts")
  assert.include(changed.printed, "app.tasks: publication headwater, replica identity full")

  const gone = yield* headwater(`uninstall ${database_}`)
  assert.strictEqual(gone.code, 0)
  assert.include((yield* headwater(`status ${database_}`)).printed, "Nothing is installed")
  assert.include((yield* headwater(`uninstall --print ${database_}`)).printed, "Nothing to do")
}).pipe(Effect.scoped))

it.live("what makes no sense is said, with how it is meant", () => Effect.gen(function*() {
  const wrong: ReadonlyArray<readonly [string, string]> = [
    ["instal", "no command instal"],
    ["install --verbose", "--verbose"],
    ["ddl", "--contract ./contract.ts"],
    [`ddl --contract ${contract} --source wal`, "ddl takes no --source"],
    ["ddl --contract ./nowhere.ts", "Cannot load ./nowhere.ts"],
    [`ddl --contract ${contract}#Nothing`, "exports no contract Nothing"],
    ["status", "DATABASE_URL"],
    ["status --database nonsense", "Not the URL"],
    ["status more", "Too many arguments: more"],
    [`install --contract ${contract} --source binlog --database postgres://localhost/x`, "wal or triggers, not binlog"]
  ]
  for (const [line, message] of wrong) {
    const { code, errors } = yield* headwater(line)
    assert.strictEqual(code, 2, line)
    assert.include(errors, message)
    assert.include(errors, "headwater install")
  }
  assert.strictEqual((yield* headwater("--help")).code, 0)
  const unreachable = yield* headwater("status --database postgres://ada:secret@127.0.0.1:1/board")
  assert.strictEqual(unreachable.code, 1)
  assert.include(unreachable.errors, "127.0.0.1:1/board")
  assert.notInclude(unreachable.errors, "secret")
}))

it("is a program", () => {
  const bin = new URL("../src/internal/bin.ts", import.meta.url).pathname
  const { status, stderr, stdout } = spawnSync(process.execPath, ["--conditions=source", bin, "ddl", "--contract", contract], { encoding: "utf8" })
  assert.strictEqual(status, 0, stderr)
  assert.include(stdout, "CREATE TABLE")
})
