/** What each mutation does, inside the transaction that also stores its outcome. */
import { Query, Transaction } from "@headwater/core"
import { Handlers } from "@headwater/server"
import { Effect } from "effect"
import { Board, ColumnFull, doingLimit, Me, TitleEmpty } from "../contract/contract.ts"
import { Card, Collaborator, Project, type Status } from "../contract/tables.ts"

/** The page does not know this rule: a move that breaks it shows at once, and is taken back when the server says so. */
const checkRoom = Effect.fnUntraced(function*(id: Card["id"], projectId: Project["id"], status: Status) {
  if (status !== "doing") return
  const tx = yield* Transaction
  const doing = yield* tx.run(Query.from(Card).where((card) => card.projectId.eq(projectId).and(card.status.eq("doing")).and(card.id.ne(id))))
  if (doing.length >= doingLimit) return yield* new ColumnFull({ limit: doingLimit })
})

export const BoardHandlers = Handlers.layer(Board, {
  createCard: Effect.fnUntraced(function*({ id, projectId, rank, status, title }) {
    if (title.trim() === "") return yield* new TitleEmpty()
    yield* checkRoom(id, projectId, status)
    return yield* (yield* Transaction).insert(Card, { id, projectId, rank, status, title: title.trim() })
  }),
  moveCard: Effect.fnUntraced(function*({ id, rank, status }) {
    const tx = yield* Transaction
    const card = yield* tx.get(Card, { id })
    if (card === null) return
    if (card.status !== status) yield* checkRoom(id, card.projectId, status)
    yield* tx.update(Card, { id, rank, status })
  }),
  renameCard: Effect.fnUntraced(function*({ id, title }) {
    if (title.trim() === "") return yield* new TitleEmpty()
    yield* (yield* Transaction).update(Card, { id, title: title.trim() })
  }),
  assignCard: Effect.fnUntraced(function*({ assigneeId, id }) {
    yield* (yield* Transaction).update(Card, { id, assigneeId })
  }),
  deleteCard: Effect.fnUntraced(function*({ id }) {
    yield* (yield* Transaction).delete(Card, { id })
  }),
  createProject: Effect.fnUntraced(function*({ id, name }) {
    const tx = yield* Transaction
    const { userId } = yield* Me
    yield* tx.insert(Project, { id, name, ownerId: userId, shared: false })
    yield* tx.insert(Collaborator, { projectId: id, userId })
  }),
  shareProject: Effect.fnUntraced(function*({ id, shared }) {
    yield* (yield* Transaction).update(Project, { id, shared })
  }),
  addCollaborator: Effect.fnUntraced(function*({ projectId, userId }) {
    yield* (yield* Transaction).insert(Collaborator, { projectId, userId })
  }),
  removeCollaborator: Effect.fnUntraced(function*({ projectId, userId }) {
    yield* (yield* Transaction).delete(Collaborator, { projectId, userId })
  })
})
