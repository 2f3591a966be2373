/** P13 end to end: real clients, a real server, a real Postgres, and spans as a collector receives them. */
import { NodeHttpServer } from "@effect/platform-node"
import * as CommitSignal from "@headwater/cdc/CommitSignal"
import * as Client from "@headwater/client/Client"
import * as LiveQuery from "@headwater/client/LiveQuery"
import * as Persistence from "@headwater/client/Persistence"
import { Access, Column, Contract, Mutation, Query, Table, Transaction } from "@headwater/core"
import { Handlers, Headwater, PostgresWriter } from "@headwater/server"
import { Effect, Layer, Stream } from "effect"
import { FetchHttpClient, HttpRouter, HttpServer } from "effect/http"
import { Otlp } from "effect/observability"
import { createServer } from "node:http"
import * as Catalog from "@headwater/cdc/Catalog"
import * as Install from "@headwater/cdc/Install"
import * as PostgresTriggers from "@headwater/cdc/PostgresTriggers"
import * as PostgresWal from "@headwater/cdc/PostgresWal"
import { SqlClient } from "effect/sql"
import { assert, it } from "vitest"
import { WebSocket } from "ws"
import { collector } from "./otlp.ts"
import { freshDatabase } from "./postgres.ts"
import { pgLayer } from "./spine/source.ts"

class Note extends Table.make("notes", { columns: { id: Column.int4, text: Column.text }, primaryKey: ["id"] }) {}

const notes = Query.make("notes", {}, () => Query.from(Note).orderBy("id"))
const write = Mutation.make("write", { payload: { id: Note.columns.id, text: Note.columns.text } })

class Notes extends Contract.make("notes", {
  tables: [Note],
  access: [Access.make(Note, { read: true, insert: true })],
  queries: { notes },
  mutations: { write }
}) {}

const NotesHandlers = Handlers.layer(Notes, {
  write: Effect.fnUntraced(function*(note) {
    yield* (yield* Transaction).insert(Note, note)
  })
})

/** Each end exports on its own, as in different processes. */
const exporter = (url: string, serviceName: string) =>
  Otlp.layerJson({ baseUrl: url, resource: { serviceName }, tracerExportInterval: "50 millis" }).pipe(Layer.provide(FetchHttpClient.layer))

for (const source of ["wal", "triggers"] as const) {
  it(`P13 one trace joins the client's call, transaction, commit, step, fan-out and the apply on each client (${source})`, { timeout: 30_000 }, async () => {
    const [otlp, database] = await Promise.all([collector(), freshDatabase()])
    const Server = HttpRouter.serve(
      Headwater.layerWebSocket().pipe(
        Layer.provide(Headwater.layer(Notes)),
        Layer.provide([NotesHandlers, PostgresWriter.layer]),
        Layer.provide(source === "wal" ? PostgresWal.layer([Note]) : PostgresTriggers.layer([Note])),
        Layer.provide(CommitSignal.layerMemory),
        Layer.provide(pgLayer(database.url))
      ),
      { disableLogger: true, disableListenLog: true }
    ).pipe(
      Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1", gracefulShutdownTimeout: 0 })),
      Layer.provide(exporter(otlp.url, "server"))
    )
    const connect = (port: number, name: string) =>
      Effect.gen(function*() {
        const context = yield* Layer.build(exporter(otlp.url, name))
        return yield* Client.make(Notes, { url: `ws://127.0.0.1:${port}/sync` }).pipe(
          Effect.provideService(Client.WebSocketConstructor, WebSocket as never),
          Effect.provide(Persistence.layerMemory),
          Effect.map((client) => ({ client, run: Effect.provideContext(context) })),
          Effect.provideContext(context)
        )
      })

    await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        for (const statement of Catalog.ddl([Note])) yield* sql.unsafe(statement)
        yield* Install.install({ source, tables: [Note] })
      }).pipe(Effect.provide(pgLayer(database.url)))
      const { address } = yield* Effect.provide(HttpServer.HttpServer, yield* Layer.build(Server))
      if (address._tag === "UnixPathAddress") return yield* Effect.die("no port")
      const ada = yield* connect(address.port, "ada")
      const bob = yield* connect(address.port, "bob")
      yield* Effect.all([LiveQuery.get(ada.client.notes()), LiveQuery.get(bob.client.notes())])
      yield* ada.run(ada.client.write({ id: 1, text: "traced" }))
      yield* LiveQuery.values(bob.client.notes()).pipe(Stream.takeUntil((rows) => rows.length === 1), Stream.runDrain)

      const calls = () => otlp.spans.filter((span) => span.name === "headwater.call")
      const trace = () => otlp.spans.filter((span) => span.traceId === calls()[0]?.traceId)
      yield* Effect.promise(() => otlp.until(() => calls().length === 1 && trace().length >= 8))
      const [call] = calls()
      const child = (parent: { readonly spanId: string }, name: string, count = 1) => {
        const found = trace().filter((span) => span.parentSpanId === parent.spanId && span.name === name)
        assert.lengthOf(found, count, name)
        return found[0]!
      }
      const mutation = child(call!, "headwater.mutation")
      const transaction = child(mutation, "headwater.transaction")
      const commit = child(transaction, "headwater.commit")
      const step = child(commit, "headwater.step")
      const fanout = child(step, "headwater.fanout")
      child(fanout, "headwater.apply", 2)
      assert.lengthOf(trace(), 8, "at most eight spans for a mutation that two clients see")
    })))
    await database.drop()
    otlp.close()
  })
}
