/**
 * A server for applications without Effect: promises and plain functions over the same parts.
 *
 * It owns its connections to the database (about sixteen: eight write, four read for live queries, the rest listen, replicate and
 * keep house) and starts again by itself when the database turns out to be another one (restored, or failed over with loss).
 */
import * as Catalog from "@headwater/cdc/Catalog"
import type { ChangeSourceError } from "@headwater/cdc/ChangeSource"
import * as Install from "@headwater/cdc/Install"
import * as PostgresCommitSignal from "@headwater/cdc/PostgresCommitSignal"
import * as PostgresTriggers from "@headwater/cdc/PostgresTriggers"
import * as PostgresWal from "@headwater/cdc/PostgresWal"
import type * as Contract from "@headwater/core/Contract"
import type * as Mutation from "@headwater/core/Mutation"
import type * as Principal from "@headwater/core/Principal"
import type * as Query from "@headwater/core/Query"
import { Unauthenticated } from "@headwater/core/SyncError"
import type * as Table from "@headwater/core/Table"
import * as Transaction from "@headwater/core/Transaction"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { createServer as createHttpServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import * as Authentication from "./Authentication.ts"
import { Engine } from "./Engine.ts"
import * as Handlers from "./Handlers.ts"
import * as Headwater from "./Headwater.ts"
import * as PostgresWriter from "./PostgresWriter.ts"
import { Session } from "./Session.ts"
import * as Transport from "./Transport.ts"

export interface Server {
  /** Starts if need be, and listens with an HTTP server of its own, which also answers `GET /health`. Rejects with what is in the way. */
  readonly listen: (options: { readonly port: number; readonly host?: string }) => Promise<{ readonly port: number }>
  /** Starts if need be, and takes the WebSockets of its path in a server that exists. */
  readonly attach: (server: HttpServer) => Promise<void>
  /** Tells clients to go elsewhere, finishes transactions, and lets go of the database. */
  readonly close: () => Promise<void>
}

interface Common<C extends Contract.Any> {
  /** A Postgres URL. */
  readonly database: string
  readonly handlers: PromiseHandlers<C>
  /** `"auto"`, the default, follows what is installed, else takes the write-ahead log if the database allows it. */
  readonly source?: Catalog.Source | "auto"
  /** Installs what is missing in the database. Otherwise the server only says what to run. */
  readonly install?: boolean
  /** Where clients connect to; `/sync` by default. */
  readonly path?: `/${string}`
  /** Origins of pages that may connect, beside the server's own. */
  readonly origins?: ReadonlyArray<string>
}

export type Options<C extends Contract.Any> = Common<C> & (Contract.PrincipalOf<C> extends Principal.Any ? {
  /** The principal's fields, or null for nobody. */
  readonly authenticate: (request: Authentication.Request) => MaybePromise<Principal.Type<Contract.PrincipalOf<C>> | null>
} : {})

type MaybePromise<A> = A | Promise<A>

type PromiseHandlers<C extends Contract.Any> = {
  readonly [K in keyof Contract.Mutations<C>]: (
    payload: Mutation.Payload<Contract.Mutations<C>[K]>,
    context: HandlerContext<Contract.PrincipalOf<C>, Mutation.Error<Contract.Mutations<C>[K]>>
  ) => MaybePromise<Mutation.Value<Contract.Mutations<C>[K]> | Failed>
}

/** What `fail` gives back, for a handler to return. */
export class Failed {
  readonly error: unknown
  constructor(error: unknown) {
    this.error = error
  }
}

export interface HandlerContext<P, E> {
  readonly tx: Tx
  readonly principal: P extends Principal.Any ? Principal.Type<P> : undefined
  /** Ends the mutation with an error that it declares: `return fail(new …)`. What was written is undone. */
  readonly fail: (error: E) => Failed
}

/**
 * The mutation's transaction. A write that is refused rejects with `WriteRefused`, which ends the mutation, caught or not, except
 * inside `attempt`.
 */
export interface Tx {
  /** Null where there is no such row that the principal may read. */
  readonly get: <T extends Table.Any>(table: T, key: Table.Key<T>) => Promise<Table.Type<T> | null>
  readonly run: {
    <A, C extends Query.Cardinality>(query: Query.Query<A, C>): Promise<Query.Result<A, C>>
    <N extends string, P, A, C extends Query.Cardinality>(query: Query.Named<N, P, A, C>, parameters: P): Promise<Query.Result<A, C>>
  }
  readonly insert: <T extends Table.Any>(table: T, row: Table.Insert<T>) => Promise<Table.Type<T>>
  readonly update: <T extends Table.Any>(table: T, changes: Table.Update<T>) => Promise<void>
  readonly delete: <T extends Table.Any>(table: T, key: Table.Key<T>) => Promise<void>
  /** Undoes the writes of `run`, and only those, if one of them is refused. */
  readonly attempt: <A>(run: (tx: Tx) => Promise<A>) => Promise<
    { readonly ok: true; readonly value: A } | { readonly ok: false; readonly error: Transaction.WriteRefused }
  >
  /** Runs once, after the commit, in this process. */
  readonly afterCommit: (run: () => MaybePromise<void>) => void
  /** Reads and writes without access rules. */
  readonly unfiltered: <A>(run: (tx: Tx) => Promise<A>) => Promise<A>
}

export const createServer = <C extends Contract.Any>(contract: C, options: Options<C>): Server => {
  const tables = Object.values(contract.tables)
  const database = PgClient.layer({ url: Redacted.make(options.database), applicationName: `headwater ${contract.contractName}`, maxConnections: 7 })

  const source = Layer.unwrap(Effect.gen(function*() {
    const { installed, walLevel } = yield* Install.status
    const { reason, source } = choose(options.source ?? "auto", installed?.source, walLevel)
    yield* Effect.logInfo(`Changes are read from ${source === "wal" ? "the write-ahead log" : "triggers"}: ${reason}.`)
    if (options.install === true) yield* Install.install({ source, tables })
    return source === "wal" ? PostgresWal.layer(tables) : PostgresTriggers.layer(tables)
  }))

  const { authenticate } = options as { readonly authenticate?: (request: Authentication.Request) => unknown }
  const authentication = contract.principal === undefined ? Layer.empty : Headwater.authenticate(contract.principal, (request) =>
    Effect.flatMap(
      Effect.tryPromise({ try: async () => await authenticate!(request), catch: (error) => error }).pipe(Effect.orDie),
      (fields) => fields === null
        ? Effect.fail(new Unauthenticated({ message: "The token is missing or not valid: sign in again." }))
        : Effect.succeed(fields as never)
    ))

  const handlers = Layer.succeed(
    Handlers.tag(contract.contractName),
    Object.fromEntries(Object.keys(contract.mutations).map((name) => [
      name,
      handle(options.handlers[name as keyof typeof options.handlers] as never, contract.principal)
    ]))
  )

  const composition = (Headwater.layer(contract as Contract.Any) as Layer.Layer<Engine | Session, ChangeSourceError, never>).pipe(
    Layer.provide([handlers as never, authentication, source, PostgresWriter.layer] as never),
    Layer.provide(PostgresCommitSignal.layer),
    Layer.provide(database)
  ) as Layer.Layer<Engine | Session, Error>

  let session: Session["Service"] | undefined
  let running: { readonly fiber: Fiber.Fiber<void, unknown>; readonly started: Promise<void> } | undefined

  /** One life of the composition: until it is told to end, or cannot go on. */
  const life = (started: Deferred.Deferred<void, Error>) =>
    Effect.scoped(Effect.gen(function*() {
      const context = yield* Layer.build(composition)
      session = Context.get(context, Session)
      yield* Deferred.succeed(started, undefined)
      return yield* Context.get(context, Engine).failure
    })).pipe(Effect.ensuring(Effect.sync(() => {
      session = undefined
    })))

  const start = (): Promise<void> => {
    if (running === undefined) {
      const started = Deferred.makeUnsafe<void, Error>()
      const fiber = Effect.runFork(Effect.gen(function*() {
        const first = yield* Effect.exit(life(started))
        // What prevents the first start is the caller's to hear.
        if (Exit.isFailure(first) && Deferred.doneUnsafe(started, first as Exit.Exit<never, Error>)) return
        while (true) {
          yield* Effect.logWarning("Starting anew")
          yield* Effect.exit(life(Deferred.makeUnsafe<void, Error>()))
          yield* Effect.sleep("1 second")
        }
      }))
      running = { fiber, started: Effect.runPromise(Deferred.await(started)) }
      running.started.catch(() => {
        running = undefined
      })
    }
    return running.started
  }

  /** Whoever the transport is given now. */
  const current: Session["Service"] = {
    open: (socket, request) => {
      if (session !== undefined) return session.open(socket, request)
      socket.close(1013, "starting")
      return { receive: () => {}, drained: () => {}, closed: () => {} }
    },
    healthy: () => session?.healthy() ?? false,
    drain: Effect.void,
    maxMessageBytes: 1024 * 1024
  }

  const transport: Transport.Options = { path: options.path, origins: options.origins }
  const detach: Array<() => void> = []
  const own: Array<HttpServer> = []

  return {
    attach: async (server) => {
      await start()
      detach.push(Transport.attach(current, server, transport))
    },
    listen: async ({ host, port }) => {
      const server = createHttpServer((request, response) => answer(current, request, response))
      detach.push(Transport.attach(current, server, transport))
      await new Promise<void>((resolve, reject) => {
        server.once("error", (error: NodeJS.ErrnoException) =>
          reject(error.code === "EADDRINUSE" ? new Error(`Port ${port} is in use: end what listens there, or choose another.`, { cause: error }) : error))
        server.listen(port, host, () => resolve())
      })
      own.push(server)
      try {
        await start()
      } catch (error) {
        await closed(server)
        throw error
      }
      return { port: (server.address() as AddressInfo).port }
    },
    close: async () => {
      for (const stop of detach.splice(0)) stop()
      const closing = own.splice(0).map(closed)
      if (running !== undefined) await Effect.runPromise(Fiber.interrupt(running.fiber))
      running = undefined
      await Promise.all(closing)
    }
  }
}

const choose = (wanted: Catalog.Source | "auto", installed: Catalog.Source | undefined, walLevel: string): { readonly source: Catalog.Source; readonly reason: string } => {
  if (wanted !== "auto") return { source: wanted, reason: "as the options say" }
  if (installed !== undefined) return { source: installed, reason: "that is what is installed in this database" }
  return walLevel === "logical"
    ? { source: "wal", reason: "wal_level is logical" }
    : { source: "triggers", reason: `wal_level is ${walLevel}, and only with logical can the write-ahead log be read` }
}

const closed = (server: HttpServer): Promise<void> => new Promise((resolve) => void server.close(() => resolve()))

const answer = (session: Session["Service"], request: IncomingMessage, response: ServerResponse) => {
  const [status, body] = Transport.pathOf(request) !== "/health"
    ? [404, { error: "not found" }] as const
    : session.healthy() ? [200, { status: "ok" }] as const : [503, { status: "unavailable" }] as const
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))
}

