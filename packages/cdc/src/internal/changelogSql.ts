/** The statements of `PostgresTriggers`. Every column of their results is text. */
import * as Receipts from "../Receipts.ts"
import * as Names from "./names.ts"

/**
 * Relations of all captured tables: see `Signature`. As the statement's snapshot sees the catalog. A trigger that was switched off and
 * on again has another xmin.
 */
const signature = `(
  WITH RECURSIVE tree AS (
    SELECT id, relation::oid AS relation FROM headwater.captured
    UNION ALL
    SELECT id, inhrelid FROM tree JOIN pg_inherits ON inhparent = tree.relation
  )
  SELECT coalesce(string_agg(concat_ws('/', tree.id, tree.relation, relfilenode, md5(concat_ws(';', relnamespace, relname, relkind, (
    SELECT string_agg(concat_ws(',', attnum, attname, atttypid, attgenerated), ';' ORDER BY attnum)
    FROM pg_attribute WHERE attrelid = tree.relation AND attnum > 0 AND NOT attisdropped
  ), (
    SELECT string_agg(concat_ws(',', tgname, tgenabled, pg_trigger.xmin), ';' ORDER BY tgname)
    FROM pg_trigger WHERE tgrelid = tree.relation AND tgname IN ('headwater_capture', 'zzz_headwater_truncate')
  )))), ';' ORDER BY tree.relation), '')
  FROM tree JOIN pg_class ON pg_class.oid = tree.relation
)`

/** Parameters: xmax and xip of the snapshot that has been seen. */
const unseen = (xmax: string, xip: string) => `(transaction >= ${xmax}::xid8 OR transaction = ANY (${xip}::xid8[]))`

const receiptColumns = Object.keys(Receipts.Receipts.columns).map((property) => Names.identifier(Names.column(Receipts.Receipts, property)))

/** What its record's fields are. */
export const receiptFields = Object.keys(Receipts.Receipts.columns).map((property) => Names.column(Receipts.Receipts, property))

const entries = (condition: string) => `
  SELECT id, transaction, captured, relation, kind, before, after FROM headwater.changelog WHERE ${condition}
  UNION ALL
  SELECT 0, transaction, NULL, NULL, 'r', NULL, textin(record_out(ROW(${receiptColumns.join(", ")}))) FROM headwater.receipts WHERE ${condition}`

const entryColumns = "id::text, transaction::text, captured::text, relation::text, kind::text, before, after"

/**
 * What there is after step $1, whose snapshot has the xmax $2 and the xip $3: up to the last step that anybody cut, else (if $4)
 * a step cut now, if there is anything to cut; $5 are the captured tables of interest; with $6 a step is cut even if it is empty.
 *
 * The number is the primary key, so that of several who cut one wins; the others get nothing, and find its step the next time.
 * First comes a row of kind `s` with the step's number, snapshot and signature, then its entries. Nothing is new: no rows. A
 * row of kind `x` means that step $1 is no longer held.
 */
export const take = `
WITH base AS MATERIALIZED (
  SELECT n FROM headwater.steps WHERE n = $1::int8
), newer AS MATERIALIZED (
  SELECT n, snapshot FROM headwater.steps WHERE n > $1::int8 ORDER BY n DESC LIMIT 1
), target AS MATERIALIZED (
  SELECT n, snapshot, false AS cut FROM newer
  UNION ALL
  SELECT $1::int8 + 1, pg_current_snapshot(), true WHERE $4::boolean AND NOT EXISTS (SELECT FROM newer)
), entries AS MATERIALIZED (
  SELECT * FROM (${entries(unseen("$2", "$3"))}) AS entry
  WHERE (SELECT snapshot FROM target) IS NOT NULL AND pg_visible_in_snapshot(transaction, (SELECT snapshot FROM target))
), made AS (
  INSERT INTO headwater.steps (n, snapshot)
  SELECT n, snapshot FROM target WHERE cut AND ($6::boolean OR EXISTS (SELECT FROM entries))
  ON CONFLICT DO NOTHING
  RETURNING n
), signed AS (
  INSERT INTO headwater.signatures (n, signature)
  SELECT made.n, now.signature FROM made, (SELECT ${signature} AS signature) AS now
  WHERE now.signature IS DISTINCT FROM (SELECT signature FROM headwater.signatures ORDER BY n DESC LIMIT 1)
  RETURNING signature
), taken AS (
  SELECT n, snapshot FROM target WHERE NOT cut OR EXISTS (SELECT FROM made)
)
SELECT n::text AS id, NULL::text AS transaction, NULL::text AS captured, NULL::text AS relation, 's' AS kind, snapshot::text AS before, coalesce(
  (SELECT signature FROM signed),
  (SELECT signature FROM headwater.signatures WHERE signatures.n <= taken.n ORDER BY n DESC LIMIT 1)
) AS after FROM taken
UNION ALL SELECT $1::int8::text, NULL, NULL, NULL, 'x', NULL, NULL WHERE NOT EXISTS (SELECT FROM base)
UNION ALL SELECT ${entryColumns} FROM entries, taken WHERE kind IN ('m', 'r') OR captured = ANY ($5::int4[])`

