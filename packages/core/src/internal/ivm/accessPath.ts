/**
 * How a changed row finds the bindings of a shape that it can concern, chosen once from the shape's condition.
 *
 * By preference: an index over bound values that columns are compared with (`bindingIndex`); the bindings that a required
 * `exists` admits for the row's columns, through its arrangement; where all parts of an `or` have such a path, their union.
 * Else all bindings, which is a scan if they differ.
 *
 * Invariant: at the end of a step's first two rounds a path finds every binding whose condition is true for that row now, or
 * was at the step's base. It may find others, and one twice.
 */
import type { Bound } from "../../change/Range.ts"
import type { Row } from "../../data/Row.ts"
import type { Expression } from "../../query/Plan.ts"
import * as Semantics from "../../query/Semantics.ts"
import { ChurnMap } from "../churnMap.ts"
import { BindingIndex, plan } from "./bindingIndex.ts"
import { mentions } from "./conjuncts.ts"
import type { Occurrence } from "./exists.ts"
import type { HashKey } from "./hashKey.ts"

export interface AccessPath<B> {
  add(binding: B): void
  delete(binding: B): void
  /** Not to be kept, and changed by the next call with that `buffer`, which is empty. */
  find(row: Row, buffer: Array<B>): ReadonlyArray<B>
}

interface Bindable {
  readonly bound: Bound
}

const none: ReadonlyArray<never> = []
const noRow: Row = {}
const noBound: Bound = { parameters: {}, principal: {} }

/** Null where only a scan finds them. */
export const choose = <B extends Bindable>(conjuncts: ReadonlyArray<Expression>, source: string, occurrenceOf: (exists: Expression) => Occurrence | undefined): AccessPath<B> | null => {
  const access = plan(conjuncts, source)
  if (access.equalities.length > 0 || access.range !== null) return new BindingIndex(access)
  for (const at of conjuncts) {
    const occurrence = occurrenceOf(at)
    if (occurrence?.isByRow && occurrence.boundPairs.length > 0) return new Admitted(occurrence)
  }
  for (const at of conjuncts) {
    const path = at.op === "or" ? union<B>(at.any, source, occurrenceOf) : null
    if (path !== null) return path
  }
  return null
}

const union = <B extends Bindable>(any: ReadonlyArray<Expression>, source: string, occurrenceOf: (exists: Expression) => Occurrence | undefined): AccessPath<B> | null => {
  const paths: Array<AccessPath<B>> = []
  const always: Array<Expression> = []
  const statics: Array<Expression> = []
  for (const at of any) {
    const { bound, exists, sources } = mentions(at)
    if (sources.size === 0 && !exists) always.push(at)
    else if (!bound && !exists) statics.push(at)
    else {
      const path = choose<B>(at.op === "and" ? at.all : [at], source, occurrenceOf)
      if (path === null) return null
      paths.push(path)
    }
  }
  return new Union(paths, always, statics)
}

/** All of them: the one of a shape that leaves nothing open, or a scan. */
export class Everyone<B> implements AccessPath<B> {
  readonly #all: Array<B> = []

  add(binding: B): void {
    this.#all.push(binding)
  }

  delete(binding: B): void {
    remove(this.#all, binding)
  }

  find(): ReadonlyArray<B> {
    return this.#all
  }
}

/** Those for whose bound values an `exists` has a group that the row is in. Time: O(groups of the row's key). */
class Admitted<B extends Bindable> implements AccessPath<B> {
  readonly #occurrence: Occurrence
  readonly #byKey = new ChurnMap<HashKey, Array<B>>()

  constructor(occurrence: Occurrence) {
    this.#occurrence = occurrence
    occurrence.shared.arrangement.reverse()
  }

  add(binding: B): void {
    const key = this.#occurrence.boundKey(noRow, binding.bound)
    if (key === undefined) return
    const group = this.#byKey.get(key)
    if (group === undefined) this.#byKey.add(key, [binding])
    else group.push(binding)
  }

  delete(binding: B): void {
    const key = this.#occurrence.boundKey(noRow, binding.bound)
    if (key === undefined) return
    const group = this.#byKey.get(key)!
    remove(group, binding)
    if (group.length === 0) this.#byKey.delete(key)
  }

  find(row: Row, buffer: Array<B>): ReadonlyArray<B> {
    const second = this.#occurrence.rowKey(row, noBound)
    const groups = second === undefined ? undefined : this.#occurrence.shared.arrangement.groupsOf(second)
    if (groups === undefined) return none
    for (const { first } of groups) {
      const group = this.#byKey.get(first)
      if (group !== undefined) for (let i = 0; i < group.length; i++) buffer.push(group[i]!)
    }
    return buffer
  }
}

/** Those that one of several paths finds, those for whom a part without columns is true, and for some rows all. */
class Union<B extends Bindable> implements AccessPath<B> {
  readonly #paths: ReadonlyArray<AccessPath<B>>
  readonly #isAlways: ReadonlyArray<(row: Row, bound: Bound) => boolean>
  readonly #isForAll: ReadonlyArray<(row: Row, bound: Bound) => boolean>
  readonly #always: Array<B> = []
  readonly #others: Array<B> = []

  constructor(paths: ReadonlyArray<AccessPath<B>>, always: ReadonlyArray<Expression>, statics: ReadonlyArray<Expression>) {
    this.#paths = paths
    this.#isAlways = always.map((at) => Semantics.condition([at]))
    this.#isForAll = statics.map((at) => Semantics.condition([at]))
  }

  #concerns({ bound }: B): boolean {
    return this.#isAlways.some((test) => test(noRow, bound))
  }

  add(binding: B): void {
    if (this.#concerns(binding)) {
      this.#always.push(binding)
      return
    }
    if (this.#isForAll.length > 0) this.#others.push(binding)
    for (const path of this.#paths) path.add(binding)
  }

  delete(binding: B): void {
    if (this.#concerns(binding)) {
      remove(this.#always, binding)
      return
    }
    if (this.#isForAll.length > 0) remove(this.#others, binding)
    for (const path of this.#paths) path.delete(binding)
  }

  find(row: Row, buffer: Array<B>): ReadonlyArray<B> {
    for (const binding of this.#always) buffer.push(binding)
    if (this.#isForAll.some((test) => test(row, noBound))) for (const binding of this.#others) buffer.push(binding)
    else {
      for (const path of this.#paths) {
        const found = path.find(row, [])
        for (let i = 0; i < found.length; i++) buffer.push(found[i]!)
      }
    }
    return buffer
  }
}

/** O(items). */
export const remove = <A>(items: Array<A>, item: A): void => {
  items[items.indexOf(item)] = items[items.length - 1]!
  items.pop()
}
