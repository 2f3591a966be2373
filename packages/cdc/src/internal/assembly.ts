/**
 * Puts the messages of a replication stream together to whole transactions, as netted changes of declared tables.
 *
 * Invariant: a transaction comes out once its commit was decoded, or not at all: a cut in the middle leaves nothing.
 *
 * Time per row: one pass over its declared columns. Memory: that of a `ChangeSet`, of which there is one at a time.
 */
import * as ColumnType from "@headwater/core/ColumnType"
import * as Key from "@headwater/core/Key"
import * as Row from "@headwater/core/Row"
import type * as Table from "@headwater/core/Table"
import type { Value } from "@headwater/core/Value"
import { SourceMisconfigured } from "../ChangeSource.ts"
import * as ChangeSet from "./changeSet.ts"
import * as Pgoutput from "./pgoutput.ts"
import type { Spool } from "./spool.ts"

export interface Committed {
  /** The lower 32 bits of its id. */
  readonly xid: number
  /** Where the record of its commit ends. */
  readonly endLsn: number
  /** Netted by key. */
  readonly chunks: ChangeSet.Chunks
  /** `Table.tableName`s. Changes before that are not in `chunks`. */
  readonly truncated: ReadonlyArray<string>
  /** It left a message, so that somebody can wait for it, whatever else it did. */
  readonly isMarked: boolean
  /** About what its changes take in memory. */
  readonly bytes: number
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
export const make = (options: {
  readonly tables: ReadonlyArray<Captured>
  readonly spool: Spool
  /** Of one transaction: what goes beyond is spooled. */
  readonly memoryBytes: number
  /** A table was described, for the first time on this connection, or because something was done to it. */
  readonly onDescribed: () => void
}): Assembly => {
  const { memoryBytes, onDescribed, spool, tables } = options
  const equals = new Map(tables.map(({ table }) => [table.tableName, Row.equals(table)]))
  const same: ChangeSet.Same = (table, a, b) => equals.get(table)!(a, b)
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
          if (reader) inside().add(reader, null, message.row, bytes.length)
          return null
        }
        case "update": {
          const reader = byRelation.get(message.relation)
          if (reader) inside().add(reader, whole(reader, message.old, message.oldIsKey), message.row, bytes.length)
          return null
        }
        case "delete": {
          const reader = byRelation.get(message.relation)
          if (reader) inside().add(reader, whole(reader, message.old, message.oldIsKey), null, bytes.length)
          return null
        }
        case "relation": {
          const reader = find(message)
          if (reader) {
            reader.bind(message)
            onDescribed()
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
          open = new Open(message.xid, ChangeSet.make(spool, memoryBytes, same))
          return null
        case "commit": {
          const { bytes, changes, isMarked, truncated, xid } = inside()
          open = null
          return { xid, endLsn: message.endLsn, chunks: changes.chunks(), truncated, isMarked, bytes }
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
  /** Of an update also what was there before: unchanged values are taken from it, or all of it where nothing changed. */
  readonly row: (tuple: Pgoutput.Tuple, before: Pgoutput.Tuple | null, beforeRow: Row.Row | null) => Row.Row
  readonly key: (row: Row.Row) => string
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
      let isChanged = before === null
      for (const { index, parse, property } of fields) {
        const text = tuple[index]
        if (before !== null && (text === Pgoutput.unchanged || text === before[index])) row[property] = beforeRow![property]!
        else {
          row[property] = text === null || text === undefined ? null : parse(text)
          isChanged = true
        }
      }
      return isChanged ? Object.freeze(row) : beforeRow!
    },
    key: Key.make(table)
  }
}

/** What a change takes beside its texts: rows, key, and their places in maps. */
const objectBytes = 400

/** A transaction that has not ended yet. */
class Open {
  readonly xid: number
  readonly changes: ChangeSet.ChangeSet
  readonly truncated: Array<string> = []
  isMarked = false
  bytes = 0

  constructor(xid: number, changes: ChangeSet.ChangeSet) {
    this.xid = xid
    this.changes = changes
  }

  add(reader: Reader, before: Pgoutput.Tuple | null, after: Pgoutput.Tuple | null, logBytes: number): void {
    const { key: keyOf, tableName } = reader
    const old = before === null ? null : reader.row(before, null, null)
    const row = after === null ? null : reader.row(after, before, old)
    if (row === old) return // only columns that are not declared
    const bytes = logBytes + objectBytes
    this.bytes += bytes
    if (old === null) return this.changes.put(tableName, keyOf(row!), null, row, bytes)
    if (row === null) return this.changes.put(tableName, keyOf(old), old, null, bytes)
    const oldKey = keyOf(old)
    const key = keyOf(row)
    if (oldKey === key) return this.changes.put(tableName, key, old, row, bytes)
    this.changes.put(tableName, oldKey, old, null, bytes)
    this.changes.put(tableName, key, null, row, 0)
  }

  truncate(table: string): void {
    this.changes.truncate(table)
    if (!this.truncated.includes(table)) this.truncated.push(table)
  }
}
