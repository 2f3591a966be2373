import { assert, it } from "vitest"
import { once } from "node:events"
import { createServer as createHttpServer } from "node:http"
import type { AddressInfo } from "node:net"
import { freshDatabase, startPostgres } from "../../../test/postgres.ts"
import { createServer, type Options, type Tx } from "../src/promise.ts"
import { Board, ddl, Task, TitleEmpty, User } from "./board.ts"
import { type Client, enter, query } from "./harness.ts"

const options = (database: string, mailed: Array<number> = []): Options<typeof Board> => ({
  database,
  install: true,
  authenticate: async ({ token }) => token === undefined || token === "wrong" ? null : { userId: token, admin: false },
  handlers: {
    createTask: async ({ id, projectId, title }, { fail, tx }) => {
      const row = await tx.insert(Task, { id, projectId, title })
      if (title === "") return fail(new TitleEmpty({ id }))
      tx.afterCommit(() => void mailed.push(id))
      return row
    },
    setRank: async ({ id, rank }, { tx }) => {
      await tx.update(Task, { id, rank })
    },
    moveTask: async ({ id, projectId }, { tx }) => {
      // Caught, and refused all the same.
      await tx.update(Task, { id, projectId }).catch(() => {})
    },
    deleteTask: async ({ id }, { tx }) => {
      await tx.delete(Task, { id })
    },
    insertOr: async ({ id, otherId, projectId, title }, { tx }) => {
      const first = await tx.attempt((tx) => tx.insert(Task, { id, projectId, title }))
      if (first.ok) return "first"
      await tx.insert(Task, { id: otherId, projectId, title: `${title}!` })
      return first.error.constraint ?? ""
    },
    countTasks: async ({ all, projectId }, { tx }) => {
      const run = (tx: Tx) => tx.run(Board.queries.tasks, { projectId })
      return (await (all ? tx.unfiltered(run) : run(tx))).length
    },
    readUser: async ({ id }, { tx }) => (await tx.get(User, { id }))!,
    misbehave: () => {
      throw new Error("hunter2")
    },
    bumpAndMail: async (_, { principal }) => principal.userId.length
  }
})

const run = (client: Client, seq: number, name: string, payload: object) => {
  client.send({ type: "mutate", seq, name, payload })
  return client.outcome(seq)
}

it.for(["wal", "triggers"] as const)("handlers that are promises do what those that are Effects do, by %s", { timeout: 60_000 }, async (source) => {
  const database = await freshDatabase()
  await query(database.url, ddl)
  const mailed: Array<number> = []
  const server = createServer(Board, { ...options(database.url, mailed), source })
  const { port } = await server.listen({ port: 0, host: "127.0.0.1" })
  const ann = await enter({ url: `ws://127.0.0.1:${port}/sync` }, "bob", [["tasks", { projectId: "p" }], ["users", {}]])
  assert.strictEqual((await run(ann, 1, "createTask", { id: 10, projectId: "p", title: "ten" })).value.title, "ten")
  assert.deepInclude(ann.rows(0)!.map((row) => [...row]), [10, "p", "ten", false, 0])
  assert.deepStrictEqual(await run(ann, 2, "createTask", { id: 11, projectId: "p", title: "" }), { type: "error", error: { _tag: "TitleEmpty", id: 11 } })
  assert.strictEqual((await run(ann, 3, "moveTask", { id: 10, projectId: "q" })).reason._tag, "WriteRefused")
  assert.deepStrictEqual(await run(ann, 4, "insertOr", { id: 10, otherId: 12, projectId: "p", title: "twelve" }), { type: "success", value: "tasks_pkey" })
  assert.deepStrictEqual([(await run(ann, 5, "countTasks", { projectId: "q", all: false })).value, (await run(ann, 6, "countTasks", { projectId: "q", all: true })).value], [0, 1])
  assert.strictEqual((await run(ann, 7, "misbehave", { what: "", id: 0 })).reason._tag, "ServerFailure")
  assert.deepStrictEqual(await run(ann, 8, "bumpAndMail", { id: "a" }), { type: "success", value: 3 })
  assert.deepStrictEqual(await run(ann, 9, "readUser", { id: "ann" }), { type: "success", value: { id: "ann", name: "Ann", email: null } })
  assert.deepStrictEqual(mailed, [10])
  await query(database.url, "update app.tasks set title = 'outside' where id = 10")
  await ann.until(() => ann.rows(0)!.some((row) => row[2] === "outside"))
  assert.strictEqual((await fetch(`http://127.0.0.1:${port}/health`)).status, 200)
  const closing = server.close()
  await ann.message("goaway")
  await closing
  await database.drop()
})

it("it shares a server that exists", async () => {
  const database = await freshDatabase()
  await query(database.url, ddl)
  const http = createHttpServer((_, response) => response.end("the application")).listen(0, "127.0.0.1")
  await once(http, "listening")
  const { port } = http.address() as AddressInfo
  const server = createServer(Board, { ...options(database.url), path: "/live" })
  await server.attach(http)
  const ann = await enter({ url: `ws://127.0.0.1:${port}/live` }, "ann", [["tasks", { projectId: "p" }]])
  assert.lengthOf(ann.rows(0)!, 2)
  assert.strictEqual(await (await fetch(`http://127.0.0.1:${port}/`)).text(), "the application")
  await server.close()
  http.close()
  await database.drop()
}, 60_000)

it("what prevents a start is said: a port in use, a table that differs, nothing installed, no database", async () => {
  const database = await freshDatabase()
  await query(database.url, ddl)
  const reason = (start: Promise<unknown>) => start.then(() => "started", (error: Error) => error.message)

  const http = createHttpServer().listen(0, "127.0.0.1")
  await once(http, "listening")
  const { port } = http.address() as AddressInfo
  const server = createServer(Board, options(database.url))
  assert.match(await reason(server.listen({ port, host: "127.0.0.1" })), new RegExp(`Port ${port} is in use`))
  await server.close()
  http.close()

  const bare = createServer(Board, { ...options(database.url), install: false })
  assert.match(await reason(bare.listen({ port: 0 })), /headwater install/)
  await bare.close()

  await query(database.url, "alter table app.tasks drop column rank; alter table users alter column name type int using 0; drop table secrets")
  const differing = createServer(Board, options(database.url))
  const message = await reason(differing.listen({ port: 0 }))
  for (const part of ["app.tasks.rank", "users.name", "secrets"]) assert.include(message, part)
  await differing.close()

  const absent = createServer(Board, options("postgres://postgres@127.0.0.1:1/nothing"))
  assert.notStrictEqual(await reason(absent.listen({ port: 0 })), "started")
  await absent.close()
  await database.drop()
}, 60_000)

it("where the write-ahead log cannot be read, triggers are taken, and the log is asked for in vain", async () => {
  const postgres = await startPostgres({ settings: { wal_level: "replica" } })
  await query(postgres.url(), ddl)
  const wal = createServer(Board, { ...options(postgres.url()), source: "wal" })
  assert.match(await wal.listen({ port: 0 }).then(() => "started", (error: Error) => error.message), /wal_level/)
  await wal.close()
  const server = createServer(Board, options(postgres.url()))
  const { port } = await server.listen({ port: 0, host: "127.0.0.1" })
  const ann = await enter({ url: `ws://127.0.0.1:${port}/sync` }, "ann", [["tasks", { projectId: "p" }]])
  await query(postgres.url(), "update app.tasks set title = 'seen' where id = 1")
  await ann.until(() => ann.rows(0)!.some((row) => row[2] === "seen"))
  await server.close()
  await postgres.stop()
}, 60_000)
