/**
 * Calls of mutations, from the call to the outcome: shown by the replica, kept in the outbox, listed for the application.
 *
 * Invariant: a mutation that the contract knows is pending in the replica exactly while it is in the outbox. Its call is answered once, and if that is
 * an error it is listed as rejected until it is retried or dismissed; of those the newest are kept.
 *
 * Time per call and answer: that of the replica and the outbox. `refresh`: O(pending).
 */
import * as Mutation from "@headwater/core/Mutation"
import * as SyncError from "@headwater/core/SyncError"
import type { Json } from "@headwater/core/Value"
import type * as Outbox from "../Outbox.ts"
import * as Observable from "./observable.ts"
import type { OptimisticRuns } from "./optimistic.ts"
import * as Outcomes from "./outcomes.ts"
import type { Sending } from "./sending.ts"
import type { Shared } from "./shared.ts"

export interface Mutated {
  readonly id: number
  /** Undefined where it is durable already. */
  readonly stored: Promise<void> | undefined
  readonly outcome: Promise<Outcomes.Settled>
}

export interface Pending {
  readonly id: number
  readonly name: string
  readonly payload: unknown
  readonly status: "queued" | "sent" | "parked"
  /** Epoch milliseconds. */
  readonly since: number
}

export interface Rejected extends Omit<Pending, "status"> {
  readonly error: unknown
  /** Sends it again as a new mutation, after all others. */
  readonly retry: () => void
  /** Takes it off the list. */
  readonly dismiss: () => void
}

export interface Calls {
  mutate(name: string, payload: unknown, trace: string | undefined): Mutated | { readonly refused: SyncError.SyncError }
  readonly pending: Observable.Observable<ReadonlyArray<Pending>>
  readonly rejected: Observable.Observable<ReadonlyArray<Rejected>>
  nameOf(id: number): string | undefined
  /** Shows what the storage held. */
  restore(): void
  settle(answers: ReadonlyArray<Outbox.Answer>): void
  /** Brings the lists up to date; says which are to be told. */
  refresh(tell: (source: { notify(): void }) => void): void
  /** Answers all that wait. */
  close(error: SyncError.SyncError): void
}

interface Call {
  readonly definition: Mutation.Any
  readonly payload: unknown
  readonly resolve: (settled: Outcomes.Settled) => void
}

const maxRejected = 100

export const make = ({ changed, closed, contract, environment: env, link, outbox, publish, replica }: Shared, optimistic: OptimisticRuns, sending: Sending): Calls => {
  const calls = new Map<number, Call>()
  let rejections: ReadonlyArray<Rejected> = []
  const pending = Observable.make<ReadonlyArray<Pending>>([], env.report)
  const rejected = Observable.make<ReadonlyArray<Rejected>>([], env.report)
  const listed = new WeakMap<Outbox.Entry, Pending>()

  const show = (id: number, call: Call) => {
    calls.set(id, call)
    changed(replica.mutate(id, optimistic.runner(call.definition.name, call.payload as object)))
  }

  const enqueue = (call: Call, wire: Json, trace: string | undefined) => {
    const id = outbox.nextId
    show(id, call)
    outbox.add({ name: call.definition.name, payload: wire, dependencies: replica.dependenciesOf(id), since: env.now(), trace })
    const stored = sending.store()
    sending.flush()
    link.drain()
    publish()
    return { id, stored }
  }

  const unlist = (id: number) => {
    const before = rejections
    rejections = rejections.filter((other) => other.id !== id)
    return rejections.length < before.length
  }

  const reject = (id: number, { definition, payload }: Call, error: unknown) => {
    const item: Rejected = {
      id, name: definition.name, payload, since: env.now(), error,
      retry() {
        if (closed() !== undefined || !unlist(id)) return
        const wire = Mutation.encodePayload(definition, payload)
        if (wire.ok) enqueue({ definition, payload, resolve: () => undefined }, wire.value, undefined)
      },
      dismiss() {
        unlist(id)
        publish()
      }
    }
    rejections = [...rejections, item].slice(-maxRejected)
  }

  return {
    pending,
    rejected,
    nameOf: (id) => calls.get(id)?.definition.name,
    mutate(name, payload, trace) {
      const definition = contract.mutations[name]!
      const refused = closed()
      if (refused !== undefined) return { refused }
      if (optimistic.isRunning) throw new TypeError(`${name} was called inside an optimistic handler: a handler writes through its transaction.`)
      const wire = Mutation.encodePayload(definition, payload ?? {})
      const decoded = wire.ok ? Mutation.decodePayload(definition, wire.value) : wire
      if (!wire.ok || !decoded.ok) {
        return { refused: Outcomes.syncError(new SyncError.InvalidPayload({ message: `${name}: ${decoded.ok ? "" : decoded.message}` })) }
      }
      let resolve!: Call["resolve"]
      const outcome = new Promise<Outcomes.Settled>((done) => {
        resolve = done
      })
      return { ...enqueue({ definition, payload: decoded.value, resolve }, wire.value, trace), outcome }
    },
    restore() {
      for (const { id, name, payload } of outbox.entries) {
        const definition = contract.mutations[name]
        const decoded = definition === undefined ? undefined : Mutation.decodePayload(definition, payload)
        if (definition !== undefined && decoded?.ok === true) show(id, { definition, payload: decoded.value, resolve: () => undefined })
      }
    },
    settle(answers) {
      if (answers.length === 0) return
      changed(replica.end(answers.map(({ id }) => id)))
      for (const answer of answers) {
        const call = calls.get(answer.id)
        if (call === undefined) continue
        calls.delete(answer.id)
        const settled = "outcome" in answer ? Outcomes.settled(call.definition, answer.outcome) : { ok: false as const, error: Outcomes.refused(answer.refused) }
        if (!settled.ok) reject(answer.id, call, settled.error)
        call.resolve(settled)
      }
    },
    refresh(tell) {
      const before = pending.snapshot
      const after = outbox.entries.map((entry): Pending => {
        const { id, name, since, status } = entry
        let item = listed.get(entry)
        if (item === undefined) listed.set(entry, item = { id, name, payload: calls.get(id)?.payload, status, since })
        return item
      })
      if (after.length !== before.length || after.some((item, i) => item !== before[i])) {
        pending.set(after)
        tell(pending)
      }
      if (rejected.snapshot !== rejections) {
        rejected.set(rejections)
        tell(rejected)
      }
    },
    close(error) {
      for (const { resolve } of calls.values()) resolve({ ok: false, error })
      calls.clear()
    }
  }
}
