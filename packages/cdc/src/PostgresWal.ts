/**
 * A `ChangeSource` over Postgres' write-ahead log: logical replication by `pgoutput`, one step per transaction, whose
 * position is the LSN at which its commit ends.
 *
 * Each server has a replication slot of its own, and a lease in `headwater.servers` that it renews while it lives. Both
 * go with the layer's scope; those of a server that died are dropped by any other, ten minutes after the lease ended.
 * The slot keeps WAL until it is acknowledged here. If it is lost, or a step does not add up, the source begins
 * again with a new one in the same epoch, and `steps` fails once, so that everything is read again.
 *
 * Steps are decoded where their bytes arrive and wait, in memory up to a bound, for their subscriber; nothing is polled.
 *
 * Tables need REPLICA IDENTITY FULL, which `install` sets: a step has whole rows, also of what an update or delete took away.
 *
 * The log does not have everything: rows that ALTER TABLE or VACUUM FULL rewrites, a partition truncated alone or attached, what
 * happens to a table while it is not published. So the catalog is looked at whenever the log describes a table (which it does
 * before the next write after anything was done to it), and whenever the lease is renewed; what is found begins a new slot.
 *
 * Reads: a read locks its tables, takes its snapshot and notes where the log ends. It completes once the stream has come
 * that far, so that whatever the snapshot sees can be told apart. That takes a millisecond, but after an asynchronous
 * commit, which the log writes later, unless it is made to; so the read makes it.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type { CommitToken, Epoch, Position } from "@headwater/core/Position"
import type { Range } from "@headwater/core/Range"
import * as Sql from "@headwater/core/Sql"
import type * as Table from "@headwater/core/Table"
import * as Arr from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { ChangeSource, ChangeSourceError, CorruptStep, EpochChanged, PositionLost, SourceMisconfigured, SourceUnavailable } from "./ChangeSource.ts"
import * as Correction from "./Correction.ts"
import * as Assembly from "./internal/assembly.ts"
import { Backlog } from "./internal/backlog.ts"
import * as ChangeSet from "./internal/changeSet.ts"
import * as Database from "./internal/database.ts"
import * as Lsn from "./internal/lsn.ts"
import { MalformedMessage } from "./internal/pgoutput.ts"
import * as RangeRead from "./internal/rangeRead.ts"
import * as Replication from "./internal/replication.ts"
import * as Slot from "./internal/slot.ts"
import * as Spool from "./internal/spool.ts"
import * as Snapshot from "./Snapshot.ts"
import * as TransactionLog from "./TransactionLog.ts"

export interface Options {
  /** Where to open the replication connection, if not where `PgClient` connects: a pooler does not pass it on. */
  readonly url?: Redacted.Redacted
  /**
   * How much may wait in memory, about: of one transaction, and of all that was not acknowledged yet. What goes beyond waits in
   * temporary files. 64 MiB by default.
   */
  readonly memoryBytes?: number
  /**
   * How long other servers take this one for alive without hearing of it. It renews its lease three times meanwhile, and then also
   * looks whether its tables are still published. A minute by default.
   */
  readonly lease?: Duration.Input
}

/** The tables must have been installed. Fails where the database is not as it should be; the message says what to do. */
export const layer = (
  tables: ReadonlyArray<Table.Any>,
  options: Options = {}
): Layer.Layer<ChangeSource, ChangeSourceError, PgClient.PgClient> => Layer.effect(ChangeSource, make(tables, options))

