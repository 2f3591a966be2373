/**
 * Intervals over one column's values, found by a value that they contain.
 *
 * A treap ordered by lower bound; each node knows the greatest upper bound below it, so a search leaves out subtrees
 * that end too early (Cormen et al., "Interval trees"). Priorities come from a generator of its own: same calls, same tree.
 *
 * Time: O(log n) for insert and delete, O(log n + found) for a search, both expected.
 */
import type { Value } from "../../data/Value.ts"

export interface Interval {
  /** Undefined is unbounded. Never null. */
  readonly low: Value | undefined
  readonly high: Value | undefined
  readonly lowOpen: boolean
  readonly highOpen: boolean
}

/** What `insert` gives for `delete`. */
export interface Entry<A> extends Interval {
  readonly item: A
}

interface Node<A> extends Entry<A> {
  readonly serial: number
  readonly priority: number
  left: Node<A> | null
  right: Node<A> | null
  /** The greatest upper bound in this subtree; undefined is unbounded. */
  last: Value | undefined
}

export class IntervalTree<A> {
  #root: Node<A> | null = null
  #serial = 0
  #seed = 0x9e3779b9
  readonly #compare: (a: Value, b: Value) => number

  constructor(compare: (a: Value, b: Value) => number) {
    this.#compare = compare
  }

  get isEmpty(): boolean {
    return this.#root === null
  }

  insert({ high, highOpen, low, lowOpen }: Interval, item: A): Entry<A> {
    this.#seed = Math.imul(this.#seed ^ (this.#seed >>> 15), 0x2c1b3c6d) + 0x6d2b79f5 | 0
    const node: Node<A> = { low, lowOpen, high, highOpen, item, serial: this.#serial++, priority: this.#seed, left: null, right: null, last: high }
    this.#root = this.#add(this.#root, node)
    return node
  }

  delete(entry: Entry<A>): void {
    this.#root = this.#remove(this.#root, entry as Node<A>)
  }

  /** Pushes the items whose intervals contain `value`, which is not null. */
  search(value: Value, found: Array<A>): void {
    if (this.#root !== null) this.#search(this.#root, value, found)
  }

  #search(node: Node<A>, value: Value, found: Array<A>): void {
    if (node.last !== undefined && this.#compare(node.last, value) < 0) return
    if (node.left !== null) this.#search(node.left, value, found)
    const low = node.low === undefined ? -1 : this.#compare(node.low, value)
    if (low > 0) return
    const high = node.high === undefined ? 1 : this.#compare(node.high, value)
    if ((low < 0 || !node.lowOpen) && (high > 0 || high === 0 && !node.highOpen)) found.push(node.item)
    if (node.right !== null) this.#search(node.right, value, found)
  }

  #before(a: Node<A>, b: Node<A>): boolean {
    const order = a.low === undefined ? b.low === undefined ? 0 : -1 : b.low === undefined ? 1 : this.#compare(a.low, b.low)
    return order < 0 || order === 0 && a.serial < b.serial
  }

  #measure(node: Node<A>): Node<A> {
    let last = node.high
    for (const child of [node.left, node.right]) {
      if (child === null || last === undefined) continue
      if (child.last === undefined || this.#compare(child.last, last) > 0) last = child.last
    }
    node.last = last
    return node
  }

  #add(at: Node<A> | null, node: Node<A>): Node<A> {
    if (at === null) return node
    if (this.#before(node, at)) {
      const child = at.left = this.#add(at.left, node)
      if (child.priority <= at.priority) return this.#measure(at)
      at.left = child.right
      child.right = this.#measure(at)
      return this.#measure(child)
    }
    const child = at.right = this.#add(at.right, node)
    if (child.priority <= at.priority) return this.#measure(at)
    at.right = child.left
    child.left = this.#measure(at)
    return this.#measure(child)
  }

  #remove(at: Node<A> | null, node: Node<A>): Node<A> | null {
    if (at === null) return null
    if (at === node) return this.#join(at.left, at.right)
    if (this.#before(node, at)) at.left = this.#remove(at.left, node)
    else at.right = this.#remove(at.right, node)
    return this.#measure(at)
  }

  /** All of `left` is before all of `right`. */
  #join(left: Node<A> | null, right: Node<A> | null): Node<A> | null {
    if (left === null) return right
    if (right === null) return left
    if (left.priority > right.priority) {
      left.right = this.#join(left.right, right)
      return this.#measure(left)
    }
    right.left = this.#join(left, right.left)
    return this.#measure(right)
  }
}
