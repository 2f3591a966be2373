/**
 * The live queries: one handle for all that ask for the same, a subscription while somebody watches and some time longer.
 *
 * Invariant: equal parameters give the same handle as long as anybody holds it or it is active. A query is *active* from its
 * first watcher until nobody has watched it for its keep-alive; exactly then it has a view in the replica and, where the connection
 * is online, a subscription. It is brought to the server by `hello` or by a message of its own, once per connection.
 *
 * A snapshot is made when it is read, and stays the same object while nothing of it changes.
 *
 * Time of `refresh`: O(active). Memory of an inert query: one entry, until its handle is collected.
 */
import type { Key } from "@headwater/core/Key"
import type { Hello } from "@headwater/core/Message"
import * as Plan from "@headwater/core/Plan"
import * as Query from "@headwater/core/Query"
import type { Row } from "@headwater/core/Row"
import * as SyncError from "@headwater/core/SyncError"
import type { Json } from "@headwater/core/Value"
import type { LiveQuery as TypedLiveQuery, Snapshot as TypedSnapshot } from "../LiveQuery.ts"
import type { View } from "../Replica.ts"
import * as compile from "./compile.ts"
import * as liveKeys from "./liveKeys.ts"
import * as Observable from "./observable.ts"
import type { OptimisticContext } from "./optimistic.ts"
import { syncError } from "./outcomes.ts"
import type { Shared } from "./shared.ts"

export type LiveQuery = TypedLiveQuery<unknown>
type Snapshot = TypedSnapshot<unknown>

export interface LiveQueries {
  query(name: string, parameters: unknown, keepAliveMillis: number | undefined): LiveQuery
  readonly viewOf: OptimisticContext["viewOf"]
  /** The active ones, for `hello`; they count as asked for. `holds`: whether what is held may be offered. */
  subscriptions(holds: boolean): Hello["subscriptions"]
  /** A connection begins: asks for what `hello` did not, and fails what the server does not know. */
  welcomed(refused: ReadonlyArray<string>): void
  failed(id: number, error: SyncError.SyncError): void
  /** A frame was applied. */
  framed(): void
  /** Brings what handles show up to date; says which are to be told. */
  refresh(changed: ReadonlySet<View>, tell: (source: { notify(): void }) => void): void
  /** Ends all keep-alives. */
  close(): void
}

/** A query with its parameters. */
interface Live {
  readonly asked: Asked
  /** Whoever has it has all of this. */
  readonly handle: LiveQuery
  readonly source: Observable.Source<Snapshot>
  readonly watch: Watch
  /** Of the snapshot, which is made when it is read. */
  shown: Pick<Snapshot, "status" | "error">
  outdated: boolean
  active: Active | undefined
}

interface Asked {
  readonly key: string
  readonly definition: Query.Named.Any
  readonly wire: { readonly [name: string]: Json }
  readonly parameters: Row
}

interface Watch {
  keepAliveMillis: number
  watchers: number
  stopExpiry: (() => void) | undefined
  /** Who waits for it to be live, or to fail. */
  waiting: Array<() => void>
}

interface Active {
  /** The subscription. */
  readonly id: number
  readonly view: View
  error: SyncError.SyncError | undefined
  /** Of `replica.at`: the last state that it was brought to. */
  heldAt: object | null
  /** The connection on which it was asked for. */
  askedOn: number
}

const defaultKeepAliveMillis = 10_000

