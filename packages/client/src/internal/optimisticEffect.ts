/** Handlers that are Effects, run synchronously over the overlay. */
import type * as Contract from "@headwater/core/Contract"
import type * as Query from "@headwater/core/Query"
import type * as Table from "@headwater/core/Table"
import { type Service, Transaction, WriteRefused } from "@headwater/core/Transaction"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Overlay } from "../Replica.ts"
import { Abandoned, type Optimistic } from "./optimistic.ts"
import * as OverlayTransaction from "./overlayTransaction.ts"

export type Handlers = { readonly [mutation: string]: ((payload: never) => Effect.Effect<unknown, unknown, never>) | undefined }

export const make = (contract: Contract.Any, handlers: Handlers): { readonly [mutation: string]: Optimistic } =>
  Object.fromEntries(Object.entries(handlers).flatMap(([name, handler]) => handler === undefined ? [] : [[name, run(contract, handler)]]))

const run = (contract: Contract.Any, handler: (payload: never) => Effect.Effect<unknown, unknown, never>): Optimistic => (overlay, payload, context) => {
  const writes = OverlayTransaction.make(overlay, context)
  let abandoned: Abandoned | undefined
  /** A handler that catches everything must not go on with what is not known. */
  const attempt = <A>(f: () => A): Effect.Effect<A> => Effect.sync(() => {
    try {
      return f()
    } catch (error) {
      if (error instanceof Abandoned) abandoned ??= error
      throw error
    }
  })
  let effect = Effect.provideService(Effect.suspend(() => handler(payload as never)), Transaction, service(overlay, writes, attempt))
  if (contract.principal !== undefined && context.principal !== undefined) {
    effect = Effect.provideService(effect, contract.principal as never as Context.Key<never, object>, context.principal)
  }
  const exit = Effect.runSyncExit(effect)
  if (abandoned !== undefined) throw abandoned
  if (Exit.isSuccess(exit)) return
  const error = Cause.squash(exit.cause)
  if (Cause.isAsyncFiberError(error)) {
    error.fiber.interruptUnsafe()
    throw new Abandoned("its handler waits, and an optimistic one must not")
  }
  throw error
}

const service = (overlay: Overlay, writes: OverlayTransaction.OverlayTransaction, attempt: <A>(f: () => A) => Effect.Effect<A>): Service => ({
  get: <T extends Table.Any>(table: T, key: object) => attempt(() => writes.get(table, key) as Table.Type<T> | null),
  run: ((query: Query.Named.Any, parameters?: unknown) => attempt(() => writes.run(query, parameters))) as unknown as Service["run"],
  insert: <T extends Table.Any>(table: T, row: object) => attempt(() => writes.insert(table, row) as Table.Type<T>),
  update: (table, changes) => attempt(() => writes.update(table, changes as object)),
  delete: (table, key) => attempt(() => writes.delete(table, key as object)),
  attempt: (effect) => Effect.suspend(() => {
    const undo = overlay.savepoint()
    return Effect.catchCause(effect, (cause): Effect.Effect<never, Effect.Error<typeof effect> | WriteRefused> => {
      undo()
      const refused = cause.reasons.flatMap((reason) => reason._tag === "Die" && reason.defect instanceof WriteRefused ? [reason.defect] : [])
      return refused.length === 0 ? Effect.failCause(cause) : Effect.fail(refused[0]!)
    })
  }),
  afterCommit: () => Effect.void,
  unfiltered: () => attempt(() => {
    throw new Abandoned("it reads without access rules, which only the server can")
  })
})
