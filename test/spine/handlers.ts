/** What only the server runs. */
import { Query, Transaction } from "@headwater/core"
import { Handlers } from "@headwater/server"
import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { Audit, Board, Card, Collaborator, ColumnFull, Me, Project, shared, TitleEmpty } from "./contract.ts"

export const doingLimit = 6

export const BoardHandlers = Handlers.layer(Board, {
  ...shared,
  createCard: Effect.fnUntraced(function*(card) {
    const tx = yield* Transaction
    if (card.title === "") return yield* new TitleEmpty({ id: card.id })
    const row = yield* tx.insert(Card, card)
    // Only now: what was written must be undone.
    const doing = yield* tx.run(Query.from(Card).where((other) => other.projectId.eq(card.projectId).and(other.status.eq("doing"))))
    if (card.status === "doing" && doing.length > doingLimit) return yield* new ColumnFull({ limit: doingLimit })
    return row
  }),
  createProject: Effect.fnUntraced(function*({ id, name }) {
    const tx = yield* Transaction
    const { userId } = yield* Me
    yield* tx.insert(Project, { id, name, ownerId: userId, shared: false })
    yield* tx.insert(Collaborator, { projectId: id, userId })
  }),
  grant: Effect.fnUntraced(function*(collaborator) {
    yield* (yield* Transaction).insert(Collaborator, collaborator)
  }),
  revoke: Effect.fnUntraced(function*(collaborator) {
    yield* (yield* Transaction).delete(Collaborator, collaborator)
  }),
  bump: Effect.fnUntraced(function*({ counter, mutation }) {
    const sql = yield* SqlClient.SqlClient
    yield* Effect.orDie(sql`update counters set value = value + 1 where id = ${counter}`)
    yield* (yield* Transaction).insert(Audit, { mutation, counter })
  })
})
