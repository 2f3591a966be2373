/** The sync server: Headwater's Layers, this board's handlers, and who is calling. */
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { PostgresCommitSignal, PostgresTriggers, PostgresWal } from "@headwater/cdc"
import { Unauthenticated } from "@headwater/core"
import { Engine, Headwater, PostgresWriter } from "@headwater/server"
import { Effect, Layer, Redacted, Schema } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { SqlClient } from "effect/sql"
import { createServer } from "node:http"
import * as path from "node:path"
import { dataDir, readSettings } from "../../settings.ts"
import { Board, Me } from "../contract/contract.ts"
import type { User } from "../contract/tables.ts"
import { BoardHandlers } from "./handlers.ts"
import { prepare } from "./prepare.ts"
import { issueToken, loadSecret, readToken } from "./session.ts"

const settings = readSettings()
const secret = loadSecret(path.join(dataDir, "session-secret"))
const tables = Object.values(Board.tables)

const Authentication = Headwater.authenticate(Me, ({ token }) => {
  const userId = token === undefined ? null : readToken(secret, token)
  return userId === null ? Effect.fail(new Unauthenticated({ message: "Sign in again: the token is missing or not ours." })) : Effect.succeed({ userId })
})

/** Signing in: who there is, and a token for one of them. */
const Sessions = Layer.mergeAll(
  HttpRouter.add("GET", "/session/people", Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    return yield* HttpServerResponse.json(yield* sql`select id, name, color from users order by name`)
  })),
  HttpRouter.add("POST", "/session", Effect.gen(function*() {
    const { userId } = yield* HttpServerRequest.schemaBodyJson(Schema.Struct({ userId: Schema.String }))
    const sql = yield* SqlClient.SqlClient
    const [user] = yield* sql<{ readonly id: User["id"] }>`select id from users where id::text = ${userId}`
    if (user === undefined) return yield* HttpServerResponse.json({ error: "There is no such person." }, { status: 404 })
    return yield* HttpServerResponse.json({ userId: user.id, token: issueToken(secret, user.id) })
  }).pipe(Effect.catchTag("SchemaError", () => HttpServerResponse.json({ error: "userId is missing" }, { status: 400 }))))
)

const Source = Layer.unwrap(Effect.gen(function*() {
  const source = yield* prepare(settings)
  yield* Effect.logInfo(`Changes are read from ${source === "wal" ? "the write-ahead log" : "triggers"}.`)
  return source === "wal" ? PostgresWal.layer(tables) : PostgresTriggers.layer(tables)
}))

/** The database turned out to be another one (restored, say): only a new process can follow it. */
const Watch = Layer.effectDiscard(Effect.flatMap(Engine.Engine, ({ failure }) =>
  failure.pipe(
    Effect.catch((error) => Effect.logError(error.message)),
    Effect.andThen(Effect.sync(() => process.exit(1))),
    Effect.forkScoped
  )))

const Sync = Headwater.layer(Board).pipe(
  Layer.provide([BoardHandlers, Authentication, PostgresWriter.layer]),
  Layer.provide(Source),
  Layer.provide(PostgresCommitSignal.layer)
)

const Routes = Layer.mergeAll(Headwater.layerWebSocket({ path: "/sync" }), Headwater.layerHealth(), Watch, Sessions)

const Server = HttpRouter.serve(Routes, { disableListenLog: true, disableLogger: true }).pipe(
  Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: settings.syncPort, gracefulShutdownTimeout: "5 seconds" })),
  // Before the port is open: until there are routes nobody answers, and who connects waits.
  Layer.provide(Sync),
  Layer.provide(PgClient.layer({ url: Redacted.make(settings.databaseUrl), applicationName: "board", maxConnections: 4 }))
)

const Ready = Layer.effectDiscard(Effect.sync(() => process.send?.("ready"))).pipe(Layer.provide(Server))

process.once("disconnect", () => process.kill(process.pid, "SIGTERM"))
NodeRuntime.runMain(Layer.launch(Ready).pipe(
  Effect.catchTag("CannotStart", ({ message }) => Effect.andThen(Effect.logError(message), Effect.sync(() => process.exit(78))))
))
