/** A server on a database of its own, and clients that speak the protocol by hand. */
import type * as Contract from "@headwater/core/Contract"
import type { Hello, ServerMessage } from "@headwater/core/Message"
import * as PostgresCommitSignal from "@headwater/cdc/PostgresCommitSignal"
import * as PostgresWal from "@headwater/cdc/PostgresWal"
import * as Install from "@headwater/cdc/Install"
import { NodeHttpServer } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, ManagedRuntime, Redacted } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { createServer } from "node:http"
import { Client as PgRaw } from "pg"
import { WebSocket } from "ws"
import { type Database, freshDatabase } from "../../../test/postgres.ts"
import * as Headwater from "../src/Headwater.ts"
import * as PostgresWriter from "../src/PostgresWriter.ts"
import type { Writer } from "../src/Writer.ts"
import { Board, authentication, ddl, handlers, mailer } from "./board.ts"

const tables = Object.values(Board.tables)

export interface Options extends Headwater.Options {
  readonly origins?: ReadonlyArray<string>
  /** Around everything: a tracer, say. */
  readonly around?: Layer.Layer<never>
  readonly database?: Database
  /** Where the server connects to, if not directly. */
  readonly databaseUrl?: string
  readonly writer?: Layer.Layer<Writer>
}

export const pgLayer = (url: string) => PgClient.layer({ url: Redacted.make(url), maxConnections: 8 })

export const install = async (database: Database) => {
  await query(database.url, ddl)
  await Effect.runPromise(Effect.provide(Install.install({ source: "wal", tables }), pgLayer(database.url)))
}

export const query = async (url: string, sql: string, parameters: Array<unknown> = []): Promise<Array<any>> => {
  const client = new PgRaw({ connectionString: url })
  await client.connect()
  try {
    let result = await client.query(sql, parameters.length === 0 ? undefined : parameters)
    // The log shows a commit a moment before snapshots do: a write to a row that a client was just shown may not find it yet.
    for (let tries = 0; tries < 50 && result.rowCount === 0 && /^(update|delete) /.test(sql); tries++) {
      result = await client.query(sql, parameters.length === 0 ? undefined : parameters)
    }
    return Array.isArray(result) ? [] : result.rows
  } finally {
    await client.end()
  }
}

/** Sessions over the database, whatever writes and captures. */
export const composition = (url: string, options: Options = {}) =>
  Headwater.layer(Board, options).pipe(
    Layer.provide([handlers, authentication]),
    Layer.provideMerge(mailer),
    Layer.provide([PostgresWal.layer(tables), options.writer ?? PostgresWriter.layer]),
    Layer.provide(PostgresCommitSignal.layer),
    Layer.provide(pgLayer(url))
  )

export const serve = async (options: Options = {}) => {
  const database = options.database ?? await freshDatabase()
  if (options.database === undefined) await install(database)
  const routes = Layer.mergeAll(
    Headwater.layerWebSocket({ path: "/sync", ...options.origins === undefined ? {} : { origins: options.origins } }),
    Headwater.layerHealth()
  ).pipe(Layer.provideMerge(composition(options.databaseUrl ?? database.url, options)))
  const app = HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" })),
    Layer.provide(options.around ?? Layer.empty)
  )
  const runtime = ManagedRuntime.make(app)
  const address = (await runtime.runPromise(HttpServer.HttpServer)).address
  const port = "port" in address ? address.port : 0
  return {
    database,
    runtime,
    url: `ws://127.0.0.1:${port}/sync`,
    http: `http://127.0.0.1:${port}`,
    query: (sql: string, parameters?: Array<unknown>) => query(database.url, sql, parameters),
    stop: async () => {
      await runtime.dispose()
      if (options.database === undefined) await database.drop()
    },
    close: () => runtime.dispose()
  }
}

export type Server = Awaited<ReturnType<typeof serve>>

let names = 0

/** What a client holds of a query. */
export type Rows = ReadonlyArray<ReadonlyArray<unknown>>

