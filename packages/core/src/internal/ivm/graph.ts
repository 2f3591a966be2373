/**
 * The graph as a whole: who is bound, which step is applied, and which reads are under way.
 *
 * A step goes through in four rounds, so that every condition is evaluated on the state at its end: arrangements take the
 * changes; bindings take them; groups that flipped turn conditions; what was touched is netted and told, or waits for a read.
 */
import type { Bound, RangeRows } from "../../change/Range.ts"
import { origin, type Position } from "../../change/Position.ts"
import type { Step } from "../../change/Step.ts"
import type { Row } from "../../data/Row.ts"
import type * as Graph from "../../ivm/Graph.ts"
import type { Expression } from "../../query/Plan.ts"
import * as Plan from "../../query/Plan.ts"
import * as Semantics from "../../query/Semantics.ts"
import type { Shape } from "../../query/Shape.ts"
import { ChurnMap } from "../churnMap.ts"
import { canonicalJson } from "../hash.ts"
import { Arrangement } from "./arrangement.ts"
import { BudgetExceeded } from "./budgetExceeded.ts"
import { CompiledShape, type Services, type Shown } from "./compiledShape.ts"
import { mentions } from "./conjuncts.ts"
import { type ArrangementSpec, columnsKey, isLoaded, type Occurrence, type Shared, type Turn } from "./exists.ts"
import { GateTemplate, LiveCondition, LiveGate } from "./gate.ts"
import { Live } from "./live.ts"
import { Log } from "./log.ts"
import { type Read, Reads } from "./reads.ts"
import { TableState } from "./tableState.ts"

class SharedArrangement implements Shared {
  readonly arrangement: Arrangement
  readonly occurrences = new Set<Occurrence>()
  readonly key: string
  readonly table: TableState
  need = 0
  uses = 1

  constructor(key: string, table: TableState, arrangement: Arrangement) {
    this.key = key
    this.table = table
    this.arrangement = arrangement
  }
}

type Pending =
  | { readonly arrangement: SharedArrangement }
  | { readonly binding: Live; readonly read: Read }

const none: ReadonlyArray<never> = []
const noRow: Row = {}
const noBound: Bound = { parameters: noRow, principal: noRow }
const nothing: Graph.Pass = { deltas: none, gates: none, waiting: none, masks: none }

/** A condition with what it mentions of the values that tell gates apart. */
interface Known {
  readonly key: string
  readonly parameters: ReadonlyArray<string>
  readonly principal: ReadonlyArray<string>
}

export class LiveGraph implements Graph.Graph, Services {
  position: Position
  readonly counters = { tested: 0, scanned: 0, filled: 0 }
  readonly #tables = new Map<string, TableState>()
  readonly #margin: number | undefined
  readonly #scanCap: number
  readonly #shapes = new Map<string, CompiledShape>()
  readonly #conditionsOf = new Map<CompiledShape, ReadonlyArray<LiveCondition>>()
  #bindings = 0
  readonly #gates = new ChurnMap<string, LiveGate>()
  readonly #templates = new Map<string, GateTemplate>()
  readonly #conditions = new Map<string, LiveCondition>()
  readonly #known = new WeakMap<Expression, Known>()
  readonly #arrangements = new Map<string, SharedArrangement>()
  readonly #needs = new Map<number, Pending>()
  #asked: Array<Graph.Need> = []
  /** What waits for an arrangement. */
  readonly #loading = new Set<Live | LiveGate>()
  /** Used again from pass to pass. */
  readonly #touched: Array<Live | null> = []
  #touchedCount = 0
  /** To be used again. */
  readonly #logs: Array<Log> = []
  #touchedGates = new Set<LiveGate>()
  #masks: Array<Omit<Graph.MaskTurn, "rows"> & { readonly rows: ReadonlyArray<Shown> | null }> = []
  #nextBinding = 1
  #nextNeed = 1
  #stamp = 0

