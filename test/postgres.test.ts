import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { Client } from "pg"
import { assert, inject, onTestFinished, test } from "vitest"
import { freshDatabase, startPostgres } from "./postgres.ts"

const query = async (url: string, text: string) => {
  const client = new Client({ connectionString: url })
  client.on("error", () => {}) // the server may be killed under it
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

const temporaryDirectory = () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "headwater-test-"))
  fs.chmodSync(dir, 0o755)
  onTestFinished(() => fs.rmSync(dir, { recursive: true, force: true }))
  return dir
}

test("a fresh database is empty, and goes with its replication slots, even one in use", async () => {
  const database = await freshDatabase()
  const { name, url } = database
  await query(url, `select pg_create_logical_replication_slot('idle_${name}', 'pgoutput')`)
  await query(url, `select pg_create_logical_replication_slot('busy_${name}', 'pgoutput')`)
  const reader = new Client({ connectionString: url, replication: "database" } as object)
  reader.on("error", () => {})
  await reader.connect()
  reader.query(`START_REPLICATION SLOT busy_${name} LOGICAL 0/0 (proto_version '1', publication_names 'none')`).catch(() => {})
  while ((await query(url, "select 1 from pg_replication_slots where active")).length === 0) await sleep(5)

  await database.drop()
  const left = await query(
    inject("services").postgres,
    `select datname as name from pg_database where datname = '${name}' union select slot_name from pg_replication_slots where database = '${name}'`
  )
  assert.deepStrictEqual(left, [])
})

test("a database can be a copy of another", async () => {
  const template = await freshDatabase()
  await query(template.url, "create table a as select 1 as n")
  const copy = await freshDatabase({ template: template.name })
  assert.deepStrictEqual(await query(copy.url, "select n from a"), [{ n: 1 }])
  await copy.drop()
  await template.drop()
})

test("a durable server killed under load starts again with what was committed", async () => {
  const dataDir = path.join(temporaryDirectory(), "data")
  const first = await startPostgres({ dataDir })
  await query(first.url(), "create table a as select 1 as n")
  const busy = query(first.url(), "select count(*) from generate_series(1, 1e12)").catch(() => {})
  while ((await query(first.url(), "select 1 from pg_stat_activity where query like '%1e12%' and pid <> pg_backend_pid()")).length === 0) await sleep(5)
  await first.kill()

  const second = await startPostgres({ dataDir, port: first.port })
  await busy
  assert.deepStrictEqual(await query(second.url(), "select n from a"), [{ n: 1 }])
  assert.deepStrictEqual(await query(second.url(), "show fsync"), [{ fsync: "on" }])
  await second.stop()

  const third = await startPostgres({ dataDir })
  assert.deepStrictEqual(await query(third.url(), "select n from a"), [{ n: 1 }])
  await third.stop()
})

test.skipIf(process.platform !== "linux" || process.arch !== "x64")("other major versions run too", async () => {
  for (const major of [14, 16]) {
    const server = await startPostgres({ pkg: `postgres-${major}` })
    const [row] = await query(server.url(), "show server_version")
    assert.match(row.server_version, new RegExp(`^${major}\\.`))
    await server.stop()
  }
})
