/**
 * Pending mutations, first in, first out: which to send, under which number, and what an answer means for the rest.
 *
 * Pure and synchronous; it says what must be stored before its messages are sent (`takeChange`). Numbers are given at the first send,
 * from 1 without gaps. A number is used again only where the server said that it was never run, and nothing that could still
 * be under way holds it; otherwise the rest goes on under a new client id (`renew`), once everything numbered is answered.
 *
 * Invariant: numbers ascend in the order of the entries. `acknowledged` is the greatest number up to which every receipt has been
 * applied and none is asked for any more: a server looks up those that `after` names.
 *
 * Time: O(pending) per call.
 */
import type { Mutate, Outcome, Refusal } from "@headwater/core/Message"
import type { Json } from "@headwater/core/Value"

export interface Entry {
  /** Its place in the queue; never used again by this store. */
  readonly id: number
  readonly name: string
  readonly payload: Json
  /** Ids of earlier entries whose rows it read or wrote. Kept from when it was written: that is what its writer saw. */
  readonly dependencies: ReadonlyArray<number>
  /** Epoch milliseconds. */
  readonly since: number
  /** W3C traceparent of the call. */
  readonly trace: string | undefined
  /** Parked: the server cannot take it now. */
  readonly status: "queued" | "sent" | "parked"
  readonly seq: number | null
  /** The numbers of those of `dependencies` that were unanswered when it got its own. */
  readonly after: ReadonlyArray<number>
  /** The number of a dependency that was rejected after this one had got its own: it has not been run, and will not be. */
  readonly doomed: number | null
}

/** What outlives the page, where the storage does. */
export interface Stored {
  readonly client: string
  readonly acknowledged: number
  /** Numbers were given up that a server may still be about to use: nothing new is numbered under this client id. */
  readonly isSpent: boolean
  readonly entries: ReadonlyArray<Entry>
}

/** To be stored as one. */
export interface Change {
  readonly client: string
  readonly acknowledged: number
  readonly isSpent: boolean
  readonly put: ReadonlyArray<Entry>
  readonly remove: ReadonlyArray<number>
}

export type Answer =
  | { readonly id: number; readonly outcome: Outcome }
  /** Rejected here, without a receipt. */
  | { readonly id: number; readonly refused: Refusal }

export interface Outbox {
  readonly client: string
  readonly acknowledged: number
  /** In order. */
  readonly entries: ReadonlyArray<Entry>
  /** All numbered entries are answered, and the rest needs another client id: call `renew` and connect again. */
  readonly mustRenew: boolean

  /** For the next `add`. */
  readonly nextId: number
  add(entry: Pick<Entry, "name" | "payload" | "dependencies" | "since" | "trace">): Entry
  /** Undefined where no entry has that number. */
  bySeq(seq: number): Entry | undefined
  /** A new connection was welcomed: what is not answered is to be sent again. */
  welcome(nextSeq: number, unknownMutations: ReadonlyArray<string>): ReadonlyArray<Answer>
  /** What may be sent now, in order; marks it as sent. Nothing before `welcome` or after `disconnected`. */
  take(limit: number): ReadonlyArray<Mutate>
  receipt(seq: number, outcome: Outcome): ReadonlyArray<Answer>
  /** The server never ran that number. */
  outcome(seq: number, reason: Refusal): ReadonlyArray<Answer>
  disconnected(): void
  /** Another client id; unanswered entries are numbered anew. */
  renew(client: string): void
  /** Another principal is signed in: what was written under this client id is not sent any more. */
  abandon(client: string, refused: Refusal): ReadonlyArray<Answer>
  /** What changed since the last call; undefined for nothing. */
  takeChange(): Change | undefined
}

interface Item {
  entry: Entry
  /** On how many connections it was sent under its number. */
  connections: number
  sentOn: number
}

/** Those with a number first; what was parked has lost its place. */
const inOrder = (items: ReadonlyArray<Item>): Array<Item> =>
  [...items].sort((a, b) => (a.entry.seq ?? Infinity) - (b.entry.seq ?? Infinity) || a.entry.id - b.entry.id)

