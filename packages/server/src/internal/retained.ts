/**
 * The retained window: the patches of the recent past, for clients that come back. A *log* has those of one channel.
 *
 * Invariant: a log holds every patch of its channel after `since`, oldest first. Whatever is oldest is forgotten first, whosever
 * it is: what lies behind `windowMillis` when asked to, and what goes beyond `windowBytes` at once.
 *
 * Time per patch: O(1), amortised. Memory: the patches, at most `windowBytes` of text. A log that is cleared gives its bytes back
 * when their turn comes.
 */
import type { Position } from "@headwater/core/Position"
import * as Patch from "./patch.ts"

export interface Limits {
  /** Patches older than this, or beyond so many bytes in total, are forgotten. */
  readonly windowMillis: number
  readonly windowBytes: number
}

export interface Log {
  readonly entries: Array<Entry>
  /** Exclusive: of what was before, nothing is known. */
  since: Position
}

interface Entry {
  readonly log: Log
  readonly patch: Patch.Patch
  readonly position: Position
  readonly at: number
  readonly bytes: number
}

export const log = (since: Position): Log => ({ entries: [], since })

export const clear = (log: Log, since: Position): void => {
  log.entries.length = 0
  log.since = since
}

/** Whether `after` has all that came after it. */
export const reaches = (log: Log, position: Position): boolean => log.since <= position

/** O(the log). */
export const after = (log: Log, position: Position): ReadonlyArray<Patch.Patch> =>
  log.entries.filter((entry) => entry.position > position).map((entry) => entry.patch)

export class Window {
  bytes = 0
  readonly #limits: Limits
  /** Of all logs, oldest first from `#from` on. */
  readonly #entries: Array<Entry> = []
  #from = 0

  constructor(limits: Limits) {
    this.#limits = limits
  }

  retain(log: Log, patch: Patch.Patch, position: Position, now: number): void {
    const bytes = Patch.text(patch).length
    const entry: Entry = { log, patch, position, at: now, bytes }
    log.entries.push(entry)
    this.#entries.push(entry)
    this.bytes += bytes
    while (this.bytes > this.#limits.windowBytes) this.#forget()
  }

  sweep(now: number): void {
    const until = now - this.#limits.windowMillis
    while (this.#from < this.#entries.length && this.#entries[this.#from]!.at <= until) this.#forget()
  }

  #forget(): void {
    const oldest = this.#entries[this.#from++]!
    const { log } = oldest
    this.bytes -= oldest.bytes
    if (log.entries[0] === oldest) {
      log.entries.shift()
      log.since = oldest.position
    }
    if (this.#from > 1024 && this.#from * 2 > this.#entries.length) {
      this.#entries.splice(0, this.#from)
      this.#from = 0
    }
  }
}
