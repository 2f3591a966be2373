/**
 * What each message of a client means, given what was said before: the rules of a connection, as one function.
 *
 * `hello` first, once; what comes before its answer waits, but not more than one message may hold. A message that is malformed,
 * too large or too many ends the connection with a fatal error, and what concerns one subscription or mutation alone ends that.
 * The message says what was wrong and what to do.
 */
import * as Codec from "@headwater/core/Codec"
import type { ClientMessage, ErrorCode, Hello, Mutate, ServerMessage, Subscribe } from "@headwater/core/Message"

export interface Limits {
  readonly message: Codec.Limits
  /** Time for `hello` and its answer. */
  readonly helloMillis: number
  /** What a client must not be silent for. */
  readonly heartbeatMillis: number
  /** Open at the same time on one connection. */
  readonly subscriptions: number
  /** Of one `subscribe`, in UTF-16 units: parameters are kept for as long as anybody watches, and longer. */
  readonly subscriptionLength: number
  /** Sent and not run yet. */
  readonly mutations: number
  /** Steady rate of messages, and how many may come at once. */
  readonly messagesPerSecond: number
  readonly burst: number
  /** Steady rate of text, in UTF-16 units, and how much may come at once: what comes faster is read later. */
  readonly bytesPerSecond: number
}

export const defaultLimits: Limits = {
  message: Codec.defaultLimits,
  helloMillis: 10_000,
  heartbeatMillis: 15_000,
  subscriptions: 1000,
  subscriptionLength: 16 * 1024,
  mutations: 256,
  messagesPerSecond: 500,
  burst: 5000,
  bytesPerSecond: 8 * 1024 * 1024
}

export type Action =
  | { readonly do: "greet"; readonly hello: Hello }
  | { readonly do: "subscribe"; readonly subscription: Omit<Subscribe, "type"> }
  | { readonly do: "unsubscribe"; readonly id: number }
  /** `length` is that of the message's text. */
  | { readonly do: "mutate"; readonly message: Mutate; readonly length: number }
  | { readonly do: "acknowledge"; readonly seq: number }
  | { readonly do: "pong" }
  | { readonly do: "send"; readonly message: ServerMessage }
  /** WebSocket close code and reason. */
  | { readonly do: "close"; readonly code: number; readonly reason: string }

export interface State {
  phase: "closed" | "greeting" | "new" | "ready"
  readonly opened: number
  heard: number
  /** When `allowance` and `bytes` were counted. */
  counted: number
  /** Messages that may come now. */
  allowance: number
  /** Text that may come now. Below 0 nothing more should be received until a `tick` says otherwise. */
  bytes: number
  /** Messages that came before `welcome`, and the length of each. */
  waiting: Array<readonly [message: ClientMessage, length: number]>
  waitingLength: number
  /** Nothing is received for now, by the server's own wish. */
  paused: boolean
  readonly subscriptions: Set<number>
  /** Mutations handed out and not ended. */
  mutations: number
}

export const make = (now: number, limits: Limits): State =>
  ({
    phase: "new", opened: now, heard: now, counted: now, allowance: limits.burst, bytes: limits.bytesPerSecond,
    waiting: [], waitingLength: 0, paused: false, subscriptions: new Set(), mutations: 0
  })

const count = (state: State, now: number, limits: Limits): void => {
  const seconds = (now - state.counted) / 1000
  state.counted = now
  state.allowance = Math.min(limits.burst, state.allowance + seconds * limits.messagesPerSecond)
  state.bytes = Math.min(limits.bytesPerSecond, state.bytes + seconds * limits.bytesPerSecond)
}

/** A message arrived. `text` is undefined for a binary one. */
export const receive = (state: State, text: string | undefined, now: number, limits: Limits): ReadonlyArray<Action> => {
  if (state.phase === "closed") return []
  state.heard = now
  count(state, now, limits)
  state.bytes -= text?.length ?? 0
  if (--state.allowance < 0) {
    return fail(state, "LimitExceeded", `More than ${limits.messagesPerSecond} messages a second: send fewer, or gather them.`)
  }
  if (text === undefined) return fail(state, "MalformedMessage", "A message must be a text frame that holds JSON: this server takes no binary ones.")
  const decoded = Codec.decodeClient(text, limits.message)
  if (!decoded.ok) return fail(state, decoded.problem.code, decoded.problem.message)
  const { message } = decoded
  switch (state.phase) {
    case "new":
      if (message.type !== "hello") return fail(state, "MalformedMessage", `The first message must be hello, not ${message.type}.`)
      if (message.subscriptions.length > limits.subscriptions) return fail(state, "LimitExceeded", tooMany(limits))
      state.phase = "greeting"
      return [{ do: "greet", hello: message }]
    case "greeting":
      state.waitingLength += text.length
      if (state.waiting.length >= limits.burst || state.waitingLength > limits.message.maxBytes) {
        return fail(state, "LimitExceeded", "Too many messages before welcome: wait for it.")
      }
      state.waiting.push([message, text.length])
      return []
    case "ready":
      return take(state, message, text.length, limits)
  }
}

