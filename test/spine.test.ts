/**
 * The whole system on a real Postgres, for each change source: clients that write, come and go, while others write to the
 * database; what each client shows at each frame is compared with SQL over a shadow of the database at that position.
 *
 * `HEADWATER_SEED` repeats a schedule. (Timing is not repeated, so a failure may need several runs.)
 */
import { Effect, Layer } from "effect"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Database, freshDatabase } from "./postgres.ts"
import { check, describe as report } from "./spine/check.ts"
import * as Tables from "./spine/database.ts"
import * as Random from "./spine/random.ts"
import * as Schedule from "./spine/schedule.ts"
import * as Shadow from "./spine/shadow.ts"
import * as Source from "./spine/source.ts"
import * as World from "./spine/world.ts"

describe.each(["wal"] as const)("%s", (source) => {
  let database: Database
  let shadowDatabase: Database
  beforeAll(async () => {
    database = await freshDatabase()
    shadowDatabase = await freshDatabase()
  })
  afterAll(async () => {
    await database.drop()
    await shadowDatabase.drop()
  })

  it("P1 the steps add up to the database", async () => {
    const seed = Random.seedOf()
    const random = Random.make(seed)
    const schedule = Schedule.make(random)
    const main = await Tables.connect(database.url)
    await main.query([Tables.createTables, Tables.createConstraints, ...schedule.seed()].join(";\n"))
    const shadow = await Tables.connect(shadowDatabase.url)
    await shadow.query(Tables.createTables)
    await Shadow.copy(main, shadow)
    const started = performance.now()
    await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      yield* Source.install(database.url, source)
      const collected = yield* Source.collect.pipe(Effect.provide(yield* Layer.build(Source.layer(database.url, source))))
      const system = { ...collected, port: 0, path: "", connect: () => { throw new Error("nobody") } }
      const { counts, recording } = yield* Effect.promise(() => World.run(system, database.url, random, schedule, [], 600))
      const between = performance.now()
      const problems = yield* Effect.promise(() => check(shadow, recording))
      console.log(JSON.stringify(counts), Math.round(between - started), Math.round(performance.now() - between))
      expect(problems.length, `seed ${seed}: ${problems.length === 0 ? "" : report(problems, recording)}`).toBe(0)
    })))
    await shadow.end()
    await main.end()
  }, 60_000)
})
