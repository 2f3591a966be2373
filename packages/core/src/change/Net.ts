/**
 * Sums what became of rows, in whatever order it was captured, to at most one change for each key.
 *
 * Invariant: each key holds the sum of the weights of its rows, by content; what came and went is forgotten. The result
 * does not depend on the order of calls. Where a key's sum is no change (two rows at once, a row that went twice), what
 * was captured is not a history of sets of rows: a `CorruptStep`.
 *
 * Time per image: O(1), and the row's width where a key has several. Memory: the images that are not yet in balance.
 */
import * as Key from "../data/Key.ts"
import * as Row from "../data/Row.ts"
import type { Any } from "../schema/Table.ts"
import type { Change } from "./Change.ts"

export interface Net {
  /** `weight` copies of a row, or one taken away: −1 for what was before, +1 for what is after. */
  add(table: Any, row: Row.Row, weight: 1 | -1): void
  /** Forgets a table's rows: it was emptied. */
  truncate(table: Any): void
  result(): Result
}

export type Result =
  | { readonly _tag: "Changes"; readonly changes: ReadonlyArray<Change> }
  | CorruptStep

export interface CorruptStep {
  readonly _tag: "CorruptStep"
  /** `Table.tableName`. */
  readonly table: string
  readonly key: Key.Key
  readonly message: string
}

interface Weighted {
  readonly row: Row.Row
  weight: number
}

interface Group {
  readonly key: (row: Row.Row) => Key.Key
  readonly same: (a: Row.Row, b: Row.Row) => boolean
  readonly rows: Map<Key.Key, Array<Weighted>>
}

export const make = (): Net => {
  const groups = new Map<string, Group>()
  return {
    add(table, row, weight) {
      let group = groups.get(table.tableName)
      if (group === undefined) groups.set(table.tableName, group = { key: Key.make(table), same: Row.equals(table), rows: new Map() })
      const { key: keyOf, rows, same } = group
      const key = keyOf(row)
      const held = rows.get(key)
      if (held === undefined) return void rows.set(key, [{ row, weight }])
      const index = held.findIndex((other) => same(other.row, row))
      if (index < 0) return void held.push({ row, weight })
      if ((held[index]!.weight += weight) === 0) held.splice(index, 1)
      if (held.length === 0) rows.delete(key)
    },
    truncate(table) {
      groups.get(table.tableName)?.rows.clear()
    },
    result() {
      const changes: Array<Change> = []
      for (const [table, { rows }] of groups) {
        for (const [key, held] of rows) {
          const [first, second] = held
          const isChange = held.length === 1 ? Math.abs(first!.weight) === 1 : held.length === 2 && first!.weight * second!.weight === -1
          if (!isChange) {
            const weights = held.map(({ weight }) => weight).join(", ")
            return { _tag: "CorruptStep", table, key, message: `What was captured of table ${table} does not add up to a set of rows: one key has rows with weights ${weights}` }
          }
          const before = held.find(({ weight }) => weight < 0)?.row ?? null
          changes.push({ table, before, after: held.find(({ weight }) => weight > 0)?.row ?? null })
        }
      }
      return { _tag: "Changes", changes }
    }
  }
}