type AnyHandler = (payload: never, context: HandlerContext<unknown, unknown>) => unknown

const handle = (handler: AnyHandler, principal: Principal.Any | undefined) => (payload: never): Effect.Effect<unknown, unknown> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<Transaction.Transaction>()
    const me = principal === undefined ? undefined : Context.getUnsafe(context, principal as never)
    const given: HandlerContext<unknown, unknown> = { tx: makeTx(context), principal: me as never, fail: (error) => new Failed(error) }
    const value = yield* settled(() => handler(payload, given))
    return yield* value instanceof Failed ? Effect.fail(value.error) : Effect.succeed(value)
  }) as Effect.Effect<unknown, unknown>

/** Waits for a function of the application; what it throws is a defect, as it was thrown. */
const settled = <A>(run: () => MaybePromise<A>): Effect.Effect<A> =>
  Effect.orDie(Effect.tryPromise({ try: async () => await run(), catch: (error) => error }))

const makeTx = (context: Context.Context<Transaction.Transaction>): Tx => {
  const service = Context.get(context, Transaction.Transaction)
  const run = Effect.runPromiseWith(context)
  /** Runs a function of the application where `around` wants it. */
  const inside = <A>(use: (tx: Tx) => Promise<A>) => Effect.flatMap(Effect.context<Transaction.Transaction>(), (context) => settled(() => use(makeTx(context))))
  return {
    get: (table, key) => run(service.get(table, key)),
    run: (query: unknown, parameters?: unknown) =>
      run((service.run as unknown as (query: unknown, parameters?: unknown) => Effect.Effect<any>)(query, parameters)),
    insert: (table, row) => run(service.insert(table, row)),
    update: (table, changes) => run(service.update(table, changes)),
    delete: (table, key) => run(service.delete(table, key)),
    attempt: (use) => run(service.attempt(inside(use)).pipe(
      Effect.map((value) => ({ ok: true, value }) as const),
      Effect.catchIf((error) => error instanceof Transaction.WriteRefused, (error) => Effect.succeed({ ok: false, error } as const))
    )),
    afterCommit: (use) => run(service.afterCommit(settled(use))) as never,
    unfiltered: (use) => run(service.unfiltered(inside(use)))
  }
}
