/**
 * The client without an API: connection, replica, outbox and live queries driven together. The Effect and the promise API
 * are façades over it.
 *
 * Plain callbacks; what touches the world comes in through `Environment`. Everything that changes together (rows, results, statuses,
 * pending mutations) is up to date before the first listener hears of it.
 */
import type * as Contract from "@headwater/core/Contract"
import * as Codec from "@headwater/core/Codec"
import * as Field from "@headwater/core/Field"
import type { ClientMessage, Frame, Hello, Outcome, Refusal, ServerMessage, Welcome } from "@headwater/core/Message"
import { protocolVersion } from "@headwater/core/Message"
import * as Mutation from "@headwater/core/Mutation"
import * as Plan from "@headwater/core/Plan"
import * as Query from "@headwater/core/Query"
import type { Row } from "@headwater/core/Row"
import * as SyncError from "@headwater/core/SyncError"
import { WriteRefused } from "@headwater/core/WriteRefused"
import type { Json } from "@headwater/core/Value"
import * as Connection from "../Connection.ts"
import * as Outbox from "../Outbox.ts"
import * as Replica from "../Replica.ts"
import type { Storage } from "../Persistence.ts"
import type { LiveQuery as TypedLiveQuery, Snapshot as TypedSnapshot } from "../LiveQuery.ts"
import * as compile from "./compile.ts"
import * as liveKeys from "./liveKeys.ts"
import * as Observable from "./observable.ts"

export interface Environment {
  /** Epoch milliseconds. */
  readonly now: () => number
  /** In [0, 1). */
  readonly random: () => number
  readonly newId: () => string
  /** What it returns cancels. */
  readonly timer: (run: () => void, millis: number) => () => void
  readonly WebSocket: WebSocketConstructor
  /** A listener, a token source or a storage of the application failed. */
  readonly report: (error: unknown) => void
  readonly warn: (message: string) => void
  /** The page, in browsers. */
  readonly page: Page | undefined
}

/** As in browsers, and in Node's `ws`. */
export type WebSocketConstructor = new(url: string) => {
  send(text: string): void
  close(code?: number, reason?: string): void
  onopen: ((event: never) => void) | null
  onmessage: ((event: never) => void) | null
  onerror: ((event: never) => void) | null
  onclose: ((event: never) => void) | null
}

export interface Page {
  addEventListener(type: string, listener: (event: Event) => void): void
  removeEventListener(type: string, listener: (event: Event) => void): void
  readonly navigator?: { readonly onLine?: boolean }
}

/** Runs a mutation's function over the overlay; throws what ends it. `now` is the instant of the first run. */
export type Optimistic = (overlay: Replica.Overlay, payload: object, context: OptimisticContext) => void

export interface OptimisticContext {
  readonly now: string
  /** The caller, decoded; undefined while that is not known. */
  readonly principal: object | undefined
  readonly tables: Contract.Any["tables"]
  /** The view that answers this query with these parameters; undefined where none is live. */
  readonly viewOf: (query: object, parameters: unknown) => { readonly view: Replica.View; readonly single: boolean } | undefined
}

/** Ends an optimistic run: what it would show is not known here. */
export class Abandoned {
  readonly message: string
  constructor(message: string) {
    this.message = message
  }
}

export interface Options {
  readonly contract: Contract.Any
  readonly url: string
  readonly token: () => string | undefined | Promise<string | undefined>
  readonly optimistic: { readonly [mutation: string]: Optimistic | undefined }
  readonly storage: Pick<Storage, "commit">
  /** What the storage held. */
  readonly stored: Outbox.Stored | undefined
  readonly environment: Environment
  /** Around the application of a frame; for tracing. */
  readonly onApply?: OnApply
}

/** `traces` are the traceparents of the mutations that the frame settles. */
export type OnApply = (frame: Frame, traces: ReadonlyArray<string>, run: () => void) => void

export type Settled =
  | { readonly ok: true; readonly value: unknown }
  /** A declared error of the mutation, or a `SyncError`. */
  | { readonly ok: false; readonly error: unknown }

