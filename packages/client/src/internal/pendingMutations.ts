/**
 * The pending mutations, in order: what each read and wrote.
 *
 * Invariant: the operations written to the stores are those of the mutations, in that order, and between transactions they are what
 * each function would write if it ran now, after those before it. A mutation is replayed by its recorded operations; its
 * function runs again only when what it read was touched. One that throws writes nothing.
 *
 * Time of a transaction: O(what moved + what is pending and was read); of those from the first that must run again on,
 * O(operations).
 */
import type { Key } from "@headwater/core/Key"
import type { Row } from "@headwater/core/Row"
import type { Overlay, Ran, View } from "../Replica.ts"
import * as Store from "./store.ts"
import type { State } from "./view.ts"

export interface PendingMutations {
  readonly size: number
  add(id: number, run: Run | null): ReadonlyArray<Ran>
  end(ids: ReadonlyArray<number>): void
  /** Replays what is pending over what moved. */
  rebase(): ReadonlyArray<Ran>
  /** Those before this one that wrote what it read or wrote. */
  dependenciesOf(id: number): ReadonlyArray<number>
}

type Run = (overlay: Overlay) => void

interface Pending {
  readonly id: number
  readonly run: Run | null
  operations: Array<Store.Operation>
  reads: Reads
}

interface Reads {
  readonly keys: Map<Store.Store, Set<Key>>
  /** Tables of which a result was read. */
  readonly scans: Set<Store.Store>
}

/** `read` is the result of a view that is known, with all that was written so far. */
export const make = (stores: ReadonlyMap<string, Store.Store>, storeOf: (table: string) => Store.Store, read: (view: State) => ReadonlyArray<Row>): PendingMutations => {
  const pending: Array<Pending> = []

  const execute = (mutation: Pending): Ran => {
    const { keys, scans } = mutation.reads = noReads()
    mutation.operations = []
    let open = true
    const inside = () => {
      if (!open) throw new TypeError("A transaction was used after its handler had returned.")
    }
    const write = (operation: Store.Operation) => {
      inside()
      mutation.operations.push(operation)
      Store.write(operation)
    }
    const overlay: Overlay = {
      get(table, key) {
        inside()
        const store = storeOf(table)
        let read = keys.get(store)
        if (read === undefined) keys.set(store, read = new Set())
        read.add(key)
        return Store.rowOf(store, key)
      },
      peek(table, key) {
        inside()
        return Store.rowOf(storeOf(table), key)
      },
      read(view: View) {
        inside()
        const state = view as State
        for (const store of [state.store, ...state.asked]) scans.add(store)
        return state.known ? read(state) : undefined
      },
      insert: (table, key, row) => write({ op: "insert", store: storeOf(table), key, row }),
      update: (table, key, row) => write({ op: "update", store: storeOf(table), key, row }),
      delete: (table, key) => write({ op: "delete", store: storeOf(table), key, row: null }),
      savepoint() {
        const mark = mutation.operations.length
        return () => {
          inside()
          Store.takeBack(mutation.operations.splice(mark))
        }
      }
    }
    let error: unknown
    try {
      mutation.run!(overlay)
    } catch (thrown) {
      error = thrown ?? new Error("The handler failed.")
      Store.takeBack(mutation.operations.splice(0))
    }
    open = false
    return { mutation: mutation.id, error }
  }

  return {
    get size() {
      return pending.length
    },
    add(id, run) {
      const mutation: Pending = { id, run, operations: [], reads: noReads() }
      pending.push(mutation)
      return run === null ? [] : [execute(mutation)]
    },
    end(ids) {
      for (const id of ids) {
        const index = pending.findIndex((mutation) => mutation.id === id)
        if (index < 0) continue
        const [mutation] = pending.splice(index, 1)
        Store.takeBack(mutation!.operations)
        for (const { key, store } of mutation!.operations) Store.mark(store, key)
      }
    },
    rebase() {
      const ran: Array<Ran> = []
      if (pending.length === 0) return ran
      for (const store of stores.values()) {
        if (store.touched.size > 0) for (const key of store.marks.moved) Store.replay(store, key)
      }
      const first = pending.findIndex(readsMoved)
      if (first < 0) return ran
      // A function sees what those before it wrote, and nothing of those after it.
      for (let i = pending.length - 1; i >= first; i--) Store.takeBack(pending[i]!.operations)
      for (let i = first; i < pending.length; i++) {
        const mutation = pending[i]!
        const before = mutation.operations
        if (!readsMoved(mutation)) {
          before.forEach(Store.write)
          continue
        }
        ran.push(execute(mutation))
        const after = mutation.operations
        if (before.length === after.length && before.every((operation, j) => Store.isSameOperation(operation, after[j]!))) continue
        for (const { key, store } of [...before, ...after]) store.marks.moved.add(key)
      }
      return ran
    },
    dependenciesOf(id) {
      const index = pending.findIndex((mutation) => mutation.id === id)
      const mutation = pending[index]
      if (mutation === undefined) return []
      const { operations, reads: { keys, scans } } = mutation
      const own = new Set(operations.map(({ store, key }) => `${store.name} ${key}`))
      return pending.slice(0, index)
        .filter((earlier) => earlier.operations.some(({ key, store }) => scans.has(store) || keys.get(store)?.has(key) || own.has(`${store.name} ${key}`)))
        .map((earlier) => earlier.id)
    }
  }
}

const noReads = (): Reads => ({ keys: new Map(), scans: new Set() })

const readsMoved = ({ reads, run }: Pending): boolean => {
  if (run === null) return false
  for (const { marks } of reads.scans) if (marks.moved.size > 0) return true
  for (const [{ marks: { moved } }, keys] of reads.keys) {
    const [few, many] = keys.size < moved.size ? [keys, moved] : [moved, keys]
    for (const key of few) if (many.has(key)) return true
  }
  return false
}
