/**
 * The client without an API: connection, replica, outbox and live queries driven together. The Effect and the promise API
 * are façades over it.
 *
 * Plain callbacks; what touches the world comes in through `Environment`. Everything that changes together (rows, results, statuses,
 * pending mutations) is up to date before the first listener hears of it.
 */
import type * as Contract from "@headwater/core/Contract"
import * as SyncError from "@headwater/core/SyncError"
import * as Connection from "../Connection.ts"
import * as Outbox from "../Outbox.ts"
import type { Storage } from "../Persistence.ts"
import * as Replica from "../Replica.ts"
import * as Calls from "./calls.ts"
import * as compile from "./compile.ts"
import * as Conversation from "./conversation.ts"
import type { Environment } from "./environment.ts"
import * as Link from "./link.ts"
import * as LiveQueries from "./liveQueries.ts"
import * as Observable from "./observable.ts"
import * as Optimistic from "./optimistic.ts"
import { syncError } from "./outcomes.ts"
import * as Page from "./page.ts"
import * as Principal from "./principal.ts"
import * as Sending from "./sending.ts"
import type { Shared } from "./shared.ts"

export interface Options {
  readonly contract: Contract.Any
  readonly url: string
  readonly token: () => string | undefined | Promise<string | undefined>
  readonly optimistic: { readonly [mutation: string]: Optimistic.Optimistic | undefined }
  readonly storage: Pick<Storage, "commit">
  /** What the storage held. */
  readonly stored: Outbox.Stored | undefined
  readonly environment: Environment
  /** Around the application of a frame; for tracing. */
  readonly onApply?: Conversation.OnApply
}

export interface Engine extends Pick<LiveQueries.LiveQueries, "query">, Pick<Calls.Calls, "mutate" | "pending" | "rejected"> {
  readonly connection: Observable.Observable<Connection.Status>
  /** Optimistic runs that were abandoned, so far. */
  readonly abandoned: number
  close(): void
}

export const make = ({ contract, environment, onApply, optimistic: functions, storage, stored, token, url }: Options): Engine => {
  if (typeof environment.WebSocket !== "function") throw new TypeError("There is no WebSocket here: give the client one (`ws` in older versions of Node).")
  let closedError: SyncError.SyncError | undefined
  const changedViews = new Set<Replica.View>()
  const connection = Observable.make<Connection.Status>({ status: "connecting" }, environment.report)

  const changed = ({ ran, views }: Replica.Changes) => {
    for (const view of views) changedViews.add(view)
    for (const one of ran) optimistic.note(calls.nameOf(one.mutation) ?? "a mutation", one)
  }

  const publish = () => {
    if (link.isBusy) return
    const told = new Set<{ notify(): void }>()
    const tell = (source: { notify(): void }) => void told.add(source)
    const status = Connection.statusOf(link.state)
    if (!isSameStatus(connection.snapshot, status)) {
      connection.set(status)
      tell(connection)
    }
    queries.refresh(changedViews, tell)
    changedViews.clear()
    calls.refresh(tell)
    page.guard(closedError === undefined && calls.pending.snapshot.length > 0)
    for (const source of told) source.notify()
  }

  const replica = Replica.make(Object.fromEntries(Object.entries(contract.tables).map(([name, table]) => [name, compile.tableRows(table)])))
  const outbox = Outbox.make(stored ?? { client: environment.newId(), acknowledged: 0, isSpent: false, entries: [] })
  const principal = Principal.make(contract)
  const link = Link.make(environment, url, token, () => conversation, publish)
  const shared: Shared = { contract, environment, replica, outbox, link, closed: () => closedError, changed, publish }
  const queries = LiveQueries.make(shared, principal.caller, () => link.isOnline && !conversation.isResyncing)
  const optimistic = Optimistic.make(functions, environment, () => ({ principal: principal.value, tables: contract.tables, viewOf: queries.viewOf }))
  const sending = Sending.make(shared, storage)
  const calls = Calls.make(shared, optimistic, sending)
  const conversation = Conversation.make(shared, principal, queries, calls, sending, onApply)
  const page = Page.make(environment.page, {
    online: () => link.dispatch({ type: "networkUp" }),
    offline: () => link.dispatch({ type: "networkDown" })
  })

  calls.restore()
  link.dispatch({ type: "start" })

  return {
    query: queries.query,
    mutate: calls.mutate,
    connection,
    pending: calls.pending,
    rejected: calls.rejected,
    get abandoned() {
      return optimistic.abandoned
    },
    close() {
      if (closedError !== undefined) return
      closedError = syncError(new SyncError.Closed({ message: "The client was closed." }))
      link.dispatch({ type: "close" })
      page.close()
      queries.close()
      calls.close(closedError)
      publish()
    }
  }
}

const isSameStatus = (a: Connection.Status, b: Connection.Status) =>
  a.status === b.status && a.retryAt === b.retryAt && a.error?.message === b.error?.message && a.error?.code === b.error?.code
