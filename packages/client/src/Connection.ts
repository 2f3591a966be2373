/**
 * The connection to the server as a state machine: when to ask for a token, open, greet, ping, give up, and try again.
 *
 * Pure: `step` takes a state and an event at a time, and gives the next state and what to do. It knows nothing of rows or
 * mutations: messages other than those that steer the connection are passed on. Whoever drives it carries out the actions in
 * order, and sends `wake` at `state.deadline`.
 *
 * Invariants: there is at most one socket; events of an earlier one are dropped, by `attempt`. `hello` is sent once per
 * socket, after it opened. Nothing is passed on before `welcome`. Between two attempts lies a jittered delay that doubles
 * up to `maxDelayMillis` until a connection has brought a frame or a pong; only a refused token is renewed at once, and only once (so
 * are a refused client id and a contract that was not said in full).
 */
import { protocolVersion, type ErrorMessage, type ServerMessage, type Welcome } from "@headwater/core/Message"

/** What applications see. */
export interface Status {
  readonly status: "connecting" | "online" | "offline" | "unauthenticated" | "closed"
  /** Epoch milliseconds; absent while nothing is planned. */
  readonly retryAt?: number
  /** Why it is not online. */
  readonly error?: Failure
}

export interface Failure {
  readonly code: "Unreachable" | "Unauthenticated" | "ContractMismatch" | "ProtocolError" | "Refused" | "TokenFailed"
  readonly message: string
}

export interface Options {
  readonly minDelayMillis: number
  readonly maxDelayMillis: number
  /** From opening a socket, or asking for a token, to `welcome`. */
  readonly connectTimeoutMillis: number
}

/** What an answer may take where the browser says that the network is gone: it may be wrong, and a heartbeat is a long time to look online. */
const doubtMillis = 3_000

export const defaultOptions: Options = { minDelayMillis: 250, maxDelayMillis: 5_000, connectTimeoutMillis: 15_000 }

export interface State {
  readonly phase:
    | { readonly at: "idle" | "closed" }
    /** A token was asked for. */
    | { readonly at: "authenticating"; readonly until: number }
    | { readonly at: "opening" | "greeting"; readonly until: number }
    | { readonly at: "online"; readonly heartbeatMillis: number; readonly received: number; readonly sent: number; readonly pinged: boolean }
    /** `until` is null where only a sign helps: the browser says that it is online again. */
    | { readonly at: "waiting"; readonly until: number | null }
  /** Tokens and sockets are numbered: what concerns an older one is dropped. */
  readonly attempt: number
  /** Failures in a row. */
  readonly failures: number
  /** The server refused the last token. */
  readonly refused: boolean
  /** The server has another version of the contract: from then on `hello` says which definitions there are. */
  readonly mismatched: boolean
  readonly hasNetwork: boolean
  readonly error: Failure | undefined
  /** When to send `wake`; null for never. */
  readonly deadline: number | null
}

export type Event =
  | { readonly type: "start" | "close" | "wake" | "networkUp" | "networkDown" }
  /** Tokens may be undefined: the server then decides what an anonymous caller may do. */
  | { readonly type: "token"; readonly attempt: number }
  | { readonly type: "tokenFailed"; readonly attempt: number; readonly message: string }
  | { readonly type: "opened"; readonly attempt: number }
  | { readonly type: "received"; readonly attempt: number; readonly message: ServerMessage }
  /** What came cannot be read, or must not come now. */
  | { readonly type: "violated"; readonly attempt: number; readonly message: string }
  | { readonly type: "ended"; readonly attempt: number }
  | { readonly type: "sent" }
  /** Something in `hello` is another one now: connect anew, at once. */
  | { readonly type: "reconnect" }
  /** The token in use is out of date, by a refused mutation: connect with a new one. */
  | { readonly type: "renew" }

export type Action =
  | { readonly type: "askToken" | "open" | "greet"; readonly attempt: number }
  | { readonly type: "ping" }
  | { readonly type: "disconnect" }
  /** For the replica, the outbox and the queries. `welcome` is passed on first. */
  | { readonly type: "deliver"; readonly message: Exclude<ServerMessage, { readonly type: "goaway" | "pong" }> }

export interface Step {
  readonly state: State
  readonly actions: ReadonlyArray<Action>
}

export const initial = (hasNetwork: boolean): State => ({
  phase: { at: "idle" }, attempt: 0, failures: 0, refused: false, mismatched: false, hasNetwork, error: undefined, deadline: null
})

