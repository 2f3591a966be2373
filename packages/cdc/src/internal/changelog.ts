/**
 * What the capture triggers wrote, as transactions and as a step. Pure.
 *
 * An image is a record's text, its fields in the order of the columns of the very table (or partition) that was written to;
 * a `Layout` says which they are. It is right for an image only if the table was not altered in between, which signatures tell.
 *
 * The order of entries says nothing about changes of rows. It does say which of them a TRUNCATE removed: those of its table that
 * were written before it.
 */
import type { Change } from "@headwater/core/Change"
import * as Net from "@headwater/core/Net"
import type { Position } from "@headwater/core/Position"
import * as Row from "@headwater/core/Row"
import type * as Table from "@headwater/core/Table"
import { CorruptStep } from "../ChangeSource.ts"
import type { Transaction } from "../TransactionLog.ts"
import * as Names from "./names.ts"
import * as RecordText from "./recordText.ts"

/** `m`: a mark that leaves nothing but its transaction; `r`: a receipt, of which `after` has the declared columns. */
export interface Entry {
  readonly id: number
  readonly transaction: string
  /** The captured table's number. */
  readonly captured: string | null
  readonly relation: string | null
  readonly kind: "i" | "u" | "d" | "t" | "m" | "r"
  readonly before: string | null
  readonly after: string | null
}

/** How images of one relation are read. */
export interface Layout {
  readonly table: Table.Any
  readonly read: (record: string) => Row.Row
}

export interface Layouts {
  /** By captured number. */
  readonly tables: ReadonlyMap<string, Table.Any>
  /** The oid of each captured table itself, by its number: of its partitions others are known too. */
  readonly roots: ReadonlyMap<string, string>
  /** By the oid of the relation that was written to. */
  readonly relations: ReadonlyMap<string, Layout>
  readonly receipts: Layout
}

/** `columns` are those of the record; null where one that is declared is not among them. */
export const layout = (table: Table.Any, columns: ReadonlyArray<string>): Layout | null => {
  const places = Object.keys(table.columns).map((property) => columns.indexOf(Names.column(table, property)))
  if (places.includes(-1)) return null
  const fromTexts = Row.fromTexts(table)
  return {
    table,
    read(record) {
      const fields = RecordText.parse(record)
      return fromTexts(places.map((place) => fields[place]!))
    }
  }
}

/** The transactions of entries, ordered so that one that truncated a table is between those before and those after. */
export const transactions = (entries: ReadonlyArray<Entry>, position: Position | null, layouts: Layouts): ReadonlyArray<Transaction> => {
  const all = new Map<string, { readonly id: bigint; last: number; truncated: Map<string, number>; changes: Array<Change & { readonly at: number }> }>()
  for (const entry of entries) {
    let transaction = all.get(entry.transaction)
    if (transaction === undefined) all.set(entry.transaction, transaction = { id: BigInt(entry.transaction), last: 0, truncated: new Map(), changes: [] })
    transaction.last = Math.max(transaction.last, entry.id)
    if (entry.kind === "m") continue
    if (entry.kind === "t") {
      // Partitions tell too, when their table is truncated (`wasPartlyEmptied`).
      if (layouts.roots.get(entry.captured!) !== entry.relation) continue
      const table = layouts.tables.get(entry.captured!)!.tableName
      transaction.truncated.set(table, Math.max(transaction.truncated.get(table) ?? 0, entry.id))
      continue
    }
    const layout = entry.kind === "r" ? layouts.receipts : layouts.relations.get(entry.relation!)
    if (layout === undefined) {
      const table = layouts.tables.get(entry.captured!)!.tableName
      throw new CorruptStep({ table, message: `A change of ${table} came from relation ${entry.relation}, which is no longer part of it` })
    }
    transaction.changes.push({
      table: layout.table.tableName,
      before: entry.before === null ? null : layout.read(entry.before),
      after: entry.after === null ? null : layout.read(entry.after),
      at: entry.id
    })
  }
  return [...all.values()].sort((left, right) => left.last - right.last).map(({ changes, id, truncated }) => ({
    id,
    position,
    changes: truncated.size === 0 ? changes : changes.filter(({ at, table }) => at > (truncated.get(table) ?? 0)),
    truncated: [...truncated.keys()]
  }))
}

/** Their sum. Throws `CorruptStep`. `transactions` are ordered as above. */
export const net = (transactions: ReadonlyArray<Transaction>, tables: ReadonlyMap<string, Table.Any>) => {
  const sum = Net.make()
  const truncated = new Set<string>()
  for (const transaction of transactions) {
    for (const table of transaction.truncated) {
      sum.truncate(tables.get(table)!)
      truncated.add(table)
    }
    for (const { after, before, table } of transaction.changes) {
      const declared = tables.get(table)!
      if (before !== null) sum.add(declared, before, -1)
      if (after !== null) sum.add(declared, after, 1)
    }
  }
  const result = sum.result()
  if (result._tag === "CorruptStep") throw new CorruptStep({ table: result.table, message: `${result.message}. Everything must be read again.` })
  return { truncated: [...truncated], chunks: chunked(result.changes) }
}

const chunkSize = 1024

const chunked = (changes: ReadonlyArray<Change>): Iterable<ReadonlyArray<Change>> => {
  const chunks: Array<ReadonlyArray<Change>> = []
  for (let from = 0; from < changes.length; from += chunkSize) chunks.push(changes.slice(from, from + chunkSize))
  return chunks
}

/**
 * Relations by oid: which captured table they belong to, which file holds their rows, and a hash of name, columns and triggers.
 */
export type Signature = ReadonlyMap<string, { readonly captured: string; readonly file: string; readonly hash: string }>

/** Of `captured/oid/file/hash` by semicolons. */
export const parseSignature = (text: string): Signature =>
  new Map(text.split(";").filter((part) => part !== "").map((part) => {
    const [captured, oid, file, hash] = part.split("/") as [string, string, string, string]
    return [oid, { captured, file, hash }]
  }))

/** How often relations were truncated, by oid. */
export const emptied = (entries: ReadonlyArray<Entry>): ReadonlyMap<string, number> => {
  const counts = new Map<string, number>()
  for (const { kind, relation } of entries) if (kind === "t") counts.set(relation!, (counts.get(relation!) ?? 0) + 1)
  return counts
}

/**
 * Which of the `captured` tables changed, from one signature to another, in a way that no trigger has seen: altered, partitions
 * attached or detached, triggers switched off, rows rewritten, a partition truncated alone (with its table it is told as often
 * as that). A relation that was truncated has a new file; with null no file matters.
 */
export const altered = (
  from: Signature,
  to: Signature,
  captured: ReadonlySet<string>,
  emptied: ReadonlyMap<string, number> | null,
  roots: ReadonlyMap<string, string>
): ReadonlySet<string> => {
  const found = new Set<string>()
  for (const [oid, old] of from) {
    const now = to.get(oid)
    if (now === undefined || now.hash !== old.hash || now.captured !== old.captured) found.add(old.captured)
    else if (emptied !== null) {
      const times = emptied.get(oid) ?? 0
      if (now.file !== old.file && times === 0 || times !== 0 && times !== emptied.get(roots.get(old.captured)!)) found.add(old.captured)
    }
  }
  for (const [oid, now] of to) if (!from.has(oid)) found.add(now.captured)
  for (const table of found) if (!captured.has(table)) found.delete(table)
  return found
}
