/**
 * This server's replication slot and lease, and what must be so in the catalog before there can be one.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import type * as Table from "@headwater/core/Table"
import * as Effect from "effect/Effect"
import { randomBytes } from "node:crypto"
import type { Captured } from "./assembly.ts"
import * as Lsn from "./lsn.ts"
import type * as Replication from "./replication.ts"
import * as Snapshot from "../Snapshot.ts"

export interface Slot {
  readonly name: string
  readonly start: number
  readonly snapshot: Snapshot.Snapshot
}

export const make = Effect.fnUntraced(function*(pg: PgClient.PgClient, tables: ReadonlyArray<Table.Any>) {
  const captured: Array<Captured> = tables.map((table) => ({ table, schema: "public", name: table.tableName }))
  const query = (sql: string, parameters: ReadonlyArray<unknown> = []) => Effect.orDie(pg.unsafe(sql, parameters).values)
  return {
    captured: captured as ReadonlyArray<Captured>,
    generation: "0",
    create: Effect.fnUntraced(function*(connection: Replication.Connection) {
      const name = `headwater_${randomBytes(8).toString("hex")}`
      const [slot] = yield* connection.query(`CREATE_REPLICATION_SLOT ${name} LOGICAL pgoutput NOEXPORT_SNAPSHOT`)
      const [[now]] = (yield* query("select pg_current_snapshot()::text")) as [[string]]
      return { name, start: Lsn.parse(slot!["consistent_point"]!), snapshot: Snapshot.parse(now) }
    }),
    start: ({ name }: Slot, from: number) =>
      `START_REPLICATION SLOT ${name} LOGICAL ${Lsn.format(from)} (proto_version '1', publication_names 'headwater', messages 'true')`,
    drop: ({ name }: Slot) => query("select pg_drop_replication_slot($1)", [name])
  }
})
