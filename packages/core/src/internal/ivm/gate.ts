/**
 * Conditions without a result: gates, over bound values alone, and conditions on rows that somebody else holds.
 *
 * A gate's condition is compiled once for all bound values; a group of an arrangement that fills or empties finds the gates
 * that ask for it by index. Time per turn: O(gates that ask). Memory: one entry per gate and `exists`.
 */
import type { Bound } from "../../change/Range.ts"
import type { Row } from "../../data/Row.ts"
import type * as Graph from "../../ivm/Graph.ts"
import type { Expression } from "../../query/Plan.ts"
import type { Mask } from "../../query/Shape.ts"
import { ByBound } from "./byBound.ts"
import type { CompiledShape } from "./compiledShape.ts"
import { type Arrangements, compile, type Holder, isLoaded, type Scope, type Turn } from "./exists.ts"

const noRow: Row = {}

export class GateTemplate implements Holder {
  readonly key: string
  readonly scope: Scope
  readonly gates: ByBound<LiveGate>
  readonly #touch: (gate: LiveGate) => void

  constructor(key: string, condition: Expression, arrangements: Arrangements, touch: (gate: LiveGate) => void) {
    this.key = key
    this.#touch = touch
    this.scope = compile([condition], { arrangements, holder: this, parent: null, pins: new Map(), required: false, sign: 1, source: null })
    this.gates = new ByBound(this.scope.occurrences)
  }

  turned(turn: Turn): void {
    this.gates.forEach(turn, this.#touch)
  }
}

export class LiveGate implements Graph.Gate {
  readonly key: string
  readonly template: GateTemplate
  readonly bound: Bound
  uses = 1
  ready = false
  open = false

  constructor(key: string, template: GateTemplate, bound: Bound) {
    this.key = key
    this.template = template
    this.bound = bound
  }

  /** Whether it was another before. */
  update(): boolean {
    const { open, ready } = this
    if (!isLoaded(this.template.scope)) return false
    this.ready = true
    this.open = this.template.scope.test(noRow, this.bound)
    return !ready || open !== this.open
  }
}

export class LiveCondition implements Graph.Condition, Holder {
  readonly key: string
  readonly scope: Scope
  uses = 1
  /** The shapes that mask a column by it. */
  readonly users = new Map<CompiledShape, ReadonlyArray<Mask>>()
  readonly #turned: (condition: LiveCondition, turn: Turn) => void

  constructor(key: string, condition: Expression, source: string, arrangements: Arrangements, turned: (condition: LiveCondition, turn: Turn) => void) {
    this.key = key
    this.#turned = turned
    this.scope = compile([condition], { arrangements, holder: this, parent: null, pins: new Map(), required: false, sign: 1, source })
  }

  get ready(): boolean {
    return isLoaded(this.scope)
  }

  test(row: Row, bound: Bound): boolean {
    return this.scope.test(row, bound)
  }

  turned(turn: Turn): void {
    this.#turned(this, turn)
  }
}
