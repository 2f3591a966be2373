/**
 * Decodes the messages of Postgres' logical decoding plugin `pgoutput`, protocol version 1 (2 without streaming), as
 * documented under "Logical Replication Message Formats". It knows bytes and relations; what a value means is for others.
 *
 * A decoder remembers the relations that the server described: the server describes each once for a connection, before
 * its first row, and again after it changed. So a new connection needs a new decoder.
 *
 * Cost per row: one pass over its bytes and one string per kept column; a column that is not kept costs its five bytes of
 * header. The bytes are not referred to afterwards.
 */

/** A column's text; null for NULL; `unchanged` for an out-of-line value that an update did not touch, and did not log. */
export type Text = string | null | typeof unchanged

export const unchanged = undefined

/** By column index. Columns that are not kept are null. */
export type Tuple = ReadonlyArray<Text>

export interface Column {
  readonly name: string
  /** Part of the replica identity. With identity FULL every column is. */
  readonly isKey: boolean
  readonly typeId: number
}

export interface Relation {
  readonly tag: "relation"
  readonly id: number
  readonly schema: string
  readonly name: string
  readonly identity: "default" | "nothing" | "full" | "index"
  readonly columns: ReadonlyArray<Column>
}

export type Message =
  /** `commitLsn` is where the commit record starts. */
  | { readonly tag: "begin"; readonly commitLsn: number; readonly xid: number }
  /** `endLsn` is where the commit record ends. */
  | { readonly tag: "commit"; readonly commitLsn: number; readonly endLsn: number }
  | Relation
  | { readonly tag: "insert"; readonly relation: Relation; readonly row: Tuple }
  /**
   * `old` is the whole row with identity FULL; otherwise it is present only where a column of the identity changed, and
   * then `oldIsKey` tells that it has only those columns.
   */
  | { readonly tag: "update"; readonly relation: Relation; readonly old: Tuple | null; readonly oldIsKey: boolean; readonly row: Tuple }
  | { readonly tag: "delete"; readonly relation: Relation; readonly old: Tuple; readonly oldIsKey: boolean }
  | { readonly tag: "truncate"; readonly relations: ReadonlyArray<Relation> }
  | { readonly tag: "message"; readonly transactional: boolean; readonly lsn: number; readonly prefix: string; readonly content: Uint8Array }
  /** Where a replicated transaction came from, and the names of types: nobody needs them. */
  | { readonly tag: "other" }

/** The bytes are not what `pgoutput` writes. */
export class MalformedMessage extends Error {
  override readonly name = "MalformedMessage"
}

export interface Decoder {
  /** Throws `MalformedMessage`. */
  readonly decode: (bytes: Uint8Array) => Message
}

