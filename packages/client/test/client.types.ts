/** What must and must not compile with both kinds of clients; nothing here runs. */
import { Client, LiveQuery, type Persistence } from "@headwater/client"
import { createClient, type Result } from "@headwater/client/promise"
import { useConnection, useLiveQuery, useLiveQuerySuspense, usePending, useRejected } from "@headwater/client/react"
import { Mutation, type Query, Transaction } from "@headwater/core"
import type { SyncError } from "@headwater/core/SyncError"
import { Context, Effect, type Layer, Stream } from "effect"
import { Board, createTask, moveTask, Project, Task, type TitleTooLong } from "./board.ts"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
declare const is: <A, B>(isEqual: Equal<A, B>) => void

// With Effect.

export class BoardClient extends Client.Service<BoardClient>()("app/BoardClient", Board) {}
class Session extends Context.Service<Session, { readonly token: Effect.Effect<string> }>()("app/Session") {}

const shared = {
  createTask: Mutation.handler(createTask, Effect.fnUntraced(function*({ id, projectId, rank, title }) {
    return yield* (yield* Transaction).insert(Task, { id, projectId, rank, title })
  })),
  moveTask: Mutation.handler(moveTask, Effect.fnUntraced(function*({ id, rank }) {
    yield* (yield* Transaction).update(Task, { id, rank })
  }))
}

export const live: Layer.Layer<BoardClient, never, Persistence.Persistence> =
  BoardClient.layer({ url: "wss://example.com/sync", token: Effect.succeed("secret"), optimistic: shared })
/** What the token needs is needed by the layer. */
export const withSession: Layer.Layer<BoardClient, never, Persistence.Persistence | Session> =
  BoardClient.layer({ url: "wss://example.com/sync", token: Effect.flatMap(Session, ({ token }) => token) })

export const program = (id: string, projectId: string) => Effect.gen(function*() {
  const client = yield* BoardClient
  const task: Task = yield* client.createTask({ id, projectId, title: "Write it down", rank: 1 })
  const pending = yield* client.moveTask.enqueue({ id, rank: 1 })
  is<typeof pending.outcome, Effect.Effect<void, SyncError>>(true)
  const open = client.openTasks({ projectId }, { keepAlive: "1 minute" })
  is<typeof open, LiveQuery.LiveQuery<ReadonlyArray<Task>>>(true)
  is<ReturnType<typeof client.taskById>, LiveQuery.LiveQuery<Task | null>>(true)
  is<ReturnType<typeof client.titles>, LiveQuery.LiveQuery<ReadonlyArray<Pick<Task, "title">>>>(true)
  const call = client.createTask({ id, projectId, title: "", rank: 1 })
  is<typeof call, Effect.Effect<Task, TitleTooLong | SyncError>>(true)
  is<Effect.Success<ReturnType<typeof client.archive>>, number>(true)
  yield* client.archive()
  client.allTasks()
  client.allTasks({}, { keepAlive: 0 })
  yield* LiveQuery.diffs(open).pipe(Stream.runForEach(({ added }) => Effect.log(added.length)), Effect.forkScoped)
  for (const write of client.sync.pending.snapshot) {
    if (write.name === "moveTask") is<typeof write.payload, { readonly id: string; readonly rank: number }>(true)
  }
  for (const write of client.sync.rejected.snapshot) {
    if (write.name === "renameTask") is<typeof write.error, TitleTooLong | SyncError>(true)
    if (write.name === "moveTask") is<typeof write.error, SyncError>(true)
  }
  return [task, yield* LiveQuery.get(open), yield* pending.outcome] as const
}).pipe(
  Effect.catchTag("TitleTooLong", (error) => Effect.logWarning(error.max)),
  Effect.catchReason("SyncError", "WriteRefused", (reason) => Effect.logWarning(reason.table, reason.constraint))
)

// With promises.

export const client = createClient(Board, {
  url: "wss://example.com/sync",
  token: async () => (await fetch("/token")).text(),
  optimistic: { moveTask: (tx, { id, rank }) => tx.update(Task, { id, rank }) }
})

export const add = async (id: string, projectId: string) => {
  const result = await client.createTask({ id, projectId, title: "Plain", rank: 1 })
  is<typeof result, Result<Task, TitleTooLong>>(true)
  if (result.ok) return result.value.title
  switch (result.error._tag) {
    case "TitleTooLong":
      return `at most ${result.error.max}`
    case "SyncError":
      return result.error.message
  }
}
is<ReturnType<typeof add>, Promise<string>>(true)

export const enqueue = async () => {
  const enqueued = await client.moveTask.enqueue({ id: "a", rank: 1 })
  if (enqueued.ok) is<typeof enqueued.value.outcome, Promise<Result<void, never>>>(true)
  else is<typeof enqueued.error, SyncError>(true)
  await using closing = client
  return closing
}

// In React.

export const useBoard = (projectId: string, id: string) => {
  const { status, value } = useLiveQuery(client.openTasks({ projectId }))
  is<typeof value, ReadonlyArray<Task> | undefined>(true)
  is<typeof status, "loading" | "live" | "stale" | "failed">(true)
  const task = useLiveQuerySuspense(client.taskById({ id }))
  is<typeof task, Task | null>(true)
  const pending = usePending(client)
  is<(typeof pending)[number]["status"], "queued" | "sent" | "parked">(true)
  return [useConnection(client).status, useRejected(client).map(({ name }) => name)] as const
}

export const doNotCompile = [
  // @ts-expect-error a parameter is missing
  () => client.openTasks(),
  // @ts-expect-error a parameter has another type
  () => client.openTasks({ projectId: 1 }),
  // @ts-expect-error the contract has no such query
  () => client.closedTasks({}),
  // @ts-expect-error a payload has another type
  () => client.moveTask({ id: "a", rank: "high" }),
  // @ts-expect-error a payload is missing
  () => client.moveTask(),
  // @ts-expect-error the contract has no such mutation
  () => createClient(Board, { url: "", optimistic: { unheard: () => undefined } }),
  // @ts-expect-error an update names a column that the table does not have
  () => createClient(Board, { url: "", optimistic: { moveTask: (tx, { id }) => tx.update(Task, { id, size: 1 }) } }),
  // @ts-expect-error a function that waits cannot show anything at once
  () => BoardClient.layer({ url: "", optimistic: { moveTask: async () => undefined } }),
  // @ts-expect-error an optimistic handler has only what the contract provides
  () => BoardClient.layer({ url: "", optimistic: { moveTask: () => Effect.asVoid(Session) } }),
  // @ts-expect-error get takes the key
  () => createClient(Board, { url: "", optimistic: { moveTask: (tx) => void tx.get(Project, { name: "x" }) } })
]
is<Query.Result<Task, "many">, ReadonlyArray<Task>>(true)
