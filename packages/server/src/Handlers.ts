/**
 * What runs a contract's mutations on this server.
 *
 * A layer of handlers carries the contract's name in its type, so that one process can serve several contracts and none can be
 * given another's. What the handlers need, beside what the contract provides, is what the layer needs.
 */
import type * as Contract from "@headwater/core/Contract"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

declare const TypeId: unique symbol

/** The handlers of the contract named `Name`, as a service. */
export interface Handlers<in out Name extends string> {
  readonly [TypeId]: { readonly name: (_: Name) => Name }
}

/** By mutation name: handlers that need nothing but what the contract provides. */
export interface Service {
  readonly [mutation: string]: (payload: never) => Effect.Effect<unknown, unknown, never>
}

export const tag = <const Name extends string>(contractName: Name): Context.Service<Handlers<Name>, Service> =>
  Context.Service<Handlers<Name>, Service>(`@headwater/server/Handlers/${contractName}`)

/** One handler per mutation, none missing and none besides. */
export const layer = <C extends Contract.Any, const H extends Contract.Handlers<C, any>>(
  contract: C,
  handlers: H & { readonly [K in Exclude<keyof H, keyof Contract.Mutations<C>>]: "the contract has no such mutation" }
): Layer.Layer<Handlers<C["contractName"]>, never, Contract.Requirements<C, H>> =>
  Layer.effect(
    tag(contract.contractName as C["contractName"]),
    Effect.map(Effect.context<Contract.Requirements<C, H>>(), (context) =>
      Object.fromEntries(Object.entries(handlers as object as Service).map(([name, handler]) => [
        name,
        // What the mutation provides (transaction, principal, connection) comes later, and stays.
        (payload: never) => Effect.provideContext(handler(payload), context as Context.Context<never>)
      ])))
  )
