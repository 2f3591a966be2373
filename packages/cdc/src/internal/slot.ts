/**
 * This server's replication slot and its lease, and what must be so in the database before there can be one.
 *
 * A slot keeps WAL until somebody reads it, so one that is forgotten fills the disk. Whoever makes one first writes a lease,
 * and renews it; a lease that ended is a server that died, and after ten more minutes any other server drops its slot.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Sql from "@headwater/core/Sql"
import type * as Table from "@headwater/core/Table"
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import { randomBytes } from "node:crypto"
import { ChangeSourceError, SourceMisconfigured, SourceUnavailable } from "../ChangeSource.ts"
import * as Catalog from "../Catalog.ts"
import { Receipts } from "../Receipts.ts"
import * as Snapshot from "../Snapshot.ts"
import type { Captured } from "./assembly.ts"
import * as Database from "./database.ts"
import * as Installation from "./installation.ts"
import * as Lsn from "./lsn.ts"
import type * as Replication from "./replication.ts"

export interface Slot {
  readonly name: string
  /** Commits that end after it are in the stream. */
  readonly start: number
}

export interface Published {
  /** Of the order of steps in this database. */
  readonly generation: string
  /**
   * By `Table.tableName`. Where `stable` is another, the table was taken out of the publication, altered, or lost or got partitions;
   * where `files` is, its rows were rewritten or truncated. Of all that the log has only TRUNCATE, and that of whole tables.
   */
  readonly signatures: ReadonlyMap<string, Signature>
}

export interface Signature {
  readonly stable: string
  readonly files: string
  /** What it was looked up in. */
  readonly snapshot: Snapshot.Snapshot
}

/** A snapshot, and where the log ended after it was taken: what it sees ends at or before that. */
export interface Moment {
  readonly snapshot: Snapshot.Snapshot
  readonly end: number
}

export interface Slots {
  readonly captured: ReadonlyArray<Captured>
  /** Fails with everything that is off. */
  readonly check: Effect.Effect<Published, ChangeSourceError>
  /** Says in the log what an operator should know. */
  readonly advise: Effect.Effect<void, ChangeSourceError>
  readonly now: Effect.Effect<Moment, ChangeSourceError>
  /** Also waits until each commit from before the slot's start is visible to every new snapshot. */
  readonly create: (connection: Replication.Connection) => Effect.Effect<Slot, ChangeSourceError>
  /** The command that streams what follows `from`. */
  readonly start: (slot: Slot, from: number) => string
  /** False where its WAL is gone, or the slot itself. */
  readonly isIntact: (slot: Slot) => Effect.Effect<boolean, ChangeSourceError>
  /** Renews the lease, and drops what servers left behind that died. */
  readonly renew: (slot: Slot) => Effect.Effect<Moment, ChangeSourceError>
  /** Once nobody streams from it any more. */
  readonly drop: (slot: Slot) => Effect.Effect<void, ChangeSourceError>
}

/** Of a row that begins with snapshot and LSN. */
export const moment = ([snapshot, end]: Database.Texts): Moment => ({ snapshot: Snapshot.parse(snapshot!), end: Lsn.parse(end!) })

type Ask = (statement: string, parameters?: ReadonlyArray<unknown>) => Effect.Effect<ReadonlyArray<Database.Texts>, ChangeSourceError>

export const replicationFailed = (error: Replication.ReplicationError): ChangeSourceError => {
  const advice = error.code === undefined ? undefined : advices[error.code]
  return new ChangeSourceError({
    reason: advice === undefined
      ? new SourceUnavailable({ message: `The write-ahead log cannot be read now: ${error.message}`, cause: error })
      : new SourceMisconfigured({ message: `The database refused replication: ${error.message}. ${advice}` })
  })
}

/** By SQLSTATE. */
const advices: { readonly [code: string]: string } = {
  "28000": "Check the user, and pg_hba.conf.",
  "28P01": "Check the user and the password.",
  "3D000": "Check the database's name.",
  "42501": "Say ALTER ROLE … REPLICATION for the role that servers use.",
  "53400": "Raise max_replication_slots: each server needs one."
}

