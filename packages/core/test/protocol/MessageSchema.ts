/** The messages once more, as schemas: what the hand-written codec is compared with. */
import { Schema } from "effect"
import type { ClientMessage, ServerMessage } from "../../src/protocol/Message.ts"

const Index = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))
const Ordinal = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }))
const Name = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(256), Schema.makeFilter((text) => text.isWellFormed() && !text.includes("\0")))
const Items = <S extends Schema.Top>(item: S) => Schema.Array(item).check(Schema.isMaxLength(10_000))
const JsonObject = Schema.Record(Schema.String, Schema.Json)

const subscription = { id: Index, query: Name, parameters: JsonObject }

export const Client = Schema.Union([
  Schema.Struct({
    type: Schema.Literal("hello"),
    protocol: Index,
    features: Items(Name),
    contract: Schema.Struct({
      name: Name,
      hash: Name,
      definitions: Schema.optionalKey(Schema.Struct({ queries: Schema.Record(Schema.String, Name), mutations: Schema.Record(Schema.String, Name) }))
    }),
    client: Name,
    token: Schema.optionalKey(Schema.String),
    resume: Schema.optionalKey(Schema.Struct({ epoch: Name, position: Index, session: Schema.optionalKey(Name) })),
    acknowledged: Index,
    subscriptions: Items(Schema.Struct({ ...subscription, held: Schema.optionalKey(Schema.Literal(true)) }))
  }),
  Schema.Struct({ type: Schema.Literal("subscribe"), ...subscription }),
  Schema.Struct({ type: Schema.Literal("unsubscribe"), id: Index }),
  Schema.Struct({
    type: Schema.Literal("mutate"),
    seq: Ordinal,
    name: Name,
    payload: Schema.Json,
    after: Schema.optionalKey(Items(Ordinal)),
    trace: Schema.optionalKey(Name)
  }),
  Schema.Struct({ type: Schema.Literal("ack"), seq: Index }),
  Schema.Struct({ type: Schema.Literal("ping") })
])

const Refusal = Schema.Union([
  Schema.Struct({
    _tag: Schema.Literal("WriteRefused"),
    table: Schema.String,
    key: Schema.NullOr(Schema.String),
    constraint: Schema.NullOr(Schema.String),
    message: Schema.String
  }),
  Schema.Struct({
    _tag: Schema.Literals([
      "Forbidden", "InvalidPayload", "UnknownMutation", "Unauthenticated", "LimitExceeded", "ServerFailure", "ClientForked",
      "AlreadyAcknowledged", "SequenceGap"
    ]),
    message: Schema.String
  }),
  Schema.Struct({ _tag: Schema.Literal("DependencyRejected"), seq: Ordinal, message: Schema.String })
])

const Outcome = Schema.Union([
  Schema.Struct({ type: Schema.Literal("success"), value: Schema.Json }),
  Schema.Struct({ type: Schema.Literal("error"), error: Schema.StructWithRest(Schema.Struct({ _tag: Name }), [JsonObject]) }),
  Schema.Struct({ type: Schema.Literal("refused"), reason: Refusal })
])

const Patch = Schema.Struct({
  binding: Index,
  reset: Schema.optionalKey(Schema.Literal(true)),
  rows: Schema.Array(Schema.Tuple([Schema.String, Schema.Array(Schema.Array(Schema.Json))])),
  add: Schema.Array(Schema.String),
  remove: Schema.Array(Schema.String),
  boundary: Schema.optionalKey(Schema.NullOr(Schema.Array(Schema.Json)))
})

export const Server = Schema.Union([
  Schema.Struct({
    type: Schema.Literal("welcome"),
    protocol: Index,
    features: Schema.Array(Name),
    epoch: Name,
    session: Name,
    principal: Schema.optionalKey(JsonObject),
    position: Index,
    heartbeatMillis: Ordinal,
    columns: Schema.Record(Schema.String, Schema.Array(Name)),
    refused: Schema.Struct({ queries: Schema.Array(Name), mutations: Schema.Array(Name) }),
    nextSeq: Ordinal
  }),
  Schema.Struct({
    type: Schema.Literal("frame"),
    to: Index,
    trace: Schema.optionalKey(Name),
    opened: Schema.optionalKey(Schema.Array(Schema.Struct({ id: Index, binding: Index }))),
    patches: Schema.Array(Patch),
    receipts: Schema.optionalKey(Schema.Array(Schema.Struct({ seq: Ordinal, outcome: Outcome })))
  }),
  Schema.Struct({ type: Schema.Literal("outcome"), seq: Ordinal, reason: Refusal }),
  Schema.Struct({
    type: Schema.Literal("error"),
    code: Schema.Literals([
      "MalformedMessage", "MessageTooLarge", "UnsupportedProtocol", "ContractMismatch", "Unauthenticated", "ClientTaken",
      "LimitExceeded", "UnknownQuery", "InvalidParameters", "Forbidden", "BudgetExceeded", "SubscriptionInUse", "ServerFailure"
    ]),
    message: Schema.String,
    id: Schema.optionalKey(Index),
    fatal: Schema.Boolean
  }),
  Schema.Struct({ type: Schema.Literal("resync"), reason: Schema.Literals(["SlowConsumer", "PositionLost", "EpochChanged"]) }),
  Schema.Struct({ type: Schema.Literal("goaway"), reason: Schema.String, retryAfterMillis: Index }),
  Schema.Struct({ type: Schema.Literal("pong"), position: Index })
])

type Assignable<A, B> = [A] extends [B] ? true : false
declare const are: (...both: ReadonlyArray<true>) => void
/** The schemas describe the types of `Message`, no more and no less; never called. */
const check = () =>
  are(
    true satisfies Assignable<typeof Client.Type, ClientMessage>,
    true satisfies Assignable<ClientMessage, typeof Client.Type>,
    true satisfies Assignable<typeof Server.Type, ServerMessage>,
    true satisfies Assignable<ServerMessage["type"], (typeof Server.Type)["type"]>
  )
void check
