/**
 * The stored outcomes of mutations, and the clients that they belong to: two tables of the schema `headwater`.
 *
 * A receipt is inserted in its mutation's transaction, once for each number of a client, and captured like any row: so outcomes
 * arrive in order with their effects, survive restarts and reach any server. Only inserts are captured: receipts are deleted
 * once their client has acknowledged them, which nobody needs to hear of.
 */
import * as Column from "@headwater/core/Column"
import * as Table from "@headwater/core/Table"

/** Read and followed by every change source, beside the application's tables. */
export class Receipts extends Table.make("headwater.receipts", {
  columns: {
    client: Column.text,
    seq: Column.int8,
    /** The outcome in wire form, as JSON text. */
    outcome: Column.text,
    /** W3C traceparent of the transaction. */
    trace: Column.text.nullable()
  },
  primaryKey: ["client", "seq"]
}) {}

/** What `install` creates for them. Text and not jsonb: that refuses `\u0000`. */
export const ddl = [
  `create table if not exists headwater.clients (
  client text primary key,
  identity text not null,
  last_seq int8 not null default 0,
  acknowledged int8 not null default 0,
  seen timestamptz not null default now()
)`,
  // Since version 2.
  "alter table headwater.clients add column if not exists seen timestamptz not null default now()",
  `create table if not exists headwater.receipts (
  client text not null,
  seq int8 not null,
  mutation text not null,
  hash text not null,
  outcome text not null,
  rejected boolean not null,
  trace text,
  transaction xid8 not null default pg_current_xact_id(),
  primary key (client, seq)
)`
] as const
