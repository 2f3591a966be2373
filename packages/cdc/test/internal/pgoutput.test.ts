import { Client } from "pg"
import { assert, describe, it } from "vitest"
import { freshDatabase } from "../../../../test/postgres.ts"
import * as Pgoutput from "../../src/internal/pgoutput.ts"

/** Writes messages as the documentation says, for the decoder to read back. */
const encode = (...parts: ReadonlyArray<number | string | Uint8Array>): Uint8Array =>
  Buffer.concat(parts.map((part) => typeof part === "number" ? Buffer.from([part]) : typeof part === "string" ? Buffer.from(part) : part))

const u16 = (value: number) => {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}
const u32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
const u64 = (value: number) => encode(u32(Math.floor(value / 2 ** 32)), u32(value % 2 ** 32))
const tuple = (values: ReadonlyArray<string | null | undefined>) =>
  encode(u16(values.length), ...values.flatMap((value) =>
    value === null ? ["n"] : value === undefined ? ["u"] : ["t", u32(Buffer.byteLength(value)), value]))
const describeTable = (id: number, columns: ReadonlyArray<string>, identity = "f", key = 1) =>
  encode("R", u32(id), "public\0tasks\0", identity, u16(columns.length), ...columns.flatMap((name) => [key, `${name}\0`, u32(25), u32(0xffffffff)]))

const columns = ["id", "title", "body"]
const samples: ReadonlyArray<readonly [string, Uint8Array]> = [
  ["begin", encode("B", u64(0x1_0000_0010), u64(0), u32(4_000_000_000))],
  ["commit", encode("C", 0, u64(0x1_0000_0010), u64(0x1_0000_0040), u64(0))],
  ["relation", describeTable(7, columns)],
  ["insert", encode("I", u32(7), "N", tuple(["1", "Grüße, 世界 🌍", null]))],
  ["update", encode("U", u32(7), "N", tuple(["1", "a", undefined]))],
  ["update", encode("U", u32(7), "O", tuple(["1", "", "b"]), "N", tuple(["1", "a", undefined]))],
  ["update", encode("U", u32(7), "K", tuple(["1", null, null]), "N", tuple(["2", "a", undefined]))],
  ["delete", encode("D", u32(7), "K", tuple(["1", null, null]))],
  ["delete", encode("D", u32(7), "O", tuple(["1", "a".repeat(70_000), null]))],
  ["truncate", encode("T", u32(2), 1, u32(7), u32(7))],
  ["message", encode("M", 1, u64(9), "headwater\0", u32(3), "abc")],
  ["other", encode("O", u64(9), "origin\0")],
  ["other", encode("Y", u32(9), "public\0mood\0")]
]

