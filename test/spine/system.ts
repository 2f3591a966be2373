/** The system as applications put it together: one server on a free port, and clients over real sockets. */
import { NodeHttpServer } from "@effect/platform-node"
import * as CommitSignal from "@headwater/cdc/CommitSignal"
import * as Client from "@headwater/client/Client"
import * as Persistence from "@headwater/client/Persistence"
import { type SyncError, Unauthenticated } from "@headwater/core/SyncError"
import { Headwater, PostgresWriter } from "@headwater/server"
import { Effect, Exit, Layer, Scope } from "effect"
import { HttpRouter } from "effect/http"
import { createServer } from "node:http"
import { freePort } from "../postgres.ts"
import { Board, Me, shared, type User } from "./contract.ts"
import { connect as connectTo } from "./database.ts"
import { BoardHandlers } from "./handlers.ts"
import * as Shadow from "./shadow.ts"
import * as Source from "./source.ts"
import type { Live, Peer, System } from "./world.ts"

/** A token is the user's id. */
const authenticate = Headwater.authenticate(Me, ({ token }) =>
  token === undefined ? Effect.fail(new Unauthenticated({ message: "Sign in." })) : Effect.succeed({ userId: token as User["id"] }))

const server = (url: string, source: Source.SourceName, port: number, options: Headwater.Options) =>
  HttpRouter.serve(Headwater.layerWebSocket({ path: "/sync" }), { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provide(NodeHttpServer.layer(createServer, { port, host: "127.0.0.1", gracefulShutdownTimeout: 0 })),
    Layer.provide(Headwater.layer(Board, options)),
    Layer.provide([BoardHandlers, authenticate]),
    Layer.provide([Source.layer(source), PostgresWriter.layer]),
    Layer.provide(CommitSignal.layerMemory),
    Layer.provide(Source.pgLayer(url))
  )

/** A rejection that the schedule provokes. */
const isExpected = (error: { readonly _tag: string }): boolean =>
  error._tag !== "SyncError" || ["WriteRefused", "DependencyRejected"].includes((error as SyncError).reason._tag)

const connect: System["connect"] = async ({ WebSocket, optimistic, url, user }): Promise<Peer> => {
  const scope = Effect.runSync(Scope.make())
  const client = await Effect.runPromise(Client.make(Board, { url, token: user, ...(optimistic && { optimistic: shared }) }).pipe(
    Effect.provideService(Client.WebSocketConstructor, WebSocket as never),
    Effect.provide(Persistence.layerMemory),
    Scope.provide(scope)
  ))
  const untyped = client as unknown as {
    readonly [name: string]: (argument: object, options?: object) => Effect.Effect<unknown, { readonly _tag: string }>
  }
  return {
    open(query, parameters): Live {
      const handle = (client[query] as unknown as (parameters: object, options: object) => ReturnType<typeof client.marks>)(parameters, { keepAlive: 0 })
      const close = handle.subscribe(() => {})
      return {
        value: () => handle.snapshot.value as ReturnType<Live["value"]>,
        failed: () => handle.snapshot.status === "failed" ? String(handle.snapshot.error) : undefined,
        close
      }
    },
    mutate: (name, payload) =>
      Effect.runPromise(Effect.matchEffect(untyped[name]!(payload), {
        onSuccess: () => Effect.succeed("applied" as const),
        onFailure: (error) => isExpected(error) ? Effect.succeed("rejected" as const) : Effect.die(error)
      })),
    status: () => JSON.stringify(client.sync.connection.snapshot),
    pending: () => client.sync.pending.snapshot.length,
    close: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

const watchReceipts = (url: string) =>
  Effect.promise(async () => {
    const client = await connectTo(url)
    await client.query(Shadow.watch("headwater.receipts"))
    await client.end()
  })

/** Goes on until the scope closes. The database's tables must be there, and nobody may write to them before it is done. */
export const make = (url: string, source: Source.SourceName, options: Headwater.Options) =>
  Effect.gen(function*() {
    yield* Source.install(url, source)
    yield* watchReceipts(url)
    const collected = yield* Source.collect.pipe(Effect.provide(yield* Layer.build(Source.layer(source).pipe(
      Layer.provide(CommitSignal.layerMemory),
      Layer.provide(Source.pgLayer(url))
    ))))
    const port = yield* Effect.promise(freePort)
    let running: Scope.Closeable | undefined
    const stop = Effect.suspend(() => running === undefined ? Effect.void : Scope.close(running, Exit.void))
    const start = Effect.gen(function*() {
      running = yield* Scope.make()
      yield* Layer.buildWithScope(server(url, source, port, options), running)
    })
    yield* start
    yield* Effect.addFinalizer(() => stop)
    return {
      ...collected, port, path: "/sync", connect, startServer: () => Effect.runPromise(start), stopServer: () => Effect.runPromise(stop)
    } satisfies System
  })
