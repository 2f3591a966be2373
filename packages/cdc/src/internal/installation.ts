/**
 * The SQL that installs and removes Headwater, as text. Knows the catalog only by what it is given.
 *
 * Whatever is installed sits in the schema `headwater`, but for triggers or a replica identity on the tables, and for
 * publications; those are noted in `headwater.captured`, and what was there before with them.
 */
import * as Receipts from "../Receipts.ts"
import { identifier, literal } from "./names.ts"

/** Of what is installed: a server refuses to run on another. */
export const version = 2

/** Statements that belong together, in one transaction. */
export interface Part {
  /** What they do, for people. */
  readonly title: string
  readonly statements: ReadonlyArray<string>
}

/** A table, as the catalog names it. */
export interface Target {
  readonly schema: string
  readonly name: string
}

const qualified = ({ name, schema }: Target) => `${identifier(schema)}.${identifier(name)}`

/** Of every source. */
const shared = (source: string): ReadonlyArray<string> => [
  "CREATE SCHEMA IF NOT EXISTS headwater",
  "COMMENT ON SCHEMA headwater IS 'Headwater: `headwater uninstall` removes it and what belongs to it'",
  // A generation is one order of steps: positions of two generations must not be compared.
  `CREATE TABLE IF NOT EXISTS headwater.epoch (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  version int4 NOT NULL,
  source text NOT NULL,
  generation uuid NOT NULL DEFAULT gen_random_uuid()
)`,
  `INSERT INTO headwater.epoch (version, source) VALUES (${version}, ${literal(source)}) ON CONFLICT (one) DO UPDATE SET version = excluded.version`,
  // What was there before, for uninstall. One row for each partition too.
  `CREATE TABLE IF NOT EXISTS headwater.captured (
  id int4 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  relation regclass NOT NULL UNIQUE,
  root boolean NOT NULL,
  identity "char",
  identity_index name
)`,
  `CREATE TABLE IF NOT EXISTS headwater.servers (
  slot text PRIMARY KEY,
  position int8,
  lease_until timestamptz NOT NULL
)`,
  ...Receipts.ddl
]

/** System, timeline (the one that is being written) and generation. */
const epochFunction = `CREATE OR REPLACE FUNCTION headwater.current_epoch() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s.%s.%s', system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int, generation)
  FROM pg_control_system(), headwater.epoch
$$`

const tokenFunction = (mark: string) => `CREATE OR REPLACE FUNCTION headwater.commit_token(OUT epoch text, OUT transaction text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- A transaction that writes nothing captured would never be seen.
  ${mark};
  epoch := headwater.current_epoch();
  transaction := pg_current_xact_id()::text;
END
$$`

/** What `headwater.capture` is told to set: images must not depend on the session that writes. */
const pinned = `
  SET search_path = pg_catalog, pg_temp
  SET "DateStyle" = 'ISO, MDY'
  SET "IntervalStyle" = 'postgres'
  SET "TimeZone" = 'UTC'
  SET extra_float_digits = 1
  SET bytea_output = 'hex'`

const triggerObjects: ReadonlyArray<string> = [
  // Each set of transactions that became visible between two snapshots is a step; the first has no content.
  `CREATE TABLE IF NOT EXISTS headwater.steps (
  n int8 PRIMARY KEY,
  snapshot pg_snapshot NOT NULL,
  cut_at timestamptz NOT NULL DEFAULT clock_timestamp()
)`,
  "INSERT INTO headwater.steps (n, snapshot) SELECT 1, pg_current_snapshot() WHERE NOT EXISTS (SELECT FROM headwater.steps)",
  // How the tables lay in the catalog from that step on: images are read accordingly.
  "CREATE TABLE IF NOT EXISTS headwater.signatures (n int8 PRIMARY KEY, signature text NOT NULL)",
  // `id` is in the order of writing: not that of commits, but a TRUNCATE has a later one than what it removes.
  `CREATE TABLE IF NOT EXISTS headwater.changelog (
  id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
  captured int4,
  relation oid,
  kind "char" NOT NULL,
  before text,
  after text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)`,
  "CREATE INDEX IF NOT EXISTS changelog_transaction ON headwater.changelog (transaction)",
  "CREATE INDEX IF NOT EXISTS receipts_transaction ON headwater.receipts (transaction)",
  // The output function, not a cast, which the application may have defined for its row type.
  `CREATE OR REPLACE FUNCTION headwater.capture() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER${pinned}
AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO headwater.changelog (captured, relation, kind, after) VALUES (TG_ARGV[0]::int4, TG_RELID, 'i', textin(record_out(NEW)));
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO headwater.changelog (captured, relation, kind, before, after)
    VALUES (TG_ARGV[0]::int4, TG_RELID, 'u', textin(record_out(OLD)), textin(record_out(NEW)));
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO headwater.changelog (captured, relation, kind, before) VALUES (TG_ARGV[0]::int4, TG_RELID, 'd', textin(record_out(OLD)));
  ELSE
    INSERT INTO headwater.changelog (captured, relation, kind) VALUES (TG_ARGV[0]::int4, TG_RELID, 't');
  END IF;
  RETURN NULL;
END
$$`,
  "REVOKE ALL ON FUNCTION headwater.capture() FROM PUBLIC",
  epochFunction,
  tokenFunction("INSERT INTO headwater.changelog (kind) VALUES ('m')")
]

