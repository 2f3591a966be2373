/**
 * Who is calling. Runs once for each connection, when its `hello` arrives.
 */
import type { Row } from "@headwater/core/Row"
import * as Principal from "@headwater/core/Principal"
import { Unauthenticated } from "@headwater/core/SyncError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

declare const TypeId: unique symbol

/** The authentication of principals `P`, as a service. */
export interface Authenticate<in out P> {
  readonly [TypeId]: { readonly principal: (_: P) => P }
}

export interface Request {
  /** Of the request that opened the connection. */
  readonly headers: Headers
  /** That of `hello`, else the bearer token of the `Authorization` header. */
  readonly token: string | undefined
  /** The peer's; behind a proxy that is the proxy's. */
  readonly address: string
}

export type Service = (request: Request) => Effect.Effect<Authenticated, Unauthenticated>

export interface Authenticated {
  /** What handlers see. */
  readonly principal: object
  /** As the engine binds it. */
  readonly values: Row
  /** Equal for the same person: who may use a client's queue of writes. */
  readonly identity: string
}

export const tag = <P extends Principal.Any>(principal: P): Context.Service<Authenticate<P>, Service> =>
  Context.Service<Authenticate<P>, Service>(`@headwater/server/Authenticate/${principal.key}`)

const nobody: Authenticated = { principal: {}, values: Object.freeze({}), identity: "" }

/** For a contract without a principal: everybody is the same. */
export const anonymous: Service = () => Effect.succeed(nobody)

/** `verify` gives the principal's fields, or fails with `Unauthenticated`; its message is shown to the client. */
export const authenticate = <P extends Principal.Any, R = never>(
  principal: P,
  verify: (request: Request) => Effect.Effect<Principal.Type<P>, Unauthenticated, R>
): Layer.Layer<Authenticate<P>, never, R> =>
  Layer.effect(tag(principal), Effect.map(Effect.context<R>(), (context) => (request: Request) =>
    verify(request).pipe(
      Effect.provideContext(context),
      Effect.flatMap((fields) => {
        const decoded = Principal.decode(principal, fields)
        return decoded.ok
          ? Effect.succeed({
            principal: decoded.value,
            values: Principal.values(principal, decoded.value),
            identity: Principal.identity(principal, decoded.value)
          })
          // The authenticator's own mistake: a defect, not the client's fault.
          : Effect.die(new TypeError(`authenticate gave no ${principal.key}: ${decoded.message}`))
      })
    )))
