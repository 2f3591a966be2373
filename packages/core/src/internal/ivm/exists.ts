/**
 * Conditions with `exists` in them: evaluated from arrangements, and told when an inner change may have turned them.
 *
 * An `exists` equates columns of its inner rows with values of what is around it, and is true while the arrangement of those
 * columns has a group for them. Two levels: first the columns that are equated with bound values, then those equated with
 * the outer row. So a binding's admitted outer keys can be listed, and a group that fills or empties names both the
 * bindings (by their bound values) and the outer rows (by their columns) whose condition may have turned.
 * An `exists` in an `exists` turns the groups of the middle rows that it is about.
 */
import type { Bound } from "../../change/Range.ts"
import type { Row } from "../../data/Row.ts"
import { type Expression, type Node, UnsupportedQuery } from "../../query/Plan.ts"
import * as Semantics from "../../query/Semantics.ts"
import type { Arrangement, Flip, Group } from "./arrangement.ts"
import { columnComparison, innerOf, mentions, parts } from "./conjuncts.ts"
import { hashOf, type HashKey, tuple } from "./hashKey.ts"

export interface ArrangementSpec {
  readonly table: string
  readonly alias: string
  readonly filter: ReadonlyArray<Expression>
  readonly first: ReadonlyArray<ColumnExpression>
  readonly second: ReadonlyArray<ColumnExpression>
  readonly holdsRows: boolean
}

/** An arrangement that several conditions use. */
export interface Shared {
  readonly arrangement: Arrangement
  readonly occurrences: Set<Occurrence>
}

export interface Arrangements {
  retain(spec: ArrangementSpec): Shared
  forget(shared: Shared): void
}

export type ColumnExpression = Extract<Expression, { readonly op: "column" }>

interface Pair {
  /** Of the inner row. */
  readonly column: ColumnExpression
  readonly value: Expression
}

/** What a group's flip means to the holder of a condition. */
export interface Turn {
  /** The outermost `exists` that it is about. */
  readonly root: Occurrence
  /** The bound values concerned: those whose key for `by` is `key`. */
  readonly by: Occurrence
  readonly key: HashKey
  /** And whose key for `root` is this; undefined is any. */
  readonly rootKey: HashKey | undefined
  /** The outer rows concerned: those with this key for `root`; undefined is all. `inner` has the values. */
  readonly rowKey: HashKey | undefined
  readonly inner: Row
  /** A row of the group that flipped: for the values of `key`. */
  readonly byInner: Row
  readonly mayRise: boolean
  readonly mayFall: boolean
}

export interface Holder {
  turned(turn: Turn): void
}

const noBound: Bound = { parameters: {}, principal: {} }
const noRow: Row = {}

export class Occurrence {
  /** Of the bound values that it asks; undefined where one is NULL. */
  readonly boundKey: (row: Row, bound: Bound) => HashKey | undefined
  /** Of the outer row, as in its arrangement's second level. */
  readonly rowKey: (row: Row, bound: Bound) => HashKey | undefined
  readonly boundPairs: ReadonlyArray<Pair>
  readonly rowPairs: ReadonlyArray<Pair>
  /** Whether flips name the outer rows by their own columns alone. */
  readonly isByRow: boolean
  readonly shared: Shared
  readonly test: (row: Row, bound: Bound) => boolean
  readonly children: ReadonlyArray<Occurrence>

  readonly node: Node
  readonly holder: Holder
  readonly parent: Occurrence | null
  /** 1 where its rise can only let the condition rise, -1 where only fall, 0 both. */
  readonly sign: number
  /** A conjunct by itself. */
  readonly isRequired: boolean
  /** The parent's inner rows by the columns that this one asks. */
  readonly #middle: Shared | null
  readonly #middleKey: (row: Row) => HashKey | undefined
  readonly #keys: { readonly first: (row: Row) => HashKey | undefined; readonly second: (row: Row) => HashKey | undefined }

