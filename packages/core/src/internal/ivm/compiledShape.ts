/**
 * A shape compiled once, with all its live bindings: what a changed row means to which of them, and what they must read.
 *
 * The condition's conjuncts are of three kinds. Static ones (row and literals only) are tested once per row. Those that
 * an index over the bindings answers are not tested at all. The rest is tested for each binding that its path finds; where
 * there is no path although the condition depends on bound values, that is every binding: a *scanned* shape (`accessPath`).
 *
 * Time per changed row: the static test, one index lookup for the row before and one after, O(1) or O(log n) for each
 * binding found. Nothing grows with the number of bindings, except where scanned.
 */
import type { Bound, Range, RangeRows } from "../../change/Range.ts"
import type { Key } from "../../data/Key.ts"
import type { Row } from "../../data/Row.ts"
import type { Value } from "../../data/Value.ts"
import type { Expression, Node } from "../../query/Plan.ts"
import * as Semantics from "../../query/Semantics.ts"
import type { Shape } from "../../query/Shape.ts"
import * as ColumnType from "../../schema/ColumnType.ts"
import { ChurnMap } from "../churnMap.ts"
import { type AccessPath, choose, Everyone } from "./accessPath.ts"
import { answers } from "./bindingIndex.ts"
import { mentions, parts } from "./conjuncts.ts"
import { ByBound } from "./byBound.ts"
import { type Arrangements, compile, type Holder, type Occurrence, type Scope, type Turn } from "./exists.ts"
import type { HashKey, Scalar } from "./hashKey.ts"
import { HeldIndex } from "./heldIndex.ts"
import type { Live } from "./live.ts"
import type { Log } from "./log.ts"
import { type Read, Reads } from "./reads.ts"
import type { Held } from "./rows.ts"
import type { TableState } from "./tableState.ts"
import type { Comparator } from "./window.ts"

/** More admitted keys than this are not read one by one, but their table, without the `exists`. */
const maxKeys = { limited: 200, unlimited: 10_000 }
/** Keys in one `in` of an unlimited read. */
const keysPerRange = 500

/** A row in a result. */
export interface Shown {
  readonly binding: Live
  readonly held: Held
  readonly row: Row
}

/** What the graph does for its shapes. */
export interface Services extends Arrangements {
  /** The binding must be looked at when the pass ends. */
  touch(binding: Live): void
  takeLog(): Log
  giveLog(log: Log): void
  readonly counts: { tested: number; scanned: number }
}

const noBound: Bound = { parameters: {}, principal: {} }
const noRow: Row = {}

export class CompiledShape implements Holder {
  readonly shape: Shape
  readonly table: TableState
  /** All of them, by their values. */
  readonly byKey = new ChurnMap<string, Live>()
  /** Those whose `exists` can be evaluated; found by index. */
  readonly bindings: ByBound<Live>
  readonly path: AccessPath<Live>
  readonly isScanned: boolean
  readonly #held: Array<HeldIndex> = []
  readonly scope: Scope
  readonly orderValues: (row: Row, bound: Bound) => ReadonlyArray<Value>
  readonly services: Services
  readonly #static: (row: Row, bound: Bound) => boolean
  readonly #hasStatic: boolean
  readonly #hasResidual: boolean
  /** What a range read can be given of the condition. */
  readonly #readable: ReadonlyArray<Expression>
  readonly #limit: Scalar | null
  readonly #comparator: Comparator | null
  readonly #heldOf = new Map<Occurrence, HeldIndex>()
  readonly #heldBy = new Map<string, HeldIndex>()
  /** Whether an `exists` decides nothing for such values. */
  readonly #bypass = new Map<Occurrence, (bound: Bound) => boolean>()
  readonly #before: Array<Live> = []
  readonly #after: Array<Live> = []

