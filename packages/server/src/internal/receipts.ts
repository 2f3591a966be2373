/**
 * The receipts of one connection: those that wait for its next frame, and those that were sent and are not acknowledged, from
 * which a repeated mutation is answered.
 *
 * Invariant: `bytes` is the text of all of them, each once. What is acknowledged is in neither.
 *
 * Cost: O(1) for each that comes or is sent, O(those held) to acknowledge. Of those sent it keeps 4096, the last ones; whoever
 * adds to those that wait must look at `bytes`.
 */
import type { Receipt } from "@headwater/core/Message"

/** A receipt, and its text. */
interface Written {
  readonly seq: number
  readonly text: string
}

const written = (receipt: Receipt): Written => ({ seq: receipt.seq, text: JSON.stringify(receipt) })

const maxSent = 4096

export class Receipts {
  bytes = 0
  #waiting: Array<Written> = []
  readonly #sent = new Map<number, Written>()

  get isWaiting(): boolean {
    return this.#waiting.length > 0
  }

  add(receipt: Receipt): void {
    const made = written(receipt)
    this.#waiting.push(made)
    this.bytes += made.text.length
  }

  /** These are all that wait. Nothing was sent yet. */
  begin(receipts: ReadonlyArray<Receipt>): void {
    this.#waiting = []
    this.bytes = 0
    for (const receipt of receipts) this.add(receipt)
  }

  /** Makes one that was sent wait once more; false if there is no need to, or it was not sent. */
  repeat(seq: number): boolean {
    const receipt = this.#sent.get(seq)
    if (receipt === undefined || this.#waiting.includes(receipt)) return false
    this.#waiting.push(receipt)
    return true
  }

  /** The client has these, up to and with `seq`. */
  acknowledge(seq: number): void {
    this.#waiting = this.#waiting.filter((receipt) => {
      if (receipt.seq > seq) return true
      if (!this.#sent.has(receipt.seq)) this.bytes -= receipt.text.length
      return false
    })
    for (const sent of this.#sent.keys()) if (sent <= seq) this.#forget(sent)
  }

  /** Those that wait, as JSON texts with commas between them; from now on they count as sent. */
  send(each: (seq: number) => void): string {
    let text = ""
    for (const receipt of this.#waiting) {
      text += text === "" ? receipt.text : `,${receipt.text}`
      this.#sent.set(receipt.seq, receipt)
      each(receipt.seq)
    }
    for (const seq of this.#sent.keys()) {
      if (this.#sent.size <= maxSent) break
      this.#forget(seq)
    }
    this.#waiting = []
    return text
  }

  #forget(seq: number): void {
    this.bytes -= this.#sent.get(seq)!.text.length
    this.#sent.delete(seq)
  }
}
