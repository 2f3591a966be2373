/**
 * When frames are sent: after what touched connections, to those that nothing holds.
 *
 * A connection that got a frame just now waits for a while, and one whose socket is full until that has drained. What happens
 * meanwhile is gathered where it is, so that they get one frame for all of it. Nobody else waits with them.
 *
 * Invariant: a connection that has something to be told, and nothing that holds it, is touched, gathered or pressed.
 *
 * Cost: O(connections touched) per sending; one timer for all that are gathered.
 */
import type { Resync, ServerMessage } from "@headwater/core/Message"
import type { Position } from "@headwater/core/Position"
import type { Connection, Limits as ConnectionLimits, Outbox } from "./connection.ts"
import { Frames } from "./frames.ts"
import type * as Patch from "./patch.ts"

export interface Limits extends ConnectionLimits {
  /** A socket that holds more than this gets no frame until it has drained: whole frames are merged meanwhile. */
  readonly socketBytes: number
  /** A connection that got a frame less than this ago waits so long for its next: steps under load share frames. */
  readonly gatherMillis: number
}

export interface Environment {
  readonly source: { readonly position: () => Position }
  readonly limits: Limits
  /** Milliseconds of a steady clock. */
  readonly now: () => number
  readonly later: (millis: number, run: () => void) => void
  /** Runs the sending of a step's frames, which may then carry another trace than the step's. */
  readonly fanout: (trace: string | undefined, connections: number, run: (trace: string | undefined) => void) => void
  readonly sent: (frames: number, bytes: number) => void
  readonly answered: (client: string, seq: number) => void
  readonly resynced: (reason: Resync["reason"]) => void
}

/** Of a step, as those that sent it know it and as its frames carry it. */
type Traces = { readonly step: string; readonly fanout: string | undefined } | undefined

export class Sending implements Outbox {
  readonly limits: Limits
  readonly resynced: (reason: Resync["reason"]) => void
  /** Only ever grow. */
  builtFrames = 0
  sentFrames = 0
  readonly #environment: Environment
  #touched = new Set<Connection>()
  readonly #gathered = new Set<Connection>()
  #isTimed = false

  constructor(environment: Environment) {
    this.#environment = environment
    this.limits = environment.limits
    this.resynced = environment.resynced
  }

  touch(connection: Connection): void {
    this.#touched.add(connection)
  }

  /** Runs what touches connections, then sends what can be sent. */
  after(trace: string | undefined, run: () => void): void {
    run()
    if (this.#touched.size === 0) return
    const touched = this.#touched
    this.#touched = new Set()
    this.#environment.fanout(trace, touched.size, (fanout) =>
      this.#send(touched, false, trace === undefined ? undefined : { step: trace, fanout }))
  }

  drained(connection: Connection): void {
    if (!connection.line.pressed) return
    connection.line.pressed = false
    this.#send([connection], true, undefined)
  }

  forget(connection: Connection): void {
    this.#gathered.delete(connection)
    this.#touched.delete(connection)
  }

  #send(to: Iterable<Connection>, force: boolean, traces: Traces): void {
    const { limits, now, sent, source } = this.#environment
    const position = source.position()
    const frames = new Frames(position)
    const time = now()
    let count = 0
    let bytes = 0
    let wait = 0
    for (const connection of to) {
      const { line } = connection
      if (connection.isHeld || line.pressed || line.closed) continue
      if (!force) {
        const left = line.lastFrame + limits.gatherMillis - time
        if (left > 0) {
          this.#gathered.add(connection)
          wait = Math.max(wait, left)
          continue
        }
      }
      if (line.peer.buffered() > limits.socketBytes) {
        line.pressed = true
        continue
      }
      const frame = this.#next(connection, frames, traces)
      if (frame === undefined) continue
      line.position = position
      line.lastFrame = time
      count++
      bytes += frame.length
      line.peer.send(frame)
    }
    this.builtFrames += frames.built
    this.sentFrames += count
    if (count > 0) sent(count, bytes)
    if (this.#gathered.size > 0) this.#sendLater(Math.max(1, wait))
  }

  /** One frame for a connection that nothing holds, unless there is nothing to tell it. */
  #next(connection: Connection, frames: Frames, traces: Traces): Uint8Array | undefined {
    const { receipts, resync } = connection
    const trace = traces !== undefined && connection.trace === traces.step ? traces.fanout : connection.trace
    const patches: Array<Patch.Patch> = []
    const opened = connection.take(patches, this.#environment.now())
    if (resync !== undefined) {
      connection.line.peer.send(JSON.stringify({ type: "resync", reason: resync } satisfies ServerMessage))
      connection.resync = undefined
    } else if (patches.length === 0 && opened === "" && !receipts.isWaiting) {
      connection.trace = trace
      return undefined
    }
    connection.trace = undefined
    return opened === "" && !receipts.isWaiting
      ? frames.shared(trace, patches)
      : frames.own(trace, opened, patches, receipts.send((seq) => this.#environment.answered(connection.client, seq)))
  }

  #sendLater(millis: number): void {
    if (this.#isTimed) return
    this.#isTimed = true
    this.#environment.later(millis, () => {
      this.#isTimed = false
      const ready = [...this.#gathered]
      this.#gathered.clear()
      this.#send(ready, true, undefined)
    })
  }
}