  constructor(shape: Shape, table: TableState, services: Services) {
    this.shape = shape
    this.table = table
    this.services = services
    const { limit, order, source, where } = shape.select
    const statics: Array<Expression> = []
    const open: Array<Expression> = []
    for (const at of where) {
      const { bound, exists } = mentions(at)
      ;(bound || exists ? open : statics).push(at)
    }
    const { answered, pins } = answers(open, source)
    const residual = open.filter((at) => !answered.has(at))
    this.scope = compile(residual, { arrangements: services, holder: this, parent: null, pins, required: true, sign: 1, source })
    const path = choose<Live>(open, source, this.scope.occurrenceOf)
    this.isScanned = path === null && shape.parameterNames.length + shape.principalFields.length > 0
    this.path = path ?? new Everyone()
    this.#hasResidual = residual.length > 0
    this.#static = Semantics.condition(statics)
    this.#hasStatic = statics.length > 0
    this.#readable = where.filter((at) => !mentions(at).exists)
    this.#limit = limit === null ? null : Semantics.compile(limit)
    this.orderValues = Semantics.orderValues(order)
    this.#comparator = order.some(({ value }) => mentions(value).bound) ? null : this.#compareBy(noBound)
    for (const root of this.scope.occurrences) {
      const bypass = bypassOf(residual, root.node)
      if (bypass !== null) this.#bypass.set(root, bypass)
    }
    this.bindings = new ByBound(this.scope.occurrences)
    for (const root of this.scope.occurrences) if (root.isByRow) this.#heldOf.set(root, this.indexHeld(root))
  }

  /** There are no bindings any more. */
  end(): void {
    for (const occurrence of this.scope.occurrences) occurrence.end(this.services)
  }

  orderFor(bound: Bound): Comparator {
    return this.#comparator ?? this.#compareBy(bound)
  }

