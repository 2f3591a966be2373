/**
 * The live bindings of all shapes, and what a step does to each of them.
 *
 * Synchronous and pure: it never reads a database. Where it lacks rows it states a `Need`; whoever drives it reads that and
 * calls `fill` with rows exact at the graph's position. Meanwhile the binding is not ready, keeps its last result for
 * its subscribers, and steps go on for all others.
 */
import type { Position } from "../change/Position.ts"
import type { Bound, Range, RangeRows } from "../change/Range.ts"
import type { Step } from "../change/Step.ts"
import type { Key } from "../data/Key.ts"
import type { Row } from "../data/Row.ts"
import type { Value } from "../data/Value.ts"
import type { Expression } from "../query/Plan.ts"
import type { Shape } from "../query/Shape.ts"

export interface Graph {
  readonly position: Position
  /** The binding of a shape and values (of the parameters and principal fields that the shape names), counted. Not ready at first, unless it lives. */
  bind(shape: Shape, bound: Bound): Binding
  /** A condition over values only, kept current, counted. Not ready until the tables that it asks are held. */
  gate(condition: Expression, bound: Bound): Gate
  release(held: Binding | Gate): void
  apply(step: Step): Pass
  /** Reads that became necessary since the last call; each must be answered by one `fill` (or `fail`). */
  takeNeeds(): ReadonlyArray<Need>
  /** `rows[i]` answers `need.ranges[i]`, exact at `position`. */
  fill(need: Need, rows: ReadonlyArray<RangeRows>): Pass
  readonly counters: Counters
}

export interface Binding {
  /** Unique in this graph, never used again. */
  readonly id: number
  readonly shape: Shape
  readonly bound: Bound
  readonly ready: boolean
  /** What was delivered last by a `Pass`: the members in the query's order. O(members). */
  rows(): ReadonlyArray<Row>
  /** Undefined without a limit; null where the result is exhausted; else the values of the order at its last member. */
  readonly boundary: ReadonlyArray<Value> | null | undefined
}

export interface Gate {
  readonly ready: boolean
  readonly open: boolean
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

export interface Pass {
  readonly deltas: ReadonlyArray<Delta>
  /** Gates that opened or closed, or became ready. */
  readonly gates: ReadonlyArray<Gate>
  /** Bindings that were ready before this pass and are not now. */
  readonly waiting: ReadonlyArray<Binding>
}

export interface Need {
  readonly id: number
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
