/**
 * Connections: from the first message of a client to the last, whatever carries them.
 *
 * A connection is a state machine (`internal/conversation`) over synchronous parts; effects run where something is asked of others:
 * who is calling, receipts that are stored, mutations. A connection's mutations run one after the other, also after it has
 * ended: what was begun is finished.
 *
 * A connection costs no fiber while it is quiet; one for all of them watches the clock.
 */
import type * as Contract from "@headwater/core/Contract"
import { BudgetExceeded } from "@headwater/core/Graph"
import type { ErrorCode, Hello, Mutate, ServerMessage, Subscribe } from "@headwater/core/Message"
import { protocolVersion } from "@headwater/core/Message"
import * as Field from "@headwater/core/Field"
import type { Json } from "@headwater/core/Value"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import { randomBytes } from "node:crypto"
import * as Authentication from "./Authentication.ts"
import { Authorization } from "./Authorization.ts"
import { Engine } from "./Engine.ts"
import * as Hub from "./Hub.ts"
import * as Admission from "./internal/admission.ts"
import * as Canonical from "./internal/canonical.ts"
import * as Conversation from "./internal/conversation.ts"
import * as Encoder from "./internal/encoder.ts"
import { Mutations } from "./Mutations.ts"
import { Telemetry } from "./Telemetry.ts"
import { Writer } from "./Writer.ts"

export class Session extends Context.Service<Session, {
  /** Takes in a connection that was just opened. */
  readonly open: (socket: Socket, request: Opened) => Handle

  /** Whether it may be asked: false while it drains, or when the engine does not go on. */
  readonly healthy: () => boolean

  /**
   * Tells all clients to go elsewhere, takes no more mutations, waits for those that run, and closes all connections. Bounded by
   * the layer's `drainTimeout`. Done when the layer's scope closes, if not before.
   */
  readonly drain: Effect.Effect<void>

  readonly maxMessageBytes: number
}>()("@headwater/server/Session") {}

/** The near end of a connection. Its functions must not throw, and may be called after it has closed. */
export interface Socket {
  readonly send: (message: string | Uint8Array) => void
  readonly buffered: () => number
  readonly close: (code: number, reason: string) => void
  /** Whether to receive nothing for now, so that the peer has to wait. */
  readonly pause: (paused: boolean) => void
}

export interface Opened {
  readonly headers: Headers
  readonly address: string
  /** True once whoever listens has stopped: time to drain. */
  readonly isEnding?: () => boolean
}

export interface Handle {
  /** A message arrived; undefined for a binary one. */
  readonly receive: (text: string | undefined) => void
  /** The socket has room again. */
  readonly drained: () => void
  readonly closed: () => void
}

export interface Options {
  /** How long `drain` waits for mutations that run; 5 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /** What a client must not be silent for; 15 seconds by default. */
  readonly heartbeat?: Duration.Input | undefined
  /** Time for `hello` and its answer; 10 seconds by default. */
  readonly helloTimeout?: Duration.Input | undefined
  /** Largest message of a client, in bytes; 1 MiB by default. */
  readonly maxMessageBytes?: number | undefined
  /** Nesting of payloads and parameters; 32 by default. */
  readonly maxDepth?: number | undefined
  /** Subscriptions of one connection; 1,000 by default. */
  readonly maxSubscriptions?: number | undefined
  /** Mutations of one connection that wait for their turn; 256 by default. */
  readonly maxMutations?: number | undefined
  /** Messages of one connection a second; 500 by default, ten times as many at once. */
  readonly messagesPerSecond?: number | undefined
  /** Text of one connection that is read a second, in UTF-16 units; 8 Mi by default. The rest waits at its sender. */
  readonly bytesPerSecond?: number | undefined
  /** Connections at the same time; 10,000 by default. At the limit the oldest that has not said who it is makes room, if there is one. */
  readonly maxConnections?: number | undefined
}

const limitsOf = (options: Options): Conversation.Limits => {
  const { defaultLimits } = Conversation
  const messagesPerSecond = options.messagesPerSecond ?? defaultLimits.messagesPerSecond
  return {
    message: {
      ...defaultLimits.message,
      maxBytes: options.maxMessageBytes ?? defaultLimits.message.maxBytes,
      maxDepth: options.maxDepth ?? defaultLimits.message.maxDepth
    },
    heartbeatMillis: options.heartbeat === undefined ? defaultLimits.heartbeatMillis : Duration.toMillis(options.heartbeat),
    helloMillis: options.helloTimeout === undefined ? defaultLimits.helloMillis : Duration.toMillis(options.helloTimeout),
    subscriptions: options.maxSubscriptions ?? defaultLimits.subscriptions,
    subscriptionLength: defaultLimits.subscriptionLength,
    mutations: options.maxMutations ?? defaultLimits.mutations,
    messagesPerSecond,
    burst: messagesPerSecond * 10,
    bytesPerSecond: options.bytesPerSecond ?? defaultLimits.bytesPerSecond
  }
}