  constructor({ margin, position = origin, scanCap = 1000, tables }: Graph.Options) {
    this.position = position
    this.#margin = margin
    this.#scanCap = scanCap
    for (const [name, table] of tables) this.#tables.set(name, new TableState(table))
  }

  get counts(): { tested: number; scanned: number } {
    return this.counters
  }

  get sizes(): Graph.Sizes {
    let rows = 0
    for (const table of this.#tables.values()) rows += table.rows.byKey.size
    return {
      shapes: this.#shapes.size,
      bindings: this.#bindings,
      gates: this.#gates.size,
      conditions: this.#conditions.size,
      arrangements: this.#arrangements.size,
      rows,
      needs: this.#needs.size
    }
  }

  bind(shape: Shape, bound: Bound): Live {
    const own: Bound = { parameters: pick(bound.parameters, shape.parameterNames), principal: pick(bound.principal, shape.principalFields) }
    const key = keyOf(own)
    const compiled = this.#compile(shape)
    const live = compiled.byKey.get(key)
    if (live !== undefined) {
      live.uses++
      return live
    }
    if (compiled.isScanned && compiled.byKey.size >= this.#scanCap) {
      const message = `A query over ${shape.select.table} has ${this.#scanCap} bindings that each changed row must be tested for: `
        + "compare a column with a parameter or principal field by equality or range, or raise scanCap"
      throw new BudgetExceeded({ shape, message })
    }
    const limit = compiled.limitOf(own)
    const margin = limit === null || limit === 0 ? 0 : this.#margin ?? Math.min(Math.max(limit, 16), 256)
    const binding = new Live(this.#nextBinding++, key, compiled, own, limit, margin)
    compiled.byKey.add(key, binding)
    this.#bindings++
    if (this.#isLoaded(binding)) this.#start(binding)
    else this.#loading.add(binding)
    return binding
  }

  gate(condition: Expression, bound: Bound): LiveGate {
    const known = this.#know(condition)
    const own: Bound = { parameters: pick(bound.parameters, known.parameters), principal: pick(bound.principal, known.principal) }
    const key = known.key + keyOf(own)
    const live = this.#gates.get(key)
    if (live !== undefined) {
      live.uses++
      return live
    }
    let template = this.#templates.get(known.key)
    if (template === undefined) {
      this.#templates.set(known.key, template = new GateTemplate(known.key, condition, this, (gate) => void this.#touchedGates.add(gate)))
    }
    const gate = new LiveGate(key, template, own)
    this.#gates.add(key, gate)
    template.gates.add(gate)
    gate.update()
    if (!gate.ready) this.#loading.add(gate)
    return gate
  }

  condition(expression: Expression): LiveCondition {
    const { key } = this.#know(expression)
    const live = this.#conditions.get(key)
    if (live !== undefined) {
      live.uses++
      return live
    }
    const [source = ""] = mentions(expression).sources
    const condition = new LiveCondition(key, expression, source, this, (turned, turn) => this.#turnMask(turned, turn))
    this.#conditions.set(key, condition)
    return condition
  }

  release(held: Graph.Binding | Graph.Gate | Graph.Condition): void {
    if (held instanceof Live) this.#releaseBinding(held)
    else if (held instanceof LiveGate) this.#releaseGate(held)
    else this.#releaseCondition(held as LiveCondition)
  }

  #releaseBinding(binding: Live): void {
    if (--binding.uses > 0) return
    const { compiled } = binding
    compiled.byKey.delete(binding.key)
    this.#bindings--
    this.#loading.delete(binding)
    compiled.delete(binding)
    binding.release()
    for (const need of binding.reads?.open.keys() ?? none) this.#needs.delete(need)
    if (compiled.byKey.size > 0) return
    this.#shapes.delete(compiled.shape.hash)
    const { shapes } = compiled.table
    shapes.splice(shapes.indexOf(compiled), 1)
    for (const condition of this.#conditionsOf.get(compiled)!) {
      condition.users.delete(compiled)
      this.#releaseCondition(condition)
    }
    this.#conditionsOf.delete(compiled)
    compiled.end()
  }

  #releaseGate(gate: LiveGate): void {
    if (--gate.uses > 0) return
    const { template } = gate
    this.#gates.delete(gate.key)
    this.#loading.delete(gate)
    template.gates.delete(gate)
    if (template.gates.all.size > 0) return
    this.#templates.delete(template.key)
    for (const occurrence of template.scope.occurrences) occurrence.end(this)
  }

  #releaseCondition(condition: LiveCondition): void {
    if (--condition.uses > 0) return
    this.#conditions.delete(condition.key)
    for (const occurrence of condition.scope.occurrences) occurrence.end(this)
  }

  #compile(shape: Shape): CompiledShape {
    let compiled = this.#shapes.get(shape.hash)
    if (compiled !== undefined) return compiled
    const table = this.#table(shape.select.table)
    compiled = new CompiledShape(shape, table, this)
    this.#shapes.set(shape.hash, compiled)
    table.shapes.push(compiled)
    const conditions: Array<LiveCondition> = []
    for (const mask of shape.masks) {
      const condition = this.condition(mask.readable)
      conditions.push(condition)
      condition.users.set(compiled, [...condition.users.get(compiled) ?? [], mask])
      for (const root of condition.scope.occurrences) if (root.isByRow) compiled.indexHeld(root)
    }
    this.#conditionsOf.set(compiled, conditions)
    return compiled
  }