const publications = ["headwater", "headwater_receipts"]

export const make = (pg: PgClient.PgClient, tables: ReadonlyArray<Table.Any>, leaseMillis: number): Slots => {
  const ask = (statement: string, parameters: ReadonlyArray<unknown> = []) => Effect.mapError(Database.query(pg, statement, parameters), Database.failed)
  const captured = [...tables, Receipts].map((table) => ({ table, ...Sql.qualifiedName(table.tableName) }))

  const now = Effect.map(ask("select pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text"), ([row]) => moment(row!))

  return {
    captured,
    check: Effect.andThen(Effect.provideService(Catalog.check(tables, "wal"), SqlClient.SqlClient, pg), check(ask, tables)),
    advise: advise(ask),
    now,
    create: Effect.fnUntraced(function*(connection) {
      const name = `headwater_${randomBytes(8).toString("hex")}`
      yield* ask(renewal, [name, String(leaseMillis)])
      yield* Effect.forkScoped(Effect.delay(Effect.logWarning("A replication slot begins once all transactions have ended that write now"), "5 seconds"))
      const [slot] = yield* connection.query(`CREATE_REPLICATION_SLOT ${name} LOGICAL pgoutput NOEXPORT_SNAPSHOT`).pipe(
        Effect.mapError(replicationFailed)
      )
      // A transaction may have written its commit before the slot's start and still be invisible. The stream will never
      // have it, so no read could be corrected by it. Like the slot itself, this waits for transactions that have begun.
      const { snapshot } = yield* now
      for (let waitMillis = 1; (yield* now).snapshot.xmin < snapshot.xmax; waitMillis = Math.min(2 * waitMillis, 100)) {
        yield* Effect.sleep(waitMillis)
      }
      return { name, start: Lsn.parse(slot!["consistent_point"]!) }
    }, Effect.scoped),
    start: ({ name }, from) =>
      `START_REPLICATION SLOT ${name} LOGICAL ${Lsn.format(from)} ` +
      `(proto_version '1', publication_names '${publications.join(",")}', messages 'true')`,
    isIntact: ({ name }) =>
      Effect.map(ask("select 1::text from pg_replication_slots where slot_name = $1 and wal_status <> 'lost'", [name]), (rows) => rows.length > 0),
    renew: ({ name }) =>
      Effect.gen(function*() {
        yield* ask(renewal, [name, String(leaseMillis)])
        yield* ask(cleaning)
        return yield* now
      }),
    drop: Effect.fnUntraced(function*({ name }) {
      for (let tries = 0; tries < 100; tries++) {
        const held = yield* ask("select active_pid::text from pg_replication_slots where slot_name = $1", [name])
        if (held.length === 0) break
        // It ends soon after its connection, or is told to.
        if (held[0]![0] === null) yield* Effect.ignore(ask("select pg_drop_replication_slot($1)::text", [name]))
        else if (tries === 20) yield* Effect.ignore(ask("select pg_terminate_backend($1::text::int)::text", [held[0]![0]]))
        if (tries > 0) yield* Effect.sleep(10)
      }
      yield* ask("delete from headwater.servers where slot = $1", [name])
    })
  }
}

const renewal = `insert into headwater.servers (slot, lease_until) values ($1, now() + $2::text::int * interval '1 millisecond')
  on conflict (slot) do update set lease_until = excluded.lease_until`

const cleaning = `with ended as (
    delete from headwater.servers as server
    where lease_until < now() - interval '10 minutes'
      and not exists (select from pg_replication_slots as held where held.slot_name = server.slot and held.active)
    returning slot
  )
  select pg_drop_replication_slot(slot_name)::text from pg_replication_slots join ended on slot = slot_name where database = current_database()`

