/**
 * A query's value, kept current: one plain type for Effect, promises and UI frameworks.
 *
 * Inert until somebody subscribes or preloads; then it stays live until `keepAlive` after the last one left. What needs
 * Effect is a function here, so it is not bundled unless it is used.
 */
import type { SyncError } from "@headwater/core/SyncError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as liveKeys from "./internal/liveKeys.ts"
import type { Observable } from "./internal/observable.ts"

export interface LiveQuery<out A> extends Observable<Snapshot<A>> {
  /** Makes it live. Resolves once it is, or has failed; never rejects. */
  readonly preload: () => Promise<void>
}

export interface Snapshot<out A> {
  /** Undefined while nothing is known; kept while it is stale or failed. The same object until it changes. */
  readonly value: A | undefined
  /** `loading`: nothing known yet. `live`: at the connection's position. `stale`: offline, or resyncing. `failed`: see `error`. */
  readonly status: "loading" | "live" | "stale" | "failed"
  readonly error: SyncError | undefined
}

/** How one value became the next. */
export interface Diff<out A> {
  /** `index` in the new value, ascending. */
  readonly added: ReadonlyArray<{ readonly row: A; readonly index: number }>
  /** `index` in the old value, ascending. */
  readonly removed: ReadonlyArray<{ readonly row: A; readonly index: number }>
  /**
   * Rows with another content, or another place among the rest, ascending by `index` in the new value; `from` is that in the old one.
   * Taking `removed` and `changed` out of the old value, and putting `added` and `changed` in by ascending `index`, gives the new one.
   */
  readonly changed: ReadonlyArray<{ readonly before: A; readonly row: A; readonly from: number; readonly index: number }>
}

/** Each value, the first one once it is known. Skips values that nobody took in time. Fails when the query fails. */
export const values = <A>(query: LiveQuery<A>): Stream.Stream<A, SyncError> => Stream.map(changes(query), ({ value }) => value)

/** The whole first value as added, then how each value became the next that was taken. Fails when the query fails. */
export const diffs = <A>(query: LiveQuery<ReadonlyArray<A>>): Stream.Stream<Diff<A>, SyncError> =>
  Stream.mapAccum(changes(query), (): Value<ReadonlyArray<A>> => nothing, (before, after) => [after, [diff(before, after)]] as const)

/** The value once it is live; then it stays for `keepAlive`. */
export const get = <A>(query: LiveQuery<A>): Effect.Effect<A, SyncError> => Effect.callback<A, SyncError>((resume) => {
  const look = () => {
    const { error, status, value } = query.snapshot
    if (status === "live") resume(Effect.succeed(value as A))
    else if (status === "failed" && error !== undefined) resume(Effect.fail(error))
    else return
    stop()
  }
  let stop = () => undefined as void
  const leave = query.subscribe(look)
  stop = leave
  look()
  return Effect.sync(leave)
})

interface Value<A> {
  readonly value: A
  readonly keys: ReadonlyArray<string>
}

const nothing: Value<ReadonlyArray<never>> = { value: [], keys: [] }

const changes = <A>(query: LiveQuery<A>): Stream.Stream<Value<A>, SyncError> =>
  Stream.callback<Value<A>, SyncError>((queue) => Effect.acquireRelease(
    Effect.sync(() => {
      let last: A | undefined
      const look = () => {
        const { error, status, value } = query.snapshot
        if (value !== undefined && value !== last) {
          last = value
          // Keys as of now: the one who takes this may come later.
          Queue.offerUnsafe(queue, { value, keys: liveKeys.get(query) })
        }
        if (status === "failed" && error !== undefined) Queue.failCauseUnsafe(queue, Cause.fail(error))
      }
      const leave = query.subscribe(look)
      look()
      return leave
    }),
    (leave) => Effect.sync(leave)
  ), { bufferSize: 1, strategy: "sliding" })

const diff = <A>(before: Value<ReadonlyArray<A>>, after: Value<ReadonlyArray<A>>): Diff<A> => {
  const places = new Map(before.keys.map((key, index) => [key, index]))
  const added: Array<Diff<A>["added"][number]> = []
  const changed: Array<Diff<A>["changed"][number]> = []
  /** The place of the last row that stayed as it was. */
  let last = -1
  after.keys.forEach((key, index) => {
    const row = after.value[index]!
    const from = places.get(key)
    places.delete(key)
    if (from === undefined) added.push({ row, index })
    else if (before.value[from] !== row || from < last) changed.push({ before: before.value[from]!, row, from, index })
    else last = from
  })
  const removed = [...places.values()].sort((a, b) => a - b).map((index) => ({ row: before.value[index]!, index }))
  return { added, removed, changed }
}