  #table(name: string): TableState {
    const table = this.#tables.get(name)
    if (table === undefined) throw new Error(`The graph was made without table ${name}`)
    return table
  }

  #know(expression: Expression): Known {
    let known = this.#known.get(expression)
    if (known !== undefined) return known
    const parameters = new Set<string>()
    const principal = new Set<string>()
    Plan.forEachPart(expression, (part) => {
      if (part.op === "parameter") parameters.add(part.name)
      else if (part.op === "principal") principal.add(part.field)
    })
    known = { key: canonicalJson(expression), parameters: [...parameters].sort(), principal: [...principal].sort() }
    this.#known.set(expression, known)
    return known
  }

  // Arrangements

  retain(spec: ArrangementSpec): Shared {
    const columns = (list: ArrangementSpec["first"]) => list.map(({ column }) => column)
    const key = canonicalJson([
      spec.table, spec.filter.map((at) => canonicalJson(renamed(at, spec.alias))).sort(), columns(spec.first), columns(spec.second), spec.holdsRows
    ])
    const shared = this.#arrangements.get(key)
    if (shared !== undefined) {
      shared.uses++
      return shared
    }
    const table = this.#table(spec.table)
    const filter = Semantics.condition(spec.filter)
    const arrangement = new Arrangement({
      filter: (row) => filter(row, noBound),
      first: columnsKey(spec.first),
      second: columnsKey(spec.second),
      keyOf: table.rows.keyOf,
      holdsRows: spec.holdsRows
    })
    const made = new SharedArrangement(key, table, arrangement)
    this.#arrangements.set(key, made)
    table.arrangements.add(made)
    const range = { table: spec.table, source: spec.alias, where: spec.filter, order: none, after: null, limit: null, bound: noBound }
    made.need = this.#ask({ arrangement: made }, [range])
    return made
  }

  forget(held: Shared): void {
    const shared = held as SharedArrangement
    if (--shared.uses > 0) return
    this.#arrangements.delete(shared.key)
    shared.table.arrangements.delete(shared)
    this.#needs.delete(shared.need)
  }

  // Steps

  apply(step: Step): Graph.Pass {
    const { chunks, position, truncated } = step
    this.position = position
    if (this.#arrangements.size > 0) this.#arrange(step)
    if (truncated.length > 0) for (const name of truncated) for (const shape of this.#tables.get(name)?.shapes ?? none) shape.truncate()
    let last: string | undefined
    let table: TableState | undefined
    for (const chunk of chunks) {
      for (let i = 0; i < chunk.length; i++) {
        const { after, before, table: name } = chunk[i]!
        if (name !== last) table = this.#tables.get(last = name)
        if (table === undefined) continue
        const { shapes } = table
        if (shapes.length === 0) continue
        table.begin(before, after)
        const stamp = ++this.#stamp
        for (let j = 0; j < shapes.length; j++) shapes[j]!.change(before, after, stamp)
      }
    }
    if (this.#arrangements.size > 0) this.#flip()
    return this.#settle(none)
  }

  /** Brings the arrangements to the step's end. */
  #arrange({ chunks, truncated }: Step): void {
    for (const name of truncated) for (const { arrangement } of this.#tables.get(name)?.arrangements ?? none) arrangement.truncate()
    for (const chunk of chunks) {
      for (const change of chunk) {
        const table = this.#tables.get(change.table)
        if (table === undefined || table.arrangements.size === 0) continue
        for (const { arrangement } of table.arrangements) if (arrangement.isLoaded) arrangement.change(change)
      }
    }
  }

  #flip(): void {
    for (const { arrangement, occurrences } of this.#arrangements.values()) {
      const flips = arrangement.flips()
      if (flips.length > 0) for (const occurrence of occurrences) for (const flip of flips) occurrence.flipped(flip)
    }
  }

  takeLog(): Log {
    return this.#logs.pop() ?? new Log()
  }

  giveLog(log: Log): void {
    log.clear()
    if (this.#logs.length < 1000) this.#logs.push(log)
  }

  touch(binding: Live): void {
    binding.isTouched = true
    this.#touched[this.#touchedCount++] = binding
  }

  #turnMask(condition: LiveCondition, { by, byInner, root, rowKey }: Turn): void {
    const parameters: { [name: string]: Row[string] } = {}
    const principal: { [name: string]: Row[string] } = {}
    for (const { column, value } of by.boundPairs) {
      if (value.op === "parameter") parameters[value.name] = byInner[column.column]!
      else if (value.op === "principal") principal[value.field] = byInner[column.column]!
    }
    for (const [compiled, masks] of condition.users) {
      const rows = rowKey === undefined ? null : compiled.shown(root, rowKey)
      if (rows !== null && rows.length === 0) continue
      for (const mask of masks) this.#masks.push({ shape: compiled.shape, mask, bound: { parameters, principal }, rows })
    }
  }

  // Reads

  takeNeeds(): ReadonlyArray<Graph.Need> {
    const asked = this.#asked
    if (asked.length === 0) return none
    this.#asked = []
    return asked.filter(({ id }) => this.#needs.has(id))
  }

  #ask(pending: Pending, ranges: Graph.Need["ranges"]): number {
    const id = this.#nextNeed++
    this.#needs.set(id, pending)
    this.#asked.push({ id, ranges })
    return id
  }

  #read(binding: Live, read: Read): void {
    const reads = binding.reads ??= new Reads()
    reads.open.set(this.#ask({ binding, read }, read.ranges), read)
    if (read.kind === "first") reads.latest = read
  }

  #isLoaded({ compiled }: Live): boolean {
    return isLoaded(compiled.scope) && this.#conditionsOf.get(compiled)!.every((condition) => condition.ready)
  }

  #start(binding: Live): void {
    binding.compiled.add(binding)
    this.#read(binding, binding.compiled.readFirst(binding))
  }

  fill(need: Graph.Need, rows: ReadonlyArray<RangeRows>): Graph.Pass {
    const pending = this.#needs.get(need.id)
    if (pending === undefined) return nothing
    this.#needs.delete(need.id)
    for (const range of rows) this.counters.filled += range.rows.length
    if ("arrangement" in pending) {
      pending.arrangement.arrangement.load(rows[0]!.rows)
      return this.#settle(this.#begin())
    }
    const { binding, read } = pending
    const reads = binding.reads!
    reads.open.delete(need.id)
    if (read.kind === "more") reads.effort = Math.min(reads.effort * 2, 64)
    binding.compiled.fill(binding, read, rows)
    if (!binding.isTouched) this.touch(binding)
    return this.#settle(none)
  }

  /** Starts what waited for arrangements that are held now; the gates among them. */
  #begin(): ReadonlyArray<Graph.Gate> {
    const gates: Array<Graph.Gate> = []
    for (const one of this.#loading) {
      if (one instanceof LiveGate) {
        if (!one.update()) continue
        gates.push(one)
      } else if (this.#isLoaded(one)) this.#start(one)
      else continue
      this.#loading.delete(one)
    }
    return gates
  }

  /** Ends a pass: asks for what is missing, and tells what is known. */
  #settle(started: ReadonlyArray<Graph.Gate>): Graph.Pass {
    let gates = started as Array<Graph.Gate>
    if (this.#touchedGates.size > 0) {
      gates = [...started]
      for (const gate of this.#touchedGates) if (gate.ready && gate.update()) gates.push(gate)
      this.#touchedGates = new Set()
    }
    const touched = this.#touched
    const count = this.#touchedCount
    if (count === 0 && gates.length === 0 && this.#masks.length === 0) return nothing
    let deltas: Array<Graph.Delta> | undefined
    let waiting: Array<Graph.Binding> | undefined
    for (let i = 0; i < count; i++) {
      const binding = touched[i]!
      touched[i] = null
      binding.isTouched = false
      if (binding.uses === 0) continue
      this.#askFor(binding)
      if (binding.reads === null) {
        binding.ready = true
        const delta = binding.tell()
        if (delta === null) continue
        if (deltas === undefined) deltas = [delta]
        else deltas.push(delta)
      } else {
        if (binding.ready) (waiting ??= []).push(binding)
        binding.ready = false
        binding.wait()
      }
    }
    this.#touchedCount = 0
    let masks: ReadonlyArray<Graph.MaskTurn> = none
    if (this.#masks.length > 0) {
      // Without what has left in the same step: it is not theirs to read any more.
      masks = this.#masks.map((turn) => turn.rows === null ? turn : { ...turn, rows: turn.rows.filter(({ binding, held }) => binding.shows(held)) })
      this.#masks = []
    }
    return { deltas: deltas ?? none, gates, waiting: waiting ?? none, masks }
  }

  /** Asks for what the binding lacks; without `reads` it lacks nothing. */
  #askFor(binding: Live): void {
    const { compiled, reads, window } = binding
    if (reads !== null) {
      if (reads.isStale) {
        reads.isStale = false
        reads.admitted = []
        if (!reads.has("whole")) this.#read(binding, compiled.readFirst(binding))
      } else if (reads.admitted.length > 0 && (window === null || !reads.has("first"))) {
        if (!reads.has("whole")) this.#read(binding, compiled.readAdmitted(binding, reads))
        reads.admitted = []
      }
      if (reads.open.size > 0) return
    }
    if (window !== null) {
      window.trim()
      if (window.isShort) return this.#read(binding, compiled.readMore(binding))
    }
    binding.reads = null
  }
}

const pick = (from: Row, names: ReadonlyArray<string>): Row => {
  if (names.length === 0) return noRow
  const picked: { [name: string]: Row[string] } = {}
  for (const name of names) picked[name] = from[name] ?? null
  return picked
}

/** Equal for equal values, by content. */
const keyOf = ({ parameters, principal }: Bound): string => {
  let key = ""
  for (const values of [parameters, principal]) {
    for (const name in values) {
      const value = values[name]!
      const text = typeof value === "object" ? JSON.stringify(value) : `${(typeof value)[0]}${value}`
      key += `/${text.length}:${text}`
    }
  }
  return key
}

/** The same condition whatever its source is called. */
const renamed = (expression: Expression, alias: string): Expression =>
  Plan.mapExpression(expression, (part) => part.op === "column" && part.source === alias ? { ...part, source: "" } : part)