const check = Effect.fnUntraced(function*(ask: Ask, tables: ReadonlyArray<Table.Any>): Effect.fn.Return<Published, ChangeSourceError> {
  const [[level]] = (yield* ask("select current_setting('wal_level')")) as unknown as [[string]]
  if (level !== "logical") {
    return yield* Database.misconfigured(
      `wal_level is ${level}: set wal_level = logical in postgresql.conf and restart Postgres, or install with triggers and use PostgresTriggers`
    )
  }
  const [epoch] = yield* ask("select generation::text, source, version::text from headwater.epoch")
  if (epoch === undefined) return yield* Database.misconfigured("Nothing is installed: run `headwater install`")
  const [generation, source, version] = epoch as [string, string, string]
  if (version !== `${Installation.version}`) {
    return yield* Database.misconfigured(`Version ${version} is installed, and this is ${Installation.version}: run the \`headwater install\` of the newer one`)
  }
  if (source !== "wal") {
    return yield* Database.misconfigured(`Capture by ${source} is installed: run \`headwater install\` for the write-ahead log, or use PostgresTriggers`)
  }
  const named = tables.map((table) => ({ name: Sql.table(table.tableName), columns: Object.keys(table.columns).map((property) => Sql.columnName(table, property)) }))
  const rows = yield* ask(catalog, [JSON.stringify(named)])
  const problems: Array<string> = []
  tables.forEach(({ tableName }, i) => {
    const [published, isFull] = rows[i]!
    if (published !== "true") problems.push(`${tableName} is not published: run \`headwater install\` with it`)
    else if (isFull !== "true") problems.push(`${tableName} or one of its partitions leaves old rows out of the log: run \`headwater install\` again, which sets REPLICA IDENTITY FULL`)
  })
  if (problems.length > 0) return yield* Database.misconfigured(`The write-ahead log does not have what is needed:\n  ${problems.join("\n  ")}`)
  return { generation, signatures: new Map(tables.map(({ tableName }, i) => [tableName, { stable: rows[i]![2]!, files: rows[i]![3]!, snapshot: Snapshot.parse(rows[i]![4]!) }])) }
})

const advise = Effect.fnUntraced(function*(ask: Ask) {
  const [[keep]] = (yield* ask("select setting from pg_settings where name = 'max_slot_wal_keep_size'")) as unknown as [[string]]
  const keepMebibytes = Number(keep)
  if (keepMebibytes < 0) {
    yield* Effect.logWarning(
      "max_slot_wal_keep_size is unlimited: a server that cannot be reached keeps write-ahead log until the disk is full. " +
        "Set it to what the disk can spare; a server that falls behind further reads its live queries again."
    )
  } else if (keepMebibytes < 64) {
    yield* Effect.logWarning(`max_slot_wal_keep_size is ${keepMebibytes} MB: a server that falls behind by more than that, soon then, reads its live queries again`)
  }
})

/** Receipts are only inserted, so that their identity does not matter. */
const catalog = `select
  (published.oid is not null)::text,
  (not exists (select from pg_class as part where part.oid = any (tree.oids) and relreplident <> 'f'))::text,
  concat(published.oid, ':', class.oid, ':', (select string_agg(concat_ws('.', attnum, atttypid, atttypmod), ',' order by attnum) from pg_attribute
    where attrelid = class.oid and not attisdropped and attname in (select json_array_elements_text(named.value -> 'columns'))
  ), ':', array_to_string(tree.oids, ',')),
  (select coalesce(string_agg(part.relfilenode::text, ',' order by part.oid), '') from pg_class as part where part.oid = any (tree.oids)),
  pg_current_snapshot()::text
  from json_array_elements($1::text::json) with ordinality as named(value, rank)
  left join pg_class as class on class.oid = to_regclass(named.value ->> 'name')
  left join pg_publication on pubname = 'headwater'
  left join pg_publication_rel as published on prpubid = pg_publication.oid and prrelid = class.oid
  cross join lateral (select array(select relid::oid from pg_partition_tree(class.oid) union select class.oid order by 1) as oids) as tree
  order by rank`
