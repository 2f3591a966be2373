import { afterAll, assert, beforeAll, it } from "vitest"
import { enter, serve, type Server } from "./harness.ts"

let server: Server
beforeAll(async () => {
  server = await serve()
})
afterAll(() => server?.stop())

it("P3 one table, one query, one mutation: the outcome arrives with its effect", async () => {
  const ann = await enter(server, "ann", [["tasks", { projectId: "p" }]])
  const bob = await enter(server, "bob", [["tasks", { projectId: "p" }]])
  assert.deepStrictEqual(ann.rows(0), [[1, "p", "one", false, 0], [2, "p", "two", false, 0]])
  ann.send({ type: "mutate", seq: 1, name: "createTask", payload: { id: 10, projectId: "p", title: "ten" } })
  assert.deepStrictEqual(await ann.outcome(1), { type: "success", value: { id: 10, projectId: "p", title: "ten", done: false, rank: 0 } })
  assert.deepInclude(ann.rows(0)!.map((row) => [...row]), [10, "p", "ten", false, 0])
  await bob.until(() => bob.rows(0)!.some((row) => row[0] === 10))
  await server.query("update app.tasks set title = 'from outside' where id = 10")
  await bob.until(() => bob.rows(0)!.some((row) => row[2] === "from outside"))
})