/** `random` is in [0, 1). */
export const step = (state: State, event: Event, now: number, random: number, options: Options = defaultOptions): Step => {
  const { phase } = state
  if (phase.at === "closed") return stay(state)
  if ("attempt" in event && event.attempt !== state.attempt) return stay(state)
  switch (event.type) {
    case "start":
      return phase.at === "idle" ? authenticate(state, now, options) : stay(state)
    case "close":
      return to({ ...state, error: undefined }, { at: "closed" }, disconnecting(state))
    case "networkDown":
      if (phase.at === "online") {
        const received = Math.min(phase.received, now + doubtMillis - 2 * phase.heartbeatMillis)
        return to({ ...state, hasNetwork: false }, { ...phase, received, sent: now, pinged: true }, [{ type: "ping" }])
      }
      return phase.at === "waiting" ? to({ ...state, hasNetwork: false }, { at: "waiting", until: null }) : stay({ ...state, hasNetwork: false })
    case "networkUp":
      // Worth a try at once, whatever the delay was.
      return phase.at === "waiting" ? authenticate({ ...state, hasNetwork: true, failures: 0 }, now, options) : stay({ ...state, hasNetwork: true })
    case "renew":
      return phase.at === "online" ? unauthenticated(state, "The token is out of date.", now, random, options) : stay(state)
    case "reconnect":
      return phase.at === "greeting" || phase.at === "online" ? authenticate(state, now, options, disconnecting(state)) : stay(state)
    case "token":
      return phase.at === "authenticating" ? to(state, { at: "opening", until: now + options.connectTimeoutMillis }, [{ type: "open", attempt: state.attempt }]) : stay(state)
    case "tokenFailed":
      return phase.at === "authenticating" ? retry(state, { code: "TokenFailed", message: event.message }, now, random, options) : stay(state)
    case "opened":
      return phase.at === "opening" ? to(state, { at: "greeting", until: phase.until }, [{ type: "greet", attempt: state.attempt }]) : stay(state)
    case "ended":
      return phase.at === "opening" || phase.at === "greeting" || phase.at === "online"
        ? retry(state, { code: "Unreachable", message: phase.at === "online" ? "The connection was lost." : "The server cannot be reached." }, now, random, options)
        : stay(state)
    case "violated":
      return retry(state, { code: "ProtocolError", message: event.message }, now, random, options)
    case "received":
      return received(state, event.message, now, random, options)
    case "sent":
      return phase.at === "online" ? to(state, { ...phase, sent: now }) : stay(state)
    case "wake":
      return woken(state, now, random, options)
  }
}

const received = (state: State, message: ServerMessage, now: number, random: number, options: Options): Step => {
  const { phase } = state
  if (message.type === "error" && message.fatal) return refused(state, message, now, random, options)
  if (message.type === "goaway") {
    const step = retry({ ...state, failures: 0 }, { code: "Refused", message: message.reason }, now, random, options)
    // Not all clients at once.
    return step.state.hasNetwork ? to(step.state, { at: "waiting", until: now + message.retryAfterMillis * (1 + random) }, step.actions) : step
  }
  if (phase.at === "greeting") return message.type === "welcome" ? welcomed(state, message, now, random, options) : violation(state, message, now, random, options)
  if (phase.at !== "online") return stay(state)
  if (message.type === "welcome") return violation(state, message, now, random, options)
  const next: State["phase"] = { ...phase, received: now, pinged: false }
  // A server that welcomes and then fails is not taken for a healthy one.
  const failures = message.type === "frame" || message.type === "pong" ? 0 : state.failures
  return to(failures === state.failures ? state : { ...state, failures }, next, message.type === "pong" ? [] : [{ type: "deliver", message }])
}

const welcomed = (state: State, message: Welcome, now: number, random: number, options: Options): Step => {
  if (message.protocol !== protocolVersion) {
    return retry(state, { code: "ProtocolError", message: `The server speaks protocol ${message.protocol}, not ${protocolVersion}.` }, now, random, options)
  }
  return to(
    { ...state, refused: false, error: undefined },
    { at: "online", heartbeatMillis: message.heartbeatMillis, received: now, sent: now, pinged: false },
    [{ type: "deliver", message }]
  )
}

const violation = (state: State, message: ServerMessage, now: number, random: number, options: Options): Step =>
  retry(state, { code: "ProtocolError", message: `The server sent ${message.type} out of turn.` }, now, random, options)

