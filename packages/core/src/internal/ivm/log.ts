/**
 * What happened to one binding's delivered rows since its subscribers were last told, and the sum of it.
 *
 * Entries are in order of time: key, the row that was in the result before, the row after (null for none). The sum is the
 * first `before` and the last `after` of each key. A log is used again: it allocates only while it grows.
 */
import type { Key } from "../../data/Key.ts"
import type { Row } from "../../data/Row.ts"

export type Each = (key: Key, before: Row | null, after: Row | null) => void

export class Log {
  /** Three slots an entry, those up to `used`. */
  readonly slots: Array<Key | Row | null> = []
  used = 0

  get isEmpty(): boolean {
    return this.used === 0
  }

  get length(): number {
    return this.used / 3
  }

  push(key: Key, before: Row | null, after: Row | null): void {
    const slots = this.slots
    const used = this.used
    slots[used] = key
    slots[used + 1] = before
    slots[used + 2] = after
    this.used = used + 3
  }

  clear(): void {
    const slots = this.slots
    if (slots.length > 300) slots.length = 0
    else for (let i = 0; i < this.used; i++) slots[i] = null
    this.used = 0
  }

  /** Entry by entry. */
  forEach(each: Each): void {
    const slots = this.slots
    for (let i = 0; i < this.used; i += 3) each(slots[i] as Key, slots[i + 1] as Row | null, slots[i + 2] as Row | null)
  }

  /** Key by key. O(entries). */
  net(each: Each): void {
    const slots = this.slots
    const used = this.used
    if (used <= 3 || used === 6 && slots[0] !== slots[3]) return this.forEach(each)
    const lasts = new Map<Key, number>()
    for (let i = 0; i < used; i += 3) lasts.set(slots[i] as Key, i)
    for (let i = 0; i < used; i += 3) {
      const last = lasts.get(slots[i] as Key)
      if (last === undefined) continue
      lasts.delete(slots[i] as Key)
      each(slots[i] as Key, slots[i + 1] as Row | null, slots[last + 2] as Row | null)
    }
  }

  /** Nets it in place: then it is no longer than the keys that it is about. */
  compact(): void {
    const netted = new Log()
    this.net((key, before, after) => before === null && after === null ? undefined : netted.push(key, before, after))
    this.clear()
    netted.forEach((key, before, after) => this.push(key, before, after))
  }
}
