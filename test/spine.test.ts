/**
 * The whole system on a real Postgres, for each change source: several clients write, subscribe, and lose their connections,
 * while others write to the database directly. What each client shows at each frame is compared with SQL over a shadow of the
 * database at that frame's position.
 *
 * `HEADWATER_SEED` repeats a schedule. (Timing is not repeated, so a failure may need several runs.)
 */
import { Effect } from "effect"
import { describe, expect, it } from "vitest"
import { freshDatabase } from "./postgres.ts"
import { check, checkSource, describe as report } from "./spine/check.ts"
import * as Database from "./spine/database.ts"
import * as Random from "./spine/random.ts"
import * as Schedule from "./spine/schedule.ts"
import * as Shadow from "./spine/shadow.ts"
import * as System from "./spine/system.ts"
import * as World from "./spine/world.ts"

const ticks = 900

/** Two clients are the same user; two run handlers themselves. */
const cast: ReadonlyArray<World.Role> = [
  { name: "a", user: 0, optimistic: true },
  { name: "b", user: 1, optimistic: true },
  { name: "c", user: 2, optimistic: false },
  { name: "d", user: 0, optimistic: false }
]

const atLeast = { frames: 300, mutations: 100, opened: 30, closed: 30, cuts: 10, resumed: 10, revocations: 5 }

const databaseOf = (statements: string) =>
  Effect.gen(function*() {
    const { url } = yield* Effect.acquireRelease(Effect.promise(() => freshDatabase()), ({ drop }) => Effect.promise(drop))
    const client = yield* Effect.acquireRelease(Effect.promise(() => Database.connect(url)), (client) => Effect.promise(() => client.end()))
    yield* Effect.promise(() => client.query(statements))
    return { url, client }
  })

describe.each(["wal", "triggers"] as const)("%s", (source) => {
  it("P1 P3 P4 P7 P8 P10 at each frame each client shows what the database was at its position", () => {
    const seed = Random.seedOf()
    const random = Random.make(seed)
    const schedule = Schedule.make(random)
    return Effect.gen(function*() {
      const { client, url } = yield* databaseOf([Database.createTables, Database.createConstraints, ...schedule.seed(), Shadow.watch(null)].join(";\n"))
      const shadows = yield* Effect.all([databaseOf(Database.createTables), databaseOf(Database.createTables)])
      for (const shadow of shadows) yield* Effect.promise(() => Shadow.copy(client, shadow.client))
      // Some servers merge, forget or give up early.
      const options = { gather: random.pick([0, 4, 25]), window: random.pick([300, 60_000]), windowBytes: random.pick([5_000, 2 ** 26]), pendingBytes: random.pick([2_000, 2 ** 22]) }
      const started = performance.now()
      const { counts, recording } = yield* Effect.scoped(Effect.flatMap(System.make(url, source, options), (system) =>
        Effect.promise(() => World.run(system, url, random, schedule, cast, ticks))))
      const recorded = performance.now()
      const problems = yield* Effect.promise(async () => [...await check(shadows[0].client, recording), ...await checkSource(shadows[1].client, recording)])
      console.log(`${source}, seed ${seed}, ${JSON.stringify(options)}: ${Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ")}; ran ${Math.round(recorded - started)} ms, checked ${Math.round(performance.now() - recorded)} ms`)
      if (problems.length > 0) throw new Error(report(problems, recording))
      for (const [name, least] of Object.entries(atLeast)) expect(counts[name as keyof typeof atLeast], name).toBeGreaterThanOrEqual(least)
    }).pipe(
      Effect.scoped,
      Effect.runPromise,
      (run) => run.catch((error: unknown) => {
        throw new Error(`${source}, seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
      })
    )
  }, 90_000)
})
