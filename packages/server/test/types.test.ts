/** What must and must not compile; `npm run typecheck` is what runs it. */
import type { ChangeSource } from "@headwater/cdc/ChangeSource"
import { Contract, Mutation, Transaction } from "@headwater/core"
import { Context, Effect, Layer, Schema } from "effect"
import type { HttpRouter } from "effect/http"
import type { SqlClient } from "effect/sql"
import { expectTypeOf, it } from "vitest"
import type { Authenticate } from "../src/Authentication.ts"
import * as Handlers from "../src/Handlers.ts"
import * as Headwater from "../src/Headwater.ts"
import { createServer } from "../src/promise.ts"
import type { Writer } from "../src/Writer.ts"
import { Board, handlers, type Mailer, Me, Task, TitleEmpty } from "./board.ts"

class Other extends Mutation.TaggedError<Other>()("Other", {}) {}
class Clock extends Context.Service<Clock, { readonly now: number }>()("test/Clock") {}
class One extends Contract.make("one", { tables: [], mutations: { act: Mutation.make("act", { error: [Other] }) } }) {}
class Counting extends Contract.make("counting", { tables: [], mutations: { count: Mutation.make("count", { success: Schema.Int }) } }) {}

it("a layer of handlers carries its contract's name, and needs what its handlers need", () => {
  expectTypeOf(handlers).toEqualTypeOf<Layer.Layer<Handlers.Handlers<"board">, never, Mailer | SqlClient.SqlClient>>()
  expectTypeOf(Handlers.layer(One, { act: () => Effect.void })).toEqualTypeOf<Layer.Layer<Handlers.Handlers<"one">>>()
  expectTypeOf(Handlers.layer(One, { act: () => Effect.asVoid(Effect.andThen(Transaction, Clock)) })).toEqualTypeOf<Layer.Layer<Handlers.Handlers<"one">, never, Clock>>()
})

it("a composition needs the handlers and the authentication of its contract, a change source and a writer", () => {
  const server = Headwater.layerWebSocket().pipe(Layer.provide(Headwater.layer(Board)))
  expectTypeOf<Layer.Services<typeof server>>().toEqualTypeOf<HttpRouter.HttpRouter | Handlers.Handlers<"board"> | Authenticate<typeof Me> | ChangeSource | Writer>()
  const plain = Headwater.layerWebSocket().pipe(Layer.provide(Headwater.layer(One)))
  expectTypeOf<Layer.Services<typeof plain>>().toEqualTypeOf<HttpRouter.HttpRouter | Handlers.Handlers<"one"> | ChangeSource | Writer>()
})

export const doNotCompile = [
  // @ts-expect-error Property 'act' is missing
  () => Handlers.layer(One, {}),
  // @ts-expect-error an error that the contract does not declare
  () => Handlers.layer(One, { act: () => Effect.fail(new TitleEmpty({ id: 1 })) }),
  // @ts-expect-error a handler that the contract does not have
  () => Handlers.layer(One, { act: () => Effect.void, other: () => Effect.void }),
  // @ts-expect-error the wrong result
  () => Handlers.layer(Counting, { count: () => Effect.succeed("one") }),
  // @ts-expect-error another contract's handlers
  (): Layer.Layer<never, unknown, Handlers.Handlers<"one">> => Headwater.layerWebSocket().pipe(Layer.provide(Headwater.layer(Board))),
  // @ts-expect-error authenticate gives a principal's fields
  () => Headwater.authenticate(Me, () => Effect.succeed({ userId: 1, admin: false })),
  // @ts-expect-error the contract has a principal: authenticate is missing
  () => createServer(Board, { database: "", handlers: {} as never }),
  () => createServer(One, { database: "", handlers: { act: (_, { fail }) => fail(new Other()) } }),
  // @ts-expect-error an error that the contract does not declare
  () => createServer(One, { database: "", handlers: { act: (_, { fail }) => fail(new TitleEmpty({ id: 1 })) } }),
  // @ts-expect-error a column that the table does not have
  () => createServer(One, { database: "", handlers: { act: async (_, { tx }) => { await tx.update(Task, { id: 1, nothing: 1 }) } } })
]