const make = Effect.fnUntraced(function*(tables: ReadonlyArray<Table.Any>, options: Options) {
  const pg = yield* PgClient.PgClient
  const { connectTimeout, ssl } = pg.config
  const config: PgClient.PgClientConfig = options.url === undefined ? pg.config : { connectTimeout, ssl, url: options.url }
  const leaseMillis = Duration.toMillis(options.lease ?? "1 minute")
  const slots = Slot.make(pg, tables, leaseMillis)
  yield* slots.advise
  const memoryBytes = options.memoryBytes ?? defaultMemoryBytes
  const spool = Spool.make()
  const backlog = new Backlog()
  const log = TransactionLog.make()
  /** Where the last transactions ended up, for tokens. */
  const positions = new Map<string, Position>()
  /** What the log may forget by, once all that these snapshots see was acknowledged. */
  let settling: ReadonlyArray<Slot.Moment> = []
  /** Any recent transaction id. */
  let near = 0n
  /** What was decoded since the last of `settling`. */
  let unsettledBytes = 0
  let epoch: Epoch | undefined
  let slot: Slot.Slot | undefined
  let connected: Replication.Connection | undefined
  /** The incarnation that the last subscriber knows of; 0 without one. */
  let subscribed = 0
  /** There is no way on. */
  let failure: ChangeSourceError | undefined

  /** There is no way on, if it is not only the database that does not answer. */
  const stop = (error: ChangeSourceError) =>
    Effect.sync(() => {
      if (error.reason._tag === "SourceUnavailable" || error.reason._tag === "CorruptStep") return
      failure = error
      backlog.tell()
    })

  const settle = () => {
    const ready = settling.filter(({ end }) => backlog.isDone(end))
    settling = settling.filter((moment) => !ready.includes(moment))
    for (const { snapshot } of ready) log.settle(snapshot)
  }
  const note = (moment: Slot.Moment) => {
    near = moment.snapshot.xmax
    unsettledBytes = 0
    // The oldest has its turn soon; of the others only the newest matters.
    settling = [...settling.slice(0, 1), moment]
    settle()
  }
  const commit = ({ bytes, chunks, endLsn, isMarked, truncated, xid }: Assembly.Committed) => {
    if (bytes > 0 || truncated.length > 0 || isMarked) {
      unsettledBytes += bytes
      // A large one is on disk already.
      const isStored = backlog.bytes + bytes > memoryBytes
      const kept = isStored && bytes <= memoryBytes ? ChangeSet.store(chunks, spool) : chunks
      const id = Snapshot.widen(xid, near)
      for (const table of truncated) truncates.set(table, id)
      log.append([{ id, position: endLsn, changes: ChangeSet.flat(kept), truncated }])
      remember(positions, `${id}`, endLsn)
      backlog.push({ position: endLsn, transactions: [`${id}`], truncated, chunks: kept }, isStored ? 0 : bytes)
    }
    backlog.pass(endLsn)
  }

  const opened = yield* Deferred.make<void, ChangeSourceError>()
  let system: string | undefined
  let published: Slot.Published | undefined
  /** The transactions that truncated each table last. */
  const truncates = new Map<string, Snapshot.TransactionId>()
  /** Something may have been done to a table: it is time to look. */
  let isSuspect = false
  let altered = yield* Deferred.make<ReadonlyArray<string>>()

  const foreign = (actual: Epoch) => {
    const message = "The database is not the one that was read so far: it was restored, failed over with loss, or installed anew. Restart the server."
    const error = new ChangeSourceError({ reason: new EpochChanged({ expected: epoch!, actual, message }) })
    return Effect.andThen(stop(error), Effect.fail(error))
  }

  /** Streams until the connection or the slot fails. */
  const session = Effect.gen(function*() {
    // Says more than a refused connection.
    if (published === undefined) published = yield* slots.check
    const connection = yield* Effect.mapError(Replication.connect(config), Slot.replicationFailed)
    const [identified] = yield* Effect.mapError(connection.query("IDENTIFY_SYSTEM"), Slot.replicationFailed)
    const actual = `${identified!["systemid"]}.${identified!["timeline"]}`
    const end = Lsn.parse(identified!["xlogpos"]!)
    if (end > Number.MAX_SAFE_INTEGER) {
      return yield* Database.misconfigured("The server has written 8 PiB of write-ahead log, as many as positions can count: move to a new cluster")
    }
    if (system !== undefined && (actual !== system || end < backlog.passed)) return yield* foreign(`${actual}.${published.generation}`)
    system = actual
    if (slot === undefined) {
      published = yield* Effect.tapError(slots.check, stop)
      epoch ??= `${system}.${published.generation}`
      if (epoch !== `${system}.${published.generation}`) return yield* foreign(`${system}.${published.generation}`)
      slot = yield* slots.create(connection)
      // Whatever was done to a table meanwhile may be in the stream, or not: the next slot is one that nothing was done to.
      for (let last = published; hasChanged(last, published = yield* slots.check); last = published) {
        yield* abandon
        slot = yield* slots.create(connection)
      }
      note(yield* slots.renew(slot))
      altered = yield* Deferred.make<ReadonlyArray<string>>()
      backlog.begin(slot.start)
    }
    const assembly = Assembly.make({
      tables: slots.captured,
      spool,
      memoryBytes,
      onDescribed() {
        isSuspect = true
        backlog.tell()
      }
    })
    connected = connection
    yield* Deferred.succeed(opened, undefined)
    const streaming = connection.stream(slots.start(slot, backlog.passed), {
      onWal(bytes) {
        const committed = assembly.push(bytes)
        if (committed) commit(committed)
      },
      onSent(lsn) {
        if (!assembly.isInside()) backlog.pass(lsn)
      }
    })
    return yield* Effect.raceFirst(
      Effect.catch(streaming, (error) => {
        const { cause } = error
        const reason = cause instanceof MalformedMessage ? new CorruptStep({ table: "", message: cause.message }) : cause
        if (!(reason instanceof CorruptStep || reason instanceof SourceMisconfigured)) return Effect.fail(Slot.replicationFailed(error))
        const failed = new ChangeSourceError({ reason })
        return Effect.andThen(stop(failed), Effect.fail(failed))
      }),
      Effect.flatMap(Deferred.await(altered), (names) => {
        const message = `${names.join(", ")}: rows may have changed without the log having it: by ALTER TABLE, a rewrite, partitions, or another publication`
        return Effect.fail(new ChangeSourceError({ reason: new CorruptStep({ table: names[0]!, message }) }))
      })
    )
  }).pipe(Effect.scoped, Effect.ensuring(Effect.sync(() => void (connected = undefined))))

  /** What comes next is a new slot. */
  const abandon = Effect.suspend(() => {
    const old = slot
    slot = undefined
    return old === undefined ? Effect.void : Effect.ignore(slots.drop(old))
  })

  const run = Effect.gen(function*() {
    let waitMillis = minWaitMillis
    let told: string | undefined
    while (true) {
      const reached = backlog.passed
      const error = yield* Effect.flip(session)
      yield* Deferred.fail(opened, error)
      if (failure !== undefined) return yield* Effect.logError(`The write-ahead log is read no more: ${error.message}`)
      if (backlog.passed > reached) {
        waitMillis = minWaitMillis
        told = undefined
      }
      if (!(yield* isUsable(error))) {
        yield* Effect.logWarning(`The replication slot is of no use any more; a new one begins: ${error.message}`)
        yield* abandon
      } else if (error.message !== told) {
        yield* Effect.logWarning(`The replication connection failed; connecting again: ${error.message}`)
      }
      told = error.message
      yield* Effect.sleep(waitMillis)
      waitMillis = Math.min(2 * waitMillis, maxWaitMillis)
    }
  })

  /** Whether the same slot can be tried again. */
  const isUsable = ({ reason }: ChangeSourceError) => {
    if (slot === undefined) return Effect.succeed(true)
    if (reason._tag === "CorruptStep") return Effect.succeed(false)
    // The log shows publications as they were then: one that was missing stays so, even if it is made again.
    if (reason._tag === "SourceUnavailable" && reason.cause instanceof Replication.ReplicationError && reason.cause.code === "42704") return Effect.succeed(false)
    return Effect.orElseSucceed(slots.isIntact(slot), () => true)
  }

  /** Waits until `check` gives something. */
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

  const lost = (after: Position) =>
    new ChangeSourceError({
      reason: new PositionLost({ after, message: `The steps after ${after} are no longer held: what was read before must be read again` })
    })

  /** Makes the log be written up to its end, where an asynchronous commit was content not to. */
  const flush = Effect.ignore(ask(
    pg,
    "select set_config('synchronous_commit', 'local', true), pg_logical_emit_message(true, 'headwater.flush', '')::text"
  ))

  /** Completes once the stream has passed that point of the log. */
  const passed = (end: number, incarnation: number) => {
    const check = until(() => {
      if (failure !== undefined) return Effect.fail(failure)
      if (backlog.incarnation !== incarnation) return Effect.fail(lost(backlog.last))
      return backlog.passed >= end ? Effect.void : undefined
    }).pipe(Effect.flatten)
    const nudged = Effect.timeoutOrElse(check, { duration: flushAfterMillis, orElse: () => Effect.andThen(flush, check) })
    return backlog.passed >= end ? Effect.void : nudged
  }

  const inspecting = yield* Semaphore.make(1)

  /** Looks whether the log still has all that happens. */
  const inspect = Effect.gen(function*() {
    const { incarnation } = backlog
    isSuspect = false
    const now = yield* Effect.tapError(slots.check, stop)
    if (now.generation !== published!.generation) yield* foreign(`${system}.${now.generation}`)
    yield* passed((yield* slots.now).end, incarnation)
    const names = [...now.signatures].filter(([name, { files, stable }]) => {
      const old = published!.signatures.get(name)!
      const emptied = truncates.get(name)
      const isEmptied = emptied !== undefined && !Snapshot.sees(old.snapshot, emptied)
      return stable !== old.stable || files !== old.files && !isEmptied
    }).map(([name]) => name)
    if (names.length > 0) yield* Deferred.succeed(altered, names)
    published = now
  }).pipe(inspecting.withPermit)

  /** Renews the lease, and inspects. */
  const renew = Effect.gen(function*() {
    if (slot === undefined || connected === undefined) return
    note(yield* slots.renew(slot))
    yield* inspect
  }).pipe(Effect.catch((error) => Effect.logWarning("The lease of the replication slot could not be renewed, or the publication not be checked", error.message)))

  yield* Effect.addFinalizer(() => abandon)
  yield* Effect.forkScoped(Effect.tapCause(run, (cause) => Effect.logFatal("The write-ahead log is read no more", cause)))
  yield* Deferred.await(opened)
  yield* Effect.forkScoped(Effect.repeat(renew, Schedule.spaced(leaseMillis / 3)))
  yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
    yield* until(() => isSuspect ? true : undefined)
    yield* Effect.catch(inspect, (error) => Effect.andThen(Effect.logWarning("The tables could not be checked", error.message), Effect.sleep("1 second")))
  })))
  yield* Effect.forkScoped(Effect.repeat(
    Effect.sync(() => {
      settle()
      connected?.confirm(backlog.passed, backlog.flushed)
    }),
    Schedule.spaced("1 second")
  ))
  // Much was committed: what the log holds for reads is forgotten sooner.
  yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
    yield* until(() => unsettledBytes > memoryBytes / 4 ? true : undefined)
    unsettledBytes = 0
    yield* Effect.matchEffect(slots.now, { onFailure: () => Effect.sleep(maxWaitMillis), onSuccess: (moment) => Effect.sync(() => note(moment)) })
  })))

  const byName: Sql.Tables = new Map(slots.captured.map(({ table }) => [table.tableName, table]))

  const steps = (after: Position) =>
    Stream.suspend(() => {
      const { incarnation } = backlog
      let position = after
      subscribed = incarnation
      return Stream.fromPull(Effect.succeed(Effect.flatten(until(() => {
        if (failure !== undefined) return Effect.fail(failure)
        if (backlog.incarnation !== incarnation || position < backlog.acknowledged) return Effect.fail(lost(position))
        const steps = backlog.after(position)
        if (!Arr.isReadonlyArrayNonEmpty(steps)) return undefined
        backlog.deliver(position = steps[steps.length - 1]!.position)
        return Effect.succeed(steps)
      }))))
    })

  const read = (ranges: ReadonlyArray<Range>) =>
    Effect.gen(function*() {
      // After a loss the subscriber still stands at a position that is no more, until it subscribes again.
      const incarnation = yield* until(() => subscribed === 0 || subscribed === backlog.incarnation ? backlog.incarnation : undefined)
      const { delivered } = backlog
      const hold = yield* Effect.acquireRelease(Effect.sync(() => log.hold()), (hold) => Effect.sync(() => hold.close()))
      const reads = ranges.map((range) => RangeRead.make(range, byName))
      const names = new Set(ranges.map(({ table }) => table))
      const [moment, rows] = yield* inSnapshot(pg, names, Effect.forEach(reads, ({ rows, statement }) =>
        Effect.map(ask(pg, statement.text, statement.parameters), rows)))
      yield* passed(moment.end, incarnation)
      note(moment)
      // What a TRUNCATE took away cannot be given back: the answer begins where the subscriber has it.
      const from = yield* Effect.flatten(until(() => {
        if (backlog.incarnation !== incarnation) return Effect.fail(lost(delivered))
        const from = Correction.exactFrom(names, moment.snapshot, hold.transactions, delivered)
        return from !== null && from <= backlog.delivered ? Effect.succeed(from) : undefined
      }))
      const at = (position: Position) => reads.map(({ filter }, i) => Correction.at(filter, moment.snapshot, rows[i]!, hold.transactions, position))
      return { from, at }
    })

  const positionOf = (token: CommitToken) =>
    Effect.gen(function*() {
      if (token.epoch !== epoch || !/^\d{1,20}$/.test(token.transaction)) {
        const message = `The transaction ${token.transaction} is of epoch ${token.epoch}, and this is ${epoch}`
        return yield* new ChangeSourceError({ reason: new EpochChanged({ expected: epoch!, actual: token.epoch, message }) })
      }
      const known = Effect.flatten(until(() => {
        if (failure !== undefined) return Effect.fail(failure)
        const position = positions.get(token.transaction)
        return position === undefined ? undefined : Effect.succeed(position)
      }))
      const id = BigInt(token.transaction)
      // Nearly always it is on its way. Else it is asked for: it may be old, still open, or have left nothing in the log.
      for (let waitMillis = 20;; waitMillis = Math.min(2 * waitMillis, 1_000)) {
        const found = yield* Effect.timeoutOption(known, waitMillis)
        if (Option.isSome(found)) return found.value
        const moment = yield* slots.now
        if (!Snapshot.sees(moment.snapshot, id)) continue
        yield* passed(moment.end, backlog.incarnation)
        const position = positions.get(token.transaction)
        if (position !== undefined) return position
        const [[status]] = (yield* ask(pg, "select pg_xact_status($1::text::xid8)", [token.transaction])) as unknown as [[string | null]]
        if (status !== "aborted") return backlog.last
        return yield* new ChangeSourceError({
          reason: new SourceUnavailable({ message: `The transaction ${token.transaction} was rolled back: no position includes it` })
        })
      }
    })

  return ChangeSource.of({
    epoch: epoch!,
    position: Effect.suspend(() => failure === undefined ? Effect.succeed(backlog.last) : Effect.fail(failure)),
    steps,
    read,
    acknowledge: (position) =>
      Effect.sync(() => {
        backlog.acknowledge(position)
        settle()
      }),
    positionOf,
    promises: { name: "PostgresWal", outsideWrites: true, exact: true }
  })
})

