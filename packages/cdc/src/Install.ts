/**
 * Installs what a change source needs in a database, says what is there, and removes it.
 *
 * Installing again changes nothing, or adds what is missing: a table, or the other source (then in a new generation, so that
 * positions are not mistaken). Each table is changed in a transaction of its own, which gives up soon where the table is locked,
 * so that the application's writers never queue behind it for long, and is tried again.
 *
 * Needs `CREATE` on the database, and to own the tables. Installing for the write-ahead log also needs `wal_level = logical`;
 * the role of the servers then needs `REPLICATION`.
 */
import type * as Table from "@headwater/core/Table"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as SqlClient from "effect/sql/SqlClient"
import type * as SqlError from "effect/sql/SqlError"
import * as Catalog from "./Catalog.ts"
import type { ChangeSourceError } from "./ChangeSource.ts"
import * as Database from "./internal/database.ts"
import * as Installation from "./internal/installation.ts"
import * as Names from "./internal/names.ts"

export interface Options {
  readonly source: Catalog.Source
  readonly tables: ReadonlyArray<Table.Any>
  /** The role that servers connect as, if it is not the one that installs: it is granted what they need. */
  readonly role?: string | undefined
}

/** Statements that run in one transaction, and what they are for. */
export type Part = Installation.Part

/** What `install` would run, in order; nothing is changed. Fails where it could not work. */
export const plan = (options: Options): Effect.Effect<ReadonlyArray<Part>, ChangeSourceError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    yield* Catalog.check(options.tables, options.source)
    const facts = yield* inquire(options.tables.map(Names.relation))
    const problems = obstacles(facts, options)
    if (problems.length > 0) return yield* Database.misconfigured(`Headwater cannot be installed:\n${problems.map((line) => `  ${line}`).join("\n")}`)
    const changes = facts.installed !== null && facts.installed.source !== options.source
    return [
      ...(changes ? Installation.change(facts.attached, options.source) : []),
      ...Installation.install({ source: options.source, targets: facts.targets as ReadonlyArray<Target>, role: options.role, serverVersion: facts.version })
    ]
  })

/** Runs `plan`. Writers wait for it no longer than `lockTimeoutMillis` at a time. */
export const install = (options: Options): Effect.Effect<Status, ChangeSourceError, SqlClient.SqlClient> =>
  plan(options).pipe(Effect.flatMap(run), Effect.andThen(status))

/** What `uninstall` would run. Fails while a server still uses it. */
export const planUninstall: Effect.Effect<ReadonlyArray<Part>, ChangeSourceError, SqlClient.SqlClient> = Effect.gen(function*() {
  const { attached, installed, slots } = yield* inquire([])
  const active = slots.filter((slot) => slot.pid !== null)
  if (active.length > 0) {
    return yield* Database.misconfigured(
      `A server still reads from ${active.map(({ name, pid }) => `${name} (process ${pid})`).join(", ")}: stop it first`
    )
  }
  return [
    ...(slots.length === 0 ? [] : [{
      title: "replication slots",
      statements: slots.map(({ name }) => `SELECT pg_catalog.pg_drop_replication_slot(${Names.literal(name)})::text`)
    }]),
    ...(installed === null ? [] : Installation.uninstall(attached))
  ]
})

/** Removes everything that `install` made, receipts too, and restores what it changed. Nothing to do is no error. */
export const uninstall: Effect.Effect<void, ChangeSourceError, SqlClient.SqlClient> = Effect.flatMap(planUninstall, (parts) => run(parts))

export interface Status {
  /** Null where nothing is installed. */
  readonly installed: { readonly source: Catalog.Source; readonly generation: string; readonly version: number } | null
  readonly serverVersion: number
  readonly walLevel: string
  /** What is attached to tables, and how much write-ahead log an update writes because of that. */
  readonly tables: ReadonlyArray<{ readonly name: string; readonly attached: ReadonlyArray<string>; readonly note: string | null }>
  readonly publications: ReadonlyArray<string>
  readonly slots: ReadonlyArray<{ readonly name: string; readonly pid: number | null; readonly retainedBytes: number }>
  readonly servers: ReadonlyArray<{ readonly slot: string; readonly leaseUntil: string }>
}

/** Everything that belongs to Headwater in this database. */
export const status: Effect.Effect<Status, ChangeSourceError, SqlClient.SqlClient> = Effect.map(inquire([]), (facts) => ({
  installed: facts.installed,
  serverVersion: facts.version,
  walLevel: facts.walLevel,
  tables: facts.attached.filter(({ root }) => root).map(({ bytes, identity, name, rows, schema, triggers }) => ({
    name: `${schema}.${name}`,
    attached: [
      ...triggers.map((trigger) => `trigger ${trigger}`),
      ...(facts.installed?.source === "wal" ? ["publication headwater", "replica identity full"] : [])
    ],
    note: facts.installed?.source !== "wal" || identity === null ? null : rows > 0
      ? `each update and delete also logs the old row: about ${Math.max(1, Math.round(bytes / rows))} bytes of write-ahead log more`
      : "each update and delete also logs the old row in the write-ahead log"
  })),
  publications: facts.publications,
  slots: facts.slots,
  servers: facts.servers
}))

export const lockTimeoutMillis = 2000

const run = (parts: ReadonlyArray<Part>): Effect.Effect<void, ChangeSourceError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    for (const { statements, title } of parts) {
      yield* Database.transaction(sql, Effect.forEach(
        [`SET LOCAL lock_timeout = ${lockTimeoutMillis}`, "SET LOCAL synchronous_commit = on", "SET LOCAL search_path = pg_catalog", "SET LOCAL client_min_messages = warning", ...statements],
        (statement) => sql.unsafe(statement).raw,
        { discard: true }
      )).pipe(
        Effect.provideService(SqlClient.BeginTransaction, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
        Effect.retry({ schedule: Schedule.jittered(Schedule.spaced("500 millis")), times: 10, while: isLocked }),
        Effect.mapError((error) =>
          isLocked(error)
            ? Database.misconfigured(`Gave up on "${title}": the table stays locked by another transaction. Try again when that has ended.`)
            : Database.failed(error))
      )
    }
  })

