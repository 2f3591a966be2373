/**
 * The client of a contract, as promises: no Effect in its signatures, and next to none in the bundle.
 *
 * Mutation promises never reject: they resolve to a result that is discriminated by `ok`, and its error by `_tag`.
 */
import type * as Contract from "@headwater/core/Contract"
import type * as Mutation from "@headwater/core/Mutation"
import type * as Query from "@headwater/core/Query"
import type { SyncError } from "@headwater/core/SyncError"
import type * as Table from "@headwater/core/Table"
import type * as Connection from "./Connection.ts"
import type * as Calls from "./internal/calls.ts"
import * as Engine from "./internal/engine.ts"
import * as Environment from "./internal/environment.ts"
import * as memoryStorage from "./internal/memoryStorage.ts"
import type { Observable } from "./internal/observable.ts"
import { Abandoned } from "./internal/optimistic.ts"
import * as OverlayTransaction from "./internal/overlayTransaction.ts"
import type { LiveQuery } from "./LiveQuery.ts"

/** The client of contract `C`. */
export type Client<C> = Queries<C> & Mutations<C> & { readonly sync: Sync<C> } & AsyncDisposable

type Queries<C> = {
  readonly [K in keyof Contract.Queries<C>]: LiveQueryOf<Contract.Queries<C>[K]>
}

type LiveQueryOf<Q> = (...args: Arguments<Query.Named.Parameters<Q>, QueryOptions>) => LiveQuery<Query.Named.Value<Q>>

/** What may be left out is left out. */
type Arguments<P, O> = {} extends P ? [parameters?: P, options?: O] : [parameters: P, options?: O]

export interface QueryOptions {
  /** How long it stays live after the last subscriber left; 10 seconds by default. Holds for all that asked with these parameters. */
  readonly keepAliveMillis?: number
}

type Mutations<C> = {
  readonly [K in keyof Contract.Mutations<C>]: Call<Mutation.Payload<Contract.Mutations<C>[K]>, Mutation.Value<Contract.Mutations<C>[K]>, Mutation.Error<Contract.Mutations<C>[K]>>
}

export interface Call<P, A, E> {
  /** Writes, and waits for the outcome, offline too. */
  (...args: {} extends P ? [payload?: P] : [payload: P]): Promise<Result<A, E>>
  /** Writes, and waits until that is durable in the outbox. */
  readonly enqueue: (...args: {} extends P ? [payload?: P] : [payload: P]) => Promise<Result<Enqueued<A, E>, never>>
}

/** `E` are the mutation's declared errors. */
export type Result<A, E> =
  | { readonly ok: true; readonly value: A }
  | { readonly ok: false; readonly error: E | SyncError }

export interface Enqueued<out A, out E> {
  /** As in `sync.pending`. */
  readonly id: number
  readonly outcome: Promise<Result<A, E>>
}

/** What a client has beside the contract's queries and mutations. */
export interface Sync<C> {
  readonly connection: Observable<Connection.Status>
  /** Mutations that were not answered yet, in order. */
  readonly pending: Observable<ReadonlyArray<Pending<C>>>
  /** Mutations that failed and were neither retried nor dismissed, the newest hundred. */
  readonly rejected: Observable<ReadonlyArray<Rejected<C>>>
  /** How many runs of optimistic functions were abandoned: what they would have shown was not known here. */
  readonly abandoned: () => number
  /** Ends the connection for good. Calls that wait resolve with `Closed`. */
  readonly close: () => Promise<void>
}

/** A mutation that was not answered yet; `name` tells what `payload` is. */
export type Pending<C> = { readonly [K in keyof Contract.Mutations<C>]: Calls.Pending & { readonly name: K; readonly payload: Mutation.Payload<Contract.Mutations<C>[K]> } }[keyof Contract.Mutations<C>]

/** A mutation that failed. */
export type Rejected<C> = {
  readonly [K in keyof Contract.Mutations<C>]: Calls.Rejected & {
    readonly name: K
    readonly payload: Mutation.Payload<Contract.Mutations<C>[K]>
    readonly error: Mutation.Error<Contract.Mutations<C>[K]> | SyncError
  }
}[keyof Contract.Mutations<C>]

/** What an optimistic function writes with. A read of what is not held here ends it: then nothing is shown before the server has answered. */
export interface Transaction {
  /** Null where there is no such row. */
  get<T extends Table.Any>(table: T, key: Table.Key<T>): Table.Type<T> | null
  /** A query's value, where it is live. */
  run<N extends string, P, A, C extends Query.Cardinality>(query: Query.Named<N, P, A, C>, parameters: P): Query.Result<A, C>
  insert<T extends Table.Any>(table: T, row: Table.Insert<T>): Table.Type<T>
  update<T extends Table.Any>(table: T, changes: Table.Update<T>): void
  delete<T extends Table.Any>(table: T, key: Table.Key<T>): void
}

export interface Options<C> {
  readonly url: string
  /** Asked for before each connection, and again when the server refuses it. */
  readonly token?: string | (() => string | undefined | Promise<string | undefined>)
  /** Show what a mutation will do before the server has answered. They run synchronously, and again whenever what they read has changed. */
  readonly optimistic?: { readonly [K in keyof Contract.Mutations<C>]?: (tx: Transaction, payload: Mutation.Payload<Contract.Mutations<C>[K]>) => void }
  /** What sockets are made by; the platform's `WebSocket` by default. */
  readonly WebSocket?: Environment.WebSocketConstructor
}

/** Connects at once. */
export const createClient = <C extends Contract.Any>(contract: C, options: Options<C>): Client<C> => {
  const { token } = options
  const optimistic = (options.optimistic ?? {}) as { readonly [name: string]: ((tx: Transaction, payload: never) => void) | undefined }
  const engine = Engine.make({
    contract,
    url: options.url,
    token: typeof token === "function" ? token : () => token,
    optimistic: Object.fromEntries(Object.entries(optimistic).flatMap(([name, show]) => show === undefined ? [] : [[name, (overlay, payload, context) => {
      const result: unknown = show(OverlayTransaction.make(overlay, context) as Transaction, payload as never)
      if (result instanceof Promise) {
        result.catch(() => undefined)
        throw new Abandoned("its optimistic function is asynchronous, and must not be")
      }
    }]])),
    storage: memoryStorage.make(),
    stored: undefined,
    environment: Environment.platform(options.WebSocket)
  })
  const close = () => {
    engine.close()
    return Promise.resolve()
  }
  const client: Record<string | symbol, unknown> = {
    [Symbol.asyncDispose]: close,
    sync: {
      connection: engine.connection,
      pending: engine.pending,
      rejected: engine.rejected,
      abandoned: () => engine.abandoned,
      close
    }
  }
  for (const name of Object.keys(contract.queries)) {
    client[name] = (parameters?: unknown, options?: QueryOptions) => engine.query(name, parameters, options?.keepAliveMillis)
  }
  for (const name of Object.keys(contract.mutations)) {
    const start = (payload: unknown) => {
      const mutated = engine.mutate(name, payload, undefined)
      return "refused" in mutated ? { ok: false as const, error: mutated.refused } : { ok: true as const, value: mutated }
    }
    client[name] = Object.assign((payload?: unknown) => {
      const started = start(payload)
      return started.ok ? started.value.outcome : Promise.resolve(started)
    }, {
      enqueue: async (payload?: unknown) => {
        const started = start(payload)
        if (!started.ok) return started
        const { id, outcome, stored } = started.value
        await stored
        return { ok: true, value: { id, outcome } }
      }
    })
  }
  return client as Client<C>
}
