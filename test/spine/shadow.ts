/**
 * Folds commits into a shadow of the database, by plain SQL. One that does not fit what is there throws.
 */
import type { Step } from "@headwater/core/Step"
import type { Client, QueryResult } from "pg"
import { sql, tableNames, type TableName, tables } from "./database.ts"

export interface Fold {
  readonly position: number
  readonly transactions: ReadonlyArray<string>
  readonly truncated: ReadonlyArray<TableName>
  /** Rows as SQL. */
  readonly changes: ReadonlyArray<{ readonly table: TableName; readonly before: string | null; readonly after: string | null }>
  /** Numbers of the marks that it inserts. */
  readonly marks: ReadonlyArray<number>
  /** Client and number of the receipts that it inserts. */
  readonly receipts: ReadonlyArray<string>
}

const isBoards = (table: string): table is TableName => Object.hasOwn(tables, table)

/** Makes the shadow equal to the source, wherein nothing may happen meanwhile. */
export const copy = async (source: Client, shadow: Client): Promise<void> => {
  for (const table of tableNames) {
    for (const { row } of (await source.query<{ row: string }>(`select y::text as row from ${table} y`)).rows) {
      await shadow.query(`insert into ${table} select ($1::${table}).*`, [row])
    }
  }
}

export const fold = async (shadow: Client, { changes, position, truncated }: Fold): Promise<void> => {
  const statements = truncated.map((table) => `truncate ${table}`)
  // Compared as a whole: what is removed must be what is there.
  for (const { before, table } of changes) if (before !== null) statements.push(`delete from ${table} t where t is not distinct from ${before}`)
  for (const { after, table } of changes) if (after !== null) statements.push(`insert into ${table} select (${after}).*`)
  if (statements.length === 0) return
  const results = [await shadow.query(statements.join(";\n"))].flat() as Array<QueryResult>
  results.slice(truncated.length).forEach(({ rowCount }, i) => {
    if (rowCount !== 1) throw new Error(`what happened at ${position} does not fit: ${rowCount} rows for ${statements[truncated.length + i]}`)
  })
}

/** A step of a change source. */
export const ofStep = ({ chunks, position, transactions, truncated }: Step): Fold => {
  const all = [...chunks].flat()
  return {
    position,
    transactions,
    truncated: truncated.filter(isBoards),
    changes: all.flatMap(({ after, before, table }) => {
      if (!isBoards(table)) return []
      const text = (row: Readonly<Record<string, unknown>> | null) =>
        row && `row(${tables[table].columns.map(([property, , type]) => sql(row[property], type)).join(", ")})::${table}`
      return [{ table, before: text(before), after: text(after) }]
    }),
    marks: all.flatMap(({ after, before, table }) => table === "marks" && before === null && after !== null ? [Number(after["n"])] : []),
    receipts: all.flatMap(({ after, before, table }) => table === "headwater.receipts" && before === null && after !== null ? [`${String(after["client"])} ${String(after["seq"])}`] : [])
  }
}

/** One image of a row, as a trigger of the test wrote it down. */
export interface Image {
  readonly transaction: string
  readonly name: string
  readonly row: string
  readonly weight: number
}

/** Transactions of the same position, summed up: the order in which a transaction's images were written says nothing. */
export const ofImages = (images: ReadonlyArray<Image>, positions: ReadonlyMap<string, number>): ReadonlyArray<Fold> =>
  [...Map.groupBy(images, ({ transaction }) => positions.get(transaction)!)].sort(([a], [b]) => a - b).map(([position, all]) => {
    const sum = net(all)
    const text = ({ name, row }: Image) => `${sql(row, "text")}::${name}`
    return {
      position,
      // What changes nothing needs no step; receipts are gone once they are acknowledged, perhaps before another source looks.
      transactions: [...Map.groupBy(all, ({ transaction }) => transaction)].flatMap(([id, own]) => net(own).some(({ name }) => isBoards(name)) ? [id] : []),
      truncated: [],
      changes: sum.flatMap((image) => {
        if (!isBoards(image.name)) return []
        return [{ table: image.name, before: image.weight < 0 ? text(image) : null, after: image.weight > 0 ? text(image) : null }]
      }),
      marks: sum.flatMap(({ name, row, weight }) => name === "marks" && weight > 0 ? [Number(row.slice(1, -1))] : []),
      receipts: sum.flatMap(({ name, row }) => name === "receipts" ? [row] : [])
    }
  })

const net = (images: ReadonlyArray<Image>): ReadonlyArray<Image> =>
  [...Map.groupBy(images, ({ name, row }) => `${name} ${row}`).values()].flatMap((same) => {
    const weight = same.reduce((sum, image) => sum + image.weight, 0)
    return Array.from({ length: Math.abs(weight) }, () => ({ ...same[0]!, weight: Math.sign(weight) }))
  })

/** In the source: writes each image down, beside whatever else captures it. */
export const watch = (receipts: string | null): string =>
  [
    "create table if not exists images (id int8 generated always as identity, transaction xid8 not null default pg_current_xact_id(), name text not null, row text not null, weight int not null)",
    `create or replace function watch() returns trigger language plpgsql as $$ begin
       if tg_op = 'TRUNCATE' then
         execute format('insert into images (name, row, weight) select %L, t::text, -1 from %I t', tg_table_name, tg_table_name);
       else
         if tg_op <> 'INSERT' then insert into images (name, row, weight) values (tg_table_name, old::text, -1); end if;
         if tg_op <> 'DELETE' then insert into images (name, row, weight) values (tg_table_name, new::text, 1); end if;
       end if;
       return null;
     end $$`,
    ...(receipts === null ? tableNames.flatMap((table) => [
      `create trigger watch after insert or update or delete on ${table} for each row execute function watch()`,
      `create trigger watch_truncate before truncate on ${table} for each statement execute function watch()`
    ]) : [
      `create or replace function watch_receipts() returns trigger language plpgsql as $$ begin
         insert into public.images (name, row, weight) values ('receipts', new.client || ' ' || new.seq, 1);
         return null;
       end $$`,
      `create trigger watch after insert on ${receipts} for each row execute function watch_receipts()`
    ])
  ].join(";\n")

export const readImages = async (source: Client): Promise<ReadonlyArray<Image>> =>
  (await source.query<Image>("select transaction::text, name, row, weight from images order by id")).rows