const walObjects = (serverVersion: number): ReadonlyArray<string> => [
  epochFunction,
  tokenFunction("PERFORM pg_logical_emit_message(true, 'headwater', '')"),
  createPublication(
    "headwater",
    `CREATE PUBLICATION headwater WITH (publish_via_partition_root = true${serverVersion >= 180000 ? ", publish_generated_columns = stored" : ""})`
  ),
  // Old receipts are deleted, which nobody needs to hear of.
  createPublication("headwater_receipts", "CREATE PUBLICATION headwater_receipts FOR TABLE headwater.receipts WITH (publish = 'insert')")
]

const createPublication = (name: string, statement: string) => `DO $headwater$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = ${literal(name)}) THEN
    ${statement};
  END IF;
END $headwater$`

/** Of a table and its partitions. */
const tree = (relation: string) => `SELECT relid FROM pg_catalog.pg_partition_tree(${relation}) UNION SELECT ${relation}`

const addTriggers = (target: Target): string => {
  const relation = `${literal(qualified(target))}::regclass`
  return `DO $headwater$
DECLARE
  number int4;
  part regclass;
BEGIN
  INSERT INTO headwater.captured (relation, root) VALUES (${relation}, true) ON CONFLICT DO NOTHING;
  SELECT id INTO number FROM headwater.captured WHERE relation = ${relation};
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = ${relation} AND tgname = 'headwater_capture') THEN
    EXECUTE format('CREATE TRIGGER headwater_capture AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION headwater.capture(%L)', ${relation}, number);
  END IF;
  FOR part IN ${tree(relation)} LOOP
    -- The last of its kind by name: a user's own may still write to the table.
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = part AND tgname = 'zzz_headwater_truncate') THEN
      EXECUTE format('CREATE TRIGGER zzz_headwater_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION headwater.capture(%L)', part, number);
    END IF;
    -- Also where session_replication_role says replica.
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER headwater_capture, ENABLE ALWAYS TRIGGER zzz_headwater_truncate', part);
  END LOOP;
END $headwater$`
}

/** Set before the table is published: a table without old rows in the log would refuse updates. */
const addToPublication = (target: Target): string => {
  const relation = `${literal(qualified(target))}::regclass`
  return `DO $headwater$
DECLARE
  part regclass;
BEGIN
  FOR part IN ${tree(relation)} LOOP
    INSERT INTO headwater.captured (relation, root, identity, identity_index)
    SELECT part, part = ${relation}, relreplident, (
      SELECT index.relname FROM pg_catalog.pg_index JOIN pg_catalog.pg_class AS index ON index.oid = indexrelid
      WHERE indrelid = part AND indisreplident
    ) FROM pg_catalog.pg_class WHERE oid = part
    ON CONFLICT DO NOTHING;
    IF (SELECT relreplident FROM pg_catalog.pg_class WHERE oid = part) <> 'f' THEN
      EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', part);
    END IF;
  END LOOP;
  IF NOT EXISTS (
    SELECT FROM pg_catalog.pg_publication_rel JOIN pg_catalog.pg_publication ON pg_publication.oid = prpubid
    WHERE pubname = 'headwater' AND prrelid = ${relation}
  ) THEN
    EXECUTE format('ALTER PUBLICATION headwater ADD TABLE %s', ${relation});
  END IF;
END $headwater$`
}

