/**
 * A `Writer` over Postgres.
 *
 * A mutation is one transaction: the client's row is locked and its number taken by one UPDATE, a savepoint keeps that apart from
 * what the handler does, deferred constraints are checked before the receipt is stored (one that failed at COMMIT would take
 * the receipt with it), and a rejection rolls back to the savepoint and is stored too. Statements that wait for no answer are sent
 * together, so an applied mutation costs its handler's round trips and two more.
 *
 * It has connections of its own, made from the settings of the `PgClient` around it: with the session settings that the
 * codecs need, and never shared by two transactions at a time. A handler that uses `SqlClient` runs in its mutation's transaction.
 */
import { CommitSignal } from "@headwater/cdc/CommitSignal"
import { Receipts } from "@headwater/cdc/Receipts"
import { sessionSettings } from "@headwater/core/Sql"
import { Transaction, type WriteRefused } from "@headwater/core/Transaction"
import * as PgClient from "@effect/sql-pg/PgClient"
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import * as PgPool from "@effect/sql-pg/PgPool"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { Connection } from "effect/sql/SqlConnection"
import { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as Numbering from "./internal/numbering.ts"
import * as PostgresTransaction from "./internal/postgresTransaction.ts"
import * as SqlFailure from "./internal/sqlFailure.ts"
import * as Telemetry from "./Telemetry.ts"
import { ClientTaken, type Command, type Outcome, type ReceiptsTable, type Result, type Rules, Writer, WriterUnavailable } from "./Writer.ts"

export interface Options {
  /**
   * Transactions at the same time, each on a connection of its own; 8 by default. More mutations wait their turn. Sized for the
   * database: about twice its cores is where more stop helping.
   */
  readonly connections?: number | undefined
  /** A statement that takes longer fails its mutation; 30 seconds by default. */
  readonly statementTimeout?: Duration.Input | undefined
  /** A handler that takes longer fails, and gives its connection back; 1 minute by default. */
  readonly handlerTimeout?: Duration.Input | undefined
  /** Outcomes that are kept for a client that does not acknowledge them; 10,000 by default. Then it is refused. */
  readonly maxReceipts?: number | undefined
  /** How long the outcomes of a client are kept that is not seen; 30 days by default. What it sends again after that is not run. */
  readonly clientRetention?: Duration.Input | undefined
}

/** What an attempt leaves behind when its COMMIT was sent. */
interface Progress {
  after: ReadonlyArray<Effect.Effect<void>>
}

/** Ends an attempt that may be made again. */
class Again extends Data.TaggedError("Again")<{ readonly cause: SqlError; readonly disconnected: boolean }> {}

const take = `UPDATE headwater.clients SET last_seq = $2::int8, seen = now(), acknowledged = greatest(acknowledged, least($3::int8, $2::int8 - 1))
WHERE client = $1 AND last_seq = $2::int8 - 1 AND identity = $4 AND last_seq - greatest(acknowledged, $3::int8) < $5::int8 RETURNING acknowledged::text`

/** One that has no receipt any more may have been. Those that a client still names, it has not acknowledged. */
const rejectedBefore = `SELECT min(dependency)::text FROM unnest($2::int8[]) AS dependency
LEFT JOIN headwater.receipts r ON r.client = $1 AND r.seq = dependency WHERE r.rejected IS NOT FALSE`

const store = "INSERT INTO headwater.receipts (client, seq, mutation, hash, outcome, rejected, trace) VALUES ($1, $2::int8, $3, $4, $5, $6::boolean, $7)"

const prune = "DELETE FROM headwater.receipts WHERE client = $1 AND seq <= $2::int8"

const stored = `SELECT c.identity, c.last_seq::text, c.acknowledged::text, r.hash, r.outcome FROM headwater.clients c
LEFT JOIN headwater.receipts r ON r.client = c.client AND r.seq = $2::int8 WHERE c.client = $1`

const claimClient = `INSERT INTO headwater.clients (client, identity) VALUES ($1, $2)
ON CONFLICT (client) DO UPDATE SET seen = now() RETURNING identity, last_seq::text`

const unseen = "seen < now() - $1::float8 * interval '1 second'"

/** The clients stay, without their receipts: so that what they send again is known to have been run. */
const pruneReceipts = `WITH gone AS (
  SELECT client FROM headwater.clients c WHERE ${unseen} AND EXISTS (SELECT FROM headwater.receipts r WHERE r.client = c.client)
  LIMIT 100 FOR UPDATE SKIP LOCKED
), dropped AS (DELETE FROM headwater.receipts r USING gone WHERE r.client = gone.client)
UPDATE headwater.clients c SET acknowledged = last_seq FROM gone WHERE c.client = gone.client RETURNING 1`

/** Those for which nothing was ever run. */
const pruneClients = `DELETE FROM headwater.clients WHERE client IN (
  SELECT client FROM headwater.clients WHERE last_seq = 0 AND ${unseen} LIMIT 1000 FOR UPDATE SKIP LOCKED
) RETURNING 1`

type Texts = ReadonlyArray<string | null>

const make = Effect.fnUntraced(function*(options: Options) {
  const pg = yield* PgClient.PgClient
  const signal = yield* CommitSignal
  const telemetry = yield* Telemetry.Telemetry
  const scope = yield* Effect.scope
  const handlerTimeout = options.handlerTimeout ?? "1 minute"
  const maxReceipts = options.maxReceipts ?? 10_000
  const pool = yield* PgPool.make({
    ...pg.config,
    maxConnections: options.connections ?? 8,
    // Of a session that nobody shares, a pipeline: statements sent together arrive together.
    multiplex: true,
    multiplexConcurrency: 1,
    startupParameters: {
      ...pg.config.startupParameters,
      ...sessionSettings,
      statement_timeout: String(Math.ceil(Duration.toMillis(options.statementTimeout ?? "30 seconds")))
    }
  })

  const query = (connection: PgConnection.PgConnection, text: string, parameters: ReadonlyArray<unknown> = []) =>
    connection.queryValues(text, parameters) as Effect.Effect<ReadonlyArray<Texts>, SqlError>

  /** Sends all at once; each runs, whether or not those before it failed. */
  const together = (connection: PgConnection.PgConnection, statements: ReadonlyArray<readonly [text: string, parameters?: ReadonlyArray<unknown>]>) =>
    Effect.all(
      statements.map(([text, parameters]) => Effect.exit(connection.query(text, parameters ?? []))),
      { concurrency: "unbounded" }
    )

  const values = (result: Exit.Exit<PgConnection.Result, SqlError>) =>
    Exit.isSuccess(result) ? Effect.succeed(result.value.rows.map((row) => Object.values(row) as Texts)) : Effect.failCause(result.cause)

  const again = (error: SqlError): Effect.Effect<never, Again | SqlError> => {
    const failure = SqlFailure.classify(error)
    return Effect.fail(failure === "conflict" || failure === "disconnected" ? new Again({ cause: error, disconnected: failure === "disconnected" }) : error)
  }

  /** What the handler's end means. Whatever is unexpected stays inside: the caller learns that it happened. */
  const judge = (exit: Exit.Exit<Outcome, Outcome>, refused: WriteRefused | undefined): Effect.Effect<{ readonly outcome: Outcome; readonly rejected: boolean }, Again> => {
    const reject = (outcome: Outcome) => Effect.succeed({ outcome, rejected: true })
    if (Exit.isSuccess(exit)) return refused === undefined ? Effect.succeed({ outcome: exit.value, rejected: false }) : reject(refusal(refused))
    for (const reason of exit.cause.reasons) {
      if (reason._tag === "Fail") return reject(reason.error)
      if (reason._tag !== "Die" || !SqlFailure.isSqlError(reason.defect)) continue
      const failure = SqlFailure.classify(reason.defect)
      if (failure === "conflict" || failure === "disconnected") return Effect.fail(new Again({ cause: reason.defect, disconnected: false }))
    }
    const found = refused ?? PostgresTransaction.refusalIn(exit.cause)
    if (found !== undefined) return reject(refusal(found))
    return Effect.andThen(Effect.logError("A mutation's handler failed unexpectedly", exit.cause), reject(unexpected))
  }

  /** One transaction. Fails with `Again` where it had no effect, or where that is not known (`disconnected`). */
  const attempt = <R>(command: Command, rules: Rules, run: Effect.Effect<Outcome, Outcome, R>, progress: Progress) =>
    Effect.scopedWith((scope) =>
      Effect.uninterruptibleMask(Effect.fnUntraced(function*(restore) {
        const { client, seq } = command
        const connection = yield* restore(Scope.provide(pool.get, scope))
        let open = true
        yield* Scope.addFinalizer(scope, Effect.suspend(() =>
          open ? Effect.catch(Effect.asVoid(connection.query("ROLLBACK")), () => pool.invalidate(connection)) : Effect.void))

        const [, taken, , earlier] = yield* together(connection, [
          ["BEGIN"],
          [take, [client, seq, command.acknowledged, command.identity, maxReceipts]],
          ["SAVEPOINT headwater"],
          ...command.after.length === 0 ? [] : [[rejectedBefore, [client, `{${command.after.join(",")}}`]] as const]
        ])
        const [mine] = yield* values(taken!)
        if (mine === undefined) return undefined

        const transaction = PostgresTransaction.make(connection, rules, command.principal, Context.omit(pg.transactionService))
        const dependency = earlier === undefined ? null : (yield* values(earlier))[0]![0]!
        const exit: Exit.Exit<Outcome, Outcome> = dependency !== null
          ? Exit.fail({
            type: "refused",
            reason: { _tag: "DependencyRejected", seq: Number(dependency), message: `Mutation ${dependency}, whose rows this one read or wrote, was rejected.` }
          })
          : yield* run.pipe(
            Effect.provideService(Transaction, transaction.service),
            Effect.provideService(pg.transactionService, [asSqlConnection(connection, transaction.during), 1]),
            Effect.timeoutOrElse({ duration: handlerTimeout, orElse: () => Effect.die(new Error(`The handler of ${command.name} took longer than its time limit.`)) }),
            restore,
            Effect.exit
          ) as Effect.Effect<Exit.Exit<Outcome, Outcome>, never, Exclude<R, Transaction>>
        yield* transaction.end
        // Interrupted from outside, not by the handler itself: that is no outcome.
        if (Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)) yield* restore(Effect.void)
        const { outcome, rejected } = yield* judge(exit, transaction.refused())
        const trace = yield* telemetry.current
        const acknowledged = Number(mine[0])
        progress.after = rejected ? [] : transaction.afterCommit()
        const results = yield* together(connection, [
          [rejected ? "ROLLBACK TO SAVEPOINT headwater" : "SET CONSTRAINTS ALL IMMEDIATE"],
          [store, [client, seq, command.name, command.hash, JSON.stringify(outcome), rejected, trace ?? null]],
          ...acknowledged > 0 ? [[prune, [client, acknowledged]] as const] : [],
          ["COMMIT"]
        ])
        open = false
        const failed = results.find(Exit.isFailure)
        if (failed !== undefined) {
          const cause = failed.cause.reasons.find((reason) => reason._tag === "Fail")
          if (cause === undefined) return yield* Effect.failCause(failed.cause as Cause.Cause<never>)
          const failure = SqlFailure.classify(cause.error)
          if (rejected || failure === "conflict" || failure === "disconnected") return yield* cause.error
          // Everything was rolled back, the number too: the rejection has a transaction of its own. A deferred constraint, or a
          // transaction that the handler left aborted.
          if (failure === "constraint") return { rejection: refusal(SqlFailure.refusal(cause.error, undefined, null)) }
          yield* Effect.logError(`The transaction of ${command.name} could not be committed`, cause.error)
          return { rejection: unexpected }
        }
        return { outcome }
      }))
    ).pipe(
      Effect.catchIf((error) => error instanceof SqlError, again),
      telemetry.within("headwater.transaction", undefined, {})
    )

  const find = (command: Command) =>
    pool.use((connection) => query(connection, stored, [command.client, command.seq])).pipe(
      Effect.map(([row]) => row === undefined ? undefined : {
        identity: row[0]!, lastSeq: Number(row[1]), acknowledged: Number(row[2]), hash: row[3]!, outcome: row[4]!
      })
    )

  const write = <R>(command: Command, rules: Rules, run: Effect.Effect<Outcome, Outcome, R>) => {
    const started = telemetry.now()
    let rejection: Outcome | undefined
    let uncertain = false
    const progress: Progress = { after: [] }
    const committed = (outcome: Outcome): Effect.Effect<Result> =>
      Effect.as(
        Effect.forEach(progress.after, (effect) =>
          effect.pipe(
            Effect.catchCause((cause) => Effect.logError("What was to be done after a commit failed", cause)),
            Effect.forkIn(scope)
          ), { discard: true }),
        { _tag: "Committed", outcome, milliseconds: telemetry.now() - started }
      )
    const once: Effect.Effect<Result, Again | SqlError, Exclude<R, Transaction>> = Effect.gen(function*() {
      if (uncertain) {
        // A COMMIT whose answer was lost: its receipt tells.
        const row = yield* find(command)
        uncertain = false
        if (row?.hash === command.hash) return yield* committed(JSON.parse(row.outcome))
      }
      while (true) {
        const done = yield* attempt(command, rules, rejection === undefined ? run : Effect.fail(rejection), progress)
        if (done === undefined) {
          const decision = Numbering.decide(command, yield* find(command), maxReceipts)
          if (decision !== undefined) return decision
        } else if ("rejection" in done) rejection = done.rejection
        else return yield* committed(done.outcome)
      }
    })
    return once.pipe(
      Effect.tapError((error) => Effect.sync(() => {
        uncertain ||= error._tag === "Again" && error.disconnected
        telemetry.count("retries", 1)
      })),
      Effect.retry({ while: (error) => error._tag === "Again" || SqlFailure.classify(error) === "disconnected", schedule: patience }),
      Effect.mapError((error) => new WriterUnavailable({
        message: "The database could not be reached, or answered with an error; send the mutation again.",
        cause: error._tag === "Again" ? error.cause : error
      })),
      Effect.tap((result) => result._tag === "Committed" ? signal.send : Effect.void)
    )
  }

  const retention = Duration.toMillis(options.clientRetention ?? "30 days") / 1000
  const pruneAll = (statement: string) =>
    pool.use((connection) => query(connection, statement, [retention])).pipe(Effect.repeat({ while: (rows) => rows.length > 0 }))
  yield* Effect.andThen(pruneAll(pruneReceipts), pruneAll(pruneClients)).pipe(
    // Whoever installs may do so only now.
    Effect.retry({ schedule: Schedule.spaced("1 minute"), times: 3 }),
    Effect.catch((error) => Effect.logWarning("Clients that were not seen for long could not be pruned; that is tried again in a day", error)),
    Effect.andThen(Effect.sleep("1 day")),
    Effect.forever,
    Effect.forkScoped
  )

  return Writer.of({
    claim: (client, identity) =>
      pool.use((connection) => query(connection, claimClient, [client, identity])).pipe(
        Effect.retry({ while: (error) => SqlFailure.classify(error) === "disconnected", schedule: patience }),
        Effect.mapError((cause) => new WriterUnavailable({ message: "The database could not be reached: connect again later.", cause })),
        Effect.flatMap(([row]) => row![0] === identity
          ? Effect.succeed({ nextSeq: Number(row![1]) + 1 })
          : Effect.fail(new ClientTaken({ message: "This client id belongs to another user: take a new one." })))
      ),
    write,
    receipts
  })
})