/** `hello` was answered with `welcome`: what came meanwhile has its turn. */
export const greeted = (state: State, hello: Hello, limits: Limits): ReadonlyArray<Action> => {
  if (state.phase !== "greeting") return []
  state.phase = "ready"
  const { waiting } = state
  state.waiting = []
  const actions = hello.subscriptions.flatMap((subscription) => subscribe(state, subscription, limits))
  for (const [message, length] of waiting) if (!closed(state)) actions.push(...take(state, message, length, limits))
  return actions
}

/** Time passed. */
export const tick = (state: State, now: number, limits: Limits): ReadonlyArray<Action> => {
  count(state, now, limits)
  switch (state.phase) {
    case "closed":
      return []
    case "ready":
      return !state.paused && now - state.heard > limits.heartbeatMillis * 2.5 ? end(state, 1001, "no heartbeat") : []
    default:
      return now - state.opened > limits.helloMillis
        ? fail(state, "Unauthenticated", `No hello was accepted within ${limits.helloMillis / 1000} seconds: say hello at once.`)
        : []
  }
}

/** Ends the connection with an error that says why. */
export const fail = (state: State, code: ErrorCode, message: string): ReadonlyArray<Action> =>
  state.phase === "closed" ? [] : [
    { do: "send", message: { type: "error", code, message, fatal: true } },
    ...end(state, code === "MessageTooLarge" ? 1009 : 1008, code)
  ]

export const end = (state: State, code: number, reason: string): Array<Action> => {
  if (state.phase === "closed") return []
  state.phase = "closed"
  return [{ do: "close", code, reason }]
}

const closed = (state: State): boolean => state.phase === "closed"

const take = (state: State, message: ClientMessage, length: number, limits: Limits): ReadonlyArray<Action> => {
  switch (message.type) {
    case "hello":
      return fail(state, "MalformedMessage", "hello was said already: it comes once, first on each connection.")
    case "subscribe":
      return length > limits.subscriptionLength
        ? [refusal(message.id, "LimitExceeded", `A subscription may take ${limits.subscriptionLength} characters: give it smaller parameters.`)]
        : subscribe(state, message, limits)
    case "unsubscribe":
      return state.subscriptions.delete(message.id) ? [{ do: "unsubscribe", id: message.id }] : []
    case "mutate":
      if (state.mutations >= limits.mutations) {
        return [{
          do: "send",
          message: {
            type: "outcome",
            seq: message.seq,
            reason: { _tag: "LimitExceeded", message: `More than ${limits.mutations} mutations wait on this connection: send the next when one has ended.` }
          }
        }]
      }
      state.mutations++
      return [{ do: "mutate", message, length }]
    case "ack":
      return [{ do: "acknowledge", seq: message.seq }]
    case "ping":
      return [{ do: "pong" }]
  }
}

const subscribe = (state: State, { id, parameters, query, ...rest }: Omit<Subscribe, "type"> & { readonly held?: true }, limits: Limits): Array<Action> => {
  if (state.subscriptions.has(id)) return [refusal(id, "SubscriptionInUse", `Subscription ${id} is open: unsubscribe it first, or take another id.`)]
  if (state.subscriptions.size >= limits.subscriptions) return [refusal(id, "LimitExceeded", tooMany(limits))]
  state.subscriptions.add(id)
  return [{ do: "subscribe", subscription: { id, query, parameters, ...rest.held === true ? { held: true } : {} } }]
}

const refusal = (id: number, code: ErrorCode, message: string): Action => ({ do: "send", message: { type: "error", code, id, message, fatal: false } })

const tooMany = (limits: Limits) => `A connection may have ${limits.subscriptions} subscriptions: unsubscribe some first.`
