/**
 * The live bindings of all shapes, and what a step does to each of them.
 *
 * Synchronous and pure: it never reads a database. Where it lacks rows it states a `Need`; whoever drives it reads that and
 * calls `fill` with rows exact at the graph's position. Meanwhile the binding is not ready, keeps its last result for
 * its subscribers, and steps go on for all others.
 *
 * Bindings are data: a shape is compiled once, and a changed row finds the bindings that it concerns by index. So a change
 * costs O(shapes of its table) plus, for each binding concerned, O(1) without a limit and O(log limit) with one, however many
 * bindings there are. Inner tables of `exists` are held whole (what passes their static conditions), once for all who ask.
 *
 * Rows and arrays that are handed out are never mutated. A row that several bindings hold is one object.
 */
import type { Position } from "../change/Position.ts"
import type { Bound, Range, RangeRows } from "../change/Range.ts"
import type { Step } from "../change/Step.ts"
import type { Key } from "../data/Key.ts"
import type { Row } from "../data/Row.ts"
import type { Value } from "../data/Value.ts"
import { LiveGraph } from "../internal/ivm/graph.ts"
import type { Expression } from "../query/Plan.ts"
import type { Mask, Shape } from "../query/Shape.ts"
import type * as Table from "../schema/Table.ts"

export interface Graph {
  readonly position: Position
  /**
   * The binding of a shape and values (of the parameters and principal fields that the shape names), counted. Not ready at
   * first, unless it lives. Throws `BudgetExceeded`.
   */
  bind(shape: Shape, bound: Bound): Binding
  /** A condition over values only, kept current, counted: equal ones are one object. Not ready until the tables that it asks are held. */
  gate(condition: Expression, bound: Bound): Gate
  /**
   * A condition over one table's row, for whoever has to evaluate it on rows at hand (a mask's `readable`); counted, equal
   * ones are one object. Not ready until the tables that it asks are held; those of a shape's masks are, once its binding is.
   */
  condition(expression: Expression): Condition
  release(held: Binding | Gate | Condition): void
  apply(step: Step): Pass
  /** Reads that became necessary since the last call; each must be answered by one `fill`, unless its binding was released. */
  takeNeeds(): ReadonlyArray<Need>
  /** `rows[i]` answers `need.ranges[i]`, exact at `position`. */
  fill(need: Need, rows: ReadonlyArray<RangeRows>): Pass
  readonly counters: Counters
  readonly sizes: Sizes
}

export interface Options {
  /** Of the state that the first step comes after: `origin` by default. */
  readonly position?: Position
  /** All that shapes name, by `tableName`. */
  readonly tables: ReadonlyMap<string, Table.Any>
  /** How many rows a limited result holds behind those that it shows; by default as many again, at least 16 and at most 256. */
  readonly margin?: number
  /** How many bindings a shape may have that no index serves: 1,000 by default. */
  readonly scanCap?: number
}

export const make = (options: Options): Graph => new LiveGraph(options)

export { BudgetExceeded } from "../internal/ivm/budgetExceeded.ts"

export interface Binding {
  /** Unique in this graph, never used again. */
  readonly id: number
  readonly shape: Shape
  readonly bound: Bound
  /** No index finds it: it is tested for every changed row of its table, and counts towards `scanCap`. */
  readonly isScanned: boolean
  readonly ready: boolean
  /** What was delivered last by a `Pass`: the members in the query's order. O(members), sorted without a limit. */
  rows(): ReadonlyArray<Row>
  /** Undefined without a limit; null where the result is exhausted; else the values of the order at its last member. */
  readonly boundary: ReadonlyArray<Value> | null | undefined
}

export interface Gate {
  readonly ready: boolean
  readonly open: boolean
}

export interface Condition {
  readonly ready: boolean
  /** Whether it is true (NULL is not), at the graph's position. */
  test(row: Row, bound: Bound): boolean
}

/** What one binding's subscribers must be told. */
export interface Delta {
  readonly binding: Binding
  /** The whole result, after a first read. */
  readonly reset: boolean
  /** Rows of new members. */
  readonly added: ReadonlyArray<Row>
  /** Members whose row has another content now. */
  readonly changed: ReadonlyArray<Row>
  readonly removed: ReadonlyArray<Key>
  /** Undefined where it is unchanged (or the query has no limit). */
  readonly boundary: ReadonlyArray<Value> | null | undefined
}

/** Rows that look different to some subscribers although they did not change: an inner change turned what may be read of them. */
export interface MaskTurn {
  readonly shape: Shape
  readonly mask: Mask
  /** Only subscribers with these values (as SQL equates them) are concerned; a field that is left out may have any value. */
  readonly bound: Bound
  /** Those rows in those bindings' results; null is all rows of all bindings of the shape (that those subscribers have). */
  readonly rows: ReadonlyArray<{ readonly binding: Binding; readonly row: Row }> | null
}

export interface Pass {
  readonly deltas: ReadonlyArray<Delta>
  /** Gates that opened or closed, or became ready. */
  readonly gates: ReadonlyArray<Gate>
  /** Bindings that were ready before this pass and are not now. */
  readonly waiting: ReadonlyArray<Binding>
  readonly masks: ReadonlyArray<MaskTurn>
}

export interface Need {
  readonly id: number
  /** None where there is nothing to read: answer it all the same. */
  readonly ranges: ReadonlyArray<Range>
}

/** Only ever grow; for tests, `explain` and metrics. */
export interface Counters {
  /** Bindings of whose condition a row was tested. */
  readonly tested: number
  /** Of those, bindings of scanned shapes. */
  readonly scanned: number
  /** Rows given to `fill`. */
  readonly filled: number
}

/** What is held now. */
export interface Sizes {
  readonly shapes: number
  readonly bindings: number
  readonly gates: number
  readonly conditions: number
  /** Inner tables of `exists`, by filter and key. */
  readonly arrangements: number
  /** Distinct rows held by bindings. */
  readonly rows: number
  /** Reads not answered yet. */
  readonly needs: number
}
