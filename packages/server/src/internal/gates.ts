/**
 * The gates of what is shown: conditions on a principal and parameters, without which a query shows nothing.
 *
 * Invariant: the hub holds each gate once, until nobody has watched it for long enough. `open` is what the gate last was while it
 * was ready, and has been since `since`: who was away since then, or longer, missed nothing of it. Whenever one changes, the
 * watchers are told.
 *
 * Cost: O(1) per gate that is asked for; a pass costs what it concerns and what is not ready; `sweep` and `restart` are linear.
 */
import type { Gate } from "@headwater/core/Graph"
import type { Expression } from "@headwater/core/Plan"
import type { Position } from "@headwater/core/Position"
import type { Bound } from "@headwater/core/Range"
import * as Watchers from "./watchers.ts"

/** The part of the engine that has gates. */
export interface Source {
  readonly position: () => Position
  readonly gate: (condition: Expression, bound: Bound) => Gate
  readonly release: (held: Gate) => void
}

export interface Entry {
  readonly condition: Expression
  readonly bound: Bound
  gate: Gate
  ready: boolean
  open: boolean
  since: Position
  readonly watchers: Watchers.Watchers
}

export class Gates {
  readonly #source: Source
  readonly #entries = new Map<Gate, Entry>()
  readonly #unready = new Set<Entry>()

  constructor(source: Source) {
    this.#source = source
  }

  /** Not idle from now on. */
  gate(condition: Expression, bound: Bound): Entry {
    const gate = this.#source.gate(condition, bound)
    // Queries with other parameters may share it: it is the same where what the condition names is the same.
    let entry = this.#entries.get(gate)
    if (entry === undefined) {
      entry = {
        condition, bound, gate, ready: gate.ready, open: gate.open, since: gate.ready ? this.#source.position() : Infinity,
        watchers: new Watchers.Watchers()
      }
      this.#add(entry)
    } else {
      this.#source.release(gate)
    }
    entry.watchers.idleSince = undefined
    return entry
  }

  /** These changed. */
  follow(gates: ReadonlyArray<Gate>, position: Position): void {
    for (const gate of gates) {
      const entry = this.#entries.get(gate)
      if (entry === undefined) continue
      if (!gate.ready) {
        entry.ready = false
        this.#unready.add(entry)
      } else if (gate.open !== entry.open) {
        entry.open = gate.open
        entry.since = position
      }
      entry.watchers.refresh()
    }
  }

  /** Notices what is ready again. */
  settle(position: Position): void {
    for (const entry of this.#unready) {
      if (!entry.gate.ready) continue
      this.#unready.delete(entry)
      entry.ready = true
      // What it was before is not known where this is the first time.
      if (entry.open !== entry.gate.open || entry.since === Infinity) {
        entry.open = entry.gate.open
        entry.since = position
      }
      entry.watchers.refresh()
    }
  }

  /** The graph was made anew. */
  restart(): void {
    const old = [...this.#entries.values()]
    this.#entries.clear()
    this.#unready.clear()
    for (const entry of old) {
      entry.gate = this.#source.gate(entry.condition, entry.bound)
      entry.ready = entry.gate.ready
      this.#add(entry)
      entry.watchers.refresh()
    }
  }

  /** Gives up what nobody has watched since `until`, and more idle gates than `most`. */
  sweep(until: number, most: number): void {
    for (const entry of Watchers.expired(this.#entries.values(), until, most)) {
      this.#entries.delete(entry.gate)
      this.#unready.delete(entry)
      this.#source.release(entry.gate)
    }
  }

  #add(entry: Entry): void {
    this.#entries.set(entry.gate, entry)
    if (!entry.ready) this.#unready.add(entry)
  }
}