describe("pgoutput", () => {
  it("reads every message back", () => {
    const { decode } = Pgoutput.make()
    const messages = samples.map(([, bytes]) => decode(bytes))
    assert.deepEqual(messages.map((message) => message.tag), samples.map(([tag]) => tag))
    const relation = messages[2] as Pgoutput.Relation
    assert.deepEqual(relation, {
      tag: "relation",
      id: 7,
      schema: "public",
      name: "tasks",
      identity: "full",
      columns: columns.map((name) => ({ name, isKey: true, typeId: 25 }))
    })
    assert.deepEqual(messages.filter((message) => message !== relation), [
      { tag: "begin", commitLsn: 0x1_0000_0010, xid: 4_000_000_000 },
      { tag: "commit", commitLsn: 0x1_0000_0010, endLsn: 0x1_0000_0040 },
      { tag: "insert", relation, row: ["1", "Grüße, 世界 🌍", null] },
      { tag: "update", relation, old: null, oldIsKey: false, row: ["1", "a", Pgoutput.unchanged] },
      { tag: "update", relation, old: ["1", "", "b"], oldIsKey: false, row: ["1", "a", Pgoutput.unchanged] },
      { tag: "update", relation, old: ["1", null, null], oldIsKey: true, row: ["2", "a", Pgoutput.unchanged] },
      { tag: "delete", relation, old: ["1", null, null], oldIsKey: true },
      { tag: "delete", relation, old: ["1", "a".repeat(70_000), null], oldIsKey: false },
      { tag: "truncate", relations: [relation, relation] },
      { tag: "message", transactional: true, lsn: 9, prefix: "headwater", content: Buffer.from("abc") },
      { tag: "other" },
      { tag: "other" }
    ] satisfies ReadonlyArray<Pgoutput.Message>)
  })

  it("leaves out the columns that nobody keeps", () => {
    const { decode } = Pgoutput.make((_, column) => column.name === "title")
    decode(samples[2]![1])
    assert.deepInclude(decode(samples[3]![1]), { row: [null, "Grüße, 世界 🌍", null] })
  })

  it("refuses a message cut at any byte, one with more behind it, and what it does not know", () => {
    for (const [, bytes] of samples.filter(([, bytes]) => bytes.length < 1_000)) {
      for (let length = 0; length < bytes.length; length++) {
        const { decode } = Pgoutput.make()
        decode(samples[2]![1])
        assert.throws(() => decode(bytes.subarray(0, length)), Pgoutput.MalformedMessage, undefined, `${bytes[0]} cut at ${length}`)
      }
      const { decode } = Pgoutput.make()
      decode(samples[2]![1])
      assert.throws(() => decode(encode(bytes, 0)), Pgoutput.MalformedMessage)
    }
    for (const bytes of [encode("Q"), encode("I", u32(8), "N", tuple(["1"])), encode("I", u32(7), "X"), encode("I", u32(7), "N", tuple(["1"]))]) {
      const { decode } = Pgoutput.make()
      decode(samples[2]![1])
      assert.throws(() => decode(bytes), Pgoutput.MalformedMessage)
    }
  })

  it("survives random bytes with its own error", () => {
    const seed = Date.now() >>> 0
    let state = seed
    const random = () => (state = Math.imul(state ^ state >>> 15, 0x2c1b3c6d) + 0x9e3779b9 >>> 0) / 2 ** 32
    for (let run = 0; run < 20_000; run++) {
      const { decode } = Pgoutput.make()
      decode(samples[2]![1])
      const [, sample] = samples[Math.floor(random() * samples.length)]!
      const bytes = Buffer.from(sample.subarray(0, 200))
      for (let i = 0; i < 3; i++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256)
      try {
        decode(bytes)
      } catch (error) {
        assert.instanceOf(error, Pgoutput.MalformedMessage, `seed ${seed}`)
      }
    }
  })

  it("decodes what a real Postgres writes, to what it holds", async () => {
    const database = await freshDatabase()
    const client = new Client({ connectionString: database.url })
    await client.connect()
    const query = async (text: string) => (await client.query({ text, rowMode: "array" })).rows as Array<Array<never>>
    try {
      await query(`create table "My tasks" (id int primary key, title text, body text, done boolean)`)
      await query(`alter table "My tasks" replica identity full`)
      await query(`alter table "My tasks" alter body set storage external`)
      await query(`create publication p for table "My tasks"`)
      const slot = database.name
      await query(`select pg_create_logical_replication_slot('${slot}', 'pgoutput')`)
      const big = "x\u00e9\u{1F30D}".repeat(5_000)
      await query(`insert into "My tasks" values (1, 'a', '${big}', null), (2, e'b\\nc', '', true)`)
      await query(`update "My tasks" set title = 'changed' where id = 1`)
      await query(`delete from "My tasks" where id = 2`)
      await query(`truncate "My tasks"`)
      const changes = await query(
        `select data from pg_logical_slot_get_binary_changes('${slot}', null, null, 'proto_version', '1', 'publication_names', 'p', 'messages', 'true')`
      )
      const { decode } = Pgoutput.make()
      const messages = changes.map(([data]) => decode(data!)).filter(({ tag }) => tag !== "begin" && tag !== "commit")
      const relation = messages[0] as Pgoutput.Relation
      assert.deepEqual(relation.columns.map((column) => column.name), ["id", "title", "body", "done"])
      assert.strictEqual(relation.identity, "full")
      assert.strictEqual(relation.name, "My tasks")
      const first = ["1", "a", big, null]
      // A truncated table is described again.
      assert.deepEqual(messages.filter(({ tag }) => tag !== "relation"), [
        { tag: "insert", relation, row: first },
        { tag: "insert", relation, row: ["2", "b\nc", "", "t"] },
        { tag: "update", relation, old: first, oldIsKey: false, row: ["1", "changed", Pgoutput.unchanged, null] },
        { tag: "delete", relation, old: ["2", "b\nc", "", "t"], oldIsKey: false },
        { tag: "truncate", relations: [relation] }
      ])
    } finally {
      await client.end()
      await database.drop()
    }
  })
})
