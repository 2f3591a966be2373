/**
 * A `ChangeSource` over triggers that write each change to a changelog in the writer's own transaction. Needs no privilege of
 * replication and no setting of the server.
 *
 * Transaction ids are not in commit order, so a step is a set: what became visible between two database snapshots, summed.
 * Cutting a step is inserting a row into `headwater.steps`, whose primary key is its number and position and which holds the
 * snapshot; of several servers that try, one wins. One of them is elected, by an advisory lock, to look for something to cut;
 * the others look for its steps, and cut one themselves after a mutation of their own, or when it seems to be stuck. A step
 * is handed out once its row is durable; its commit makes durable what the step sees.
 *
 * Looks every 2 to 25 ms, and at once on a `CommitSignal`. While nothing is new, one look is one statement that reads two
 * index pages, whatever else runs in the database.
 *
 * A read takes its rows and the changelog entries that no step has yet in one snapshot, so it corrects itself and waits for
 * nothing, unless a table was truncated that moment.
 *
 * A table that was altered, rewritten or repartitioned, or whose triggers were off, is found by a signature of the catalog that
 * goes with the steps: `CorruptStep`, read again. Opens a pool of its own, of two connections and those that read.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { type CommitToken, type Epoch, origin, type Position } from "@headwater/core/Position"
import type { Range } from "@headwater/core/Range"
import * as Sql from "@headwater/core/Sql"
import type { Step } from "@headwater/core/Step"
import type * as Table from "@headwater/core/Table"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type * as SqlError from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { randomBytes } from "node:crypto"
import * as Catalog from "./Catalog.ts"
import { ChangeSource, ChangeSourceError, CorruptStep, EpochChanged, PositionLost, type Reading } from "./ChangeSource.ts"
import { CommitSignal } from "./CommitSignal.ts"
import * as Correction from "./Correction.ts"
import * as Changelog from "./internal/changelog.ts"
import * as Statements from "./internal/changelogSql.ts"
import * as Database from "./internal/database.ts"
import * as Installation from "./internal/installation.ts"
import * as Names from "./internal/names.ts"
import * as RangeRead from "./internal/rangeRead.ts"
import * as Receipts from "./Receipts.ts"
import * as Snapshot from "./Snapshot.ts"
import * as TransactionLog from "./TransactionLog.ts"

export interface Options {
  /** How many reads may run at the same time, each on a connection. 4 unless given. */
  readonly reads?: number
}

/**
 * Of these tables and receipts; `headwater install` must have been run for them. Fails where the database is not as it should be;
 * the message says what to do.
 */
export const layer = (
  tables: ReadonlyArray<Table.Any>,
  options: Options = {}
): Layer.Layer<ChangeSource, ChangeSourceError, PgClient.PgClient | CommitSignal> =>
  Layer.effect(ChangeSource, make(tables, options)).pipe(Layer.provide(Reactivity.layer))

/** A step as a place to go on from. */
interface Base {
  readonly position: Position
  readonly snapshot: Snapshot.Snapshot
  readonly signature: Changelog.Signature
}

const busyMillis = 2
const idleMillis = 25
/** How long the elected server may be busy with its subscriber before another one looks for something to cut. */
const starvedMillis = 250
const electionMillis = 1000
const leaseMillis = 1000
const maxRetryMillis = 1000

