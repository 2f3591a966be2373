/**
 * From a `mutate` message to its outcome: checks the payload, runs the handler in the writer's transaction, and gives result or
 * error their wire form.
 *
 * What ends a mutation for good is an outcome, stored with its number. Nothing internal is in it: of an unexpected failure the
 * client learns that there was one, and the log the rest.
 */
import type * as Contract from "@headwater/core/Contract"
import type { Mutate } from "@headwater/core/Message"
import * as Mutation from "@headwater/core/Mutation"
import type { Row } from "@headwater/core/Row"
import { Transaction } from "@headwater/core/Transaction"
import type { Json } from "@headwater/core/Value"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Authenticated } from "./Authentication.ts"
import { Authorization } from "./Authorization.ts"
import * as Handlers from "./Handlers.ts"
import * as Canonical from "./internal/canonical.ts"
import * as Told from "./internal/told.ts"
import { Telemetry } from "./Telemetry.ts"
import { type Outcome, type Result, Writer, type WriterUnavailable } from "./Writer.ts"

export class Mutations extends Context.Service<Mutations, {
  /** Mutations of one client must run one after the other, in order. */
  readonly run: (request: Request) => Effect.Effect<Result, WriterUnavailable>
}>()("@headwater/server/Mutations") {}

export interface Request {
  readonly message: Mutate
  readonly client: string
  readonly caller: Authenticated
  /** Receipts up to here were applied by the client. */
  readonly acknowledged: number
}

/** For a contract, whose handlers it asks for. */
export const layer = <C extends Contract.Any>(contract: C): Layer.Layer<Mutations, never, Handlers.Handlers<C["contractName"]> | Authorization | Telemetry | Writer> =>
  Layer.effect(Mutations, Effect.gen(function*() {
    const handlers = yield* Handlers.tag(contract.contractName as C["contractName"])
    const writer = yield* Writer
    const authorization = yield* Authorization
    const telemetry = yield* Telemetry
    const rules = { authorization, tables: new Map(Object.entries(contract.tables)) }
    // A principal's class is the tag of its service.
    const principal = contract.principal as unknown as Context.Service<never, object> | undefined

    /** A row as its caller may read it. What the caller may not read at all, and has not written either, is nobody's result. */
    const seen = Effect.fnUntraced(function*(mutation: Mutation.Any, value: unknown, caller: Authenticated) {
      const { success } = mutation
      if (success.kind !== "row" || typeof value !== "object" || value === null) return value
      const { tableName } = success.table
      const masks = authorization.masks(tableName)
      const rule = authorization.read(tableName)
      const isKnown = rule.op === "literal" && rule.value === true || Told.knows(caller.values, value)
      if (isKnown && masks.length === 0) return value
      const stored = (yield* (yield* Transaction).get(success.table, value as never)) as Row | null
      if (stored === null && !isKnown) {
        return yield* Effect.die(new TypeError(`The handler of ${mutation.name} gave back a row of ${tableName} that its caller may not read: give back a row as the transaction read or inserted it under the caller's rules, or what the caller may know under a schema as success.`))
      }
      const row: Record<string, unknown> = { ...value }
      for (const { column, mask } of masks) row[column] = stored === null ? mask : stored[column]
      return row
    })

    // Suspended: a schema of the application's may throw, which ends the mutation as a handler that throws does.
    const runOf = (mutation: Mutation.Any, payload: Json, caller: Authenticated) => Effect.suspend((): Effect.Effect<Outcome, Outcome, Transaction> => {
      const decoded = Mutation.decodePayload(mutation, payload)
      if (!decoded.ok) {
        return Effect.fail({
          type: "refused",
          reason: { _tag: "InvalidPayload", message: `The payload of ${mutation.name} does not fit: ${decoded.message}.` }
        })
      }
      const handled = Effect.suspend(() => handlers[mutation.name]!(decoded.value as never)).pipe(
        Effect.flatMap((value) => seen(mutation, value, caller)),
        Effect.flatMap((value): Effect.Effect<Outcome> => {
          const encoded = Mutation.encodeSuccess(mutation, value)
          return encoded.ok
            ? Effect.succeed({ type: "success", value: encoded.value })
            : Effect.die(new TypeError(`The handler of ${mutation.name} gave back what its contract does not say: ${encoded.message}`))
        }),
        Effect.catch((error): Effect.Effect<never, Outcome> => {
          const encoded = Mutation.encodeError(mutation, error)
          return encoded === undefined ? Effect.die(error) : Effect.fail({ type: "error", error: encoded })
        })
      )
      return principal === undefined ? handled : Effect.provideService(handled, principal, caller.principal) as Effect.Effect<Outcome, Outcome, Transaction>
    })

    return Mutations.of({
      run: Effect.fnUntraced(function*({ acknowledged, caller, client, message }: Request) {
        const mutation = contract.mutations[message.name]
        if (mutation === undefined || !Object.hasOwn(contract.mutations, message.name)) {
          return {
            _tag: "NotRun",
            reason: { _tag: "UnknownMutation", message: `The contract ${contract.contractName} has no mutation ${JSON.stringify(message.name)} here.` }
          } as const
        }
        const { after = [], name, payload, seq } = message
        const result = yield* writer.write(
          {
            client, identity: caller.identity, seq, name, after, acknowledged, principal: caller.values,
            hash: Canonical.hash([name, payload])
          },
          rules,
          runOf(mutation, payload, caller)
        ).pipe(telemetry.within("headwater.mutation", message.trace, { mutation: name, seq }))
        telemetry.count("mutations", 1, { outcome: result._tag === "Committed" ? result.outcome.type : result._tag })
        if (result._tag === "Committed") telemetry.observe("mutationMillis", result.milliseconds)
        return result
      })
    })
  }))
