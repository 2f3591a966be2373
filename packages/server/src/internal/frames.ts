/**
 * The frames of one sending: their text, and their bytes shared.
 *
 * Invariant: connections that are told the same patches, in the same order, under the same trace and nothing else, get the same
 * bytes. Patches are never changed, so identity stands for content.
 *
 * Cost: a lookup per patch and connection; text is built and encoded once for all that share it. Nothing outlives the sending.
 */
import type { Position } from "@headwater/core/Position"
import * as Patch from "./patch.ts"

interface Shared {
  readonly next: Map<Patch.Patch, Shared>
  bytes: Uint8Array | undefined
}

const utf8 = new TextEncoder()

export class Frames {
  built = 0
  readonly #to: Position
  /** A tree with a patch per edge, for each trace. */
  readonly #roots = new Map<string | undefined, Shared>()

  constructor(to: Position) {
    this.#to = to
  }

  shared(trace: string | undefined, patches: ReadonlyArray<Patch.Patch>): Uint8Array {
    let at: Shared | undefined = this.#roots.get(trace)
    if (at === undefined) this.#roots.set(trace, at = { next: new Map(), bytes: undefined })
    for (const patch of patches) {
      let next: Shared | undefined = at.next.get(patch)
      if (next === undefined) at.next.set(patch, next = { next: new Map(), bytes: undefined })
      at = next
    }
    return at.bytes ??= this.own(trace, "", patches, "")
  }

  /** `opened` and `receipts` are JSON with commas between the parts. */
  own(trace: string | undefined, opened: string, patches: ReadonlyArray<Patch.Patch>, receipts: string): Uint8Array {
    this.built++
    let text = `{"type":"frame","to":${this.#to}`
    if (trace !== undefined) text += `,"trace":${JSON.stringify(trace)}`
    if (opened !== "") text += `,"opened":[${opened}]`
    text += ",\"patches\":["
    for (let i = 0; i < patches.length; i++) text += (i === 0 ? "" : ",") + Patch.text(patches[i]!)
    return utf8.encode(`${text}]${receipts === "" ? "" : `,"receipts":[${receipts}]`}}`)
  }
}
