/**
 * Puts the messages of a replication stream together to whole transactions, as netted changes of declared tables.
 *
 * Invariant: a transaction comes out once its commit was decoded, or not at all: a cut in the middle leaves nothing.
 *
 * Time per row: one pass over its declared columns; a second lookup by key where the transaction has several changes.
 * Memory: the open transaction's changes.
 */
import type { Change } from "@headwater/core/Change"
import * as ColumnType from "@headwater/core/ColumnType"
import * as Key from "@headwater/core/Key"
import type { Row } from "@headwater/core/Row"
import type * as Table from "@headwater/core/Table"
import type { Value } from "@headwater/core/Value"
import { CorruptStep, SourceMisconfigured } from "../ChangeSource.ts"
import * as Pgoutput from "./pgoutput.ts"

export interface Committed {
  /** The lower 32 bits of its id. */
  readonly xid: number
  /** Where the record of its commit ends. */
  readonly endLsn: number
  readonly changes: ReadonlyArray<Change>
  /** `Table.tableName`s. Changes before that are not in `changes`. */
  readonly truncated: ReadonlyArray<string>
  /** It left a message, so that somebody can wait for it, whatever else it did. */
  readonly isMarked: boolean
}

/** A captured table, and where it is in the database. */
export interface Captured {
  readonly table: Table.Any
  readonly schema: string
  readonly name: string
}

/** Prefix of the messages (`pg_logical_emit_message`) that mark a transaction. */
export const markPrefix = "headwater"

export interface Assembly {
  /** Throws `MalformedMessage`, `CorruptStep`, and `SourceMisconfigured` where a table is not as it was declared. */
  readonly push: (message: Uint8Array) => Committed | null
  /** A transaction has begun and not ended yet. */
  readonly isInside: () => boolean
}

/** For one connection: the server describes relations anew on each. */
export const make = (tables: ReadonlyArray<Captured>): Assembly => {
  const readers = new Map(tables.map((captured) => [`${captured.schema}.${captured.name}`, reader(captured)]))
  const byRelation = new Map<Pgoutput.Relation, Reader>()
  const find = (relation: Pgoutput.Relation) => readers.get(`${relation.schema}.${relation.name}`)
  const decoder = Pgoutput.make((relation, column) => find(relation)?.has(column.name) ?? false)
  let open: Open | null = null

  const inside = (): Open => {
    if (open === null) throw new Pgoutput.MalformedMessage("pgoutput: a change outside of a transaction")
    return open
  }

  return {
    isInside: () => open !== null,
    push(bytes) {
      const message = decoder.decode(bytes)
      switch (message.tag) {
        case "insert": {
          const reader = byRelation.get(message.relation)
          if (reader) inside().add(reader, null, message.row)
          return null
        }
        case "update": {
          const reader = byRelation.get(message.relation)
          if (reader) inside().add(reader, whole(reader, message.old, message.oldIsKey), message.row)
          return null
        }
        case "delete": {
          const reader = byRelation.get(message.relation)
          if (reader) inside().add(reader, whole(reader, message.old, message.oldIsKey), null)
          return null
        }
        case "relation": {
          const reader = find(message)
          if (reader) {
            reader.bind(message)
            byRelation.set(message, reader)
          }
          return null
        }
        case "truncate": {
          for (const relation of message.relations) {
            const reader = byRelation.get(relation)
            if (reader) inside().truncate(reader.tableName)
          }
          return null
        }
        case "begin":
          if (open !== null) throw new Pgoutput.MalformedMessage("pgoutput: a transaction inside of a transaction")
          open = new Open(message.xid)
          return null
        case "commit": {
          const { isMarked, truncated, xid } = inside()
          const changes = inside().net()
          open = null
          return { xid, endLsn: message.endLsn, changes, truncated, isMarked }
        }
        case "message":
          if (message.transactional && message.prefix === markPrefix) inside().isMarked = true
          return null
        case "other":
          return null
      }
    }
  }
}