/** For a read: its snapshot, the signature and the oldest step in it; then the entries after a snapshot (xmax $1, xip $2) of the tables $3, and receipts if $4. */
export const unstepped = `
SELECT (SELECT min(n)::text FROM headwater.steps) AS id, NULL::text AS transaction, NULL::text AS captured, NULL::text AS relation,
  's' AS kind, pg_current_snapshot()::text AS before, ${signature} AS after
UNION ALL SELECT ${entryColumns} FROM (${entries(unseen("$1", "$2"))}) AS entry WHERE captured = ANY ($3::int4[]) OR kind = 'r' AND $4::boolean`

/** What is captured, and how its relations lie: by JSON. $1 are relations by name, as JSON. */
export const installation = `
SELECT json_build_object(
  'epoch', headwater.current_epoch(),
  'step', (SELECT max(n) FROM headwater.steps),
  'signature', ${signature},
  'captured', coalesce((
    SELECT json_agg(CASE WHEN captured.id IS NOT NULL THEN json_build_object('number', captured.id::text, 'root', relation::oid::text) END ORDER BY rank)
    FROM json_array_elements_text($1::json) WITH ORDINALITY AS named(name, rank)
    LEFT JOIN headwater.captured ON relation::oid = to_regclass(name)
  ), '[]'),
  'readable', coalesce((
    SELECT json_agg(coalesce(has_table_privilege(to_regclass(name)::oid, 'SELECT'), false) ORDER BY rank)
    FROM json_array_elements_text($1::json) WITH ORDINALITY AS named(name, rank)
  ), '[]'),
  'disabled', coalesce((
    SELECT json_agg(relation::text || ': ' || coalesce(tgname, 'no trigger')) FROM headwater.captured
    LEFT JOIN pg_trigger ON tgrelid = relation AND tgname IN ('headwater_capture', 'zzz_headwater_truncate')
    WHERE tgenabled IS DISTINCT FROM 'A'
  ), '[]'),
  'relations', coalesce((
    WITH RECURSIVE tree AS (
      SELECT id, relation::oid AS relation FROM headwater.captured
      UNION ALL
      SELECT id, inhrelid FROM tree JOIN pg_inherits ON inhparent = tree.relation
    )
    SELECT json_agg(json_build_object('captured', id::text, 'relation', relation::text, 'columns', (
      SELECT json_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped
    )))
    FROM tree
  ), '[]')
)::text`

export const stepAt = `
SELECT n::text, snapshot::text, (SELECT signature FROM headwater.signatures WHERE signatures.n <= steps.n ORDER BY n DESC LIMIT 1)
FROM headwater.steps WHERE n = $1::int8`

export const stepOf = "SELECT min(n)::text FROM headwater.steps WHERE pg_visible_in_snapshot($1::xid8, snapshot)"

export const tryLead = "SELECT pg_try_advisory_lock(hashtextextended('headwater', 0))::text"

export const resign = "SELECT pg_advisory_unlock_all()::text"

/** $1 is the server's name, $2 the position below which it needs nothing. */
export const lease = `
INSERT INTO headwater.servers (slot, position, lease_until) VALUES ($1, $2::int8, now() + interval '1 minute')
ON CONFLICT (slot) DO UPDATE SET position = excluded.position, lease_until = excluded.lease_until`

export const endLease = "DELETE FROM headwater.servers WHERE slot = $1"

/** Deletes what no server with a lease needs, but never the last step. */
export const purge = `
WITH base AS MATERIALIZED (
  SELECT n, snapshot FROM headwater.steps
  WHERE n = (
    SELECT least((SELECT max(n) FROM headwater.steps), min(position)) FROM headwater.servers WHERE lease_until > now() AND position IS NOT NULL
  )
), ended AS (
  DELETE FROM headwater.servers WHERE lease_until < now() - interval '10 minutes'
), cleared AS (
  DELETE FROM headwater.changelog USING base
  WHERE transaction < pg_snapshot_xmax(base.snapshot) AND pg_visible_in_snapshot(transaction, base.snapshot)
), unsigned AS (
  DELETE FROM headwater.signatures USING base
  WHERE signatures.n < (SELECT max(known.n) FROM headwater.signatures AS known WHERE known.n <= base.n)
)
DELETE FROM headwater.steps USING base WHERE steps.n < base.n`
