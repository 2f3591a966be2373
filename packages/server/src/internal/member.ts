/**
 * A member: one connection's view of one channel.
 *
 * It is *loading* until binding and gates are ready for the first time, and *live* from then on. What its client has yet to be
 * told is one of: the whole result (`startOver`), all that came after a position (`held`, of a client that was away), or the
 * patches that were pushed.
 *
 * Invariant: what the client was told, and then what `take` would give, is the channel's result at the engine's position, or
 * nothing where a gate is closed. While a live member is not ready it holds its connection; a loading one does only if it is of
 * the first, which are answered together.
 *
 * Cost: O(gates) to refresh, a pointer per patch; `take` merges once for all members that missed the same.
 */
import type { Position } from "@headwater/core/Position"
import type { Channel } from "./channel.ts"
import type * as Gates from "./gates.ts"
import * as Patch from "./patch.ts"
import * as Retained from "./retained.ts"
import type { Watcher } from "./watchers.ts"

/** The connection, as its members know it. */
export interface Owner {
  /** There may be something to tell it of this member. */
  touch(member: Member): void
  /** No frame may go out; counted. */
  hold(): void
  letGo(): void
  /** This was pushed, and may be pending. */
  pushed(trace: string | undefined): void
  pending(bytes: number): void
}

export class Member implements Watcher {
  readonly channel: Channel
  /** The subscriptions that it answers. */
  readonly ids = new Set<number>()
  /** Of `ids`, those that the client has not been told of yet. */
  unopened: Array<number> = []
  /** For its connection: whether it is among those touched. */
  touched = false
  readonly #owner: Owner
  readonly #gates: ReadonlyArray<Gates.Entry>
  readonly #first: boolean
  #live = false
  #ready = false
  #open = true
  /** The next frame carries the whole result; nothing else counts. */
  #reset = false
  /** The client holds the result as of this position; nothing is pending. */
  #held: Position | undefined
  #pending: Array<Patch.Patch> = []

  constructor(owner: Owner, channel: Channel, gates: ReadonlyArray<Gates.Entry>, first: boolean, held: Position | undefined) {
    this.#owner = owner
    this.channel = channel
    this.#gates = gates
    this.#first = first
    this.#held = held
    channel.watchers.add(this)
    for (const gate of gates) gate.watchers.add(this)
    if (first) owner.hold()
  }

  /** Whether frames may speak of it. */
  get isShown(): boolean {
    return this.#live && this.ids.size > 0
  }

  refresh(): void {
    let ready = this.channel.shown.ready
    let open = true
    for (const gate of this.#gates) {
      ready &&= gate.ready
      open &&= gate.open
    }
    if (open !== this.#open) {
      this.#open = open
      this.startOver()
    }
    if (ready === this.#ready) return
    this.#ready = ready
    const holds = this.#live || this.#first
    if (!ready) {
      if (holds) this.#owner.hold()
      return
    }
    if (!this.#live) {
      this.#live = true
      // A client that has been away needs what happened since, if that is still known and was its to see.
      if (this.#held === undefined || !this.#canResume(this.#held)) this.startOver()
      this.#owner.touch(this)
    }
    if (holds) this.#owner.letGo()
  }

  startOver(): void {
    if (!this.#live) return
    if (this.#pending.length > 0) this.#pending = []
    this.#held = undefined
    this.#reset = true
    this.#owner.touch(this)
  }

  push(patch: Patch.Patch, trace: string | undefined): void {
    if (!this.#live || !this.#open) return
    this.#owner.pushed(trace)
    this.#owner.touch(this)
    if (this.#reset || this.#held !== undefined) return
    this.#pending.push(patch)
    this.#owner.pending(Patch.text(patch).length)
  }

  /** Nets out what is pending; its bytes. */
  compact(): number {
    if (this.#pending.length === 0) return 0
    if (this.#pending.length > 1) this.#pending = [this.channel.merge(this.#pending)]
    return Patch.text(this.#pending[0]!).length
  }

  /** What the client must be told to be at the engine's position, and will have been; undefined for nothing, null for too much. */
  take(): Patch.Patch | null | undefined {
    if (this.#reset) {
      this.#reset = false
      return this.#result()
    }
    const from = this.#held
    if (from !== undefined) {
      this.#held = undefined
      if (!this.#canResume(from)) return this.#result()
      if (!this.#open) return undefined
      const missed = Retained.after(this.channel.log, from)
      return missed.length === 0 ? undefined : this.channel.merge(missed)
    }
    if (this.#pending.length === 0) return undefined
    const patch = this.channel.merge(this.#pending)
    this.#pending.length = 0
    return patch
  }

  /** Nobody asks for it any more. */
  leave(now: number): void {
    if (!this.#ready && (this.#live || this.#first)) this.#owner.letGo()
    this.ids.clear()
    this.#pending = []
    this.channel.watchers.delete(this, now)
    for (const { watchers } of this.#gates) watchers.delete(this, now)
  }

  #result(): Patch.Patch | null {
    return this.#open ? this.channel.whole() : this.channel.nothing()
  }

  #canResume(from: Position): boolean {
    return Retained.reaches(this.channel.log, from) && this.#gates.every((gate) => gate.since <= from)
  }
}