const unexpected = "The server met an error that it did not expect; its log says which."

/** Answers, other than frames, that may wait for a peer that does not read, in bytes. */
const maxUnread = 256 * 1024

/** Ends a greeting, and with it the connection. */
class Refused extends Data.TaggedError("Refused")<{ readonly code: ErrorCode; readonly message: string }> {}

const refused = (code: ErrorCode, message: string) => Effect.fail(new Refused({ code, message }))

export const layer = <C extends Contract.Any>(contract: C, authenticate: Authentication.Service, options: Options = {}): Layer.Layer<
  Session,
  never,
  Authorization | Engine | Hub.Hub | Mutations | Telemetry | Writer
> =>
  Layer.effect(Session, Effect.gen(function*() {
    const engine = yield* Engine
    const hub = yield* Hub.Hub
    const authorization = yield* Authorization
    const mutations = yield* Mutations
    const writer = yield* Writer
    const telemetry = yield* Telemetry
    const limits = limitsOf(options)
    const columns = Encoder.columnsOf(contract)
    const greetings = yield* FiberSet.make()
    const writes = yield* FiberSet.make()
    const runGreeting = yield* FiberSet.runtime(greetings)()
    const runWrites = yield* FiberSet.runtime(writes)()
    /** Sessions of other servers, and of this one before it was restarted, are not resumed here. */
    const secret = randomBytes(16).toString("base64url")
    const open = new Set<Open>()
    /** Those among them that have not been greeted, oldest first. */
    const strangers = new Set<Open>()
    const maxConnections = options.maxConnections ?? 10_000
    let draining = false

    const log = (what: string, error: unknown) => void runGreeting(Effect.logError(what, error))

    const goaway: ServerMessage = { type: "goaway", reason: "The server is about to stop.", retryAfterMillis: 250 }

    const full: ServerMessage = { type: "goaway", reason: "This server has as many connections as it takes.", retryAfterMillis: 5000 }
    const refuseFull = (one: Open) => {
      one.say(full)
      one.close(1013, "too many connections")
    }

    const service = Session.of({
      healthy: () => !draining && engine.healthy(),
      maxMessageBytes: limits.message.maxBytes,
      drain: Effect.suspend(() => {
        draining = true
        for (const one of open) one.say(goaway)
        return FiberSet.awaitEmpty(writes).pipe(
          Effect.timeoutOption(options.drainTimeout ?? "5 seconds"),
          Effect.andThen(Effect.sync(() => {
            for (const one of open) one.close(1001, "going away")
          }))
        )
      }),
      open: (socket, request) => {
        const state = Conversation.make(telemetry.now(), limits)
        let connection: Hub.Connection | undefined
        let caller: Authentication.Authenticated | undefined
        let client = ""
        let acknowledged = 0
        let refusals = Admission.none
        const queue: Array<{ readonly message: Mutate; readonly length: number }> = []
        let queued = 0
        let crowded = false
        let writing = false
        let greeting: Fiber.Fiber<void> | undefined
        /** Whether it is the application's turn, which may take for ever. */
        let authenticating = false
        let unread = 0

        /** Frames are held back from a socket that is full. Answers are not: who asks for them and does not read them goes. */
        const say = (message: ServerMessage) => {
          const text = JSON.stringify(message)
          if (socket.buffered() <= maxUnread) unread = 0
          else if ((unread += text.length) > maxUnread) {
            act(Conversation.end(state, 1013, "answers are not read"))
            return
          }
          socket.send(text)
        }

        /** Whether nothing is read for now: too much waits, or came too fast. */
        const regulate = () => {
          const paused = state.phase !== "closed" && (crowded || state.bytes < 0)
          if (paused === state.paused) return
          state.paused = paused
          if (!paused) state.heard = telemetry.now()
          socket.pause(paused)
        }

        /** Mutations that wait hold up what comes behind them, if they are large. */
        const hold = (more: number) => {
          queued += more
          crowded = queued > limits.message.maxBytes * (crowded ? 2 : 4)
          regulate()
        }

        const act = (actions: ReadonlyArray<Conversation.Action>) => {
          for (const action of actions) {
            switch (action.do) {
              case "greet":
                greet(action.hello)
                break
              case "subscribe":
                subscribe(action.subscription, false, undefined)
                break
              case "unsubscribe":
                connection!.unsubscribe(action.id)
                break
              case "mutate":
                if (draining) break
                queue.push(action)
                hold(action.length)
                if (!writing) {
                  writing = true
                  runWrites(work)
                }
                break
              case "acknowledge":
                acknowledged = Math.max(acknowledged, action.seq)
                connection!.acknowledge(action.seq)
                break
              case "pong":
                say({ type: "pong", position: connection!.position() })
                break
              case "send":
                say(action.message)
                break
              case "close":
                finish()
                socket.close(action.code, action.reason)
                break
            }
          }
        }

        const fail = (code: ErrorCode, message: string) => act(Conversation.fail(state, code, message))

        const work = Effect.gen(function*() {
          while (queue.length > 0) {
            const { length, message } = queue[0]!
            const { seq } = message
            if (refusals.mutations.has(message.name)) {
              say({ type: "outcome", seq, reason: { _tag: "UnknownMutation", message: `This server has another version of the mutation ${message.name}.` } })
            } else {
              const result = yield* mutations.run({ message, client, caller: caller!, acknowledged })
              if (result._tag === "Committed") hub.committed(client, seq)
              else if (result._tag === "Repeated") connection?.repeat(seq)
              else say({ type: "outcome", seq, reason: result.reason })
            }
            queue.shift()
            state.mutations--
            hold(-length)
            if (draining || state.phase === "closed") break
          }
        }).pipe(
          Effect.catch((error) => Effect.andThen(
            Effect.logError("A mutation could not be written", error.cause),
            Effect.sync(() => fail("ServerFailure", error.message))
          )),
          Effect.catchCause((cause) => Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.andThen(
            Effect.logError("A mutation failed unexpectedly", cause),
            Effect.sync(() => fail("ServerFailure", unexpected))
          )),
          Effect.ensuring(Effect.sync(() => {
            writing = false
            queue.length = 0
          }))
        )

        const subscribe = (subscription: Omit<Subscribe, "type">, first: boolean, held: number | undefined) => {
          const { id } = subscription
          const refuse = (code: ErrorCode, message: string) => {
            state.subscriptions.delete(id)
            say({ type: "error", code, id, message, fatal: false })
          }
          let admitted
          try {
            admitted = Admission.admit(contract, authorization.query(subscription.query), refusals, caller!.values, subscription)
          } catch (error) {
            // A schema of the application's.
            log("Parameters could not be checked", error)
            return refuse("ServerFailure", unexpected)
          }
          if (admitted._tag === "Refusal") return refuse(admitted.code, admitted.message)
          try {
            connection!.subscribe(id, admitted.shape, admitted.bound, { first, ...held === undefined ? {} : { held } })
          } catch (error) {
            if (!(error instanceof BudgetExceeded)) throw error
            refuse("BudgetExceeded", error.message)
          }
        }

        const greet = (hello: Hello) => {
          greeting = runGreeting(Effect.gen(function*() {
            if (hello.protocol !== protocolVersion) {
              return yield* refused("UnsupportedProtocol", `This server speaks protocol ${protocolVersion}, not ${hello.protocol}: use clients and servers of one release.`)
            }
            const compared = Admission.compare(contract, hello.contract)
            if (compared._tag === "Refusal") return yield* refused(compared.code, compared.message)
            refusals = compared
            const bearer = /^Bearer +(\S+)$/i.exec(request.headers.get("authorization") ?? "")?.[1]
            authenticating = true
            const who = yield* authenticate({ headers: request.headers, address: request.address, token: hello.token ?? bearer })
            authenticating = false
            const claim = yield* writer.claim(hello.client, who.identity)
            if (state.phase !== "greeting") return
            strangers.delete(one)
            caller = who
            client = hello.client
            acknowledged = hello.acknowledged
            const principal = principalOf(contract, who)
            const session = Canonical.hash([secret, hello.client, principal])
            const { resume } = hello
            const known = resume !== undefined && resume.epoch === engine.epoch ? resume : undefined
            connection = hub.connect({
              client,
              peer: socket,
              atLeast: known?.position ?? 0,
              tooLarge: (id, message) => {
                state.subscriptions.delete(id)
                say({ type: "error", code: "BudgetExceeded", id, message, fatal: false })
              },
              superseded: () => act(Conversation.end(state, 4001, "The client has connected again.")),
              overrun: () => fail("LimitExceeded", "Too many outcomes wait: read them, and acknowledge them."),
              outpaced: () => fail("ServerFailure", "This server has not seen yet what you have: connect again.")
            })
            say({
              type: "welcome",
              protocol: protocolVersion,
              features: [],
              epoch: engine.epoch,
              session,
              ...principal === null ? {} : { principal },
              position: engine.position(),
              heartbeatMillis: limits.heartbeatMillis,
              columns,
              refused: { queries: [...refusals.queries], mutations: [...refusals.mutations] },
              nextSeq: claim.nextSeq
            })
            const held = known?.session === session ? known.position : undefined
            const actions = Conversation.greeted(state, hello, limits)
            const heldIds = new Set(hello.subscriptions.filter((one) => one.held === true).map((one) => one.id))
            const first = new Set(hello.subscriptions.map((one) => one.id))
            for (const action of actions) {
              if (action.do !== "subscribe" || !first.delete(action.subscription.id)) act([action])
              else subscribe(action.subscription, true, heldIds.has(action.subscription.id) ? held : undefined)
            }
            const { decode, range } = writer.receipts
            yield* engine.read([range(client, hello.acknowledged)], ([stored]) =>
              connection!.received(stored!.rows.map((row) => decode(row).receipt).sort((a, b) => a.seq - b.seq)))
          }).pipe(
            Effect.catchTags({
              Refused: (error) => Effect.sync(() => fail(error.code, error.message)),
              Unauthenticated: (error) => Effect.sync(() => fail("Unauthenticated", error.message)),
              ClientTaken: (error) => Effect.sync(() => fail("ClientTaken", error.message)),
              WriterUnavailable: (error) => Effect.sync(() => fail("ServerFailure", error.message)),
              ChangeSourceError: (error) => Effect.andThen(
                Effect.logWarning("Receipts could not be read", error.message),
                Effect.sync(() => fail("ServerFailure", "The database could not be read: connect again."))
              )
            }),
            Effect.catchCause((cause) => Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.andThen(
              Effect.logError("A connection could not be greeted", cause),
              Effect.sync(() => fail("ServerFailure", unexpected))
            ))
          ))
        }

        const one: Open = {
          say,
          fail,
          close: (code, reason) => act(Conversation.end(state, code, reason)),
          tick: (now) => {
            act(Conversation.tick(state, now, limits))
            regulate()
          },
          isEnding: request.isEnding
        }
        const finish = () => {
          open.delete(one)
          strangers.delete(one)
          connection?.close()
          if (authenticating) greeting?.interruptUnsafe()
        }
        if (open.size >= maxConnections) for (const stranger of strangers) {
          refuseFull(stranger)
          break
        }
        const isFull = open.size >= maxConnections
        open.add(one)
        strangers.add(one)
        if (draining) {
          say(goaway)
          one.close(1001, "going away")
        } else if (isFull) refuseFull(one)
        return {
          receive: (text) => {
            try {
              act(Conversation.receive(state, text, telemetry.now(), limits))
              regulate()
            } catch (error) {
              // Ours. Whoever listens to the socket would end the process over it.
              log("A message could not be taken", error)
              fail("ServerFailure", unexpected)
            }
          },
          drained: () => connection?.drained(),
          closed: () => {
            Conversation.end(state, 1000, "")
            finish()
          }
        }
      }
    })

    hub.onFailure((message) => {
      for (const one of open) one.fail("ServerFailure", `This server cannot go on: ${message}`)
    })

    yield* Effect.sleep("500 millis").pipe(
      Effect.andThen(Effect.suspend(() => {
        const now = telemetry.now()
        for (const one of open) one.tick(now)
        // Whoever listens has stopped, and waits for connections to end.
        return !draining && [...open].some((one) => one.isEnding?.() === true) ? service.drain : Effect.void
      })),
      Effect.forever,
      Effect.tapCause((cause) => Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError("Quiet connections are not noticed any more", cause)),
      Effect.forkScoped
    )
    yield* Effect.addFinalizer(() => service.drain)
    return service
  }))

interface Open {
  readonly say: (message: ServerMessage) => void
  readonly fail: (code: ErrorCode, message: string) => void
  readonly close: (code: number, reason: string) => void
  readonly tick: (now: number) => void
  readonly isEnding: (() => boolean) | undefined
}

const principalOf = (contract: Contract.Any, { principal }: Authentication.Authenticated): { readonly [field: string]: Json } | null => {
  if (contract.principal === undefined) return null
  const encoded = Field.encode(contract.principal.fields, principal)
  return encoded.ok ? encoded.value : null
}
