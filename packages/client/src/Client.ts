/**
 * The client of a contract, as Effects: each query gives a live query, each mutation an Effect of its outcome.
 *
 * `class BoardClient extends Client.Service<BoardClient>()("app/BoardClient", Board) {}` is a service; `BoardClient.layer` connects when
 * it is built, and closes with its scope.
 */
import type * as Contract from "@headwater/core/Contract"
import type * as Mutation from "@headwater/core/Mutation"
import type * as Query from "@headwater/core/Query"
import type { SyncError } from "@headwater/core/SyncError"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type * as Connection from "./Connection.ts"
import type * as Calls from "./internal/calls.ts"
import * as Engine from "./internal/engine.ts"
import * as Environment from "./internal/environment.ts"
import type { Observable } from "./internal/observable.ts"
import * as optimisticEffect from "./internal/optimisticEffect.ts"
import * as tracing from "./internal/tracing.ts"
import type { LiveQuery } from "./LiveQuery.ts"
import { Persistence } from "./Persistence.ts"

/** The client of contract `C`. */
export type Client<C> = Queries<C> & Mutations<C> & { readonly sync: Sync<C> }

type Queries<C> = {
  readonly [K in keyof Contract.Queries<C>]: LiveQueryOf<Contract.Queries<C>[K]>
}

type LiveQueryOf<Q> = (...args: Arguments<Query.Named.Parameters<Q>, QueryOptions>) => LiveQuery<Query.Named.Value<Q>>

/** What may be left out is left out. */
type Arguments<P, O> = {} extends P ? [parameters?: P, options?: O] : [parameters: P, options?: O]

export interface QueryOptions {
  /** How long it stays live after the last subscriber left; 10 seconds by default. Holds for all that asked with these parameters. */
  readonly keepAlive?: Duration.Input
}

type Mutations<C> = {
  readonly [K in keyof Contract.Mutations<C>]: Call<Mutation.Payload<Contract.Mutations<C>[K]>, Mutation.Value<Contract.Mutations<C>[K]>, Mutation.Error<Contract.Mutations<C>[K]>>
}

export interface Call<P, A, E> {
  /** Writes, and waits for the outcome, offline too. Interrupting it takes nothing back. */
  (...args: {} extends P ? [payload?: P] : [payload: P]): Effect.Effect<A, E | SyncError>
  /** Writes, and waits until that is durable in the outbox. */
  readonly enqueue: (...args: {} extends P ? [payload?: P] : [payload: P]) => Effect.Effect<Enqueued<A, E>, SyncError>
}

export interface Enqueued<out A, out E> {
  /** As in `sync.pending`. */
  readonly id: number
  readonly outcome: Effect.Effect<A, E | SyncError>
}