const refused = (state: State, message: ErrorMessage, now: number, random: number, options: Options): Step => {
  const deliver: Action = { type: "deliver", message }
  const before = (step: Step): Step => ({ ...step, actions: [deliver, ...step.actions] })
  switch (message.code) {
    case "Unauthenticated":
      return before(unauthenticated(state, message.message, now, random, options))
    case "ClientTaken":
      // Whoever drives this takes a new client id when that is delivered.
      return before(state.failures === 0
        ? authenticate({ ...state, failures: 1 }, now, options, disconnecting(state))
        : retry(state, { code: "Refused", message: message.message }, now, random, options))
    case "ContractMismatch":
    case "UnsupportedProtocol":
      if (message.code === "ContractMismatch" && !state.mismatched) {
        return before(authenticate({ ...state, mismatched: true }, now, options, disconnecting(state)))
      }
      return before(retry(state, { code: "ContractMismatch", message: message.message }, now, random, { ...options, minDelayMillis: options.maxDelayMillis }))
    default:
      return before(retry(state, { code: "Refused", message: message.message }, now, random, options))
  }
}

/** A token that expired is renewed at once; a new one that is refused too waits like any failure. */
const unauthenticated = (state: State, message: string, now: number, random: number, options: Options): Step => {
  const error: Failure = { code: "Unauthenticated", message }
  if (state.refused) return retry({ ...state, refused: true }, error, now, random, options)
  return authenticate({ ...state, refused: true, error }, now, options, disconnecting(state))
}

const authenticate = (state: State, now: number, options: Options, actions: ReadonlyArray<Action> = []): Step => {
  const attempt = state.attempt + 1
  return to({ ...state, attempt }, { at: "authenticating", until: now + options.connectTimeoutMillis }, [...actions, { type: "askToken", attempt }])
}

const retry = (state: State, error: Failure, now: number, random: number, options: Options): Step => {
  const ceiling = Math.min(options.minDelayMillis * 2 ** state.failures, options.maxDelayMillis)
  const until = state.hasNetwork ? now + ceiling * (0.5 + random / 2) : null
  // The attempt ends here: nothing of its socket is heard any more.
  return to(
    { ...state, attempt: state.attempt + 1, failures: Math.min(state.failures + 1, 30), error },
    { at: "waiting", until },
    disconnecting(state)
  )
}

const woken = (state: State, now: number, random: number, options: Options): Step => {
  const { phase } = state
  if (state.deadline === null || now < state.deadline) return stay(state)
  switch (phase.at) {
    case "waiting":
      return authenticate(state, now, options)
    case "authenticating":
      return retry(state, { code: "TokenFailed", message: "Asking for a token took too long." }, now, random, options)
    case "opening":
    case "greeting":
      return retry(state, { code: "Unreachable", message: "The server did not answer in time." }, now, random, options)
    case "online":
      if (now - phase.received >= 2 * phase.heartbeatMillis) {
        return retry(state, { code: "Unreachable", message: "The server has fallen silent." }, now, random, options)
      }
      return to(state, { ...phase, pinged: true, sent: now }, [{ type: "ping" }])
    default:
      return stay(state)
  }
}

const disconnecting = ({ phase }: State): ReadonlyArray<Action> =>
  phase.at === "opening" || phase.at === "greeting" || phase.at === "online" ? [{ type: "disconnect" }] : []

const stay = (state: State): Step => ({ state, actions: [] })

const to = (state: State, phase: State["phase"], actions: ReadonlyArray<Action> = []): Step => ({ state: { ...state, phase, deadline: deadlineOf(phase) }, actions })

const deadlineOf = (phase: State["phase"]): number | null => {
  switch (phase.at) {
    case "authenticating":
    case "opening":
    case "greeting":
    case "waiting":
      return phase.until
    case "online": {
      const silence = phase.received + 2 * phase.heartbeatMillis
      // Of both directions: the server too takes silence for a dead connection.
      return Math.min(silence, (phase.pinged ? phase.sent : Math.min(phase.received, phase.sent)) + phase.heartbeatMillis)
    }
    default:
      return null
  }
}

export const statusOf = (state: State): Status => {
  const { error, phase } = state
  const withError = error === undefined ? {} : { error }
  if (phase.at === "closed") return { status: "closed" }
  if (phase.at === "online") return { status: "online" }
  const retrying = phase.at === "waiting" && phase.until !== null ? { retryAt: phase.until } : {}
  if (state.refused) return { status: "unauthenticated", ...retrying, ...withError }
  return phase.at === "waiting" ? { status: "offline", ...retrying, ...withError } : { status: "connecting", ...withError }
}
