/**
 * From the outbox to the storage and to the server.
 *
 * Invariant: a number is durable before it is used, and storage sees changes in the order in which they were made. Where the
 * storage is durable at once, nothing waits.
 *
 * Cost: one commit per call that changed something; at most `maxInFlight` mutations are on their way.
 */
import type { Storage } from "../Persistence.ts"
import type { Shared } from "./shared.ts"

const maxInFlight = 50

export interface Sending {
  /** Stores what changed. Undefined where all is durable. */
  store(): Promise<void> | undefined
  /** Sends what may be sent. */
  flush(): void
}

export const make = ({ environment: env, link, outbox }: Shared, storage: Pick<Storage, "commit">): Sending => {
  let last: Promise<void> | undefined

  const store = (): Promise<void> | undefined => {
    const change = outbox.takeChange()
    if (change === undefined) return last
    const result = storage.commit(change)
    if (!(result instanceof Promise)) return last
    const stored = (last ?? Promise.resolve()).then(() => result)
    last = stored
    stored.then(() => {
      if (last === stored) last = undefined
    }, env.report)
    return stored
  }

  const flush = () => {
    if (outbox.mustRenew) {
      outbox.renew(env.newId())
      void store()
      link.raise({ type: "reconnect" })
      return
    }
    if (!link.isOnline) {
      void store()
      return
    }
    const messages = outbox.take(maxInFlight)
    const stored = store()
    const { attempt } = link.state
    if (stored === undefined) messages.forEach(link.send)
    else {
      void stored.then(() => {
        if (attempt !== link.state.attempt) return
        messages.forEach(link.send)
        link.drain()
      }, () => undefined)
    }
  }

  return { store, flush }
}
