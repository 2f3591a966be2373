/**
 * The bindings of one shape as an indexed relation: given a row, which of them can it concern?
 *
 * Conjuncts that equate a column with bound values are answered by a hash on their tuple; those that compare one column with
 * bound values by an interval tree for each such tuple. What remains of the condition is for the caller to test.
 * A binding whose bound value is NULL there has no rows and is found by none.
 *
 * Time: O(1) by hash, O(log n + found) by interval. Memory: one entry per binding.
 */
import type { Bound } from "../../change/Range.ts"
import type { Row } from "../../data/Row.ts"
import type { Value } from "../../data/Value.ts"
import { type Expression, typeOf } from "../../query/Plan.ts"
import * as Semantics from "../../query/Semantics.ts"
import * as ColumnType from "../../schema/ColumnType.ts"
import { ChurnMap } from "../churnMap.ts"
import { columnComparison, mentions } from "./conjuncts.ts"
import { hashOf, type HashKey, type Scalar, tuple } from "./hashKey.ts"
import { type Entry, type Interval, IntervalTree } from "./intervalTree.ts"

/** How rows find bindings, from the conjuncts of a condition. */
export interface Access {
  /** Column and the bound values of which it must equal one: one value, or those of an `in`. */
  readonly equalities: ReadonlyArray<{ readonly column: ColumnExpression; readonly values: ReadonlyArray<Expression> }>
  readonly range: {
    readonly column: ColumnExpression
    readonly bounds: ReadonlyArray<{ readonly value: Expression; readonly isLow: boolean; readonly isOpen: boolean }>
  } | null
  /** Conjuncts that the index answers completely. */
  readonly answered: ReadonlySet<Expression>
}

type ColumnExpression = Extract<Expression, { readonly op: "column" }>

const maxInValues = 64

/** What an index can answer of these conjuncts. */
export const plan = (all: ReadonlyArray<Expression>, source: string): Access => {
  const conjuncts = open(all)
  const answered = new Set<Expression>()
  const equalities: Array<Access["equalities"][number]> = []
  const ranges = new Map<string, Array<{ readonly at: Expression; readonly column: ColumnExpression; readonly bound: NonNullable<Access["range"]>["bounds"][number] }>>()
  const isBound = (value: Expression): boolean => mentions(value).sources.size === 0 && !mentions(value).exists
  let combinations = 1
  for (const at of conjuncts) {
    const comparison = columnComparison(at, source)
    if (comparison !== null && isBound(comparison.value)) {
      const { column, operator, value } = comparison
      if (operator === "=") {
        if (equalities.some((other) => other.column.column === column.column)) continue
        answered.add(at)
        equalities.push({ column, values: [value] })
      } else if (operator !== "<>") {
        const list = ranges.get(column.column) ?? []
        ranges.set(column.column, list)
        list.push({ at, column, bound: { value, isLow: operator === ">" || operator === ">=", isOpen: operator === ">" || operator === "<" } })
      }
    } else if (at.op === "in" && at.value.op === "column" && at.value.source === source) {
      const column = at.value
      const usable = at.list.every((value) => isBound(value) && typeOf(value).kind === column.type.kind)
      if (!usable || combinations * at.list.length > maxInValues || equalities.some((other) => other.column.column === column.column)) continue
      combinations *= at.list.length
      answered.add(at)
      equalities.push({ column, values: at.list })
    }
  }
  const best = [...ranges.values()].toSorted((a, b) => b.length - a.length)[0]
  if (best === undefined) return { equalities, range: null, answered }
  for (const { at } of best) answered.add(at)
  return { equalities, range: { column: best[0]!.column, bounds: best.map(({ bound }) => bound) }, answered }
}

/** Which of a shape's conjuncts its index answers, and the columns that it pins to a bound value. */
export const answers = (conjuncts: ReadonlyArray<Expression>, source: string): { readonly answered: ReadonlySet<Expression>; readonly pins: ReadonlyMap<string, Expression> } => {
  const { answered, equalities } = plan(conjuncts, source)
  return { answered, pins: new Map(equalities.flatMap(({ column, values }) => values.length === 1 ? [[column.column, values[0]!] as const] : [])) }
}

const open = (conjuncts: ReadonlyArray<Expression>): ReadonlyArray<Expression> =>
  conjuncts.filter((at) => mentions(at).bound && !mentions(at).exists)

interface Indexed {
  readonly bound: Bound
}

