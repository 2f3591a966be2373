/**
 * Carries out what the connection's state machine says: tokens, the socket, the timer.
 *
 * Invariant: events are taken one at a time and in order, those that arise meanwhile after; only then, with the timer set for the
 * state's deadline, is `settled` called. A socket that is given up is not heard any more.
 *
 * Cost of an event: a step of the state machine. Traffic sets no timer anew: one that comes early asks again.
 */
import * as Codec from "@headwater/core/Codec"
import type { ClientMessage, Hello } from "@headwater/core/Message"
import * as Connection from "../Connection.ts"
import type { Environment, WebSocketConstructor } from "./environment.ts"

export interface Link {
  readonly state: Connection.State
  readonly isOnline: boolean
  /** Events are being carried out: `settled` follows. */
  readonly isBusy: boolean
  /** To the socket; lost where there is none. */
  send(message: ClientMessage): void
  /** Has the event taken next, by who carries out events already or by `drain`. */
  raise(event: Connection.Event): void
  drain(): void
  dispatch(event: Connection.Event): void
}

/** Who speaks over it. */
export interface Speaker {
  hello(token: string | undefined): Hello
  deliver(message: Extract<Connection.Action, { type: "deliver" }>["message"]): void
  /** It was online. */
  disconnected(): void
}

export const make = (env: Environment, url: string, tokenOf: () => string | undefined | Promise<string | undefined>, speaker: () => Speaker, settled: () => void): Link => {
  let state = Connection.initial(env.page?.navigator?.onLine ?? true)
  let socket: InstanceType<WebSocketConstructor> | undefined
  let token: string | undefined
  const timer = makeTimer(env, () => dispatch({ type: "wake" }))
  const events: Array<Connection.Event> = []
  let isBusy = false

  const dispatch = (event: Connection.Event) => {
    events.push(event)
    drain()
  }

  const drain = () => {
    if (isBusy || events.length === 0) return
    isBusy = true
    try {
      for (let next = events.shift(); next !== undefined; next = events.shift()) {
        const wasOnline = state.phase.at === "online"
        const result = Connection.step(state, next, env.now(), env.random())
        state = result.state
        if (wasOnline && state.phase.at !== "online") speaker().disconnected()
        result.actions.forEach(perform)
      }
    } finally {
      isBusy = false
    }
    timer(state.deadline)
    settled()
  }

  const perform = (action: Connection.Action) => {
    switch (action.type) {
      case "askToken":
        return askToken(action.attempt)
      case "open":
        return open(action.attempt)
      case "greet":
        return send(speaker().hello(token))
      case "ping":
        return send({ type: "ping" })
      case "disconnect":
        return disconnect()
      case "deliver":
        return speaker().deliver(action.message)
    }
  }

  const askToken = (attempt: number) => {
    const failed = (error: unknown) => dispatch({ type: "tokenFailed", attempt, message: error instanceof Error ? error.message : String(error) })
    const got = (given: string | undefined) => {
      if (attempt === state.attempt) token = given
      dispatch({ type: "token", attempt })
    }
    try {
      const given = tokenOf()
      if (given instanceof Promise) void given.then(got, failed)
      else got(given)
    } catch (error) {
      failed(error)
    }
  }

  const open = (attempt: number) => {
    try {
      const opened = new env.WebSocket(url)
      socket = opened
      opened.onopen = () => dispatch({ type: "opened", attempt })
      opened.onerror = () => undefined
      opened.onclose = () => dispatch({ type: "ended", attempt })
      opened.onmessage = ({ data }: { readonly data: unknown }) => {
        if (attempt !== state.attempt) return
        const decoded = typeof data === "string" ? Codec.decodeServer(data) : undefined
        if (decoded?.ok) dispatch({ type: "received", attempt, message: decoded.message })
        else dispatch({ type: "violated", attempt, message: decoded?.problem.message ?? "The server sent a binary message." })
      }
    } catch (error) {
      env.report(error)
      dispatch({ type: "ended", attempt })
    }
  }

  const disconnect = () => {
    const old = socket
    if (old === undefined) return
    socket = undefined
    old.onopen = old.onmessage = old.onclose = null
    // An error while it is being opened has no listener any more.
    old.onerror = () => undefined
    try {
      old.close(1000)
    } catch {
      // It was closed already.
    }
  }

  const send = (message: ClientMessage) => {
    try {
      socket?.send(Codec.encodeClient(message))
    } catch {
      // A socket that cannot send says so by closing.
      return
    }
    if (message.type !== "ping" && message.type !== "hello") events.push({ type: "sent" })
  }

  return {
    get state() {
      return state
    },
    get isOnline() {
      return state.phase.at === "online"
    },
    get isBusy() {
      return isBusy
    },
    send,
    raise: (event) => void events.push(event),
    drain,
    dispatch
  }
}

/** Wakes at the deadline last set, or earlier; null is none. */
const makeTimer = (env: Environment, wake: () => void) => {
  let stop: (() => void) | undefined
  let at: number | null = null
  return (deadline: number | null) => {
    if (deadline === at) return
    // Traffic moves the deadline of a live connection on.
    if (at !== null && deadline !== null && at <= deadline && at > env.now()) return
    stop?.()
    at = deadline
    stop = at === null ? undefined : env.timer(() => {
      at = null
      stop = undefined
      wake()
    }, Math.max(0, at - env.now()))
  }
}