  #compareBy(bound: Bound): Comparator {
    const { order } = this.shape.select
    const toValues = Semantics.compareToValues(order)
    return {
      rows: Semantics.comparator(order, { bound }),
      values: Semantics.compareOrderValues(order),
      toValues: (row, values) => toValues(row, values, bound)
    }
  }

  /** Null is no limit; a negative one is 0. */
  limitOf(bound: Bound): number | null {
    const limit = this.#limit === null ? null : this.#limit(noRow, bound) as bigint | number | null
    return limit === null ? null : Math.min(Math.max(Number(limit), 0), 2 ** 40)
  }

  add(binding: Live): void {
    this.bindings.add(binding)
    this.path.add(binding)
  }

  delete(binding: Live): void {
    if (!this.bindings.all.has(binding)) return
    this.bindings.delete(binding)
    this.path.delete(binding)
  }

  /** An index of the held rows by what `root` asks of them, shared where another asks the same. */
  indexHeld(root: Occurrence): HeldIndex {
    const signature = JSON.stringify(root.rowPairs.map(({ column, value }) => [column.type.kind, value]))
    let index = this.#heldBy.get(signature)
    if (index === undefined) {
      this.#heldBy.set(signature, index = new HeldIndex((row) => root.rowKey(row, noBound)))
      this.#held.push(index)
    }
    return index
  }

  retain(held: Held): void {
    this.table.rows.retain(held)
    for (let i = 0; i < this.#held.length; i++) this.#held[i]!.add(held)
  }

  release(held: Held): void {
    for (let i = 0; i < this.#held.length; i++) this.#held[i]!.delete(held)
    this.table.rows.release(held)
  }

  /** Applies the change that its table is at. */
  change(before: Row | null, after: Row | null, stamp: number): void {
    const { table } = this
    const was = before !== null && (!this.#hasStatic || this.#static(before, noBound))
    const is = after !== null && (!this.#hasStatic || this.#static(after, noBound))
    if (!was && !is) return
    if (this.#held.length > 0 && is && table.wasHeld()) for (const index of this.#held) index.move(table.current())
    let tested = 0
    let now: ReadonlyArray<Live> | null = null
    if (is) {
      this.#after.length = 0
      now = this.path.find(after!, this.#after)
      for (let i = 0; i < now.length; i++) {
        const binding = now[i]!
        if (binding.stamp === stamp) continue
        binding.stamp = stamp
        tested++
        if (!this.#hasResidual || this.scope.test(after!, binding.bound)) binding.put(table)
        else if (was) binding.drop(table)
      }
    }
    if (was) {
      this.#before.length = 0
      const then = this.path.find(before!, this.#before)
      // One array stands for one group: then nothing is left to drop.
      if (then !== now) {
        for (let i = 0; i < then.length; i++) {
          const binding = then[i]!
          if (binding.stamp === stamp) continue
          binding.stamp = stamp
          tested++
          binding.drop(table)
        }
      }
    }
    const { counts } = this.services
    counts.tested += tested
    if (this.isScanned) counts.scanned += tested
  }

  truncate(): void {
    for (const binding of this.bindings.all) binding.truncate()
  }

  /** An `exists` of the condition may have another value for some bindings and rows. */
  turned(turn: Turn): void {
    const { inner, mayFall, mayRise, root, rowKey } = turn
    const held = mayFall && rowKey !== undefined ? [...this.#heldOf.get(root)!.get(rowKey)] : null
    const bypass = this.#bypass.get(root)
    this.bindings.forEach(turn, (binding) => {
      if (bypass?.(binding.bound)) return
      if (mayFall) this.#leave(binding, held)
      if (!mayRise) return
      const reads = binding.reads ??= new Reads()
      if (rowKey === undefined) reads.isStale = true
      else reads.admitted.push(equalTo(root, inner))
      if (!binding.isTouched) this.services.touch(binding)
    })
  }

  /** Which results show the rows that `root`, of a mask's condition, names by that key. */
  shown(root: Occurrence, key: HashKey): ReadonlyArray<Shown> {
    const shown: Array<Shown> = []
    for (const held of this.indexHeld(root).get(key)) {
      for (const binding of new Set(this.path.find(held.row, []))) if (binding.shows(held)) shown.push({ binding, held, row: held.row })
    }
    return shown
  }

  /** Takes those rows (null: all) out that do not pass any more. O(them) or O(rows of the binding), whichever is less. */
  #leave(binding: Live, rows: ReadonlyArray<Held> | null): void {
    const { counts } = this.services
    const own = binding.members ?? binding.window!.held
    const size = "size" in own ? own.size : own.length
    for (const held of rows !== null && rows.length < size ? rows : [...own.values()]) {
      if (!binding.holds(held)) continue
      counts.tested++
      if (!this.scope.test(held.row, binding.bound)) binding.leave(held)
    }
  }

  /** The read that gives a binding its first rows, or all again. */
  readFirst(binding: Live): Read {
    const { window } = binding
    if (window?.limit === 0) return { kind: "first", ranges: [], edge: undefined }
    const limit = window === null ? null : window.capacity
    const keys = this.#admittedKeys(binding)
    return keys === null
      ? { kind: "whole", ranges: [this.#range(binding, [], null, limit)], edge: undefined }
      : { kind: "first", ranges: this.#keyed(binding, keys.root, keys.inner, null, limit), edge: undefined }
  }

  /** The read behind a window's edge. */
  readMore(binding: Live): Read {
    const window = binding.window!
    const { edge } = window
    const after = typeof edge === "string" ? null : "row" in edge ? this.orderValues(edge.row, binding.bound) : edge.values
    const keys = this.#admittedKeys(binding)
    const limit = keys === null && this.scope.occurrences.length > 0 ? window.missing * (binding.reads?.effort ?? 1) : window.missing
    return {
      kind: "more",
      ranges: keys === null ? [this.#range(binding, [], after, limit)] : this.#keyed(binding, keys.root, keys.inner, after, limit),
      edge
    }
  }

  /** The read of keys that an `exists` admits since. */
  readAdmitted(binding: Live, { admitted }: Reads): Read {
    const limit = binding.window === null ? null : binding.window.capacity
    const distinct = new Map(admitted.map((where) => [JSON.stringify(where), where]))
    return { kind: "admitted", ranges: Array.from(distinct.values(), (where) => this.#range(binding, where, null, limit)), edge: undefined }
  }

  #admittedKeys(binding: Live): { readonly root: Occurrence; readonly inner: ReadonlyArray<Row> } | null {
    let best: Occurrence | null = null
    let least = (binding.window === null ? maxKeys.unlimited : maxKeys.limited) + 1
    for (const root of this.scope.occurrences) {
      if (!root.isRequired || !root.isByRow) continue
      const { size } = root.admitting(binding.bound)
      if (size >= least) continue
      best = root
      least = size
    }
    return best && { root: best, inner: Array.from(best.admitting(binding.bound).values(), ({ row }) => row) }
  }

  #keyed(binding: Live, root: Occurrence, inner: ReadonlyArray<Row>, after: ReadonlyArray<Value> | null, limit: number | null): ReadonlyArray<Range> {
    if (limit !== null || root.rowPairs.length > 1) return inner.map((row) => this.#range(binding, equalTo(root, row), after, limit))
    const { column, value } = root.rowPairs[0]!
    const ranges: Array<Range> = []
    for (let i = 0; i < inner.length; i += keysPerRange) {
      const list = inner.slice(i, i + keysPerRange).map((row) => literal(column.type, row[column.column]!))
      ranges.push(this.#range(binding, [{ op: "in", value, list }], null, null))
    }
    return ranges
  }

  #range(binding: Live, where: ReadonlyArray<Expression>, after: ReadonlyArray<Value> | null, limit: number | null): Range {
    const { order, source, table } = this.shape.select
    return { table, source, where: [...this.#readable, ...where], order: limit === null ? [] : order, after, limit, bound: binding.bound }
  }

  /** Takes in what a read brought, exact at the graph's position. */
  fill(binding: Live, read: Read, results: ReadonlyArray<RangeRows>): void {
    const { counts } = this.services
    const { window } = binding
    const { rows } = this.table
    const passing = new Map<Key, Held>()
    let edge: "end" | { readonly values: ReadonlyArray<Value> } = "end"
    for (const { completeTo, rows: found } of results) {
      for (const row of found) {
        if (window !== null && completeTo !== null && window.order.toValues(row, completeTo) > 0) continue
        counts.tested++
        if (!this.scope.test(row, binding.bound)) continue
        const held = rows.intern(row)
        if (window === null) binding.take(held)
        else if (!passing.has(held.key)) passing.set(held.key, held)
      }
      if (window !== null && completeTo !== null && (edge === "end" || window.order.values(completeTo, edge.values) < 0)) edge = { values: completeTo }
    }
    if (window === null) return
    // The edge may have moved meanwhile: then there is a gap, and what was read does not join on.
    if (read.kind === "more" && window.edge !== read.edge) return
    const isPartial = read.kind === "admitted" || read.kind === "first" && read !== binding.reads!.latest
    binding.merge([...passing.values()], isPartial ? window.lower(edge) : edge)
  }
}

/** True where another part of the `or` that an `exists` stands in is true whatever the row; null where there is none. */
const bypassOf = (conjuncts: ReadonlyArray<Expression>, node: Node): ((bound: Bound) => boolean) | null => {
  const around = conjuncts.filter((at) => hasNode(at, node))
  const [only] = around
  if (around.length !== 1 || only === undefined || only.op !== "or") return null
  const others = only.any.filter((at) => mentions(at).sources.size === 0 && !mentions(at).exists).map((at) => Semantics.condition([at]))
  return others.length === 0 ? null : (bound) => others.some((test) => test(noRow, bound))
}

const hasNode = (at: Expression, node: Node): boolean => at.op === "exists" ? at.query === node : parts(at).some((part) => hasNode(part, node))

const literal = (type: ColumnType.ColumnType, value: Value): Expression => ({ op: "literal", value: ColumnType.toWire(type, value), type })

/** The outer rows that an `exists` joins with that inner row. */
const equalTo = (root: Occurrence, inner: Row): ReadonlyArray<Expression> =>
  root.rowPairs.map(({ column, value }) => ({ op: "compare", operator: "=", left: value, right: literal(column.type, inner[column.column]!) }))
