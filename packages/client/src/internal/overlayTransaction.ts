/**
 * A mutation's reads and writes over the overlay, checked as the server checks them: what both kinds of handlers use.
 *
 * What is not known on a client throws `Abandoned`, what the database would certainly refuse throws `WriteRefused`.
 */
import * as Key from "@headwater/core/Key"
import type { Row } from "@headwater/core/Row"
import * as Table from "@headwater/core/Table"
import { WriteRefused } from "@headwater/core/WriteRefused"
import type { Overlay } from "../Replica.ts"
import { Abandoned, type OptimisticContext } from "./optimistic.ts"

export interface OverlayTransaction {
  get(table: Table.Any, key: object): Row | null
  insert(table: Table.Any, row: object): Row
  update(table: Table.Any, changes: object): void
  delete(table: Table.Any, key: object): void
  run(query: object, parameters: unknown): unknown
}

export const make = (overlay: Overlay, { now, tables, viewOf }: OptimisticContext): OverlayTransaction => {
  const known = (table: Table.Any) => {
    if (!Object.hasOwn(tables, table.tableName) || !Table.isSame(tables[table.tableName]!, table)) {
      throw new TypeError(`${table.tableName} is not a table of the client's contract.`)
    }
    return table.tableName
  }
  return {
    get(table, given) {
      const row = overlay.get(known(table), Key.make(table)(Table.keyRow(table, given)))
      if (row === undefined) throw new Abandoned(`a row of ${table.tableName} is read that no live query holds`)
      return row
    },
    insert(table, given) {
      const row = Table.optimisticRow(table, Table.insertRow(table, given), now)
      if (row === null) throw new Abandoned(`an insert into ${table.tableName} leaves out what the database generates, and the table has no optimistic value for it`)
      const key = Key.make(table)(row)
      if (overlay.get(known(table), key)) {
        throw new WriteRefused({ table: table.tableName, key, constraint: null, message: `There is a row with this key in ${table.tableName} already.` })
      }
      overlay.insert(table.tableName, key, row)
      return row
    },
    update(table, given) {
      const { changes, key: row } = Table.updateRow(table, given)
      const key = Key.make(table)(row)
      if (overlay.peek(known(table), key) === null) {
        throw new WriteRefused({ table: table.tableName, key, constraint: null, message: `There is no such row in ${table.tableName}.` })
      }
      overlay.update(table.tableName, key, changes)
    },
    delete(table, given) {
      overlay.delete(known(table), Key.make(table)(Table.keyRow(table, given)))
    },
    run(query, parameters) {
      const found = viewOf(query, parameters)
      const rows = found === undefined ? undefined : overlay.read(found.view)
      if (found === undefined || rows === undefined) throw new Abandoned("a query is read that is not live")
      return found.single ? rows[0] ?? null : rows
    }
  }
}
