/**
 * What one connection shows, what holds it, and what is pending for it.
 *
 * It is *held* while anything that it shows is not ready, and until its receipts and the engine's position are there. Then no
 * frame goes out and what happens is gathered in its members, so that the next frame takes all of them to one position (P1).
 *
 * Invariant: the frames it was sent, and then one of what `take` gives, add up to its channels' results at the engine's position.
 *
 * Cost: O(1) per patch of a member, O(members touched) per frame. Memory: its members, at most `pendingBytes` of references to
 * patches (more than that is netted out, and if that does not help its client starts over), and receipts.
 */
import type { Resync } from "@headwater/core/Message"
import type { Position } from "@headwater/core/Position"
import type { Channel } from "./channel.ts"
import type * as Gates from "./gates.ts"
import { Member, type Owner } from "./member.ts"
import * as Patch from "./patch.ts"
import { Receipts } from "./receipts.ts"

export interface Limits {
  /** What may be gathered for one connection, before it is dropped and the client resynced. */
  readonly pendingBytes: number
  /** What whole results may take in one frame. Strings have a bound, and one that goes beyond it would end more than a connection. */
  readonly frameBytes: number
}

export interface Peer {
  /** Hands a message to the socket. Never waits or throws. */
  readonly send: (message: string | Uint8Array) => void
  /** Bytes handed over that the network has not taken yet. */
  readonly buffered: () => number
}

/** Whoever sends frames, as connections know it. */
export interface Outbox {
  readonly limits: Limits
  /** There may be something to send to it. */
  touch(connection: Connection): void
  resynced(reason: Resync["reason"]): void
}

/** What sending keeps of a connection. */
export interface Line {
  readonly peer: Peer
  /** The socket is full; it says when it has drained. */
  pressed: boolean
  closed: boolean
  lastFrame: number
  /** That the client was brought to. */
  position: Position
}

export class Connection implements Owner {
  readonly client: string
  readonly line: Line
  readonly receipts = new Receipts()
  readonly subscriptions = new Map<number, Member>()
  readonly members = new Map<Channel, Member>()
  /** Of the last step that its next frame speaks of. */
  trace: string | undefined = undefined
  /** Set when the client must be told first that it starts over. */
  resync: Resync["reason"] | undefined = undefined
  readonly #outbox: Outbox
  readonly #tooLarge: (id: number, message: string) => void
  #holds = 1
  readonly #touched: Array<Member> = []
  #pendingBytes = 0

  /** Held until `letGo`. */
  constructor(outbox: Outbox, client: string, peer: Peer, position: Position, tooLarge: (id: number, message: string) => void) {
    this.#outbox = outbox
    this.#tooLarge = tooLarge
    this.client = client
    this.line = { peer, pressed: false, closed: false, lastFrame: -Infinity, position }
  }

  get isHeld(): boolean {
    return this.#holds > 0
  }

  /** Whether nothing that happened has yet to be told. */
  get isCurrent(): boolean {
    return this.#holds === 0 && !this.line.pressed && this.#touched.length === 0 && !this.receipts.isWaiting
  }

  /** Its bindings that each changed row of their table is tested for. O(members). */
  get scanned(): number {
    let count = 0
    for (const { shown } of this.members.keys()) if (shown.binding.isScanned) count++
    return count
  }

  /** `gates` are asked for only if nothing shows that channel yet. */
  subscribe(id: number, channel: Channel, gates: () => ReadonlyArray<Gates.Entry>, first: boolean, held: Position | undefined): void {
    let member = this.members.get(channel)
    if (member === undefined) this.members.set(channel, member = new Member(this, channel, gates(), first, held))
    else member.startOver()
    member.ids.add(id)
    member.unopened.push(id)
    this.subscriptions.set(id, member)
    member.refresh()
  }

  unsubscribe(id: number, now: number): void {
    const member = this.subscriptions.get(id)
    if (member === undefined) return
    this.subscriptions.delete(id)
    member.ids.delete(id)
    member.unopened = member.unopened.filter((other) => other !== id)
    if (member.ids.size > 0) return
    this.members.delete(member.channel)
    member.leave(now)
  }

  close(now: number): void {
    this.line.closed = true
    for (const member of this.members.values()) member.leave(now)
    this.members.clear()
    this.subscriptions.clear()
  }

  hold(): void {
    this.#holds++
  }

  letGo(): void {
    if (--this.#holds === 0) this.#outbox.touch(this)
  }

  touch(member: Member): void {
    this.#outbox.touch(this)
    if (member.touched) return
    member.touched = true
    this.#touched.push(member)
  }

  pushed(trace: string | undefined): void {
    this.trace = trace
  }

  pending(bytes: number): void {
    this.#pendingBytes += bytes
    if (this.#pendingBytes > this.#outbox.limits.pendingBytes) this.#compact()
  }

  /**
   * Adds to `patches` what the next frame carries, and ends the subscriptions whose results are too large for one. Gives JSON of
   * those that the frame opens, with commas between them.
   */
  take(patches: Array<Patch.Patch>, now: number): string {
    let opened = ""
    let left = this.#outbox.limits.frameBytes
    for (const member of this.#touched) {
      member.touched = false
      if (!member.isShown) continue
      const patch = member.take()
      const length = patch?.reset === true ? Patch.text(patch).length : 0
      if (patch === null || length > left) {
        this.#refuse(member, patch === null ? "The result" : "The result, with those of the connection's other queries,", now)
        continue
      }
      left -= length
      if (member.unopened.length > 0) {
        for (const id of member.unopened) opened += `${opened === "" ? "" : ","}{"id":${id},"binding":${member.channel.id}}`
        member.unopened = []
      }
      if (patch !== undefined && !Patch.isEmpty(patch)) patches.push(patch)
    }
    this.#touched.length = 0
    this.#pendingBytes = 0
    return opened
  }

  #refuse(member: Member, what: string, now: number): void {
    const ids = [...member.ids]
    for (const id of ids) this.unsubscribe(id, now)
    for (const id of ids) this.#tooLarge(id, `${what} is more than this server sends at once: ask for less with where or limit, or raise maxResultRows and maxResultBytes.`)
  }

  /** Too much is pending: nets it out, and if that does not help gives it up. */
  #compact(): void {
    const { limits } = this.#outbox
    let bytes = 0
    for (const member of this.#touched) bytes += member.compact()
    this.#pendingBytes = bytes
    // Half, so that merging is not tried again with each step.
    if (bytes <= limits.pendingBytes / 2) return
    this.resync ??= "SlowConsumer"
    this.#pendingBytes = 0
    for (const member of this.members.values()) member.startOver()
    this.#outbox.resynced("SlowConsumer")
  }
}
