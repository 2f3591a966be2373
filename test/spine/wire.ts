/**
 * What a client's connections amount to, from the messages alone and kept in the most obvious way: the rows of each
 * subscription. Independent of the client's replica.
 */
import * as Key from "@headwater/core/Key"
import type { ClientMessage, Receipt, ServerMessage } from "@headwater/core/Message"
import { Board } from "./contract.ts"
import { type Parameters, type QueryName, type TableName, tables } from "./database.ts"
import type { Fields } from "./recording.ts"

/** By key. */
type Members = ReadonlyMap<string, Fields>

export interface Applied {
  readonly epoch: string
  readonly position: number
  readonly carried: ReadonlyArray<readonly [TableName, Fields]>
  readonly receipts: ReadonlyArray<Receipt>
  /** How many results of the connection before it goes on with. */
  readonly resumed: number
}

export interface Subscription {
  readonly query: QueryName
  readonly parameters: Parameters
  /** Undefined before its first result. */
  readonly members: ReadonlyArray<Fields> | undefined
}

export interface Wire {
  readonly send: (message: ClientMessage) => void
  /** What a frame says; undefined for other messages. */
  readonly receive: (message: ServerMessage) => Applied | undefined
  readonly subscriptions: () => ReadonlyArray<Subscription>
  /** The client's id, which may change. */
  readonly store: () => string
  readonly stores: ReadonlySet<string>
}

const canonical = (json: unknown, type: string): unknown => json === null ? null : type === "bigint" ? BigInt(json as string) : type === "float8" ? Number(json) : json

const keys = new Map(Object.values(Board.tables).map((table) => [table.tableName, Key.make(table)]))

export const make = (): Wire => {
  let columns: Readonly<Record<string, ReadonlyArray<string>>> = {}
  let epoch = ""
  let store = ""
  const stores = new Set<string>()
  /** Those that are open, by the client's number, and the binding that answers them on this connection. */
  const open = new Map<number, { readonly query: QueryName; readonly parameters: Parameters; binding: number | undefined }>()
  const bindings = new Map<number, Members>()
  /** What the client held of each subscription when it connected. */
  let held = new Map<number, Members>()

  const membersOf = (id: number) => bindings.get(open.get(id)?.binding ?? -1)
  const subscribe = ({ id, parameters, query }: { readonly id: number; readonly query: string; readonly parameters: Parameters }) =>
    void open.set(id, { query: query as QueryName, parameters, binding: undefined })
  const read = (table: TableName, wire: ReadonlyArray<unknown>): Fields =>
    Object.fromEntries(columns[table]!.map((property, i) => {
      const [, , type] = tables[table].columns.find(([name]) => name === property)!
      return [property, canonical(wire[i], type)]
    }))

  return {
    store: () => store,
    stores,
    send(message) {
      if (message.type === "hello") {
        store = message.client
        stores.add(store)
        const known = new Map([...open.keys()].map((id) => [id, membersOf(id) ?? held.get(id)]))
        held = new Map(message.subscriptions.flatMap(({ held, id }) => held === true && known.get(id) !== undefined ? [[id, known.get(id)!]] : []))
        open.clear()
        bindings.clear()
        for (const subscription of message.subscriptions) subscribe(subscription)
      } else if (message.type === "subscribe") {
        subscribe(message)
      } else if (message.type === "unsubscribe") {
        open.delete(message.id)
      }
    },
    receive(message) {
      if (message.type === "welcome") {
        columns = message.columns
        if (message.epoch !== epoch) held = new Map()
        epoch = message.epoch
      }
      if (message.type !== "frame") return undefined
      const fresh = new Set(message.patches.flatMap(({ binding, reset }) => reset === true ? [binding] : []))
      let resumed = 0
      for (const { binding, id } of message.opened ?? []) {
        const subscription = open.get(id)
        if (subscription === undefined) continue
        const isShared = [...open.values()].some((other) => other.binding === binding)
        subscription.binding = binding
        const before = held.get(id)
        held.delete(id)
        if (before !== undefined && !fresh.has(binding)) resumed++
        if (isShared) continue
        if (before === undefined) bindings.delete(binding)
        else bindings.set(binding, before)
      }
      const carried: Array<readonly [TableName, Fields]> = []
      for (const patch of message.patches) {
        const members = new Map(patch.reset === true ? [] : bindings.get(patch.binding))
        const joined = new Set(patch.add)
        for (const key of patch.remove) members.delete(key)
        for (const [table, rows] of patch.rows as ReadonlyArray<readonly [TableName, ReadonlyArray<ReadonlyArray<unknown>>]>) {
          for (const wire of rows) {
            const row = read(table, wire)
            carried.push([table, row])
            const key = keys.get(table)!(row as never)
            if (joined.delete(key) || members.has(key)) members.set(key, row)
          }
        }
        for (const key of joined) if (!members.has(key)) members.set(key, { "a member without its row": key })
        bindings.set(patch.binding, members)
      }
      return { epoch, position: message.to, carried, receipts: message.receipts ?? [], resumed }
    },
    subscriptions: () =>
      [...open].map(([id, { parameters, query }]) => {
        const members = membersOf(id)
        return { query, parameters, members: members && [...members.values()] }
      })
  }
}