const whole = ({ tableName }: Reader, old: Pgoutput.Tuple | null, isKey: boolean): Pgoutput.Tuple => {
  if (old !== null && !isKey) return old
  throw new SourceMisconfigured({
    message: `The write-ahead log has no old rows of ${tableName}: say ALTER TABLE … REPLICA IDENTITY FULL`
  })
}

interface Reader {
  readonly tableName: string
  /** By column name. */
  readonly has: (column: string) => boolean
  readonly bind: (relation: Pgoutput.Relation) => void
  /** `before` is what the update changed, if that is known: unchanged values are taken from there. */
  readonly row: (tuple: Pgoutput.Tuple, before: Pgoutput.Tuple | null, beforeRow: Row | null) => Row
  readonly key: (row: Row) => string
}

interface Field {
  readonly property: string
  readonly column: string
  readonly parse: (text: string) => Value
  index: number
}

const reader = ({ table }: Captured): Reader => {
  const fields: ReadonlyArray<Field> = Object.entries(table.columns).map(([property, column]) => ({
    property,
    column: column.columnName ?? property,
    parse: (text) => ColumnType.fromText(column.type, text),
    index: -1
  }))
  const names = new Set(fields.map((field) => field.column))
  return {
    tableName: table.tableName,
    has: (column) => names.has(column),
    bind(relation) {
      for (const field of fields) {
        field.index = relation.columns.findIndex((column) => column.name === field.column)
        if (field.index >= 0) continue
        throw new SourceMisconfigured({
          message: `The write-ahead log has no column ${field.column} of ${table.tableName}: it was dropped or renamed, ` +
            "or it is generated and the publication leaves it out"
        })
      }
    },
    row(tuple, before, beforeRow) {
      const row: Record<string, Value> = {}
      for (const { index, parse, property } of fields) {
        const text = tuple[index]
        if (before !== null && (text === Pgoutput.unchanged || text === before[index])) row[property] = beforeRow![property]!
        else row[property] = text === null || text === undefined ? null : parse(text)
      }
      return Object.freeze(row)
    },
    key: Key.make(table)
  }
}

/** A transaction that has not ended yet. */
class Open {
  readonly xid: number
  readonly truncated: Array<string> = []
  isMarked = false
  /** By table and key; what became of the row since the transaction began. */
  #nets = new Map<string, Map<string, Change>>()

  constructor(xid: number) {
    this.xid = xid
  }

  add(reader: Reader, before: Pgoutput.Tuple | null, after: Pgoutput.Tuple | null): void {
    const old = before === null ? null : reader.row(before, null, null)
    const row = after === null ? null : reader.row(after, before, old)
    const oldKey = old === null ? null : reader.key(old)
    const key = row === null ? null : reader.key(row)
    if (oldKey === key) return this.#put(reader.tableName, key!, old, row)
    if (oldKey !== null) this.#put(reader.tableName, oldKey, old, null)
    if (key !== null) this.#put(reader.tableName, key, null, row)
  }

  #put(table: string, key: string, before: Row | null, after: Row | null): void {
    let changes = this.#nets.get(table)
    if (changes === undefined) this.#nets.set(table, changes = new Map())
    const earlier = changes.get(key)
    if (earlier === undefined) {
      changes.set(key, { table, before, after })
      return
    }
    if ((earlier.after === null) !== (before === null)) {
      throw new CorruptStep({ table, message: `Two changes of the row ${key} of ${table} in one transaction do not follow each other` })
    }
    if (earlier.before === null && after === null) changes.delete(key)
    else changes.set(key, { table, before: earlier.before, after })
  }

  truncate(table: string): void {
    this.#nets.delete(table)
    if (!this.truncated.includes(table)) this.truncated.push(table)
  }

  net(): ReadonlyArray<Change> {
    const all: Array<Change> = []
    for (const changes of this.#nets.values()) {
      for (const change of changes.values()) {
        if (!isNothing(change)) all.push(change)
      }
    }
    return all
  }
}

/** Values that did not change are the same objects, but for what changed back and forth. */
const isNothing = ({ after, before }: Change): boolean => {
  if (before === null || after === null) return false
  for (const property in before) if (!Object.is(before[property], after[property])) return false
  return true
}