export const receipts: ReceiptsTable = {
  table: Receipts,
  range: (client, after) => ({
    table: Receipts.tableName,
    source: "r",
    where: [
      { op: "compare", operator: "=", left: column("client", "text"), right: { op: "parameter", name: "client", type: { kind: "text" }, nullable: false } },
      { op: "compare", operator: ">", left: column("seq", "int8"), right: { op: "parameter", name: "seq", type: { kind: "int8" }, nullable: false } }
    ],
    order: [],
    after: null,
    limit: null,
    bound: { parameters: { client, seq: BigInt(after) }, principal: {} }
  }),
  decode: (row) => ({
    client: row["client"] as string,
    receipt: { seq: Number(row["seq"]), outcome: JSON.parse(row["outcome"] as string) }
  }),
  trace: "trace"
}

const column = (name: string, kind: "int8" | "text") => ({ op: "column", source: "r", column: name, type: { kind }, nullable: false }) as const

const unexpected: Outcome = {
  type: "refused",
  reason: { _tag: "ServerFailure", message: "The server met an error that it did not expect; its log says which. The mutation had no effect." }
}

const refusal = ({ constraint, key, message, table }: WriteRefused): Outcome =>
  ({ type: "refused", reason: { _tag: "WriteRefused", table, key, constraint, message } })