export const connect = async (url: string, options: { readonly headers?: Record<string, string> } = {}) => {
  const ws = new WebSocket(url, { headers: options.headers ?? {} })
  const messages: Array<ServerMessage> = []
  const bindings = new Map<number, Map<string, ReadonlyArray<unknown>>>()
  const opened = new Map<number, number>()
  const receipts = new Map<number, any>()
  const waiters = new Set<() => void>()
  const wake = () => {
    for (const waiter of waiters) waiter()
  }
  let closed: { readonly code: number; readonly reason: string } | undefined
  ws.on("message", (data: Buffer) => {
    const message = JSON.parse(data.toString()) as ServerMessage
    messages.push(message)
    if (message.type === "frame") {
      for (const { binding, id } of message.opened ?? []) {
        opened.set(id, binding)
        if (!bindings.has(binding)) bindings.set(binding, new Map())
      }
      for (const patch of message.patches) {
        const held = bindings.get(patch.binding)!
        if (patch.reset) held.clear()
        for (const key of patch.remove) held.delete(key)
        const rows = patch.rows.flatMap(([, rows]) => rows)
        const byKey = new Map(rows.map((row) => [`${row[0]}`, row]))
        // Keys of integers are ordered text; what they stand for is the first column here.
        let added = 0
        for (const key of patch.add) held.set(key, rows[added++]!)
        for (const [key, row] of held) {
          const now = byKey.get(`${row[0]}`)
          if (now !== undefined) held.set(key, now)
        }
      }
      for (const receipt of message.receipts ?? []) receipts.set(receipt.seq, receipt.outcome)
    }
    wake()
  })
  ws.on("close", (code, reason) => {
    closed = { code, reason: reason.toString() }
    wake()
  })
  ws.on("error", () => {})
  const until = <A>(what: () => A | undefined | false, name = "a condition"): Promise<A> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiters.delete(check)
        reject(new Error(`waited in vain for ${name}; the last messages: ${JSON.stringify(messages.slice(-5), null, 1)}; closed: ${JSON.stringify(closed)}`))
      }, 10_000)
      const check = () => {
        const value = what()
        if (value === undefined || value === false) return
        clearTimeout(timer)
        waiters.delete(check)
        resolve(value)
      }
      waiters.add(check)
      check()
    })
  await new Promise<void>((resolve, reject) => {
    ws.once("open", () => resolve())
    ws.once("error", reject)
  })
  return {
    ws, messages, receipts, bindings, opened,
    closed: () => closed,
    send: (message: object | string) => ws.send(typeof message === "string" ? message : JSON.stringify(message)),
    until,
    message: <T extends ServerMessage["type"]>(type: T): Promise<ServerMessage & { readonly type: T }> =>
      until(() => messages.find((message) => message.type === type) as (ServerMessage & { readonly type: T }) | undefined, type),
    rows: (id: number): Rows | undefined => opened.has(id) ? [...bindings.get(opened.get(id)!)!.values()] : undefined,
    outcome: (seq: number): Promise<any> => until(() => receipts.get(seq), `the receipt of ${seq}`),
    close: () => ws.close()
  }
}

export type Client = Awaited<ReturnType<typeof connect>>

export const hello = (token: string | undefined, options: Partial<Hello> = {}, contract: Contract.Any = Board): Hello => ({
  type: "hello",
  protocol: 1,
  features: [],
  contract: { name: contract.contractName, hash: contract.hash },
  client: `client ${process.pid} ${names++}`,
  ...token === undefined ? {} : { token },
  acknowledged: 0,
  subscriptions: [],
  ...options
})

/** Connects as somebody and waits for the first frame of these queries. */
export const enter = async (
  server: Pick<Server, "url">,
  token: string,
  queries: ReadonlyArray<readonly [query: string, parameters: Record<string, any>]> = [],
  options: Partial<Hello> = {}
): Promise<Client & { readonly hello: Hello }> => {
  const client = await connect(server.url)
  const greeting = hello(token, { subscriptions: queries.map(([query, parameters], id) => ({ id, query, parameters })), ...options })
  client.send(greeting)
  await client.message("welcome")
  if (queries.length > 0) await client.until(() => queries.every((_, id) => client.rows(id) !== undefined), "the first frame")
  return { ...client, hello: greeting }
}
