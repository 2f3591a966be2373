/** An engine over a server that the test speaks for. */
import { assert } from "@effect/vitest"
import type { Patch, Receipt } from "@headwater/core/Message"
import * as Engine from "../src/internal/engine.ts"
import type { LiveQuery } from "../src/internal/liveQueries.ts"
import * as memoryStorage from "../src/internal/memoryStorage.ts"
import type { Optimistic } from "../src/internal/optimistic.ts"
import * as OverlayTransaction from "../src/internal/overlayTransaction.ts"
import { Board, columns, Task, wire } from "./board.ts"
import * as FakeServer from "./FakeServer.ts"

export type Row = { readonly id: string; readonly rank: number; readonly title: string }

const optimistic = (show: (tx: OverlayTransaction.OverlayTransaction, payload: never) => void): Optimistic =>
  (overlay, payload, context) => show(OverlayTransaction.make(overlay, context), payload as never)

export const start = async (options: Partial<Engine.Options> = {}) => {
  const server = FakeServer.make()
  const world = FakeServer.world(server)
  const engine = Engine.make({
    contract: Board,
    url: "ws://test",
    token: () => "token",
    storage: memoryStorage.make(),
    stored: undefined,
    environment: world.environment,
    optimistic: {
      createTask: optimistic((tx, payload: object) => void tx.insert(Task, payload)),
      moveTask: optimistic((tx, payload: object) => tx.update(Task, payload)),
      renameTask: optimistic((tx, { id, title }: { id: string; title: string }) => {
        if (title === "boom") throw new Error("boom")
        const task = tx.get(Task, { id })
        if (task !== null) tx.update(Task, { id, title: `${title} (was ${String(task.title)})` })
      }),
      removeTask: optimistic((tx, payload: object) => tx.delete(Task, payload))
    },
    ...options
  })
  await FakeServer.settled()
  return { engine, server, world }
}

export const rows = (patch: ReadonlyArray<readonly [string, number]>, binding = 1, fields: Partial<Patch> = {}): Patch => ({
  binding, reset: true, rows: [["app.tasks", patch.map(([id, rank]) => wire(id, rank))]], add: patch.map(([id]) => id), remove: [], ...fields
})
export const success = (seq: number): Receipt => ({ seq, outcome: { type: "success", value: null } })
export const ids = (query: LiveQuery) => (query.snapshot.value as ReadonlyArray<Row> | undefined)?.map(({ id, rank }) => `${id}${rank}`).join(" ")

/** Online with `allTasks` live over a1 b2. */
export const online = async (options: Partial<Engine.Options> = {}) => {
  const { engine, server, world } = await start(options)
  const tasks = engine.query("allTasks", {}, undefined)
  let told = 0
  const leave = tasks.subscribe(() => told++)
  await FakeServer.settled()
  const { peer } = server
  const hello = peer.hello()
  peer.welcome({ columns, principal: { userId: "me" } })
  // Those that were asked for after hello, and before welcome.
  const [subscription = hello.subscriptions[0]!] = peer.take("subscribe")
  peer.frame(10, { opened: [{ id: subscription.id, binding: 1 }], patches: [rows([["a", 1], ["b", 2]])] })
  assert.strictEqual(tasks.snapshot.status, "live")
  told = 0
  return { engine, server, world, peer, tasks, leave, id: subscription.id, told: () => told }
}

export const mutated = (result: ReturnType<Engine.Engine["mutate"]>) => {
  if ("refused" in result) throw result.refused
  return result
}
