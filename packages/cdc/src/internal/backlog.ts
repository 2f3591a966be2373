/**
 * What was decoded and not acknowledged yet, and those who wait for more. Plain state, no Effect.
 *
 * An *incarnation* is one unbroken order of steps, from `base` on. When the slot is lost the next one begins, with nothing
 * in it; positions go on growing.
 *
 * Whoever waits is told once per turn of the event loop, so that commits that arrived together are taken together.
 */
import type { Position } from "@headwater/core/Position"
import type { Step } from "@headwater/core/Step"

export class Backlog {
  /** 0 until the first begins. */
  incarnation = 0
  /** Steps after it are held, but for those acknowledged. */
  base: Position = 0
  /** Every commit that ends at or before it was decoded. */
  passed = 0
  /** Of the last step, or the base. */
  last: Position = 0
  /** Up to there the subscriber has been given steps. */
  delivered: Position = 0
  acknowledged: Position = 0
  /** About what the held steps take in memory. */
  bytes = 0
  #steps: Array<{ readonly step: Step; readonly bytes: number }> = []
  #waiting = new Set<() => void>()
  #told = true

  begin(base: Position): void {
    this.incarnation++
    this.base = this.passed = this.last = this.delivered = this.acknowledged = base
    this.#steps = []
    this.bytes = 0
    this.tell()
  }

  push(step: Step, bytes: number): void {
    this.#steps.push({ step, bytes })
    this.bytes += bytes
    this.last = step.position
  }

  pass(lsn: number): void {
    if (lsn <= this.passed) return
    this.passed = lsn
    this.tell()
  }

  deliver(position: Position): void {
    this.delivered = position
    this.tell()
  }

  acknowledge(position: Position): void {
    if (position <= this.acknowledged) return
    this.acknowledged = position
    let done = 0
    while (done < this.#steps.length && this.#steps[done]!.step.position <= position) this.bytes -= this.#steps[done++]!.bytes
    this.#steps.splice(0, done)
    this.tell()
  }

  after(position: Position): ReadonlyArray<Step> {
    const steps = this.#steps
    let from = steps.length
    while (from > 0 && steps[from - 1]!.step.position > position) from--
    return steps.slice(from).map(({ step }) => step)
  }

  /** What the server need not send again: with nothing outstanding, whatever was read. */
  get flushed(): number {
    return this.#steps.length === 0 ? this.passed : this.acknowledged
  }

  /** Whether all steps up to there were decoded and acknowledged. */
  isDone(lsn: number): boolean {
    return this.passed >= lsn && (this.#steps.length === 0 || this.#steps[0]!.step.position > lsn)
  }

  /** Calls back whenever something changed, until the result is called. */
  listen(onChange: () => void): () => void {
    this.#waiting.add(onChange)
    return () => void this.#waiting.delete(onChange)
  }

  tell(): void {
    if (!this.#told) return
    this.#told = false
    queueMicrotask(() => {
      this.#told = true
      // Not those that begin to wait meanwhile.
      const waiting = [...this.#waiting]
      for (const onChange of waiting) onChange()
    })
  }
}