export interface Mutated {
  readonly id: number
  /** Undefined where it is durable already. */
  readonly stored: Promise<void> | undefined
  readonly outcome: Promise<Settled>
}

export interface Pending {
  readonly id: number
  readonly name: string
  readonly payload: unknown
  readonly status: "queued" | "sent" | "parked"
  /** Epoch milliseconds. */
  readonly since: number
}

export interface Rejected extends Omit<Pending, "status"> {
  readonly error: unknown
  /** Sends it again as a new mutation, after all others. */
  readonly retry: () => void
  /** Takes it off the list. */
  readonly dismiss: () => void
}

export type LiveQuery = TypedLiveQuery<unknown>
type Snapshot = TypedSnapshot<unknown>

export interface Engine {
  query(name: string, parameters: unknown, keepAliveMillis: number | undefined): LiveQuery
  mutate(name: string, payload: unknown, trace: string | undefined): Mutated | { readonly refused: SyncError.SyncError }
  readonly connection: Observable.Observable<Connection.Status>
  readonly pending: Observable.Observable<ReadonlyArray<Pending>>
  readonly rejected: Observable.Observable<ReadonlyArray<Rejected>>
  /** Optimistic runs that were abandoned, so far. */
  readonly abandoned: number
  close(): void
}

/** Of rejected mutations that nobody dismissed, the newest are kept. */
const maxRejected = 100
const maxInFlight = 50
const defaultKeepAliveMillis = 10_000

interface Live {
  readonly key: string
  readonly definition: Query.Named.Any
  readonly wire: { readonly [name: string]: Json }
  readonly parameters: Row
  readonly source: Observable.Source<Snapshot>
  /** Of the snapshot, which is made when it is read. */
  shown: Pick<Snapshot, "status" | "error">
  outdated: boolean
  keepAliveMillis: number
  watchers: number
  /** While active: its subscription. */
  id: number | undefined
  view: Replica.View | undefined
  error: SyncError.SyncError | undefined
  /** Of `replica.at`: the last state that it was brought to. */
  heldAt: object | null
  /** The connection on which it was asked for. */
  askedOn: number
  stopExpiry: (() => void) | undefined
  settled: Array<() => void>
}

interface Call {
  readonly definition: Mutation.Any
  readonly payload: unknown
  readonly resolve: (settled: Settled) => void
}

