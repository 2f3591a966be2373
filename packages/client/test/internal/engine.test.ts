import { assert, describe, it } from "@effect/vitest"
import { mutated, online } from "../engines.ts"

describe("an engine", () => {
  it("that is closed ends calls, queries and timers", async () => {
    const { engine, tasks, world, peer } = await online()
    const { outcome } = mutated(engine.mutate("archive", {}, undefined))
    engine.close()
    assert.strictEqual(((await outcome) as { error: { reason: { _tag: string } } }).error.reason._tag, "Closed")
    assert.deepInclude(tasks.snapshot, { status: "failed" })
    assert.strictEqual(engine.connection.snapshot.status, "closed")
    assert.isTrue(peer.closed)
    assert.isTrue("refused" in engine.mutate("archive", {}, undefined))
    await world.advance(60_000)
    assert.strictEqual(engine.query("titles", {}, undefined).subscribe(() => undefined)(), undefined)
  })
})