  constructor(
    node: Node,
    { arrangements, holder, isRequired, parent, pins, sign, source }: {
      readonly arrangements: Arrangements
      readonly holder: Holder
      readonly isRequired: boolean
      readonly parent: { readonly occurrence: Occurrence; readonly spec: Omit<ArrangementSpec, "first" | "second" | "holdsRows"> } | null
      /** Columns of the outer row that a conjunct equates with a bound value. */
      readonly pins: ReadonlyMap<string, Expression>
      readonly sign: number
      readonly source: string | null
    }
  ) {
    this.node = node
    this.holder = holder
    this.parent = parent?.occurrence ?? null
    this.sign = sign
    this.isRequired = isRequired
    const inner = innerOf(node)
    const filter: Array<Expression> = []
    const boundPairs: Array<Pair> = []
    const rowPairs: Array<Pair> = []
    const opaquePairs: Array<Pair> = []
    const rest: Array<Expression> = []
    for (const at of inner.where) {
      const { bound, exists, sources } = mentions(at)
      const isStatic = !bound && !exists && [...sources].every((one) => one === inner.alias)
      if (isStatic) {
        filter.push(at)
        continue
      }
      const comparison = columnComparison(at, inner.alias)
      if (comparison?.operator === "=") {
        const { column } = comparison
        const pinned = comparison.value.op === "column" ? pins.get(comparison.value.column) : undefined
        const value = pinned ?? comparison.value
        const about = mentions(value)
        const pair = { column, value }
        if (about.sources.size === 0) boundPairs.push(pair)
        else if ([...about.sources].every((one) => one === source)) (about.bound ? opaquePairs : rowPairs).push(pair)
        else throw unsupported("equates a column with one that is not of the query right around it")
        continue
      }
      if ([...sources].some((one) => one !== inner.alias)) throw unsupported("compares rows of two queries other than by equality")
      rest.push(at)
    }
    this.boundPairs = boundPairs
    this.rowPairs = rowPairs
    this.isByRow = rowPairs.length > 0 && opaquePairs.length === 0
    const seconds = [...rowPairs, ...opaquePairs]
    const spec = { table: inner.table, alias: inner.alias, filter }
    const holdsRows = rest.length > 0
    this.shared = arrangements.retain({ ...spec, first: boundPairs.map(columnOf), second: seconds.map(columnOf), holdsRows })
    this.shared.occurrences.add(this)
    this.#keys = { first: columnsKey(boundPairs.map(columnOf)), second: columnsKey(seconds.map(columnOf)) }
    const key = (pairs: ReadonlyArray<Pair>) =>
      tuple(pairs.map(({ column, value }) => ({ read: Semantics.compile(value), hash: hashOf(column.type) })))
    this.boundKey = key(boundPairs)
    this.rowKey = key(seconds)
    const { arrangement } = this.shared
    const { boundKey, rowKey } = this
    const scope = compile(rest.length === 0 ? [] : rest, {
      arrangements, holder, parent: { occurrence: this, spec }, pins: new Map(), required: false, sign, source: inner.alias
    })
    this.children = scope.occurrences
    if (rest.length === 0) this.test = (row, bound) => arrangement.get(boundKey(row, bound), rowKey(row, bound)) !== undefined
    else {
      const { test } = scope
      this.test = (row, bound) => {
        const group = arrangement.get(boundKey(row, bound), rowKey(row, bound))
        if (group === undefined) return false
        for (const one of group.rows!.values()) if (test(one, bound)) return true
        return false
      }
    }
    this.#middle = null
    this.#middleKey = () => undefined
    if (parent !== null && this.isByRow) {
      // Rows of the parent by the columns that are equated with ours; other expressions of them have no index.
      const outer = rowPairs.map(({ value }) => value)
      if (outer.every((value) => value.op === "column")) {
        this.#middle = arrangements.retain({ ...parent.spec, first: [], second: outer as ReadonlyArray<ColumnExpression>, holdsRows: true })
        this.#middleKey = columnsKey(rowPairs.map(columnOf))
      }
    }
  }

  /** All of them, nested ones first. */
  *all(): Iterable<Occurrence> {
    for (const child of this.children) yield* child.all()
    yield this
  }

  get arrangements(): ReadonlyArray<Shared> {
    return this.#middle === null ? [this.shared] : [this.shared, this.#middle]
  }

  end(arrangements: Arrangements): void {
    this.shared.occurrences.delete(this)
    for (const shared of this.arrangements) arrangements.forget(shared)
    for (const child of this.children) child.end(arrangements)
  }

  /** The groups that can admit outer rows for these values. */
  admitting(bound: Bound): { readonly size: number; readonly values: () => Iterable<Group> } {
    const key = this.boundKey(noRow, bound)
    return key !== undefined && this.shared.arrangement.groups.get(key) || new Map<HashKey, Group>()
  }

  flipped({ group, had, has }: Flip): void {
    const rises = has
    const falls = had
    const mayRise = this.sign >= 0 && rises || this.sign <= 0 && falls
    const mayFall = this.sign >= 0 && falls || this.sign <= 0 && rises
    if (this.parent === null) {
      this.holder.turned({
        root: this, by: this, key: group.first, rootKey: undefined, rowKey: this.isByRow ? group.second : undefined, inner: group.row, byInner: group.row,
        mayRise, mayFall
      })
    } else this.#climb(this.parent, this.#middle === null ? null : this.#middleRows(group.row), { by: this, key: group.first, byInner: group.row, mayRise, mayFall })
  }

