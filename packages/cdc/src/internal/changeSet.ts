/**
 * The changes of one transaction, netted by key as they come in the log's order: what a row was before all of them, and
 * what it is after. In memory up to a bound, beyond that on disk.
 *
 * On disk they lie in as many parts as it takes to net one part at a time in memory; a key is always in the same part.
 *
 * Time: O(1) per change and pass. Memory: `memoryBytes`, or a 64th of all of it.
 */
import type { Change } from "@headwater/core/Change"
import type { Key } from "@headwater/core/Key"
import type { Row } from "@headwater/core/Row"
import { CorruptStep } from "../ChangeSource.ts"
import type { Spool, Stored } from "./spool.ts"

/** Changes in arrays of bounded size, no two of one key. May be iterated again. */
export type Chunks = Iterable<ReadonlyArray<Change>>

export interface ChangeSet {
  /** `bytes` is about what the change takes in memory. Throws `CorruptStep` where it does not follow from the last of its key. */
  put(table: string, key: Key, before: Row | null, after: Row | null, bytes: number): void
  /** Forgets a table's changes. */
  truncate(table: string): void
  /** Once, at the end. */
  chunks(): Chunks
}

/** By table and key. */
type Nets = Map<string, Map<Key, Change>>

/** `same` tells whether two rows of a table have the same content: what only came and went back is no change. */
export type Same = (table: string, a: Row, b: Row) => boolean

export const make = (spool: Spool, memoryBytes: number, same: Same): ChangeSet => {
  let nets: Nets = new Map()
  let bytes = 0
  /** By part, in the order in which they were written. */
  let stored: Array<Array<Stored<ReadonlyArray<Entry>>>> | undefined

  const spill = () => {
    stored ??= Array.from({ length: parts }, () => [])
    const batches: Array<Array<Entry>> = stored.map(() => [])
    for (const changes of nets.values()) {
      for (const [key, change] of changes) batches[hash(key) % parts]!.push([key, change])
    }
    batches.forEach((batch, part) => {
      if (batch.length > 0) stored![part]!.push(spool.write(batch))
    })
    nets = new Map()
    bytes = 0
  }

  return {
    put(table, key, before, after, size) {
      put(nets, key, { table, before, after }, same)
      bytes += size
      if (bytes > memoryBytes) spill()
    },
    truncate(table) {
      nets.delete(table)
      stored = stored?.map((part) => part.map((batch) => ({ read: () => batch.read().filter(([, change]) => change.table !== table) })))
    },
    chunks() {
      if (stored === undefined) return inMemory(nets)
      spill()
      const all = stored
      return {
        *[Symbol.iterator]() {
          for (const batches of all) {
            const nets: Nets = new Map()
            for (const batch of batches) for (const [key, change] of batch.read()) put(nets, key, thaw(change), same)
            yield* inMemory(nets)
          }
        }
      }
    }
  }
}

/** Moves what is in memory to disk. */
export const store = (chunks: Chunks, spool: Spool): Chunks => {
  const stored = [...chunks].map((chunk) => spool.write(chunk))
  return {
    *[Symbol.iterator]() {
      for (const chunk of stored) yield chunk.read().map(thaw)
    }
  }
}

/** All of them. */
export const flat = (chunks: Chunks): Iterable<Change> => ({
  *[Symbol.iterator]() {
    for (const chunk of chunks) yield* chunk
  }
})

type Entry = readonly [Key, Change]

const parts = 64
const chunkSize = 1024

const put = (nets: Nets, key: Key, change: Change, same: Same): void => {
  let changes = nets.get(change.table)
  if (changes === undefined) nets.set(change.table, changes = new Map())
  const earlier = changes.get(key)
  if (earlier === undefined) {
    changes.set(key, change)
    return
  }
  if ((earlier.after === null) !== (change.before === null)) {
    const message = `Two changes of the row ${key} of ${change.table} in one transaction do not follow each other. Everything must be read again.`
    throw new CorruptStep({ table: change.table, message })
  }
  if (earlier.before === change.after || earlier.before !== null && change.after !== null && same(change.table, earlier.before, change.after)) {
    changes.delete(key)
  } else changes.set(key, { table: change.table, before: earlier.before, after: change.after })
}

const inMemory = (nets: Nets): Chunks => {
  const chunks: Array<Array<Change>> = []
  let last: Array<Change> | undefined
  for (const changes of nets.values()) {
    for (const change of changes.values()) {
      if (last === undefined || last.length === chunkSize) chunks.push(last = [])
      last.push(change)
    }
  }
  return chunks
}

/** Rows are frozen, but not on disk. */
const thaw = (change: Change): Change => {
  if (change.before !== null) Object.freeze(change.before)
  if (change.after !== null) Object.freeze(change.after)
  return change
}

/** FNV-1a. */
const hash = (key: Key): number => {
  let value = 0x811c9dc5
  for (let i = 0; i < key.length; i++) value = Math.imul(value ^ key.charCodeAt(i), 0x01000193)
  return value >>> 0
}