const none: ReadonlyArray<never> = []
const noRow: Row = {}
const noBound: Bound = { parameters: {}, principal: {} }

export class BindingIndex<B extends Indexed> {
  readonly #groups = new ChurnMap<HashKey, Array<B> | IntervalTree<B>>()
  readonly #entries = new Map<B, ReadonlyArray<readonly [IntervalTree<B>, HashKey, Entry<B>]>>()
  readonly #keyOf: (row: Row, bound: Bound) => HashKey | undefined
  readonly #keysOf: ReadonlyArray<(row: Row, bound: Bound) => HashKey | undefined>
  readonly #range: { readonly column: string; readonly compare: (a: Value, b: Value) => number; readonly bounds: ReadonlyArray<{ readonly read: Scalar; readonly isLow: boolean; readonly isOpen: boolean }> } | null

  constructor(access: Access) {
    const { compile } = Semantics
    this.#keyOf = tuple(access.equalities.map(({ column: { column, type } }) => ({ read: (row) => row[column]!, hash: hashOf(type) })))
    let combinations: Array<Array<{ readonly read: Scalar; readonly hash: (value: Value) => HashKey }>> = [[]]
    for (const { column, values } of access.equalities) {
      combinations = values.flatMap((value) => combinations.map((before) => [...before, { read: compile(value), hash: hashOf(column.type) }]))
    }
    this.#keysOf = combinations.map(tuple)
    this.#range = access.range && {
      column: access.range.column.column,
      compare: ColumnType.compare(access.range.column.type),
      bounds: access.range.bounds.map(({ isLow, isOpen, value }) => ({ read: compile(value), isLow, isOpen }))
    }
  }

  add(binding: B): void {
    const range = this.#range
    if (range === null) {
      for (const key of this.#keys(binding.bound)) {
        const group = this.#groups.get(key) as Array<B> | undefined
        if (group === undefined) this.#groups.add(key, [binding])
        else group.push(binding)
      }
      return
    }
    const interval = this.#interval(binding.bound)
    if (interval === undefined) return
    const entries: Array<readonly [IntervalTree<B>, HashKey, Entry<B>]> = []
    for (const key of this.#keys(binding.bound)) {
      let tree = this.#groups.get(key) as IntervalTree<B> | undefined
      if (tree === undefined) this.#groups.add(key, tree = new IntervalTree<B>(range.compare))
      entries.push([tree, key, tree.insert(interval, binding)])
    }
    this.#entries.set(binding, entries)
  }

  delete(binding: B): void {
    if (this.#range === null) {
      for (const key of this.#keys(binding.bound)) {
        const group = this.#groups.get(key) as Array<B>
        group[group.indexOf(binding)] = group[group.length - 1]!
        group.pop()
        if (group.length === 0) this.#groups.delete(key)
      }
      return
    }
    for (const [tree, key, entry] of this.#entries.get(binding) ?? none) {
      tree.delete(entry)
      if (tree.isEmpty) this.#groups.delete(key)
    }
    this.#entries.delete(binding)
  }

  /** As `AccessPath.find`. */
  find(row: Row, buffer: Array<B>): ReadonlyArray<B> {
    const key = this.#keyOf(row, noBound)
    const group = key === undefined ? undefined : this.#groups.get(key)
    if (group === undefined) return none
    if (Array.isArray(group)) return group
    const value = row[this.#range!.column]!
    if (value !== null) group.search(value, buffer)
    return buffer
  }

  #keys(bound: Bound): ReadonlySet<HashKey> {
    const keys = new Set<HashKey>()
    for (const keyOf of this.#keysOf) {
      const key = keyOf(noRow, bound)
      if (key !== undefined) keys.add(key)
    }
    return keys
  }

  /** Undefined where a bound is NULL. */
  #interval(bound: Bound): Interval | undefined {
    const { bounds, compare } = this.#range!
    let low: Value | undefined
    let high: Value | undefined
    let lowOpen = false
    let highOpen = false
    for (const { isLow, isOpen, read } of bounds) {
      const value = read(noRow, bound)
      if (value === null) return undefined
      if (isLow) {
        const order = low === undefined ? 1 : compare(value, low)
        if (order >= 0) {
          lowOpen = isOpen || order === 0 && lowOpen
          low = value
        }
      } else {
        const order = high === undefined ? -1 : compare(value, high)
        if (order <= 0) {
          highOpen = isOpen || order === 0 && highOpen
          high = value
        }
      }
    }
    return { low, high, lowOpen, highOpen }
  }
}