/** What makes `role`, which is not the owner, able to serve. */
const grants = (role: string, source: string): Part => ({
  title: `let ${role} use it`,
  statements: [
    `GRANT USAGE ON SCHEMA headwater TO ${identifier(role)}`,
    `GRANT SELECT, INSERT, UPDATE, DELETE ON headwater.clients, headwater.receipts, headwater.servers TO ${identifier(role)}`,
    `GRANT SELECT ON headwater.epoch, headwater.captured TO ${identifier(role)}`,
    ...(source === "triggers"
      ? [`GRANT SELECT, INSERT, DELETE ON headwater.steps, headwater.signatures TO ${identifier(role)}`, `GRANT SELECT, DELETE ON headwater.changelog TO ${identifier(role)}`]
      : [])
  ]
})

export const install = (options: {
  readonly source: "wal" | "triggers"
  readonly targets: ReadonlyArray<Target>
  readonly role: string | undefined
  readonly serverVersion: number
}): ReadonlyArray<Part> => [
  {
    title: "the schema headwater",
    statements: [...shared(options.source), ...(options.source === "triggers" ? triggerObjects : walObjects(options.serverVersion))]
  },
  ...options.targets.map((target) => ({
    title: `capture ${target.schema}.${target.name}`,
    statements: [options.source === "triggers" ? addTriggers(target) : addToPublication(target)]
  })),
  ...(options.role === undefined ? [] : [grants(options.role, options.source)])
]

/** A relation that something is attached to. */
export interface Attached extends Target {
  /** The captured table itself, not one of its partitions. */
  readonly root: boolean
  /** The replica identity to restore; null where it was not changed, or somebody has changed it since. */
  readonly identity: string | null
  readonly identityIndex: string | null
  /** Its own: others go with those of the table that it is a partition of. */
  readonly triggers: ReadonlyArray<string>
}

/** Takes away what is attached outside of the schema. */
const detach = (attached: ReadonlyArray<Attached>): ReadonlyArray<Part> => [
  { title: "the publications", statements: ["DROP PUBLICATION IF EXISTS headwater, headwater_receipts"] },
  ...attached.map((table) => ({
    title: `release ${table.schema}.${table.name}`,
    statements: [
      ...table.triggers.map((trigger) => `DROP TRIGGER IF EXISTS ${trigger} ON ${qualified(table)}`),
      ...(table.identity === null ? [] : [`ALTER TABLE ${qualified(table)} REPLICA IDENTITY ${identityClause(table.identity, table.identityIndex)}`])
    ]
  })).filter(({ statements }) => statements.length > 0)
]

const identityClause = (identity: string, index: string | null): string =>
  identity === "n" ? "NOTHING" : identity === "i" && index !== null ? `USING INDEX ${identifier(index)}` : identity === "f" ? "FULL" : "DEFAULT"

/** Makes way for the other source. What clients know stays: receipts go on, in a new generation. */
export const change = (attached: ReadonlyArray<Attached>, source: "wal" | "triggers"): ReadonlyArray<Part> => [
  ...detach(attached),
  {
    title: `change over to ${source}`,
    statements: [
      "DROP FUNCTION IF EXISTS headwater.capture()",
      "DROP TABLE IF EXISTS headwater.steps, headwater.signatures, headwater.changelog",
      "DROP INDEX IF EXISTS headwater.receipts_transaction",
      "DELETE FROM headwater.captured",
      `UPDATE headwater.epoch SET version = ${version}, source = ${literal(source)}, generation = gen_random_uuid()`
    ]
  }
]

/** Without CASCADE: what others built on it is theirs to remove. */
export const uninstall = (attached: ReadonlyArray<Attached>): ReadonlyArray<Part> => [
  ...detach(attached),
  {
    title: "the schema headwater",
    statements: [
      "DROP FUNCTION IF EXISTS headwater.capture(), headwater.commit_token(), headwater.current_epoch()",
      "DROP TABLE IF EXISTS headwater.steps, headwater.signatures, headwater.changelog, headwater.receipts, headwater.clients, headwater.servers, headwater.captured, headwater.epoch",
      "DROP SCHEMA IF EXISTS headwater"
    ]
  }
]