const ask = (pg: PgClient.PgClient, statement: string, parameters: ReadonlyArray<unknown> = []) =>
  Effect.mapError(Database.query(pg, statement, parameters), Database.failed)

const hasChanged = (from: Slot.Published, to: Slot.Published): boolean =>
  [...to.signatures].some(([name, { files, stable }]) => {
    const old = from.signatures.get(name)!
    return stable !== old.stable || files !== old.files
  })

const defaultMemoryBytes = 64 * 1024 * 1024

const minWaitMillis = 20
const maxWaitMillis = 5_000

/** What the server writes by itself while nobody commits takes less. */
const flushAfterMillis = 3

/**
 * Runs reads in one snapshot of the tables. The locks come first: of a table that is truncated later, an earlier snapshot
 * would show nothing.
 */
const inSnapshot = <A>(
  pg: PgClient.PgClient,
  names: ReadonlySet<string>,
  reads: Effect.Effect<A, ChangeSourceError>
): Effect.Effect<readonly [Slot.Moment, A], ChangeSourceError> =>
  Database.transaction(pg, Effect.gen(function*() {
    // In an order that all readers share.
    if (names.size > 0) yield* ask(pg, `lock table ${[...names].sort().map(Sql.table).join(", ")} in access share mode`)
    const [first] = yield* ask(pg, `select pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text, ${settings}`)
    return [Slot.moment(first!), yield* reads] as const
  })).pipe(
    Effect.provideService(SqlClient.BeginTransaction, "begin isolation level repeatable read read only"),
    Effect.catchTag("SqlError", (error) => Effect.fail(Database.failed(error)))
  )

const settings = Object.entries(Sql.sessionSettings).map(([name, value]) => `set_config('${name}', ${Sql.string(value)}, true)`).join(", ")

const remembered = 100_000

/** A map that forgets its oldest entries. */
const remember = <A>(map: Map<string, A>, key: string, value: A): void => {
  map.set(key, value)
  if (map.size > remembered) map.delete(map.keys().next().value!)
}