const make = Effect.fnUntraced(function*(declared: ReadonlyArray<Table.Any>, options: Options) {
  const { config } = yield* PgClient.PgClient
  const signal = yield* CommitSignal
  const tables = new Map([...declared, Receipts.Receipts].map((table) => [table.tableName, table]))
  const captured = [...tables.values()].filter(({ tableName }) => tableName !== Receipts.Receipts.tableName)
  const relations = JSON.stringify(captured.map(Names.relation))

  const sql = (yield* PgClient.make({
    ...config,
    startupParameters: { ...config.startupParameters, ...session },
    applicationName: "headwater",
    multiplex: false,
    // A change of a large row has it twice; whoever wrote it has set the bound.
    maxMessageSize: 2 ** 30,
    maxConnections: 2 + (options.reads ?? 4)
  }).pipe(Effect.mapError(Database.failed))).withoutTransforms()
  const ask = (statement: string, parameters: ReadonlyArray<unknown> = []) =>
    Effect.mapError(Database.query(sql, statement, parameters), Database.failed)

  const log = TransactionLog.make()
  const waiting = new Set<() => void>()
  /** Counts orders of steps without a gap: what was read in one is of no use in another. */
  let incarnation = 0
  /** The order of steps was broken, or the catalog has changed: begin again. */
  let isBroken = true
  let installed: Installed
  /** The last step that was handed out, or where the first will follow. */
  let delivered: Base
  let acknowledged: Position = origin
  /** Steps after it may still be asked for. */
  let needed: Position
  let leads = false

  const wakeAll = () => {
    const all = [...waiting]
    // They may wait again at once.
    waiting.clear()
    for (const wake of all) wake()
  }

  const begin = (at: Base) => {
    incarnation++
    delivered = at
    needed = at.position
    wakeAll()
  }

  const find = (position: Position) =>
    Effect.map(ask(Statements.stepAt, [String(position)]), ([row]): Base | undefined =>
      row === undefined || row[2] === null
        ? undefined
        : { position, snapshot: Snapshot.parse(row[1]!), signature: Changelog.parseSignature(row[2]!) })

  /** Goes on from the latest step. One is cut where the catalog is not what it was then, so that what follows can be read. */
  const restart: Effect.Effect<void, ChangeSourceError> = Effect.gen(function*() {
    while (true) {
      yield* Effect.provideService(Catalog.check(captured, "triggers"), SqlClient.SqlClient, sql)
      const [found] = yield* ask("SELECT source, version::text FROM headwater.epoch")
      if (found?.[0] !== "triggers") {
        return yield* Database.misconfigured(`What is installed is for the source ${found?.[0]}: run \`headwater install --source triggers\``)
      }
      if (found[1] !== String(Installation.version)) {
        return yield* Database.misconfigured("Another version of Headwater was installed: run `headwater install`")
      }
      const now = parseInstalled((yield* ask(Statements.installation, [relations]))[0]![0]!, captured)
      if (now.problems.length > 0) {
        return yield* Database.misconfigured(`PostgresTriggers cannot run:\n${now.problems.map((line) => `  ${line}`).join("\n")}`)
      }
      if (incarnation > 0 && now.epoch !== installed.epoch) return yield* changed(installed.epoch, now.epoch)
      const base = yield* find(now.step)
      if (base !== undefined && Changelog.altered(base.signature, now.signature, now.numbers, new Map(), now.layouts.roots).size === 0) {
        installed = now
        isBroken = false
        return begin(base)
      }
      yield* ask(Statements.take, [String(now.step), String(2n ** 63n), "{}", "true", "{}", "true"])
    }
  })

  const lost = (after: Position) => {
    isBroken = true
    return Effect.fail(new ChangeSourceError({ reason: new PositionLost({ after, message: `The steps after ${after} are no longer held: everything is read again` }) }))
  }

  /** Throws `CorruptStep` where a table's changes were not captured, or cannot be read any more. */
  const verify = (from: Changelog.Signature, to: Changelog.Signature, emptied: ReadonlyMap<string, number>) => {
    const { layouts: { roots, tables }, numbers, signature } = installed
    for (const number of [...Changelog.altered(from, to, numbers, emptied, roots), ...Changelog.altered(signature, to, numbers, null, roots)]) {
      const table = tables.get(number)!.tableName
      throw new CorruptStep({ table, message: `The table ${table} was altered, rewritten or repartitioned, or its triggers were off: everything is read again` })
    }
  }

  /** The next step, if there is one. `cuts`: or can be made. */
  const look = (connection: Connection, cuts: boolean): Effect.Effect<Step | undefined, ChangeSourceError | SqlError.SqlError> => {
    const base = delivered
    const { snapshot } = base
    const parameters = [String(base.position), String(snapshot.xmax), setOf(snapshot.inProgress), String(cuts), setOf(installed.numbers), "false"]
    return Effect.flatMap(connection.executeValues(Statements.take, parameters) as Effect.Effect<ReadonlyArray<Database.Texts>, SqlError.SqlError>, (rows) => {
      if (rows.some(([, , , , kind]) => kind === "x")) return lost(base.position)
      const [header, entries] = partition(rows)
      if (header === undefined) return Effect.undefined
      const next: Base = { position: Number(header.id), snapshot: header.snapshot, signature: header.signature }
      try {
        verify(base.signature, next.signature, Changelog.emptied(entries))
        const transactions = Changelog.transactions(entries, next.position, installed.layouts)
        const net = Changelog.net(transactions, tables)
        delivered = next
        log.append(transactions)
        // Every later snapshot sees what this one sees.
        log.settle(next.snapshot)
        wakeAll()
        return Effect.succeed({ position: next.position, transactions: transactions.map(({ id }) => String(id)), ...net })
      } catch (error) {
        if (!(error instanceof CorruptStep)) throw error
        isBroken = true
        return Effect.fail(new ChangeSourceError({ reason: error }))
      }
    })
  }

  /** Completes when a step was handed out, or the order broken. */
  const moved: Effect.Effect<void> = Effect.callback((resume) => {
    const wake = () => resume(Effect.void)
    waiting.add(wake)
    return Effect.sync(() => void waiting.delete(wake))
  })

  const steps = (after: Position) =>
    Stream.unwrap(Effect.gen(function*() {
      if (isBroken) yield* restart
      if (after !== delivered.position) {
        const base = after < acknowledged ? undefined : yield* find(after)
        if (base === undefined) return yield* lost(after)
        begin(base)
      }
      const woken = yield* signal.subscribe
      let held: { readonly connection: Connection; readonly scope: Scope.Closeable } | undefined
      let signalled = false
      let electedAt = 0
      let cutAt = 0
      let waitMillis = busyMillis
      let retryMillis = busyMillis

      const close = Effect.suspend(() => {
        const closing = held
        held = undefined
        leads = false
        return closing === undefined ? Effect.void : Scope.close(closing.scope, Exit.void)
      })
      yield* Effect.addFinalizer(() => close)

      const open = Effect.gen(function*() {
        const scope = yield* Scope.make()
        const connection = yield* Effect.provideService(sql.reserve, Scope.Scope, scope).pipe(Effect.onError(() => Scope.close(scope, Exit.void)))
        held = { connection, scope }
        // The connection goes back to the pool: it must not go on holding the lock.
        yield* Scope.addFinalizer(scope, Effect.ignore(connection.executeValues(Statements.resign, [])))
        electedAt = 0
        const [[now]] = (yield* connection.executeValues("SELECT headwater.current_epoch()", [])) as unknown as [[string]]
        if (now !== installed.epoch) return yield* changed(installed.epoch, now)
        return connection
      })

      const lookOnce = Effect.gen(function*() {
        const connection = held?.connection ?? (yield* open)
        const now = yield* Clock.currentTimeMillis
        if (!leads && now - electedAt >= electionMillis) {
          electedAt = now
          const [[won]] = (yield* connection.executeValues(Statements.tryLead, [])) as unknown as [[string]]
          leads = won === "true"
        }
        const cuts = leads || signalled || now - cutAt >= starvedMillis
        if (cuts) cutAt = now
        signalled = false
        return yield* look(connection, cuts)
      })

      const pull: Effect.Effect<readonly [Step], ChangeSourceError> = Effect.gen(function*() {
        while (true) {
          const result = yield* Effect.result(lookOnce)
          if (Result.isFailure(result)) {
            const { failure } = result
            const error = failure instanceof ChangeSourceError ? failure : Database.failed(failure)
            if (error.reason._tag !== "SourceUnavailable") {
              isBroken = true
              return yield* error
            }
            if (retryMillis === busyMillis) yield* Effect.logWarning("The change source lost its connection and opens another", error.message)
            yield* close
            yield* Effect.sleep(retryMillis)
            retryMillis = Math.min(2 * retryMillis, maxRetryMillis)
            continue
          }
          retryMillis = busyMillis
          if (result.success !== undefined) {
            waitMillis = busyMillis
            return [result.success] as const
          }
          signalled = yield* Effect.raceFirst(Effect.as(woken, true), Effect.as(Effect.sleep(waitMillis), false))
          waitMillis = signalled ? busyMillis : Math.min(1.5 * waitMillis, idleMillis)
        }
      })
      return Stream.fromPull(Effect.succeed(pull))
    }))

  const read = Effect.fnUntraced(function*(ranges: ReadonlyArray<Range>) {
    const reads = ranges.map((range) => RangeRead.make(range, tables))
    const hold = log.hold()
    yield* Effect.addFinalizer(() => Effect.sync(hold.close))
    const of = incarnation
    const base = delivered
    const names = new Set(ranges.map(({ table }) => table))
    const numbers = [...installed.layouts.tables].flatMap(([number, { tableName }]) => names.has(tableName) ? [number] : [])

    const [rows, results] = yield* Database.transaction(sql, Effect.gen(function*() {
      // Before the snapshot: one that was taken before a TRUNCATE sees no rows after it. In an order that all readers share.
      if (names.size > 0) yield* sql.unsafe(`LOCK TABLE ${[...names].sort().map(Sql.table).join(", ")} IN ACCESS SHARE MODE`).raw
      const { inProgress, xmax } = base.snapshot
      const rows = yield* Database.query(sql, Statements.unstepped, [String(xmax), setOf(inProgress), setOf(numbers), String(names.has(Receipts.Receipts.tableName))])
      const results = yield* Effect.forEach(reads, ({ statement }) => Database.query(sql, statement.text, statement.parameters))
      return [rows, results] as const
    })).pipe(
      Effect.provideService(SqlClient.BeginTransaction, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
      Effect.mapError(Database.failed),
      // The pool may hold connections that ended unnoticed; one that is new is not among them.
      Effect.retry({ times: 2 + (options.reads ?? 4), while: ({ reason }) => reason._tag === "SourceUnavailable" })
    )
    const [header, entries] = partition(rows)
    const { id: oldest, signature, snapshot } = header!
    // Without a lease that was kept up, entries may be gone that no step has handed out here.
    if (of !== incarnation || Number(oldest) > delivered.position) return yield* lost(base.position)
    try {
      verify(base.signature, signature, Changelog.emptied(entries))
      hold.know(Changelog.transactions(entries, null, installed.layouts))
    } catch (error) {
      if (!(error instanceof CorruptStep)) throw error
      return yield* new ChangeSourceError({ reason: error })
    }
    let from: Position | null
    while ((from = Correction.exactFrom(names, snapshot, hold.transactions, base.position)) === null) {
      yield* moved
      if (of !== incarnation) return yield* lost(base.position)
    }
    const found = reads.map((read, i) => read.rows(results[i]!))
    return {
      from,
      at: (position: Position) => {
        if (of !== incarnation || position < from) {
          throw new CorruptStep({ table: ranges[0]!.table, message: `What was read cannot be told for position ${position}: the order of steps was broken, or a table truncated, in between` })
        }
        return reads.map(({ filter }, i) => Correction.at(filter, snapshot, found[i]!, hold.transactions, position))
      }
    } satisfies Reading
  })

  const positionOf = ({ epoch, transaction }: CommitToken): Effect.Effect<Position, ChangeSourceError> =>
    Effect.gen(function*() {
      if (epoch !== installed.epoch) return yield* changed(epoch, installed.epoch)
      while (true) {
        const [[step]] = (yield* ask(Statements.stepOf, [transaction])) as unknown as [[string | null]]
        if (step !== null) return Number(step)
        yield* Effect.raceFirst(moved, Effect.sleep(idleMillis))
      }
    })

  yield* restart
  const name = `triggers_${randomBytes(8).toString("hex")}`
  const renew = Effect.gen(function*() {
    yield* ask(Statements.lease, [name, String(needed)])
    if (leads) yield* ask(Statements.purge)
  })
  yield* renew
  yield* Effect.addFinalizer(() => Effect.ignore(ask(Statements.endLease, [name])))
  yield* Effect.forkScoped(Effect.repeat(Effect.ignore(renew), Schedule.spaced(leaseMillis)))

  return ChangeSource.of({
    epoch: installed!.epoch,
    position: Effect.suspend(() => isBroken ? Effect.map(restart, () => delivered.position) : Effect.succeed(delivered.position)),
    steps,
    read,
    acknowledge: (position) => Effect.sync(() => void (needed = acknowledged = Math.max(acknowledged, position))),
    positionOf,
    promises: { name: "PostgresTriggers", outsideWrites: true, exact: true }
  })
})

/** For each connection of the pool: nothing that a role or database was given by default may change what is read. */
const session: { readonly [name: string]: string } = {
  ...Sql.sessionSettings,
  application_name: "headwater",
  // A step's number would be used again if its row were lost.
  synchronous_commit: "on",
  default_transaction_isolation: "read committed",
  default_transaction_read_only: "off",
  row_security: "off",
  search_path: "pg_catalog",
  statement_timeout: "0",
  lock_timeout: "0",
  idle_in_transaction_session_timeout: "0",
  // Statements are short; compiling them takes longer than running them.
  jit: "off"
}

const setOf = (items: Iterable<unknown>) => `{${[...items].join(",")}}`

const changed = (expected: Epoch, actual: Epoch) =>
  Effect.fail(new ChangeSourceError({
    reason: new EpochChanged({ expected, actual, message: "The database is not the one that was read so far: it was restored, failed over or installed again. Restart the server." })
  }))

const partition = (rows: ReadonlyArray<Database.Texts>) => {
  let header: { readonly id: string; readonly snapshot: Snapshot.Snapshot; readonly signature: Changelog.Signature } | undefined
  const entries: Array<Changelog.Entry> = []
  for (const [id, transaction, captured, relation, kind, before, after] of rows) {
    if (kind === "s") header = { id: id!, snapshot: Snapshot.parse(before!), signature: Changelog.parseSignature(after ?? "") }
    else entries.push({ id: Number(id), transaction: transaction!, captured: captured!, relation: relation!, kind: kind as Changelog.Entry["kind"], before: before!, after: after! })
  }
  return [header, entries] as const
}

interface Installed {
  readonly epoch: Epoch
  readonly step: Position
  readonly signature: Changelog.Signature
  /** What the captured tables are numbered. */
  readonly numbers: ReadonlySet<string>
  readonly layouts: Changelog.Layouts
  readonly problems: ReadonlyArray<string>
}

const parseInstalled = (json: string, tables: ReadonlyArray<Table.Any>): Installed => {
  const answer = JSON.parse(json) as {
    readonly epoch: Epoch
    readonly step: Position | null
    readonly signature: string
    readonly captured: ReadonlyArray<{ readonly number: string; readonly root: string } | null>
    readonly readable: ReadonlyArray<boolean>
    readonly disabled: ReadonlyArray<string>
    readonly relations: ReadonlyArray<{ readonly captured: string; readonly relation: string; readonly columns: ReadonlyArray<string> }>
  }
  const problems: Array<string> = []
  const byNumber = new Map<string, Table.Any>()
  const roots = new Map<string, string>()
  tables.forEach((table, i) => {
    const found = answer.captured[i]
    if (!found) problems.push(`${table.tableName} is not captured: run \`headwater install\``)
    else {
      byNumber.set(found.number, table)
      roots.set(found.number, found.root)
    }
    if (answer.readable[i] === false) problems.push(`this role may not read ${table.tableName}: GRANT SELECT ON ${Names.relation(table)}`)
  })
  for (const line of answer.disabled) problems.push(`a trigger is missing or not enabled ALWAYS (${line}): run \`headwater install\``)
  const relations = new Map<string, Changelog.Layout>()
  for (const { captured, columns, relation } of answer.relations) {
    const table = byNumber.get(captured)
    const layout = table && Changelog.layout(table, columns)
    if (layout) relations.set(relation, layout)
  }
  return {
    epoch: answer.epoch,
    step: answer.step ?? 0,
    signature: Changelog.parseSignature(answer.signature),
    numbers: new Set(byNumber.keys()),
    layouts: { tables: byNumber, roots, relations, receipts: Changelog.layout(Receipts.Receipts, Statements.receiptFields)! },
    problems
  }
}