export const make = (stored: Stored): Outbox => {
  let { acknowledged, client } = stored
  let items: Array<Item> = inOrder(stored.entries.map((entry) => ({ entry, connections: entry.seq === null ? 0 : 1, sentOn: 0 })))
  let nextId = 1 + Math.max(0, ...stored.entries.map(({ id }) => id))
  let nextSeq = 1 + Math.max(acknowledged, ...stored.entries.map(({ seq }) => seq ?? 0))
  let renewing = stored.isSpent
  let online = false
  let connection = 0
  /** By number: answers still to come on this connection for messages whose number was given up. */
  const stale = new Map<number, number>()
  let put = new Map<number, Entry>()
  let remove: Array<number> = []
  let dirty = false

  const change = (item: Item, fields: Partial<Entry>) => {
    item.entry = { ...item.entry, ...fields }
    put.set(item.entry.id, item.entry)
  }

  const drop = (ids: ReadonlySet<number>) => {
    items = items.filter(({ entry }) => !ids.has(entry.id))
    for (const id of ids) {
      put.delete(id)
      remove.push(id)
    }
    const before = acknowledged
    acknowledged = nextSeq - 1
    for (const { entry } of items) if (entry.seq !== null) acknowledged = Math.min(acknowledged, entry.seq - 1, ...entry.after.map((seq) => seq - 1))
    if (acknowledged !== before) dirty = true
  }

  /** The entry is rejected, and so is all that has no number yet and depends on it. The server does that for the rest. */
  const reject = (id: number, seq: number, answer: Answer): ReadonlyArray<Answer> => {
    const rejected = new Set([id])
    const answers = [answer]
    for (const item of items) {
      const { entry } = item
      if (rejected.has(entry.id) || !entry.dependencies.some((dependency) => rejected.has(dependency))) continue
      if (entry.seq !== null) {
        if (entry.doomed === null) change(item, { doomed: seq })
        continue
      }
      rejected.add(entry.id)
      answers.push(dependencyRejected(entry.id, seq))
    }
    drop(rejected)
    return answers
  }

  const dependencyRejected = (id: number, seq: number): Answer =>
    ({ id, refused: { _tag: "DependencyRejected", seq, message: "An earlier change that this one builds on was rejected." } })

  /** Those that lost their number, and that the server would have rejected. */
  const rejectDoomed = (): ReadonlyArray<Answer> => {
    const answers: Array<Answer> = []
    for (;;) {
      const item = items.find(({ entry }) => entry.seq === null && entry.doomed !== null)
      if (item === undefined) return answers
      const { doomed, id } = item.entry
      answers.push(...reject(id, doomed!, dependencyRejected(id, doomed!)))
    }
  }

  /** Takes the numbers from `seq` on back. */
  const free = (seq: number) => {
    for (const item of items) {
      if (item.entry.seq === null || item.entry.seq < seq) continue
      if (item.entry.seq > seq && item.sentOn === connection) stale.set(item.entry.seq, (stale.get(item.entry.seq) ?? 0) + 1)
      // An earlier connection may still be about to run it under its number.
      if (item.connections > 1 || item.sentOn !== connection) renewing = true
      item.connections = 0
      item.sentOn = 0
      change(item, { seq: null, status: "queued", after: [] })
    }
    nextSeq = seq
  }

  const isBlocked = (entry: Entry, blocked: ReadonlySet<number>): boolean => entry.dependencies.some((id) => blocked.has(id))

  return {
    get client() {
      return client
    },
    get acknowledged() {
      return acknowledged
    },
    get entries() {
      return items.map(({ entry }) => entry)
    },
    get mustRenew() {
      return renewing && items.every(({ entry }) => entry.seq === null)
    },
    get nextId() {
      return nextId
    },
    bySeq: (seq) => items.find(({ entry }) => entry.seq === seq)?.entry,
    add(fields) {
      const item: Item = { entry: { ...fields, id: nextId++, status: "queued", seq: null, after: [], doomed: null }, connections: 0, sentOn: 0 }
      items.push(item)
      put.set(item.entry.id, item.entry)
      return item.entry
    },
    welcome(next, unknownMutations) {
      online = true
      connection++
      // Answers of the connection before will not come: whatever it was sent under a number that was given up may still be run.
      if (stale.size > 0) renewing = true
      stale.clear()
      const unknown = new Set(unknownMutations)
      const first = items.find(({ entry }) => entry.seq !== null)?.entry.seq ?? nextSeq
      if (next < first) {
        // The server lost receipts that were applied (a restored database): nothing that is pending was run there.
        free(0)
        renewing = true
      } else if (next > nextSeq) {
        // Somebody else uses this client id: a copy of its store.
        renewing = true
      }
      for (const item of items) {
        if (item.entry.seq !== null) continue
        const status = unknown.has(item.entry.name) ? "parked" : "queued"
        if (status !== item.entry.status) change(item, { status })
      }
      items = inOrder(items)
      return rejectDoomed()
    },
    take(limit) {
      if (!online) return []
      const messages: Array<Mutate> = []
      const held = new Set<number>()
      const inFlight = items.reduce((count, { entry, sentOn }) => entry.seq !== null && sentOn === connection ? count + 1 : count, 0)
      for (const item of items) {
        const { entry } = item
        if (entry.seq === null) {
          if (entry.status === "parked" || isBlocked(entry, held)) {
            held.add(entry.id)
            continue
          }
          if (renewing) break
        } else if (item.sentOn === connection) continue
        if (inFlight + messages.length >= limit) break
        const seq = entry.seq ?? nextSeq++
        item.sentOn = connection
        item.connections++
        if (entry.seq === null) {
          const dependencies = new Set(entry.dependencies)
          const after = items.flatMap((other) => dependencies.has(other.entry.id) && other.entry.seq !== null ? [other.entry.seq] : [])
          change(item, { seq, status: "sent", after })
        }
        const { after } = item.entry
        messages.push({
          type: "mutate", seq, name: entry.name, payload: entry.payload,
          ...(after.length === 0 ? undefined : { after }),
          ...(entry.trace === undefined ? undefined : { trace: entry.trace })
        })
      }
      return messages
    },
    receipt(seq, outcome) {
      const item = items.find(({ entry }) => entry.seq === seq)
      if (item === undefined) return []
      const { id } = item.entry
      if (outcome.type !== "success") return reject(id, seq, { id, outcome })
      drop(new Set([id]))
      return [{ id, outcome }]
    },
    outcome(seq, reason) {
      const expected = stale.get(seq)
      if (expected !== undefined) {
        if (expected === 1) stale.delete(seq)
        else stale.set(seq, expected - 1)
        return []
      }
      const item = items.find(({ entry }) => entry.seq === seq)
      if (item === undefined) return []
      const { id } = item.entry
      switch (reason._tag) {
        case "UnknownMutation":
        case "Unauthenticated":
          free(seq)
          change(item, { status: "parked" })
          return rejectDoomed()
        case "ClientForked":
        case "SequenceGap":
          // Under this client id the server has run something else than we remember.
          free(seq)
          renewing = true
          return rejectDoomed()
        case "AlreadyAcknowledged":
          // Those after it keep their numbers: they may have been run too, and have answers of their own.
          renewing = true
          return reject(id, seq, { id, refused: { _tag: "ServerFailure", message: "This change was run before, and what became of it is not known any more." } })
        default:
          free(seq)
          return [...reject(id, seq, { id, refused: reason }), ...rejectDoomed()]
      }
    },
    disconnected() {
      online = false
    },
    renew(id) {
      client = id
      nextSeq = 1
      acknowledged = 0
      renewing = false
      online = false
      stale.clear()
      dirty = true
    },
    abandon(id, refused) {
      const answers = items.map(({ entry }) => ({ id: entry.id, refused }))
      drop(new Set(items.map(({ entry }) => entry.id)))
      client = id
      nextSeq = 1
      acknowledged = 0
      renewing = false
      online = false
      stale.clear()
      dirty = true
      return answers
    },
    takeChange() {
      if (!dirty && put.size === 0 && remove.length === 0) return undefined
      const result: Change = { client, acknowledged, isSpent: renewing || stale.size > 0, put: [...put.values()], remove }
      put = new Map()
      remove = []
      dirty = false
      return result
    }
  }
}