/** `keeps` is asked once for each column whenever the server describes a relation. */
export const make = (keeps: (relation: Relation, column: Column) => boolean = () => true): Decoder => {
  const relations = new Map<number, Known>()
  let bytes: Uint8Array = new Uint8Array(0)
  let at = 0

  const fail = (what: string): never => {
    throw new MalformedMessage(`pgoutput: ${what} at byte ${at} of ${bytes.length}`)
  }
  const u8 = (): number => at < bytes.length ? bytes[at++]! : fail("message ends early")
  const u16 = (): number => u8() << 8 | u8()
  const u32 = (): number => {
    if (at + 4 > bytes.length) fail("message ends early")
    const value = (bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 | bytes[at + 3]!) >>> 0
    at += 4
    return value
  }
  const lsn = (): number => {
    const high = u32()
    return high * 0x1_0000_0000 + u32()
  }
  const cString = (): string => {
    const end = bytes.indexOf(0, at)
    if (end < 0) fail("a string has no end")
    const value = text(bytes, at, end)
    at = end + 1
    return value
  }
  const relation = (): Known => {
    const id = u32()
    return relations.get(id) ?? fail(`relation ${id} was never described`)
  }
  const tuple = ({ kept }: Known): Tuple => {
    const count = u16()
    // Identity tuples have all columns too, the others being NULL.
    if (count !== kept.length) fail(`a row of ${count} columns in a relation of ${kept.length}`)
    const values: Array<Text> = new Array(count)
    for (let i = 0; i < count; i++) {
      switch (u8()) {
        case 0x74: { // t
          const start = at + 4
          const end = start + u32()
          if (end > bytes.length) fail("a value ends early")
          values[i] = kept[i] ? text(bytes, start, end) : null
          at = end
          break
        }
        case 0x6e: // n
          values[i] = null
          break
        case 0x75: // u
          values[i] = kept[i] ? unchanged : null
          break
        default:
          fail("a value of unknown kind")
      }
    }
    return values
  }
  const expect = (kind: number): void => {
    if (u8() !== kind) fail(`no ${String.fromCharCode(kind)} tuple`)
  }

  const read = (): Message => {
    switch (u8()) {
      case 0x49: { // I
        const known = relation()
        expect(0x4e)
        return { tag: "insert", relation: known.relation, row: tuple(known) }
      }
      case 0x55: { // U
        const known = relation()
        const kind = u8()
        if (kind === 0x4e) return { tag: "update", relation: known.relation, old: null, oldIsKey: false, row: tuple(known) }
        if (kind !== 0x4b && kind !== 0x4f) fail("no old tuple")
        const old = tuple(known)
        expect(0x4e)
        return { tag: "update", relation: known.relation, old, oldIsKey: kind === 0x4b, row: tuple(known) }
      }
      case 0x44: { // D
        const known = relation()
        const kind = u8()
        if (kind !== 0x4b && kind !== 0x4f) fail("no old tuple")
        return { tag: "delete", relation: known.relation, old: tuple(known), oldIsKey: kind === 0x4b }
      }
      case 0x42: { // B
        const commitLsn = lsn()
        at += 8 // time of the commit
        return { tag: "begin", commitLsn, xid: u32() }
      }
      case 0x43: { // C
        u8() // flags, none yet
        const commitLsn = lsn()
        const endLsn = lsn()
        lsn() // time of the commit
        return { tag: "commit", commitLsn, endLsn }
      }
      case 0x52: { // R
        const id = u32()
        const schema = cString()
        const name = cString()
        const identity = identities[String.fromCharCode(u8())] ?? fail("an unknown replica identity")
        const columns: Array<Column> = new Array(u16())
        for (let i = 0; i < columns.length; i++) {
          const isKey = (u8() & 1) === 1
          const column = cString()
          const typeId = u32()
          u32() // type modifier
          columns[i] = { name: column, isKey, typeId }
        }
        // The schema is empty for pg_catalog.
        const described: Relation = { tag: "relation", id, schema: schema === "" ? "pg_catalog" : schema, name, identity, columns }
        relations.set(id, { relation: described, kept: columns.map((column) => keeps(described, column)) })
        return described
      }
      case 0x54: { // T
        const truncated: Array<Relation> = []
        const count = u32()
        u8() // CASCADE, RESTART IDENTITY
        for (let i = 0; i < count; i++) truncated.push(relation().relation)
        return { tag: "truncate", relations: truncated }
      }
      case 0x4d: { // M
        const transactional = (u8() & 1) === 1
        const position = lsn()
        const prefix = cString()
        const length = u32()
        if (at + length > bytes.length) fail("a message's content ends early")
        const content = bytes.slice(at, at + length)
        at += length
        return { tag: "message", transactional, lsn: position, prefix, content }
      }
      case 0x4f: // O
        lsn()
        cString()
        return other
      case 0x59: // Y
        u32()
        cString()
        cString()
        return other
      default:
        return fail("a message of unknown type")
    }
  }

  return {
    decode(message) {
      bytes = message
      at = 0
      const decoded = read()
      if (at !== bytes.length) fail("bytes are left over")
      return decoded
    }
  }
}

interface Known {
  readonly relation: Relation
  readonly kept: ReadonlyArray<boolean>
}

const other: Message = { tag: "other" }

const identities: { readonly [code: string]: Relation["identity"] } = { d: "default", n: "nothing", f: "full", i: "index" }

/** Short ASCII, which is most of what there is, costs less here than a call into the runtime. */
const text = (bytes: Uint8Array, start: number, end: number): string => {
  if (end - start > 16) return utf8(bytes, start, end)
  let value = ""
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!
    if (byte > 127) return utf8(bytes, start, end)
    value += String.fromCharCode(byte)
  }
  return value
}

/** What `Buffer.toString` calls in the end, without its checks and without a view per value. */
const { utf8Slice } = Buffer.prototype as unknown as { readonly utf8Slice: (this: Uint8Array, start: number, end: number) => string }

const utf8 = (bytes: Uint8Array, start: number, end: number): string => utf8Slice.call(bytes, start, end)