  #middleRows(inner: Row): Iterable<Row> {
    const key = this.#middleKey(inner)
    return key === undefined ? [] : this.#middle!.arrangement.groups.get("")?.get(key)?.rows!.values() ?? []
  }

  /** Says what turning the middle rows (null: all of them) of `parent` means to the outermost one. */
  #climb(parent: Occurrence, rows: Iterable<Row> | null, turn: Pick<Turn, "by" | "key" | "byInner" | "mayRise" | "mayFall">): void {
    if (rows === null) {
      const root = outermost(parent)
      return root.holder.turned({ ...turn, root, rootKey: undefined, rowKey: undefined, inner: noRow })
    }
    const groups = new Map<HashKey, Set<HashKey>>()
    for (const row of rows) {
      const first = parent.#keys.first(row)
      const second = parent.#keys.second(row)
      if (first === undefined || second === undefined) continue
      let seen = groups.get(first)
      if (seen === undefined) groups.set(first, seen = new Set())
      if (seen.has(second)) continue
      seen.add(second)
      if (parent.parent === null) {
        parent.holder.turned({ ...turn, root: parent, rootKey: first, rowKey: parent.isByRow ? second : undefined, inner: row })
      } else this.#climb(parent.parent, parent.#middle === null ? null : parent.#middleRows(row), turn)
    }
  }
}

const outermost = (at: Occurrence): Occurrence => at.parent === null ? at : outermost(at.parent)

const columnOf = (pair: Pair): ColumnExpression => pair.column

export const columnsKey = (columns: ReadonlyArray<ColumnExpression>): (row: Row) => HashKey | undefined => {
  const key = tuple(columns.map(({ column, type }) => ({ read: (row) => row[column]!, hash: hashOf(type) })))
  return (row) => key(row, noBound)
}

const unsupported = (what: string): UnsupportedQuery =>
  new UnsupportedQuery({ query: "a live query", construct: "exists", message: `An exists cannot be kept current where it ${what}: use equality of columns, parameters or principal fields` })

/** A condition that is evaluated by closures, with what may turn it. */
export interface Scope {
  readonly test: (row: Row, bound: Bound) => boolean
  readonly occurrences: ReadonlyArray<Occurrence>
  /** That of an `exists`. */
  readonly occurrenceOf: (exists: Expression) => Occurrence | undefined
}

/** Whether it can be evaluated: all that it asks is held. */
export const isLoaded = (scope: Scope): boolean => {
  for (const root of scope.occurrences) {
    for (const occurrence of root.all()) if (!occurrence.arrangements.every(({ arrangement }) => arrangement.isLoaded)) return false
  }
  return true
}

export interface CompileOptions {
  readonly arrangements: Arrangements
  readonly holder: Holder
  readonly parent: { readonly occurrence: Occurrence; readonly spec: Omit<ArrangementSpec, "first" | "second" | "holdsRows"> } | null
  readonly pins: ReadonlyMap<string, Expression>
  /** Whether an `exists` that is one of the conjuncts is required of every row. */
  readonly required: boolean
  readonly sign: number
  /** The alias of the row; null where there is none. */
  readonly source: string | null
}

/** Compiles the conjunction of `all` (true for none). */
export const compile = (all: ReadonlyArray<Expression>, options: CompileOptions): Scope => {
  const signs = new Map<Node, number>()
  const visit = (at: Expression, sign: number): void => {
    if (at.op === "exists") signs.set(at.query, signs.has(at.query) && signs.get(at.query) !== sign ? 0 : sign)
    else if (at.op === "not") visit(at.value, -sign)
    else if (at.op === "and" || at.op === "or") for (const part of parts(at)) visit(part, sign)
    else for (const part of parts(at)) visit(part, 0)
  }
  for (const at of all) visit(at, options.sign)
  const occurrences = new Map<Node, Occurrence>()
  const exists = (node: Node): (row: Row, bound: Bound) => boolean => {
    let occurrence = occurrences.get(node)
    if (occurrence === undefined) {
      const isRequired = options.required && all.some((at) => at.op === "exists" && at.query === node)
      occurrences.set(node, occurrence = new Occurrence(node, { ...options, isRequired, sign: signs.get(node) ?? 0 }))
    }
    return occurrence.test
  }
  return { test: Semantics.condition(all, { exists }), occurrences: [...occurrences.values()], occurrenceOf: (at) => at.op === "exists" ? occurrences.get(at.query) : undefined }
}
