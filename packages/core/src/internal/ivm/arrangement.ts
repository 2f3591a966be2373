/**
 * One table's rows that pass a static filter, grouped by key columns in two levels, for whoever asks whether a group has
 * rows. Resident: all such rows, by one read; shared and counted.
 *
 * Invariant: once loaded, a group counts the rows at the graph's position whose key columns equal its key; a row with NULL in
 * one is in no group. Within a step `change` may come in any order; `flips` tells afterwards which groups it concerned.
 *
 * Time: O(1) per changed row. Memory: one entry per group, and the rows themselves only where `holdsRows`.
 */
import type { Change } from "../../change/Change.ts"
import type { Key } from "../../data/Key.ts"
import type { Row } from "../../data/Row.ts"
import { ChurnMap } from "../churnMap.ts"
import type { HashKey } from "./hashKey.ts"

export interface Group {
  readonly first: HashKey
  readonly second: HashKey
  count: number
  /** A row that is or was in the group: for the values of its key. */
  row: Row
  readonly rows: ChurnMap<Key, Row> | null
  /** Whether it had rows at the step's base; undefined where the step has not touched it. */
  had: boolean | undefined
}

/** A group that gained its first row or lost its last one; with `holdsRows` also one whose rows changed otherwise. */
export interface Flip {
  readonly group: Group
  readonly had: boolean
  readonly has: boolean
}

export interface Options {
  readonly filter: (row: Row) => boolean
  readonly first: (row: Row) => HashKey | undefined
  readonly second: (row: Row) => HashKey | undefined
  readonly keyOf: (row: Row) => Key
  readonly holdsRows: boolean
}

const none: ReadonlyArray<never> = []

export class Arrangement {
  isLoaded = false
  readonly groups = new ChurnMap<HashKey, ChurnMap<HashKey, Group>>()
  #groupsOf: ChurnMap<HashKey, ChurnMap<HashKey, Group>> | null = null
  #touched: Array<Group> = []
  readonly #options: Options

  constructor(options: Options) {
    this.#options = options
  }

  get(first: HashKey | undefined, second: HashKey | undefined): Group | undefined {
    if (first === undefined || second === undefined) return undefined
    const group = this.groups.get(first)?.get(second)
    return group !== undefined && group.count > 0 ? group : undefined
  }

  /** Makes `groupsOf` work from now on; costs memory. */
  reverse(): void {
    if (this.#groupsOf !== null) return
    this.#groupsOf = new ChurnMap()
    for (const groups of this.groups.values()) for (const group of groups.values()) this.#connect(group)
  }

  /** The groups with that second key, those that this step emptied too. */
  groupsOf(second: HashKey): Iterable<Group> | undefined {
    return this.#groupsOf!.get(second)?.values()
  }

  load(rows: ReadonlyArray<Row>): void {
    for (const row of rows) this.#add(row)
    this.isLoaded = true
    this.#settle()
  }

  change({ after, before }: Change): void {
    if (before !== null) this.#remove(before)
    if (after !== null) this.#add(after)
  }

  truncate(): void {
    for (const groups of this.groups.values()) {
      for (const group of groups.values()) {
        this.#touch(group)
        group.count = 0
        group.rows?.clear()
      }
    }
  }

  /** What the step did; ends it. */
  flips(): ReadonlyArray<Flip> {
    if (this.#touched.length === 0) return none
    const flips: Array<Flip> = []
    for (const group of this.#touched) {
      const had = group.had!
      const has = group.count > 0
      if (had !== has || has && this.#options.holdsRows) flips.push({ group, had, has })
    }
    this.#settle()
    return flips
  }

  #settle(): void {
    for (const group of this.#touched) {
      group.had = undefined
      if (group.count > 0) continue
      const groups = this.groups.get(group.first)!
      groups.delete(group.second)
      if (groups.size === 0) this.groups.delete(group.first)
      const others = this.#groupsOf?.get(group.second)
      if (others === undefined) continue
      others.delete(group.first)
      if (others.size === 0) this.#groupsOf!.delete(group.second)
    }
    this.#touched = []
  }

  #connect(group: Group): void {
    let groups = this.#groupsOf!.get(group.second)
    if (groups === undefined) this.#groupsOf!.add(group.second, groups = new ChurnMap())
    groups.add(group.first, group)
  }

  #touch(group: Group): void {
    if (group.had !== undefined) return
    group.had = group.count > 0
    this.#touched.push(group)
  }

  #add(row: Row): void {
    const { filter, first, holdsRows, keyOf, second } = this.#options
    if (!filter(row)) return
    const one = first(row)
    const two = second(row)
    if (one === undefined || two === undefined) return
    let groups = this.groups.get(one)
    if (groups === undefined) this.groups.add(one, groups = new ChurnMap())
    let group = groups.get(two)
    if (group === undefined) {
      groups.add(two, group = { first: one, second: two, count: 0, row, rows: holdsRows ? new ChurnMap() : null, had: undefined })
      if (this.#groupsOf !== null) this.#connect(group)
    }
    this.#touch(group)
    if (group.rows === null) group.count++
    else {
      const key = keyOf(row)
      if (group.rows.get(key) !== undefined) group.rows.delete(key)
      group.rows.add(key, row)
      group.count = group.rows.size
    }
  }

  #remove(row: Row): void {
    const { filter, first, keyOf, second } = this.#options
    if (!filter(row)) return
    const one = first(row)
    const two = second(row)
    if (one === undefined || two === undefined) return
    const group = this.groups.get(one)?.get(two)
    if (group === undefined) return
    this.#touch(group)
    if (group.rows === null) group.count--
    else if (group.rows.get(keyOf(row)) !== undefined) {
      group.rows.delete(keyOf(row))
      group.count = group.rows.size
    }
  }
}
