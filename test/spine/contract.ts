/** The board of the property test, as an application would declare it: every kind of rule, mask, order, limit and parameter. */
import { Access, Column, Contract, type Expr, Mutation, Principal, Query, Table, Transaction } from "@headwater/core"
import { Effect, Schema } from "effect"

export class User extends Table.make("users", {
  columns: { id: Column.uuid.brand("UserId"), name: Column.text, email: Column.text.nullable() },
  primaryKey: ["id"]
}) {}

export class Project extends Table.make("projects", {
  columns: { id: Column.uuid.brand("ProjectId"), name: Column.text, ownerId: User.columns.id.named("owner_id"), shared: Column.boolean },
  primaryKey: ["id"]
}) {}

export class Collaborator extends Table.make("collaborators", {
  columns: { projectId: Project.columns.id.named("project_id"), userId: User.columns.id.named("user_id") },
  primaryKey: ["projectId", "userId"]
}) {}

export class Card extends Table.make("cards", {
  columns: {
    id: Column.uuid.brand("CardId"),
    projectId: Project.columns.id.named("project_id"),
    title: Column.text,
    status: Column.enum("backlog", "todo", "doing", "done").default("backlog"),
    rank: Column.float8,
    cost: Column.numeric.nullable(),
    labels: Column.json(Schema.Array(Schema.String)).default([]),
    assigneeId: User.columns.id.nullable().named("assignee_id"),
    createdAt: Column.timestamptz.generated().named("created_at")
  },
  primaryKey: ["id"],
  optimistic: { createdAt: (_row, { now }) => now }
}) {}

export class Note extends Table.make("notes", {
  columns: {
    id: Column.uuid.brand("NoteId"),
    projectId: Project.columns.id.named("project_id"),
    authorId: User.columns.id.named("author_id"),
    body: Column.text,
    secret: Column.boolean.default(false),
    score: Column.int4.default(0)
  },
  primaryKey: ["id"]
}) {}

export class Counter extends Table.make("counters", {
  columns: { id: Column.int4, value: Column.int8 },
  primaryKey: ["id"]
}) {}

/** One row for each time that a counter went up. */
export class Audit extends Table.make("audits", {
  columns: { id: Column.uuid.generated(), mutation: Column.uuid, counter: Counter.columns.id },
  primaryKey: ["id"]
}) {}

/** Written from outside, for waiting until everybody sees a commit. */
export class Mark extends Table.make("marks", { columns: { n: Column.int4 }, primaryKey: ["n"] }) {}

export class Me extends Principal.make<Me>()("spine/Me", { userId: User.columns.id }) {}

const inProject = { projectId: Project.columns.id }

const people = Query.make("people", {}, () => Query.from(User).orderBy("name"))
const peopleByEmail = Query.make("peopleByEmail", { pattern: User.columns.name }, ({ pattern }) =>
  Query.from(User).where((user) => user.email.like(pattern)).orderBy("email"))
const projects = Query.make("projects", {}, () => Query.from(Project).orderBy("name"))
const collaborators = Query.make("collaborators", inProject, ({ projectId }) =>
  Query.from(Collaborator).where((c) => c.projectId.eq(projectId)))
const cards = Query.make("cards", inProject, ({ projectId }) =>
  Query.from(Card).where((card) => card.projectId.eq(projectId)).orderBy("status").orderBy("rank"))
const titles = Query.make("titles", inProject, ({ projectId }) =>
  Query.from(Card).where((card) => card.projectId.eq(projectId).and(card.status.ne("done"))).orderBy("title").select("id", "title"))
const newest = Query.make("newest", {}, () => Query.from(Card).orderBy("createdAt", "desc").limit(5))
const dearest = Query.make("dearest", { ...inProject, count: Schema.optionalKey(Schema.Int) }, ({ count, projectId }) =>
  Query.from(Card).where((card) => card.projectId.eq(projectId)).orderBy("cost", "desc").limit(count))
