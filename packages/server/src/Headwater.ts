/**
 * A server for a contract: the default composition. Each part is a service, and can be replaced by another layer.
 *
 * | needs | |
 * |---|---|
 * | `Handlers<"name">` | `Handlers.layer(Contract, { … })` |
 * | `Authenticate<Me>` | `Headwater.authenticate(Me, …)`, if the contract has a principal |
 * | `ChangeSource` | `PostgresWal.layer` or `PostgresTriggers.layer` of `@headwater/cdc` |
 * | `Writer` | `PostgresWriter.layer` |
 *
 * Connections of a database: the writer's (8 by default), those of reads for live queries (4 by default, from the
 * change source's pool), one that listens for commit signals, and with the write-ahead log one that replicates.
 */
import type { ChangeSource, ChangeSourceError } from "@headwater/cdc/ChangeSource"
import type * as Contract from "@headwater/core/Contract"
import type { UnsupportedQuery } from "@headwater/core/Plan"
import type * as Principal from "@headwater/core/Principal"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Authentication from "./Authentication.ts"
import * as Authorization from "./Authorization.ts"
import * as Engine from "./Engine.ts"
import type { Handlers } from "./Handlers.ts"
import * as Hub from "./Hub.ts"
import * as Mutations from "./Mutations.ts"
import * as Session from "./Session.ts"
import * as Telemetry from "./Telemetry.ts"
import { Writer } from "./Writer.ts"

export { authenticate } from "./Authentication.ts"
export { layerHealth, layerWebSocket } from "./Transport.ts"

export interface Options extends Hub.Options, Session.Options {
  /** Reads for live queries at the same time, each on a connection; 4 by default. */
  readonly reads?: number | undefined
}

/** What authenticates the callers of a contract; nothing where it has no principal. */
type Authenticates<C> = Contract.PrincipalOf<C> extends infer P ? P extends Principal.Any ? Authentication.Authenticate<P> : never : never

type Requirements<C extends Contract.Any> = Authenticates<C> | ChangeSource | Handlers<C["contractName"]> | Writer

/** Sessions of a contract, for a transport: `layerWebSocket`, or what `Session` is given to. */
export const layer = <C extends Contract.Any>(contract: C, options: Options = {}): Layer.Layer<
  Engine.Engine | Hub.Hub | Session.Session,
  ChangeSourceError | UnsupportedQuery,
  Requirements<C>
> => {
  const engine = Layer.unwrap(Effect.map(Writer, ({ receipts }) => Engine.layer({
    tables: new Map(Object.entries(contract.tables)),
    receipts: receipts.table.tableName,
    trace: receipts.trace,
    reads: options.reads ?? 4
  })))
  const session = Layer.unwrap(Effect.gen(function*() {
    for (const warning of contract.warnings) yield* Effect.logWarning(warning)
    const authenticate = contract.principal === undefined
      ? Authentication.anonymous
      : yield* Authentication.tag(contract.principal) as unknown as Context.Service<Authenticates<C>, Authentication.Service>
    return Session.layer(contract, authenticate, options)
  }))
  return session.pipe(
    Layer.provide(Mutations.layer(contract)),
    Layer.provideMerge(Hub.layer(contract, options)),
    Layer.provideMerge(engine),
    Layer.provide(Authorization.layer(contract)),
    Layer.provide(Telemetry.layer)
  )
}
