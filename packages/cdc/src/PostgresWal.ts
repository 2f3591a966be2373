/**
 * A `ChangeSource` over Postgres' write-ahead log: logical replication by `pgoutput`, one step per transaction, whose
 * position is the LSN at which its commit ends.
 *
 * Each server has a replication slot of its own, and a lease in `headwater.servers` that it renews while it lives. Both
 * go with the layer's scope; those of a server that died are dropped by any other, ten minutes after the lease ended.
 * The slot keeps WAL until it is acknowledged here. If it is lost, or a step does not add up, the source begins
 * again with a new one in the same epoch, and `steps` fails once, so that everything is read again.
 *
 * Steps are decoded where their bytes arrive and wait in memory for their subscriber; nothing is polled.
 *
 * Reads: a read locks its tables, takes its snapshot and notes where the log ends. It completes once the stream has come
 * that far, so that whatever the snapshot sees can be told apart. That takes a millisecond, but after an asynchronous
 * commit, which the log writes later, unless it is made to; so the read makes it.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type { Epoch, Position } from "@headwater/core/Position"
import type * as Table from "@headwater/core/Table"
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { ChangeSource, ChangeSourceError, CorruptStep, EpochChanged, PositionLost, SourceMisconfigured, SourceUnavailable } from "./ChangeSource.ts"
import * as Assembly from "./internal/assembly.ts"
import { Backlog } from "./internal/backlog.ts"
import * as Lsn from "./internal/lsn.ts"
import { MalformedMessage } from "./internal/pgoutput.ts"
import * as Replication from "./internal/replication.ts"
import * as Slot from "./internal/slot.ts"
import * as Snapshot from "./Snapshot.ts"
import * as TransactionLog from "./TransactionLog.ts"

export interface Options {
  /** Where to open the replication connection, if not where `PgClient` connects: a pooler does not pass it on. */
  readonly url?: Redacted.Redacted
}

/** The tables must have been installed. Fails where the database is not as it should be; the message says what to do. */
export const layer = (
  tables: ReadonlyArray<Table.Any>,
  options: Options = {}
): Layer.Layer<ChangeSource, ChangeSourceError, PgClient.PgClient> => Layer.effect(ChangeSource, make(tables, options))