/** `isCurrent`: whether the connection keeps its queries current. */
export const make = ({ changed, closed, contract, environment: env, link, publish, replica }: Shared, caller: compile.Caller, isCurrent: () => boolean): LiveQueries => {
  let nextId = 1
  const known = new Map<string, WeakRef<Live>>()
  const forgotten = new FinalizationRegistry<string>((key) => {
    if (known.get(key)?.deref() === undefined) known.delete(key)
  })
  /** Keeps them, so that whoever asks again gets the same handle. */
  const active = new Map<string, Live>()
  /** Not live any more, or never: shown anew once. */
  const inert = new Set<Live>()
  const compiled = remembered((definition: Query.Named.Any) => compile.query(definition, caller))
  const planHash = remembered((definition: Query.Named.Any) => Plan.hash(definition.plan))

  const ask = ({ asked, active }: Live) => {
    active!.askedOn = link.state.attempt
    link.send({ type: "subscribe", id: active!.id, query: asked.definition.name, parameters: asked.wire })
  }

  const activate = (live: Live) => {
    live.watch.stopExpiry?.()
    live.watch.stopExpiry = undefined
    if (closed() !== undefined) inert.add(live)
    else if (live.active === undefined) {
      const { definition, key, parameters } = live.asked
      const id = nextId++
      live.active = { id, view: replica.open(id, compiled(definition)(parameters)), error: undefined, heldAt: null, askedOn: -1 }
      active.set(key, live)
      if (!link.isOnline) return
      ask(live)
      link.drain()
    }
  }

  const deactivate = (live: Live) => {
    if (live.active === undefined) return
    const { askedOn, id } = live.active
    if (link.isOnline && askedOn === link.state.attempt) link.send({ type: "unsubscribe", id })
    active.delete(live.asked.key)
    inert.add(live)
    live.active = undefined
    changed(replica.close(id))
    link.drain()
  }

  /** The result ends it: then the query stays for its keep-alive. */
  const watch = (live: Live) => {
    const { watch } = live
    watch.watchers++
    activate(live)
    let watching = true
    return () => {
      if (!watching) return
      watching = false
      if (--watch.watchers > 0 || live.active === undefined) return
      watch.stopExpiry = env.timer(() => {
        watch.stopExpiry = undefined
        deactivate(live)
        publish()
      }, watch.keepAliveMillis)
    }
  }

  const makeLive = (asked: Asked, keepAliveMillis = defaultKeepAliveMillis): Live => {
    const source = Observable.make<Snapshot>(loading, env.report)
    const live: Live = {
      asked, source, shown: loading, outdated: false, active: undefined,
      watch: { keepAliveMillis, watchers: 0, stopExpiry: undefined, waiting: [] },
      handle: {
        get snapshot() {
          return snapshotOf(live)
        },
        subscribe(listener) {
          const leave = watch(live)
          const stop = source.subscribe(listener)
          publish()
          return () => {
            stop()
            leave()
          }
        },
        preload() {
          const leave = watch(live)
          publish()
          return new Promise<void>((resolve) => {
            if (isSettled(live)) resolve()
            else live.watch.waiting.push(resolve)
          }).finally(leave)
        }
      }
    }
    liveKeys.set(live.handle, (): ReadonlyArray<Key> => live.active?.view.known ? live.active.view.keys() : [])
    known.set(asked.key, new WeakRef(live))
    forgotten.register(live, asked.key)
    return live
  }

  const statusOf = ({ active }: Live): Snapshot["status"] => {
    if (closed() !== undefined || active?.error !== undefined) return "failed"
    if (active?.view.known !== true) return "loading"
    return isCurrent() && replica.isCurrent(active.id) ? "live" : "stale"
  }

  return {
    query(name, parameters, keepAliveMillis) {
      const definition = contract.queries[name]!
      const wire = Query.encodeParameters(definition, parameters ?? {})
      const canonical = wire.ok ? Query.decodeParameters(definition, wire.value) : wire
      if (!wire.ok || !canonical.ok) return failedQuery(syncError(new SyncError.InvalidPayload({ message: `${name}: ${canonical.ok ? "" : canonical.message}` })))
      const key = keyOf(definition, wire.value)
      const existing = known.get(key)?.deref()
      if (existing !== undefined && keepAliveMillis !== undefined) existing.watch.keepAliveMillis = keepAliveMillis
      return (existing ?? makeLive({ key, definition, wire: wire.value, parameters: canonical.value }, keepAliveMillis)).handle
    },
    viewOf(asked, parameters) {
      const definition = Object.values(contract.queries).find((other) => other === asked)
      let live: Live | undefined
      if (definition !== undefined) {
        const wire = Query.encodeParameters(definition, parameters ?? {})
        live = wire.ok ? active.get(keyOf(definition, wire.value)) : undefined
      } else {
        const hash = Plan.hash("plan" in asked ? (asked as Query.Named.Any).plan : Query.plan(asked as Query.Query<unknown>).plan)
        live = [...active.values()].find(({ asked: other }) => Object.keys(other.wire).length === 0 && planHash(other.definition) === hash)
      }
      return live && { view: live.active!.view, single: isSingle(live) }
    },
    subscriptions: (holds) => [...active.values()].map(({ active, asked }) => {
      const { at } = replica
      active!.askedOn = link.state.attempt
      return {
        id: active!.id, query: asked.definition.name, parameters: asked.wire,
        ...(holds && at !== null && active!.heldAt === at ? { held: true as const } : undefined)
      }
    }),
    welcomed(refused) {
      for (const live of active.values()) {
        const { name } = live.asked.definition
        live.active!.error = refused.includes(name)
          ? syncError(new SyncError.ContractMismatch({ message: `The server's contract has no query ${name} like this client's.` }))
          : undefined
        if (live.active!.askedOn !== link.state.attempt) ask(live)
      }
    },
    failed(id, error) {
      for (const { active: one } of active.values()) if (one!.id === id) one!.error = error
    },
    framed() {
      for (const { active: one } of active.values()) if (replica.isCurrent(one!.id)) one!.heldAt = replica.at
    },
    refresh(changed, tell) {
      const error = closed()
      const refreshOne = (live: Live) => {
        const after = { status: statusOf(live), error: error ?? live.active?.error }
        const { shown, watch } = live
        if (shown.status === after.status && shown.error === after.error && !(live.active !== undefined && changed.has(live.active.view))) return
        live.shown = after
        live.outdated = true
        tell(live.source)
        if (isSettled(live)) for (const resolve of watch.waiting.splice(0)) resolve()
      }
      inert.forEach(refreshOne)
      inert.clear()
      active.forEach(refreshOne)
    },
    close() {
      for (const { watch } of active.values()) watch.stopExpiry?.()
    }
  }
}

