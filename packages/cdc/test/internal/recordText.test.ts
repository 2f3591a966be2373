import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Client } from "pg"
import { inject } from "vitest"
import * as RecordText from "../../src/internal/recordText.ts"
import { random, seedOf } from "../random.ts"

it.live("reads every record as Postgres wrote it", () => Effect.promise(async () => {
  const seed = seedOf()
  const { chance, int, pick } = random(seed)
  const pieces = ["", "a", "\"", "\"\"", "\\", "\\\\", ",", "(", ")", " ", "\n", "\t", "NULL", "null", "é", "😀", "{1,2}", "(a,\"b\")"]
  const field = () => chance(0.2) ? null : Array.from({ length: int(4) }, () => pick(pieces)).join("")
  const client = new Client({ connectionString: inject("services").postgres })
  await client.connect()
  try {
    for (let width = 1; width <= 6; width++) {
      const records = Array.from({ length: 200 }, () => Array.from({ length: width }, field))
      const columns = Array.from({ length: width }, (_, i) => `c->>${i}`)
      const { rows } = await client.query(`select textin(record_out(row(${columns}))) as record from json_array_elements($1::json) with ordinality as r(c, n) order by n`, [JSON.stringify(records)])
      rows.forEach(({ record }: { record: string }, i) => assert.deepStrictEqual(RecordText.parse(record), records[i], `seed ${seed}: ${record}`))
    }
    // Images hold records too.
    const { rows: [{ record }] } = await client.query(`select textin(record_out(row(1, row('a "b"', null, row(''))))) as record`)
    const [, inner] = RecordText.parse(record)
    assert.deepStrictEqual(RecordText.parse(inner!), ["a \"b\"", null, "(\"\")"])
  } finally {
    await client.end()
  }
}))

it("refuses what no record looks like", () => {
  for (const text of ["", "1,2", "(1", "(\"a)", "(\"a\"b)"]) assert.throws(() => RecordText.parse(text))
})