const ranked = Query.make("ranked", { from: Card.columns.rank, to: Card.columns.rank }, ({ from, to }) =>
  Query.from(Card).where((card) => card.rank.ge(from).and(card.rank.lt(to))).orderBy("rank", "desc"))
const titled = Query.make("titled", { pattern: Card.columns.title }, ({ pattern }) =>
  Query.from(Card).where((card) => card.title.like(pattern)).orderBy("title", "desc").limit(6))
const mine = Query.make("mine", {}, () =>
  Query.from(Card).where((card) => card.assigneeId.eq(Me.expr.userId).and(card.status.in(["todo", "doing"]))).orderBy("rank").limit(3))
const unassigned = Query.make("unassigned", { status: Card.columns.status }, ({ status }) =>
  Query.from(Card).where((card) => card.assigneeId.isNull().and(card.status.eq(status))).orderBy("cost").limit(4))
const notes = Query.make("notes", inProject, ({ projectId }) => Query.from(Note).where((note) => note.projectId.eq(projectId)))
const topNotes = Query.make("topNotes", {}, () => Query.from(Note).orderBy("score", "desc").limit(4))
const counters = Query.make("counters", {}, () => Query.from(Counter))
const marks = Query.make("marks", {}, () => Query.from(Mark).orderBy("n", "desc").limit(1))

const isShared = (projectId: Expr.Expr<Project["id"]>) =>
  Query.from(Project).where((project) => project.id.eq(projectId).and(project.shared)).exists()
const isCollaborator = (projectId: Expr.Expr<Project["id"]>) =>
  Query.from(Collaborator).where((c) => c.projectId.eq(projectId).and(c.userId.eq(Me.expr.userId))).exists()
const isOwner = (projectId: Expr.Expr<Project["id"]>) =>
  Query.from(Project).where((project) => project.id.eq(projectId).and(project.ownerId.eq(Me.expr.userId))).exists()
const mayEdit = (projectId: Expr.Expr<Project["id"]>) => isShared(projectId).or(isCollaborator(projectId))

const access = [
  Access.make(User, { read: true, columns: { email: { read: (user) => user.id.eq(Me.expr.userId), mask: null } } }),
  Access.make(Project, {
    read: (project) => project.shared.or(isCollaborator(project.id)),
    insert: (project) => project.ownerId.eq(Me.expr.userId),
    update: (project) => project.ownerId.eq(Me.expr.userId)
  }),
  Access.make(Collaborator, { read: (c) => mayEdit(c.projectId), insert: (c) => isOwner(c.projectId), delete: (c) => isOwner(c.projectId) }),
  Access.make(Card, {
    read: (card) => mayEdit(card.projectId),
    insert: (card) => mayEdit(card.projectId),
    update: (card) => mayEdit(card.projectId),
    delete: (card) => mayEdit(card.projectId)
  }),
  Access.make(Note, {
    read: (note) => note.authorId.eq(Me.expr.userId).or(isCollaborator(note.projectId).and(note.secret.not())),
    insert: (note) => note.authorId.eq(Me.expr.userId).and(mayEdit(note.projectId)),
    update: (note) => note.authorId.eq(Me.expr.userId),
    delete: (note) => note.authorId.eq(Me.expr.userId),
    columns: { score: { read: (note) => note.authorId.eq(Me.expr.userId), mask: 0 } }
  }),
  Access.make(Counter, { read: true }),
  Access.make(Audit, { insert: true }),
  Access.make(Mark, { read: true })
]

export class TitleEmpty extends Mutation.TaggedError<TitleEmpty>()("TitleEmpty", { id: Card.columns.id }) {}
export class ColumnFull extends Mutation.TaggedError<ColumnFull>()("ColumnFull", { limit: Column.int4 }) {}