export const make = (options: Options): Engine => {
  const { contract, environment: env, storage } = options
  if (typeof env.WebSocket !== "function") throw new TypeError("There is no WebSocket here: give the client one (`ws` in older versions of Node).")
  const tables = contract.tables
  const caller: compile.Caller = { principal: null }
  let principal: object | undefined
  let principalText = ""
  const replica = Replica.make(Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, compile.tableRows(table)])))
  const outbox = Outbox.make(options.stored ?? { client: env.newId(), acknowledged: 0, isSpent: false, entries: [] })
  const calls = new Map<number, Call>()

  // The connection.

  let state = Connection.initial(env.page?.navigator?.onLine ?? true)
  let socket: InstanceType<WebSocketConstructor> | undefined
  let token: string | undefined
  let session: string | undefined
  let resyncing = false
  /** The last frame did not fit what is held: nothing of it is offered for resumption. */
  let distrustful = false
  let closed = false
  let stopTimer: (() => void) | undefined
  let timerAt: number | null = null
  const connection = Observable.make<Connection.Status>({ status: "connecting" }, env.report)
  const events: Array<Connection.Event> = []
  let stepping = false

  const dispatch = (event: Connection.Event) => {
    events.push(event)
    drain()
  }

  /** Carries out what was dispatched, in order; events that arise meanwhile come after. */
  const drain = () => {
    if (stepping || events.length === 0) return
    stepping = true
    try {
      for (let next = events.shift(); next !== undefined; next = events.shift()) {
        const wasOnline = state.phase.at === "online"
        const result = Connection.step(state, next, env.now(), env.random())
        state = result.state
        if (wasOnline && state.phase.at !== "online") outbox.disconnected()
        result.actions.forEach(perform)
      }
    } finally {
      stepping = false
    }
    schedule()
    publish()
  }

  const schedule = () => {
    if (state.deadline === timerAt) return
    // Traffic moves the deadline of a live connection on: a timer that comes early asks again.
    if (timerAt !== null && state.deadline !== null && timerAt <= state.deadline && timerAt > env.now()) return
    stopTimer?.()
    timerAt = state.deadline
    stopTimer = timerAt === null ? undefined : env.timer(() => {
      timerAt = null
      stopTimer = undefined
      dispatch({ type: "wake" })
    }, Math.max(0, timerAt - env.now()))
  }

  const perform = (action: Connection.Action) => {
    switch (action.type) {
      case "askToken":
        return askToken(action.attempt)
      case "open":
        return open(action.attempt)
      case "greet":
        return send(hello())
      case "ping":
        return send({ type: "ping" })
      case "disconnect": {
        const old = socket
        socket = undefined
        if (old !== undefined) old.onopen = old.onmessage = old.onerror = old.onclose = null
        try {
          // An error while it is being opened has no listener any more.
          if (old !== undefined) old.onerror = () => undefined
          old?.close(1000)
        } catch {
          // It was closed already.
        }
        return
      }
      case "deliver":
        return deliver(action.message)
    }
  }

  const askToken = (attempt: number) => {
    const failed = (error: unknown) => dispatch({ type: "tokenFailed", attempt, message: error instanceof Error ? error.message : String(error) })
    const got = (given: string | undefined) => {
      if (attempt === state.attempt) token = given
      dispatch({ type: "token", attempt })
    }
    try {
      const given = options.token()
      if (given instanceof Promise) void given.then(got, failed)
      else got(given)
    } catch (error) {
      failed(error)
    }
  }

  const open = (attempt: number) => {
    try {
      const opened = new env.WebSocket(options.url)
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

  const send = (message: ClientMessage) => {
    try {
      socket?.send(Codec.encodeClient(message))
    } catch {
      // A socket that cannot send says so by closing.
      return
    }
    if (message.type !== "ping" && message.type !== "hello") events.push({ type: "sent" })
  }

  const hello = (): Hello => {
    const { at } = replica
    return {
      type: "hello",
      protocol: protocolVersion,
      features: [],
      contract: { name: contract.contractName, hash: contract.hash, ...(state.mismatched ? { definitions: contract.definitionHashes } : undefined) },
      client: outbox.client,
      ...(token === undefined ? undefined : { token }),
      ...(at === null ? undefined : { resume: { ...at, ...(session === undefined || distrustful ? undefined : { session }) } }),
      acknowledged: outbox.acknowledged,
      subscriptions: [...active.values()].map((live) => {
        live.askedOn = state.attempt
        return {
          id: live.id!, query: live.definition.name, parameters: live.wire,
          ...(at !== null && live.heldAt === at && !distrustful ? { held: true as const } : undefined)
        }
      })
    }
  }

  const deliver = (message: Exclude<ServerMessage, { type: "goaway" | "pong" }>) => {
    switch (message.type) {
      case "welcome":
        return welcomed(message)
      case "frame": {
        const traces = (message.receipts ?? []).flatMap(({ seq }) => outbox.bySeq(seq)?.trace ?? [])
        const run = () => framed(message)
        return options.onApply === undefined ? run() : options.onApply(message, traces, run)
      }
      case "outcome": {
        settle(outbox.outcome(message.seq, message.reason))
        if (message.reason._tag === "Unauthenticated") events.push({ type: "renew" })
        return flush()
      }
      case "resync":
        resyncing = true
        return
      case "error": {
        if (message.code === "ClientTaken") {
          return settle(outbox.abandon(env.newId(), { _tag: "Unauthenticated", message: "This change was written by another user. Retry sends it as the current one." }))
        }
        if (message.id === undefined) {
          if (!message.fatal) env.warn(`The server refused a message: ${message.message}`)
          return
        }
        const live = [...active.values()].find(({ id }) => id === message.id)
        if (live !== undefined) live.error = queryError(message)
        return
      }
    }
  }

  const welcomed = (welcome: Welcome) => {
    try {
      replica.connected(welcome.epoch, welcome.columns)
      const text = JSON.stringify(welcome.principal ?? null)
      if (text !== principalText) {
        principalText = text
        setPrincipal(welcome.principal)
        changed(replica.reconsider())
      }
    } catch (error) {
      return violated(error)
    }
    session = welcome.session
    resyncing = false
    for (const live of active.values()) {
      live.error = welcome.refused.queries.includes(live.definition.name)
        ? syncError(new SyncError.ContractMismatch({ message: `The server's contract has no query ${live.definition.name} like this client's.` }))
        : undefined
      if (live.askedOn !== state.attempt) ask(live)
    }
    settle(outbox.welcome(welcome.nextSeq, welcome.refused.mutations))
    flush()
  }

  const setPrincipal = (wire: Welcome["principal"]) => {
    caller.principal = null
    principal = undefined
    if (contract.principal === undefined || wire === undefined) return
    const decoded = Field.decode(contract.principal.fields, wire)
    const row = decoded.ok ? Field.canonicalRow(contract.principal.types, decoded.value) : decoded
    if (!decoded.ok || !row.ok) throw new Replica.FrameRefused(`The server's principal does not fit: ${row.ok ? "" : row.message}`)
    principal = decoded.value
    caller.principal = row.value
  }

  const framed = (frame: Frame) => {
    const receipts = frame.receipts ?? []
    try {
      changed(replica.apply(frame, receipts.flatMap(({ seq }) => outbox.bySeq(seq)?.id ?? [])))
    } catch (error) {
      return violated(error)
    }
    resyncing = false
    distrustful = false
    for (const live of active.values()) if (replica.isCurrent(live.id!)) live.heldAt = replica.at
    const acknowledged = outbox.acknowledged
    for (const { outcome, seq } of receipts) settle(outbox.receipt(seq, outcome))
    if (outbox.acknowledged > acknowledged) send({ type: "ack", seq: outbox.acknowledged })
    flush()
  }

  const violated = (error: unknown) => {
    if (!(error instanceof Replica.FrameRefused)) env.report(error)
    distrustful = true
    events.push({ type: "violated", attempt: state.attempt, message: error instanceof Replica.FrameRefused ? error.message : "A frame could not be applied." })
  }

  // Live queries.

  let nextId = 1
  /** Inert handles are held by whoever has them, active ones by `handles`. */
  const known = new Map<string, WeakRef<LiveQuery>>()
  const forgotten = new FinalizationRegistry<string>((key) => {
    if (known.get(key)?.deref() === undefined) known.delete(key)
  })
  const active = new Map<string, Live>()
  const compiled = new Map<string, ReturnType<typeof compile.query>>()
  const planHashes = new Map<object, string>()
  /** Handles with something new to tell. */
  const dirty = new Set<Observable.Source<never>>()

  const ask = (live: Live) => {
    live.askedOn = state.attempt
    send({ type: "subscribe", id: live.id!, query: live.definition.name, parameters: live.wire })
  }

  const activate = (live: Live) => {
    live.stopExpiry?.()
    live.stopExpiry = undefined
    if (closed) inert.add(live)
    if (live.id !== undefined || closed) return
    live.id = nextId++
    live.error = undefined
    live.heldAt = null
    live.askedOn = -1
    const { name } = live.definition
    let define = compiled.get(name)
    if (define === undefined) compiled.set(name, define = compile.query(live.definition, caller))
    live.view = replica.open(live.id, define(live.parameters))
    active.set(live.key, live)
    if (state.phase.at === "online") {
      ask(live)
      drain()
    }
  }

  const expire = (live: Live) => {
    live.stopExpiry = env.timer(() => {
      live.stopExpiry = undefined
      deactivate(live)
      publish()
    }, live.keepAliveMillis)
  }

  const deactivate = (live: Live) => {
    if (live.id === undefined) return
    if (state.phase.at === "online" && live.askedOn === state.attempt) send({ type: "unsubscribe", id: live.id })
    active.delete(live.key)
    inert.add(live)
    changed(replica.close(live.id))
    live.id = live.view = undefined
    live.error = undefined
    drain()
  }

  const query: Engine["query"] = (name, parameters, keepAliveMillis) => {
    const definition = contract.queries[name]!
    const wire = Query.encodeParameters(definition, parameters ?? {})
    if (!wire.ok) return failedQuery(syncError(new SyncError.InvalidPayload({ message: `${name}: ${wire.message}` })))
    const canonical = Query.decodeParameters(definition, wire.value)
    if (!canonical.ok) return failedQuery(syncError(new SyncError.InvalidPayload({ message: `${name}: ${canonical.message}` })))
    const key = keyOf(definition, wire.value)
    const existing = known.get(key)?.deref()
    if (existing !== undefined) {
      const live = lives.get(existing)!
      if (keepAliveMillis !== undefined) live.keepAliveMillis = keepAliveMillis
      return existing
    }
    const source = Observable.make<Snapshot>(loading, env.report)
    const live: Live = {
      key, definition, wire: wire.value, parameters: canonical.value, source, shown: loading, outdated: false, keepAliveMillis: keepAliveMillis ?? defaultKeepAliveMillis, watchers: 0,
      id: undefined, view: undefined, error: undefined, heldAt: null, askedOn: -1, stopExpiry: undefined, settled: []
    }
    const watch = () => {
      live.watchers++
      activate(live)
      let watching = true
      return () => {
        if (!watching) return
        watching = false
        if (--live.watchers === 0 && live.id !== undefined) expire(live)
      }
    }
    const handle: LiveQuery = {
      get snapshot() {
        return snapshotOf(live)
      },
      subscribe(listener) {
        const leave = watch()
        const stop = source.subscribe(listener)
        publish()
        return () => {
          stop()
          leave()
        }
      },
      preload() {
        const leave = watch()
        publish()
        return new Promise<void>((resolve) => {
          const { status } = live.shown
          if (status === "live" || status === "failed") resolve()
          else live.settled.push(resolve)
        }).finally(leave)
      }
    }
    lives.set(handle, live)
    liveKeys.set(handle, () => live.view?.known ? live.view.keys() : [])
    known.set(key, new WeakRef(handle))
    forgotten.register(handle, key)
    handles.set(live, handle)
    return handle
  }
  const lives = new WeakMap<LiveQuery, Live>()
  /** Keeps the handle of an active query, so that whoever asks again gets the same. */
  const handles = new WeakMap<Live, LiveQuery>()

  const failedQuery = (error: SyncError.SyncError): LiveQuery => {
    const snapshot: Snapshot = { value: undefined, status: "failed", error }
    return { snapshot, subscribe: () => () => undefined, preload: () => Promise.resolve() }
  }

  const valueOf = (live: Live): unknown => {
    const rows = live.view?.rows
    return rows === undefined || live.definition.plan.cardinality === "many" ? rows : rows[0] ?? null
  }

  const statusOf = (live: Live): Snapshot["status"] => {
    if (closed || live.error !== undefined) return "failed"
    if (live.view?.known !== true) return "loading"
    return state.phase.at === "online" && !resyncing && replica.isCurrent(live.id!) ? "live" : "stale"
  }

  const snapshotOf = (live: Live): Snapshot => {
    const before = live.source.snapshot
    if (!live.outdated) return before
    live.outdated = false
    const value = valueOf(live)
    const { error, status } = live.shown
    if (before.value !== value || before.status !== status || before.error !== error) {
      live.source.set(status === "loading" ? loading : { value, status, error })
    }
    return live.source.snapshot
  }

  const refreshSnapshot = (live: Live) => {
    const status = statusOf(live)
    const error = closed ? closedError : live.error
    const { shown } = live
    if (shown.status === status && shown.error === error && !(live.view !== undefined && changedViews.has(live.view))) return
    live.shown = { status, error }
    live.outdated = true
    dirty.add(live.source as never)
    if (status === "live" || status === "failed") for (const resolve of live.settled.splice(0)) resolve()
  }

  // Mutations.

  const abandonedNames = new Set<string>()
  let abandoned = 0
  let running = false
  let rejectedItems: ReadonlyArray<Rejected> = []
  const pending = Observable.make<ReadonlyArray<Pending>>([], env.report)
  const rejected = Observable.make<ReadonlyArray<Rejected>>([], env.report)
  const shownPending = new Map<number, { readonly entry: Outbox.Entry; readonly shown: Pending }>()
  let lastStored: Promise<void> | undefined

  const viewOf: OptimisticContext["viewOf"] = (asked, parameters) => {
    const definition = Object.values(contract.queries).find((other) => other === asked)
    let live: Live | undefined
    if (definition !== undefined) {
      const wire = Query.encodeParameters(definition, parameters ?? {})
      live = wire.ok ? active.get(keyOf(definition, wire.value)) : undefined
    } else {
      const hash = Plan.hash("plan" in asked ? (asked as Query.Named.Any).plan : Query.plan(asked as Query.Query<unknown>).plan)
      live = [...active.values()].find((other) => Object.keys(other.wire).length === 0 && hashOf(other.definition) === hash)
    }
    return live === undefined ? undefined : { view: live.view!, single: live.definition.plan.cardinality !== "many" }
  }
  const hashOf = (definition: Query.Named.Any): string => {
    let hash = planHashes.get(definition)
    if (hash === undefined) planHashes.set(definition, hash = Plan.hash(definition.plan))
    return hash
  }

  const runner = (name: string, payload: object): ((overlay: Replica.Overlay) => void) | null => {
    const optimistic = Object.hasOwn(options.optimistic, name) ? options.optimistic[name] : undefined
    if (optimistic === undefined) return null
    const now = new Date(env.now()).toISOString()
    return (overlay) => {
      running = true
      try {
        optimistic(overlay, payload, { now, principal, tables, viewOf })
      } finally {
        running = false
      }
    }
  }

  const mutate: Engine["mutate"] = (name, payload, trace) => {
    const definition = contract.mutations[name]!
    if (closed) return { refused: closedError }
    if (running) throw new TypeError(`${name} was called inside an optimistic handler: a handler writes through its transaction.`)
    const wire = Mutation.encodePayload(definition, payload ?? {})
    const decoded = wire.ok ? Mutation.decodePayload(definition, wire.value) : wire
    if (!wire.ok || !decoded.ok) {
      return { refused: syncError(new SyncError.InvalidPayload({ message: `${name}: ${decoded.ok ? "" : decoded.message}` })) }
    }
    const { outcome, resolve } = withResolver()
    const { id, stored } = enqueue(definition, wire.value, decoded.value, trace, resolve)
    return { id, stored, outcome }
  }

  const enqueue = (definition: Mutation.Any, wire: Json, payload: object, trace: string | undefined, resolve: Call["resolve"]) => {
    const id = outbox.nextId
    calls.set(id, { definition, payload, resolve })
    changed(replica.mutate(id, runner(definition.name, payload)))
    outbox.add({ name: definition.name, payload: wire, dependencies: replica.dependenciesOf(id), since: env.now(), trace })
    const stored = store()
    flush()
    drain()
    publish()
    return { id, stored }
  }

  /** Undefined where all is durable. */
  const store = (): Promise<void> | undefined => {
    const change = outbox.takeChange()
    if (change === undefined) return lastStored
    const result = storage.commit(change)
    if (!(result instanceof Promise)) return lastStored
    const stored = (lastStored ?? Promise.resolve()).then(() => result)
    lastStored = stored
    stored.then(() => {
      if (lastStored === stored) lastStored = undefined
    }, env.report)
    return stored
  }

  /** Sends what may be sent. A number is durable before it is used. */
  const flush = () => {
    if (outbox.mustRenew) {
      outbox.renew(env.newId())
      void store()
      events.push({ type: "reconnect" })
      return
    }
    if (state.phase.at !== "online") {
      void store()
      return
    }
    const messages = outbox.take(maxInFlight)
    const stored = store()
    const attempt = state.attempt
    if (stored === undefined) messages.forEach(send)
    else {
      void stored.then(() => {
        if (attempt !== state.attempt) return
        messages.forEach(send)
        drain()
      }, () => undefined)
    }
  }

  const settle = (answers: ReadonlyArray<Outbox.Answer>) => {
    if (answers.length === 0) return
    changed(replica.end(answers.map(({ id }) => id)))
    for (const answer of answers) {
      const call = calls.get(answer.id)
      if (call === undefined) continue
      calls.delete(answer.id)
      const settled = "outcome" in answer ? settledOf(call.definition, answer.outcome) : { ok: false as const, error: syncErrorOf(answer.refused) }
      if (!settled.ok) reject(answer.id, call, settled.error)
      call.resolve(settled)
    }
  }

  const reject = (id: number, { definition, payload }: Call, error: unknown) => {
    const dismiss = () => {
      rejectedItems = rejectedItems.filter((other) => other.id !== id)
      publish()
    }
    const item: Rejected = {
      id, name: definition.name, payload, since: env.now(), error, dismiss,
      retry() {
        if (closed || !rejectedItems.some((other) => other.id === id)) return
        rejectedItems = rejectedItems.filter((other) => other.id !== id)
        const wire = Mutation.encodePayload(definition, payload)
        if (wire.ok) enqueue(definition, wire.value, payload as object, undefined, () => undefined)
      }
    }
    rejectedItems = [...rejectedItems, item].slice(-maxRejected)
  }

  const refreshPending = () => {
    const { entries } = outbox
    const before = pending.snapshot
    const after = entries.map((entry): Pending => {
      const shown = shownPending.get(entry.id)
      if (shown?.entry === entry) return shown.shown
      const fresh: Pending = { id: entry.id, name: entry.name, payload: calls.get(entry.id)?.payload, status: entry.status, since: entry.since }
      shownPending.set(entry.id, { entry, shown: fresh })
      return fresh
    })
    if (after.length === before.length && after.every((item, i) => item === before[i])) return
    if (after.length < shownPending.size) {
      const ids = new Set(after.map(({ id }) => id))
      for (const id of shownPending.keys()) if (!ids.has(id)) shownPending.delete(id)
    }
    pending.set(after)
    dirty.add(pending as never)
    guardPage(after.length > 0)
  }

  // Telling.

  const changedViews = new Set<Replica.View>()

  const changed = ({ ran, views }: Replica.Changes) => {
    for (const view of views) changedViews.add(view)
    for (const { error, mutation } of ran) {
      if (error === undefined) continue
      const name = calls.get(mutation)?.definition.name ?? "a mutation"
      const isDeclared = typeof error === "object" && error !== null && "_tag" in error
      if (isDeclared && !(error instanceof Abandoned)) continue
      abandoned++
      if (abandonedNames.has(name)) continue
      abandonedNames.add(name)
      env.warn(`${name} is not shown before the server has answered: ${error instanceof Abandoned || error instanceof Error ? error.message : String(error)}`)
    }
  }

  const publish = () => {
    if (stepping) return
    const status = Connection.statusOf(state)
    const before = connection.snapshot
    if (before.status !== status.status || before.retryAt !== status.retryAt || before.error?.message !== status.error?.message || before.error?.code !== status.error?.code) {
      connection.set(status)
      dirty.add(connection as never)
    }
    for (const live of inert) refreshSnapshot(live)
    inert.clear()
    for (const live of active.values()) refreshSnapshot(live)
    changedViews.clear()
    refreshPending()
    if (rejected.snapshot !== rejectedItems) {
      rejected.set(rejectedItems)
      dirty.add(rejected as never)
    }
    const sources = [...dirty]
    dirty.clear()
    for (const source of sources) source.notify()
  }
  /** Queries that are not live any more, or will never be. */
  const inert = new Set<Live>()

  // The page.

  const warnBeforeLeaving = (event: Event) => event.preventDefault()
  let guarding = false
  const guardPage = (guard: boolean) => {
    if (guard === guarding) return
    guarding = guard
    if (guard) env.page?.addEventListener("beforeunload", warnBeforeLeaving)
    else env.page?.removeEventListener("beforeunload", warnBeforeLeaving)
  }
  const networkUp = () => dispatch({ type: "networkUp" })
  const networkDown = () => dispatch({ type: "networkDown" })
  env.page?.addEventListener("online", networkUp)
  env.page?.addEventListener("offline", networkDown)

  const closedError = syncError(new SyncError.Closed({ message: "The client was closed." }))

  for (const entry of outbox.entries) {
    const definition = contract.mutations[entry.name]
    const decoded = definition === undefined ? undefined : Mutation.decodePayload(definition, entry.payload)
    if (definition === undefined || decoded?.ok !== true) continue
    calls.set(entry.id, { definition, payload: decoded.value, resolve: () => undefined })
    changed(replica.mutate(entry.id, runner(entry.name, decoded.value)))
  }
  dispatch({ type: "start" })

  return {
    query,
    mutate,
    connection,
    pending,
    rejected,
    get abandoned() {
      return abandoned
    },
    close() {
      if (closed) return
      closed = true
      dispatch({ type: "close" })
      guardPage(false)
      env.page?.removeEventListener("online", networkUp)
      env.page?.removeEventListener("offline", networkDown)
      for (const live of active.values()) live.stopExpiry?.()
      for (const { resolve } of calls.values()) resolve({ ok: false, error: closedError })
      calls.clear()
      publish()
    }
  }
}

const loading: Snapshot = { value: undefined, status: "loading", error: undefined }

const withResolver = () => {
  let resolve!: (settled: Settled) => void
  const outcome = new Promise<Settled>((done) => {
    resolve = done
  })
  return { outcome, resolve }
}

const keyOf = (definition: Query.Named.Any, wire: { readonly [name: string]: Json }): string =>
  `${definition.name} ${JSON.stringify(Object.keys(wire).sort().map((name) => [name, wire[name]]))}`

const syncError = (reason: SyncError.Reason) => new SyncError.SyncError({ reason })

const settledOf = (definition: Mutation.Any, outcome: Outcome): Settled => {
  switch (outcome.type) {
    case "success": {
      const value = Mutation.decodeSuccess(definition, outcome.value)
      return value.ok ? { ok: true, value: value.value } : { ok: false, error: undecodable(definition) }
    }
    case "error": {
      const error = Mutation.decodeError(definition, outcome.error)
      return { ok: false, error: error ?? undecodable(definition) }
    }
    case "refused":
      return { ok: false, error: syncErrorOf(outcome.reason) }
  }
}

const undecodable = ({ name }: Mutation.Any) =>
  syncError(new SyncError.ContractMismatch({ message: `The server's answer to ${name} does not fit this client's contract.` }))

const syncErrorOf = (refusal: Refusal): SyncError.SyncError => syncError(reasonOf(refusal))

const reasonOf = (refusal: Refusal): SyncError.Reason => {
  switch (refusal._tag) {
    case "WriteRefused":
      return new WriteRefused({ table: refusal.table, key: refusal.key, constraint: refusal.constraint, message: refusal.message })
    case "DependencyRejected":
      return new SyncError.DependencyRejected({ seq: refusal.seq, message: refusal.message })
    case "Forbidden":
      return new SyncError.Forbidden({ message: refusal.message })
    case "InvalidPayload":
      return new SyncError.InvalidPayload({ message: refusal.message })
    case "UnknownMutation":
      return new SyncError.UnknownMutation({ message: refusal.message })
    case "Unauthenticated":
      return new SyncError.Unauthenticated({ message: refusal.message })
    case "LimitExceeded":
      return new SyncError.LimitExceeded({ message: refusal.message })
    default:
      return new SyncError.ServerFailure({ message: refusal.message })
  }
}

const queryError = ({ code, message }: Extract<ServerMessage, { type: "error" }>): SyncError.SyncError => {
  switch (code) {
    case "Forbidden":
      return syncError(new SyncError.Forbidden({ message }))
    case "InvalidParameters":
      return syncError(new SyncError.InvalidPayload({ message }))
    case "UnknownQuery":
    case "ContractMismatch":
      return syncError(new SyncError.ContractMismatch({ message }))
    case "BudgetExceeded":
      return syncError(new SyncError.BudgetExceeded({ message }))
    case "LimitExceeded":
      return syncError(new SyncError.LimitExceeded({ message }))
    case "Unauthenticated":
      return syncError(new SyncError.Unauthenticated({ message }))
    default:
      return syncError(new SyncError.ServerFailure({ message }))
  }
}