/** From 5 ms to 1 s, for half a minute: as long as a server may take to come back. */
const patience = Schedule.min([Schedule.exponential("5 millis"), Schedule.spaced("1 second")]).pipe(
  Schedule.jittered,
  Schedule.upTo({ duration: "30 seconds" })
)

/** A mutation's connection as handlers' own statements see it. */
const asSqlConnection = (connection: PgConnection.PgConnection, during: PostgresTransaction.Running["during"]): Connection => {
  const rows = (sql: string, parameters: ReadonlyArray<unknown>) => Effect.map(during(connection.query(sql, parameters)), (result) => result.rows)
  const execute: Connection["execute"] = (sql, parameters, transform) =>
    transform === undefined ? rows(sql, parameters) : Effect.map(rows(sql, parameters), transform)
  const executeValues: Connection["executeValues"] = (sql, parameters) => during(connection.queryValues(sql, parameters))
  return {
    execute,
    executeUnprepared: execute,
    executeRaw: (sql, parameters) => during(connection.query(sql, parameters)),
    executeValues,
    executeValuesUnprepared: executeValues,
    executeStream: (sql, parameters, transform) => Stream.fromIterableEffect(execute(sql, parameters, transform))
  }
}

export const layerWith = (options: Options): Layer.Layer<Writer, SqlError, CommitSignal | PgClient.PgClient> =>
  Layer.effect(Writer, make(options)).pipe(Layer.provide(Telemetry.layer))

export const layer = layerWith({})