const isLocked = ({ reason }: SqlError.SqlError): boolean => reason._tag === "LockTimeoutError" || reason._tag === "DeadlockError"

interface Target extends Installation.Target {
  readonly owned: boolean
}

interface Facts {
  readonly version: number
  readonly walLevel: string
  readonly role: string
  readonly database: string
  readonly mayCreate: boolean
  /** Of the schema, where there is one. */
  readonly ownsSchema: boolean
  readonly targets: ReadonlyArray<Target | null>
  readonly installed: { readonly source: Catalog.Source; readonly generation: string; readonly version: number } | null
  readonly attached: ReadonlyArray<Installation.Attached & { readonly bytes: number; readonly rows: number }>
  readonly publications: ReadonlyArray<string>
  readonly slots: ReadonlyArray<{ readonly name: string; readonly pid: number | null; readonly retainedBytes: number }>
  readonly servers: ReadonlyArray<{ readonly slot: string; readonly leaseUntil: string }>
}

const obstacles = (facts: Facts, { source }: Options): ReadonlyArray<string> => {
  const problems: Array<string> = []
  if (facts.version < 140000) problems.push(`Postgres 14 or later is needed; this is ${Math.floor(facts.version / 10000)}`)
  if (!facts.mayCreate) problems.push(`${facts.role} may not create a schema: GRANT CREATE ON DATABASE ${Names.identifier(facts.database)} TO ${Names.identifier(facts.role)}`)
  if (!facts.ownsSchema) problems.push(`the schema headwater belongs to another role than ${facts.role}: install as its owner`)
  if (source === "wal" && facts.walLevel !== "logical") {
    problems.push(`wal_level is ${facts.walLevel}: set wal_level = logical in postgresql.conf and restart Postgres, or install with triggers`)
  }
  for (const target of facts.targets) {
    if (target?.owned === false) {
      problems.push(`${target.schema}.${target.name} does not belong to ${facts.role}: install as its owner, and name the servers' role with --role`)
    }
  }
  return problems
}

/** One look at the catalog. */
function inquire(relations: ReadonlyArray<string>): Effect.Effect<Facts, ChangeSourceError, SqlClient.SqlClient> {
  return Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const ask = <A>(statement: string, parameters: ReadonlyArray<unknown> = []) =>
      Effect.map(Effect.mapError(Database.query(sql, statement, parameters), Database.failed), (rows) => JSON.parse(rows[0]![0]!) as A)
    const facts = yield* ask<Omit<Facts, "installed" | "attached" | "servers"> & { readonly exists: boolean }>(generalFacts, [JSON.stringify(relations)])
    const own = facts.exists
      ? yield* ask<Pick<Facts, "installed" | "attached" | "servers">>(installedFacts)
      : { installed: null, attached: [], servers: [] }
    return { ...facts, ...own }
  })
}

const generalFacts = `
select json_build_object(
  'version', current_setting('server_version_num')::int,
  'walLevel', current_setting('wal_level'),
  'role', current_user,
  'database', current_database(),
  'mayCreate', has_database_privilege(current_database(), 'CREATE'),
  'ownsSchema', coalesce((select pg_has_role(nspowner, 'USAGE') from pg_catalog.pg_namespace where nspname = 'headwater'), true),
  'exists', to_regclass('headwater.epoch') is not null,
  'targets', coalesce((
    select json_agg(case when class.oid is not null then json_build_object('schema', nspname, 'name', relname, 'owned', pg_has_role(relowner, 'USAGE')) end order by rank)
    from json_array_elements_text($1::text::json) with ordinality as named(name, rank)
    left join pg_catalog.pg_class as class on class.oid = to_regclass(name)
    left join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
  ), '[]'),
  'publications', coalesce((select json_agg(pubname) from pg_catalog.pg_publication where pubname in ('headwater', 'headwater_receipts')), '[]'),
  'slots', coalesce((
    select json_agg(json_build_object(
      'name', slot_name, 'pid', active_pid,
      'retainedBytes', coalesce(case when not pg_is_in_recovery() then pg_current_wal_lsn() - restart_lsn end, 0)
    ))
    from pg_catalog.pg_replication_slots where database = current_database() and slot_name like 'headwater\\_%'
  ), '[]')
)::text`

const installedFacts = `
select json_build_object(
  'installed', (select json_build_object('source', source, 'generation', generation, 'version', version) from headwater.epoch),
  'attached', coalesce((
    select json_agg(json_build_object(
      'schema', nspname, 'name', relname, 'root', coalesce(root, false),
      'identity', case when identity <> relreplident and relreplident = 'f' then identity end,
      'identityIndex', identity_index,
      'triggers', coalesce(triggers, '[]'),
      'bytes', pg_table_size(class.oid),
      'rows', reltuples
    ) order by captured.id, nspname, relname)
    from headwater.captured
    full join (
      select tgrelid, json_agg(tgname order by tgname) as triggers from pg_catalog.pg_trigger
      where tgfoid = to_regprocedure('headwater.capture()') and tgparentid = 0 group by tgrelid
    ) as capture on tgrelid = relation
    join pg_catalog.pg_class as class on class.oid = coalesce(relation, tgrelid)
    join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
  ), '[]'),
  'servers', coalesce((select json_agg(json_build_object('slot', slot, 'leaseUntil', lease_until) order by slot) from headwater.servers), '[]')
)::text`
