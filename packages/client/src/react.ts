/**
 * Live queries and a client's state in React components, for clients of both kinds.
 *
 * Sound under StrictMode, concurrent rendering and hot reload: handles with equal parameters are the same handle, a render starts
 * nothing but a Suspense read, and what it starts ends with `keepAlive`.
 */
import { useSyncExternalStore } from "react"
import type { Observable } from "./internal/observable.ts"
import type { LiveQuery, Snapshot } from "./LiveQuery.ts"

/** The query's value, status and error; live while the component is mounted. `value` is undefined while nothing is known. */
export const useLiveQuery = <A>(query: LiveQuery<A>): Snapshot<A> => useObservable(query)

/** The query's value. Suspends while nothing is known; throws the query's error where there is no value to show. */
export const useLiveQuerySuspense = <A>(query: LiveQuery<A>): A => {
  const { error, status, value } = useObservable(query)
  if (value !== undefined) return value
  if (status === "failed") throw error
  // Not by `use`: whether it is called must not depend on what was known in the last render.
  throw preloaded(query)
}

interface HasSync<K extends string, A> {
  readonly sync: { readonly [_ in K]: Observable<A> }
}

/** The connection's status, and when and why it tries again. */
export const useConnection = <A>(client: HasSync<"connection", A>): A => useObservable(client.sync.connection)

/** The mutations that were not answered yet, in order. */
export const usePending = <A>(client: HasSync<"pending", A>): A => useObservable(client.sync.pending)

/** The mutations that failed, to retry or dismiss. */
export const useRejected = <A>(client: HasSync<"rejected", A>): A => useObservable(client.sync.rejected)

const useObservable = <A>(observable: Observable<A>): A => {
  const get = () => observable.snapshot
  return useSyncExternalStore(observable.subscribe, get, get)
}

/** The same promise in each render while it waits. */
const preloads = new WeakMap<LiveQuery<unknown>, Promise<void>>()

const preloaded = (query: LiveQuery<unknown>): Promise<void> => {
  let promise = preloads.get(query)
  if (promise === undefined) {
    promise = query.preload().finally(() => preloads.delete(query))
    preloads.set(query, promise)
  }
  return promise
}