const createCard = Mutation.make("createCard", {
  payload: {
    id: Card.columns.id,
    projectId: Project.columns.id,
    title: Card.columns.title,
    status: Card.columns.status,
    rank: Card.columns.rank,
    cost: Card.columns.cost,
    assigneeId: Card.columns.assigneeId
  },
  success: Card,
  error: [TitleEmpty, ColumnFull]
})
const editCard = Mutation.make("editCard", {
  payload: { id: Card.columns.id, title: Card.columns.title, cost: Card.columns.cost, labels: Card.columns.labels },
  error: [TitleEmpty]
})
const moveCard = Mutation.make("moveCard", { payload: { id: Card.columns.id, status: Card.columns.status, rank: Card.columns.rank } })
const assignCard = Mutation.make("assignCard", { payload: { id: Card.columns.id, assigneeId: Card.columns.assigneeId } })
const deleteCard = Mutation.make("deleteCard", { payload: { id: Card.columns.id } })
/** Many rows in one transaction. */
const finishAll = Mutation.make("finishAll", { payload: inProject, success: Schema.Int })
const addNote = Mutation.make("addNote", {
  payload: { id: Note.columns.id, projectId: Project.columns.id, body: Note.columns.body, secret: Note.columns.secret, score: Note.columns.score }
})
const editNote = Mutation.make("editNote", { payload: { id: Note.columns.id, secret: Note.columns.secret, score: Note.columns.score } })
const createProject = Mutation.make("createProject", { payload: { id: Project.columns.id, name: Project.columns.name } })
const shareProject = Mutation.make("shareProject", { payload: { id: Project.columns.id, shared: Project.columns.shared } })
const grant = Mutation.make("grant", { payload: { projectId: Project.columns.id, userId: User.columns.id } })
const revoke = Mutation.make("revoke", { payload: { projectId: Project.columns.id, userId: User.columns.id } })
/** Runs twice where a mutation must not. */
const bump = Mutation.make("bump", { payload: { mutation: Audit.columns.mutation, counter: Counter.columns.id } })

export class Board extends Contract.make("spine", {
  principal: Me,
  tables: [User, Project, Collaborator, Card, Note, Counter, Audit, Mark],
  access,
  queries: {
    people, peopleByEmail, projects, collaborators, cards, titles, newest, dearest, ranked, titled, mine, unassigned, notes, topNotes, counters, marks
  },
  mutations: {
    createCard, editCard, moveCard, assignCard, deleteCard, finishAll, addNote, editNote, createProject, shareProject, grant, revoke, bump
  }
}) {}

/** What clients run too. They do not know that a column can be full. */
export const shared = {
  editCard: Mutation.handler(editCard, Effect.fnUntraced(function*({ cost, id, labels, title }) {
    if (title === "") return yield* new TitleEmpty({ id })
    yield* (yield* Transaction).update(Card, { id, title, cost, labels })
  })),
  moveCard: Mutation.handler(moveCard, Effect.fnUntraced(function*({ id, rank, status }) {
    const tx = yield* Transaction
    const card = yield* tx.get(Card, { id })
    if (card !== null) yield* tx.update(Card, { id, rank, status })
  })),
  assignCard: Mutation.handler(assignCard, Effect.fnUntraced(function*({ assigneeId, id }) {
    yield* (yield* Transaction).update(Card, { id, assigneeId })
  })),
  deleteCard: Mutation.handler(deleteCard, Effect.fnUntraced(function*({ id }) {
    yield* (yield* Transaction).delete(Card, { id })
  })),
  finishAll: Mutation.handler(finishAll, Effect.fnUntraced(function*({ projectId }) {
    const tx = yield* Transaction
    const all = yield* tx.run(cards, { projectId })
    for (const { id } of all) yield* tx.update(Card, { id, status: "done" })
    return all.length
  })),
  addNote: Mutation.handler(addNote, Effect.fnUntraced(function*({ body, id, projectId, score, secret }) {
    const tx = yield* Transaction
    const { userId } = yield* Me
    yield* tx.insert(Note, { id, projectId, authorId: userId, body, score, secret })
  })),
  editNote: Mutation.handler(editNote, Effect.fnUntraced(function*({ id, score, secret }) {
    yield* (yield* Transaction).update(Note, { id, score, secret })
  })),
  shareProject: Mutation.handler(shareProject, Effect.fnUntraced(function*({ id, shared }) {
    yield* (yield* Transaction).update(Project, { id, shared })
  }))
}