/** What a client has beside the contract's queries and mutations. */
export interface Sync<C> {
  readonly connection: Observable<Connection.Status>
  /** Mutations that were not answered yet, in order. */
  readonly pending: Observable<ReadonlyArray<Pending<C>>>
  /** Mutations that failed and were neither retried nor dismissed, the newest hundred. */
  readonly rejected: Observable<ReadonlyArray<Rejected<C>>>
  /** How many runs of optimistic handlers were abandoned: what they would have shown was not known here. */
  readonly abandoned: () => number
  /** Ends the connection for good. Calls that wait fail with `Closed`. */
  readonly close: Effect.Effect<void>
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

export interface Options<C, R = never> {
  readonly url: string
  /** Asked for before each connection, and again when the server refuses it. */
  readonly token?: string | Effect.Effect<string | undefined, unknown, R>
  /**
   * Show what a mutation will do before the server has answered: handlers of both ends, or functions for this end alone. They run
   * synchronously, and again whenever what they read has changed.
   */
  readonly optimistic?: { readonly [K in keyof Contract.Mutations<C>]?: (payload: Mutation.Payload<Contract.Mutations<C>[K]>) => Effect.Effect<unknown, unknown, Contract.Provided<C>> }
}

export interface ServiceClass<Self, Id extends string, C extends Contract.Any> extends Context.ServiceClass<Self, Id, Client<C>> {
  layer<R = never>(options: Options<C, R>): Layer.Layer<Self, never, Persistence | R>
}

/** `class BoardClient extends Client.Service<BoardClient>()("app/BoardClient", Board) {}` */
export const Service = <Self>() => <const Id extends string, C extends Contract.Any>(id: Id, contract: C): ServiceClass<Self, Id, C> => {
  const service = Context.Service<Self, Client<C>>()(id)
  return Object.assign(service, {
    layer: (options: Options<C, never>) => Layer.effect(service, make(contract, options))
  }) as never
}

/** What sockets are made by: the platform's `WebSocket`, unless another one is provided. */
export const WebSocketConstructor: Context.Reference<Environment.WebSocketConstructor> = Context.Reference("@headwater/client/WebSocketConstructor", {
  defaultValue: () => globalThis.WebSocket as unknown as Environment.WebSocketConstructor
})

/** A client that closes with its scope. */
export const make = <C extends Contract.Any, R = never>(contract: C, options: Options<C, R>): Effect.Effect<Client<C>, never, Persistence | Scope.Scope | R> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<R>()
    const storage = yield* Persistence
    const loaded = storage.load()
    const stored = loaded instanceof Promise ? yield* Effect.promise(() => loaded) : loaded
    const tracer = yield* Effect.tracer
    const { token } = options
    const runFork = Effect.runForkWith(context)
    const engine = yield* Effect.acquireRelease(
      Effect.sync(() => Engine.make({
        contract,
        url: options.url,
        token: token === undefined || typeof token === "string" ? () => token : () => Effect.runPromiseWith(context)(token),
        optimistic: optimisticEffect.make(contract, (options.optimistic ?? {}) as optimisticEffect.Handlers),
        storage,
        stored,
        environment: {
          ...Environment.platform(Context.get(context, WebSocketConstructor)),
          report: (error) => void runFork(Effect.logError("A subscriber or a service of the client failed", error)),
          warn: (message) => void runFork(Effect.logWarning(message))
        },
        ...(tracer === Tracer.nativeTracer ? undefined : { onApply: tracing.applied(tracer, Context.get(context, Clock.Clock)) })
      })),
      (engine) => Effect.sync(() => engine.close())
    )
    return assemble(contract, engine) as Client<C>
  })

const assemble = (contract: Contract.Any, engine: Engine.Engine): unknown => {
  const client: Record<string, unknown> = {
    sync: {
      connection: engine.connection,
      pending: engine.pending,
      rejected: engine.rejected,
      abandoned: () => engine.abandoned,
      close: Effect.sync(() => engine.close())
    }
  }
  for (const name of Object.keys(contract.queries)) {
    client[name] = (parameters?: unknown, options?: QueryOptions) =>
      engine.query(name, parameters, options?.keepAlive === undefined ? undefined : Duration.toMillis(Duration.fromInputUnsafe(options.keepAlive)))
  }
  for (const name of Object.keys(contract.mutations)) {
    const start = (payload: unknown, trace: string | undefined) => Effect.suspend((): Effect.Effect<Calls.Mutated, SyncError> => {
      const mutated = engine.mutate(name, payload, trace)
      return "refused" in mutated ? Effect.fail(mutated.refused) : Effect.succeed(mutated)
    })
    const outcome = (mutated: Calls.Mutated) => Effect.flatMap(
      Effect.promise(() => mutated.outcome),
      (settled) => settled.ok ? Effect.succeed(settled.value) : Effect.fail(settled.error)
    )
    client[name] = Object.assign((payload?: unknown) => tracing.call(name, (trace) => Effect.flatMap(start(payload, trace), outcome)), {
      enqueue: (payload?: unknown) => tracing.call(name, (trace) => Effect.flatMap(start(payload, trace), (mutated) =>
        Effect.as(mutated.stored === undefined ? Effect.void : Effect.promise(() => mutated.stored!), { id: mutated.id, outcome: outcome(mutated) })))
    })
  }
  return client
}