const make = Effect.fnUntraced(function*(tables: ReadonlyArray<Table.Any>, options: Options) {
  const pg = yield* PgClient.PgClient
  const config: PgClient.PgClientConfig = options.url === undefined ? pg.config : { url: options.url }
  const slots = yield* Slot.make(pg, tables)
  const backlog = new Backlog()
  const log = TransactionLog.make()
  /** Snapshots that the log may forget by, once all that they see was acknowledged. */
  let settling: ReadonlyArray<{ readonly snapshot: Snapshot.Snapshot; readonly end: number }> = []
  /** Any recent transaction id. */
  let near = 0n
  /** Where the last transactions ended up, for tokens. */
  const positions = new Map<string, Position>()
  let failure: ChangeSourceError | undefined
  let connected: Replication.Connection | undefined

  const note = (snapshot: Snapshot.Snapshot, end: number) => {
    near = snapshot.xmax
    // The oldest is near its turn; of the others only the newest matters.
    settling = [...settling.slice(0, 1), { snapshot, end }]
    settle()
  }
  const settle = () => {
    const ready = settling.filter(({ end }) => backlog.isDone(end))
    settling = settling.filter((waiting) => !ready.includes(waiting))
    for (const { snapshot } of ready) log.settle(snapshot)
  }

  const commit = (committed: Assembly.Committed) => {
    if (committed.changes.length > 0 || committed.truncated.length > 0 || committed.isMarked) {
      if (committed.endLsn > Number.MAX_SAFE_INTEGER) throw new Error("the write-ahead log is longer than 8 PiB")
      const id = Snapshot.widen(committed.xid, near)
      const { changes, truncated } = committed
      const transaction = `${id}`
      log.append([{ id, position: committed.endLsn, changes, truncated }])
      remember(positions, transaction, committed.endLsn)
      backlog.push({ position: committed.endLsn, transactions: [transaction], truncated, chunks: chunked(changes) })
    }
    backlog.pass(committed.endLsn)
  }

  const handlers = (): Replication.Handlers => {
    const assembly = Assembly.make(slots.captured)
    return {
      onWal(bytes) {
        const committed = assembly.push(bytes)
        if (committed) commit(committed)
      },
      onSent(lsn) {
        if (!assembly.isInside()) backlog.pass(lsn)
      }
    }
  }

  /** Waits until `check` gives something else than undefined. */
  const until = <A>(check: () => A | undefined): Effect.Effect<A> =>
    Effect.callback((resume) => {
      const first = check()
      if (first !== undefined) return resume(Effect.succeed(first))
      const stop = backlog.listen(() => {
        const value = check()
        if (value === undefined) return
        stop()
        resume(Effect.succeed(value))
      })
      return Effect.sync(stop)
    })

  const identify = (connection: Replication.Connection) =>
    Effect.map(connection.query("IDENTIFY_SYSTEM"), ([system]) => ({
      epoch: `${system!["systemid"]}.${system!["timeline"]}.${slots.generation}` as Epoch,
      end: Lsn.parse(system!["xlogpos"]!)
    }))

  const first = yield* Effect.scoped(Effect.flatMap(Replication.connect(config), identify)).pipe(Effect.mapError(refused))
  if (first.end > Number.MAX_SAFE_INTEGER) {
    return yield* misconfigured("This server has written more than 8 PiB of write-ahead log, beyond what positions can count: move to a new cluster")
  }
  const { epoch } = first
  let slot: Slot.Slot | undefined

  yield* Effect.addFinalizer(() => Effect.suspend(() => slot ? slots.drop(slot) : Effect.void))

  /** Runs until the connection or the slot fails. */
  const session = Effect.scoped(Effect.gen(function*() {
    const connection = yield* Replication.connect(config)
    const system = yield* identify(connection)
    if (system.epoch !== epoch || system.end < backlog.passed) {
      failure = new ChangeSourceError({
        reason: new EpochChanged({
          expected: epoch,
          actual: system.epoch,
          message: "The database is not the one that was read so far: it was restored, or failed over. Restart the server."
        })
      })
      backlog.tell()
      return yield* Effect.never
    }
    if (slot === undefined) {
      slot = yield* slots.create(connection)
      note(slot.snapshot, slot.start)
      backlog.begin(slot.start)
    }
    connected = connection
    yield* connection.stream(slots.start(slot, backlog.passed), handlers())
  }))

  void CorruptStep
  void MalformedMessage
  void SourceUnavailable
  yield* Effect.forkScoped(Effect.retry(session, Schedule.spaced("50 millis")))
  yield* until(() => backlog.incarnation > 0 ? true : undefined)

  return ChangeSource.of({
    epoch,
    position: Effect.sync(() => backlog.last),
    steps: (after) =>
      Stream.suspend(() => {
        const { incarnation } = backlog
        let position = after
        const next = until(() => {
          if (failure) return Effect.fail(failure)
          if (backlog.incarnation !== incarnation || position < backlog.base || position < backlog.acknowledged) {
            return Effect.fail(new ChangeSourceError({
              reason: new PositionLost({ after: position, message: `The steps after ${position} are no longer held` })
            }))
          }
          const steps = backlog.after(position)
          if (!Arr.isReadonlyArrayNonEmpty(steps)) return undefined
          position = steps[steps.length - 1]!.position
          return Effect.succeed(steps)
        })
        return Stream.fromPull(Effect.succeed(Effect.flatten(next)))
      }),
    read: () => Effect.never,
    acknowledge: (position) => Effect.sync(() => {
      backlog.acknowledge(position)
      settle()
      connected?.confirm(backlog.passed, backlog.flushed)
    }),
    positionOf: () => Effect.never,
    promises: { name: "PostgresWal", outsideWrites: true, exact: true }
  })
})

const refused = (error: Replication.ReplicationError): ChangeSourceError =>
  new ChangeSourceError({ reason: new SourceUnavailable({ message: error.message, cause: error }) })

const misconfigured = (message: string) => new ChangeSourceError({ reason: new SourceMisconfigured({ message }) })

const maxChunk = 1024

const chunked = <A>(all: ReadonlyArray<A>): Iterable<ReadonlyArray<A>> => {
  if (all.length <= maxChunk) return all.length === 0 ? [] : [all]
  return {
    *[Symbol.iterator]() {
      for (let from = 0; from < all.length; from += maxChunk) yield all.slice(from, from + maxChunk)
    }
  }
}

const remembered = 100_000

/** A map that forgets its oldest entries. */
const remember = <A>(map: Map<string, A>, key: string, value: A): void => {
  map.set(key, value)
  if (map.size > remembered) map.delete(map.keys().next().value!)
}
