/**
 * The bindings that are shown, each an *entry* with its channels.
 *
 * Invariant: the hub holds each binding once, however many channels and members it has, until its last channel has been idle for
 * long enough. When the graph is made anew, entries and channels stay, take new bindings, and remember what was shown (`before`)
 * until that has been compared with the next result. Whenever `ready` changes, the watchers are told.
 *
 * Cost: O(1) per channel that is asked for; a pass costs what it concerns and what is not ready; `sweep` and `restart` are linear.
 */
import { type Binding, BudgetExceeded, type MaskTurn } from "@headwater/core/Graph"
import type { Position } from "@headwater/core/Position"
import type { Bound } from "@headwater/core/Range"
import type { Row } from "@headwater/core/Row"
import type { Shape } from "@headwater/core/Shape"
import { Channel, type Encoder, type Limits, type Writing } from "./channel.ts"
import * as Retained from "./retained.ts"
import * as Watchers from "./watchers.ts"

/** The part of the engine that has bindings. */
export interface Source {
  readonly position: () => Position
  readonly bind: (shape: Shape, bound: Bound) => Binding
  readonly release: (held: Binding) => void
}

export interface Entry {
  readonly shape: Shape
  readonly bound: Bound
  binding: Binding
  ready: boolean
  /** Was ready once: its `rows` are what was delivered last. */
  known: boolean
  /** The result before the graph was made anew: what the next reset is compared with. */
  before: ReadonlyArray<Row> | undefined
  readonly channels: Map<string, Channel>
}

export class Bindings {
  readonly #source: Source
  readonly #writing: Writing
  readonly #entries = new Map<Binding, Entry>()
  readonly #unready = new Set<Entry>()
  #lastId = 0

  constructor(source: Source, encoder: Encoder, limits: Limits) {
    this.#source = source
    this.#writing = { encoder, limits, rows: 0 }
  }

  get size(): number {
    return this.#entries.size
  }

  /** Only ever grows. */
  get encodedRows(): number {
    return this.#writing.rows
  }

  get(binding: Binding): Entry | undefined {
    return this.#entries.get(binding)
  }

  /** What one with these values sees. Not idle from now on. Throws `BudgetExceeded`, also where `mayScan` does not let it be scanned. */
  channel(shape: Shape, bound: Bound, mayScan: () => boolean): Channel {
    const binding = this.#bind(shape, bound)
    if (binding.isScanned && !mayScan()) {
      this.#source.release(binding)
      throw new BudgetExceeded({ shape, message: scanned(shape) })
    }
    let entry = this.#entries.get(binding)
    if (entry === undefined) {
      entry = { shape, bound, binding, ready: binding.ready, known: binding.ready, before: undefined, channels: new Map() }
      this.#add(entry)
    } else {
      // One hold on the binding is enough for all of its channels.
      this.#source.release(binding)
    }
    const { encoder } = this.#writing
    const audience = shape.masks.length === 0 ? "" : encoder.audience(shape, bound)
    let channel = entry.channels.get(audience)
    if (channel === undefined) {
      channel = new Channel(++this.#lastId, entry, bound, audience, this.#source.position(), this.#writing)
      entry.channels.set(audience, channel)
    }
    channel.watchers.idleSince = undefined
    return channel
  }

  /** Of what a mask was turned for, by entry. */
  concerned({ rows, shape }: MaskTurn): ReadonlyMap<Entry, ReadonlyArray<Row>> {
    const concerned = new Map<Entry, ReadonlyArray<Row>>()
    if (rows === null) {
      for (const entry of this.#entries.values()) if (entry.shape.hash === shape.hash) concerned.set(entry, entry.binding.rows())
    } else {
      for (const { binding, row } of rows) {
        const entry = this.#entries.get(binding)
        if (entry !== undefined) concerned.set(entry, [...concerned.get(entry) ?? [], row])
      }
    }
    return concerned
  }

  /** These cannot follow for now. */
  wait(waiting: ReadonlyArray<Binding>): void {
    for (const binding of waiting) {
      const entry = this.#entries.get(binding)
      if (entry === undefined || !entry.ready) continue
      entry.ready = false
      this.#unready.add(entry)
      refresh(entry)
    }
  }

  /** Notices what is ready again. Comes after what made it ready was pushed. */
  settle(): void {
    for (const entry of this.#unready) {
      if (!entry.binding.ready) continue
      this.#unready.delete(entry)
      entry.ready = entry.known = true
      refresh(entry)
    }
  }

  /** The graph was made anew. */
  restart(): void {
    this.#writing.encoder.restarted()
    const old = [...this.#entries.values()]
    this.#entries.clear()
    this.#unready.clear()
    for (const entry of old) {
      // A result that was never delivered leaves nothing to compare with.
      if (entry.known) entry.before ??= entry.binding.rows()
      entry.binding = this.#source.bind(entry.shape, entry.bound)
      entry.ready = entry.binding.ready
      this.#add(entry)
      refresh(entry)
    }
  }

  /** Gives up what nobody has watched since `until`, and more idle channels than `most`. */
  sweep(until: number, most: number): void {
    for (const channel of Watchers.expired(this.#channels(), until, most)) this.#forget(channel)
  }

  /** Where a shape has no room left, what nobody watches makes room. */
  #bind(shape: Shape, bound: Bound): Binding {
    try {
      return this.#source.bind(shape, bound)
    } catch (error) {
      if (!(error instanceof BudgetExceeded)) throw error
      for (const channel of Watchers.expired(this.#channels(), Infinity, 0)) {
        if (channel.shown.shape.hash === shape.hash) this.#forget(channel)
      }
      return this.#source.bind(shape, bound)
    }
  }

  #forget(channel: Channel): void {
    const entry = this.#entries.get(channel.shown.binding)!
    Retained.clear(channel.log, Infinity)
    entry.channels.delete(channel.audience)
    if (entry.channels.size > 0) return
    this.#entries.delete(entry.binding)
    this.#unready.delete(entry)
    this.#source.release(entry.binding)
  }

  #add(entry: Entry): void {
    this.#entries.set(entry.binding, entry)
    if (!entry.ready) this.#unready.add(entry)
  }

  *#channels(): Iterable<Channel> {
    for (const entry of this.#entries.values()) yield* entry.channels.values()
  }
}

const scanned = ({ select }: Shape) =>
  `This connection has as many queries as it may that each changed row of their tables must be tested for, and this one over ${select.table} is one more: `
    + "unsubscribe some, compare a column with a parameter by equality or range, or raise maxScanned"

const refresh = ({ channels }: Entry): void => {
  for (const { watchers } of channels.values()) watchers.refresh()
}