const remembered = <A extends object, B>(f: (a: A) => B): ((a: A) => B) => {
  const known = new WeakMap<A, { readonly value: B }>()
  return (a) => {
    let found = known.get(a)
    if (found === undefined) known.set(a, found = { value: f(a) })
    return found.value
  }
}

const loading: Snapshot = { value: undefined, status: "loading", error: undefined }

const failedQuery = (error: SyncError.SyncError): LiveQuery => {
  const snapshot: Snapshot = { value: undefined, status: "failed", error }
  return { snapshot, subscribe: () => () => undefined, preload: () => Promise.resolve() }
}

const snapshotOf = (live: Live): Snapshot => {
  const { outdated, shown: { error, status }, source } = live
  const before = source.snapshot
  if (!outdated) return before
  live.outdated = false
  const rows = live.active?.view.rows
  const value = rows === undefined || !isSingle(live) ? rows : rows[0] ?? null
  if (before.value !== value || before.status !== status || before.error !== error) {
    source.set(status === "loading" ? loading : { value, status, error })
  }
  return source.snapshot
}

const isSettled = ({ shown: { status } }: Live) => status === "live" || status === "failed"

const isSingle = ({ asked }: Live) => asked.definition.plan.cardinality !== "many"

const keyOf = (definition: Query.Named.Any, wire: { readonly [name: string]: Json }): string =>
  `${definition.name} ${JSON.stringify(Object.keys(wire).sort().map((name) => [name, wire[name]]))}`
