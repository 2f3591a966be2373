/** What the page and the server agree on. */
import { Access, Column, Contract, type Expr, Mutation, Principal, Query } from "@headwater/core"
import { Card, Collaborator, Project, User } from "./tables.ts"

/** Who is calling. */
export class Me extends Principal.make<Me>()("board/Me", { userId: User.columns.id }, { identity: ["userId"] }) {}

// Queries.

/** The projects that the caller may see: the rules below decide, the query need not. */
export const projects = Query.make("projects", {}, () => Query.from(Project).orderBy("name"))

export const people = Query.make("people", {}, () => Query.from(User).orderBy("name"))

export const cards = Query.make("cards", { projectId: Project.columns.id }, ({ projectId }) =>
  Query.from(Card).where((card) => card.projectId.eq(projectId)).orderBy("status").orderBy("rank"))

/** The newest cards of all projects that the caller may see. */
export const newest = Query.make("newest", {}, () => Query.from(Card).orderBy("createdAt", "desc").limit(5))

export const collaborators = Query.make("collaborators", { projectId: Project.columns.id }, ({ projectId }) =>
  Query.from(Collaborator).where((c) => c.projectId.eq(projectId)))

// Rules: what none allows is denied.

const isShared = (projectId: Expr.Expr<Project["id"]>) =>
  Query.from(Project).where((p) => p.id.eq(projectId).and(p.shared)).exists()
const isCollaborator = (projectId: Expr.Expr<Project["id"]>) =>
  Query.from(Collaborator).where((c) => c.projectId.eq(projectId).and(c.userId.eq(Me.expr.userId))).exists()
const isOwner = (projectId: Expr.Expr<Project["id"]>) =>
  Query.from(Project).where((p) => p.id.eq(projectId).and(p.ownerId.eq(Me.expr.userId))).exists()
const mayEdit = (projectId: Expr.Expr<Project["id"]>) => isShared(projectId).or(isCollaborator(projectId))

const access = [
  Access.make(User, {
    read: true,
    columns: { email: { read: (user) => user.id.eq(Me.expr.userId), mask: null } }
  }),
  Access.make(Project, {
    read: (project) => project.shared.or(isCollaborator(project.id)),
    insert: (project) => project.ownerId.eq(Me.expr.userId),
    update: (project) => project.ownerId.eq(Me.expr.userId),
    delete: (project) => project.ownerId.eq(Me.expr.userId)
  }),
  Access.make(Collaborator, {
    read: (c) => mayEdit(c.projectId),
    insert: (c) => isOwner(c.projectId),
    delete: (c) => isOwner(c.projectId)
  }),
  Access.make(Card, {
    read: (card) => mayEdit(card.projectId),
    insert: (card) => mayEdit(card.projectId),
    update: (card) => mayEdit(card.projectId),
    delete: (card) => mayEdit(card.projectId)
  })
]

// Mutations.

export class TitleEmpty extends Mutation.TaggedError<TitleEmpty>()("TitleEmpty", {}) {}
/** Work in progress is limited: a full column takes no further card. */
export class ColumnFull extends Mutation.TaggedError<ColumnFull>()("ColumnFull", { limit: Column.int4 }) {}

export const createCard = Mutation.make("createCard", {
  payload: { id: Card.columns.id, projectId: Project.columns.id, title: Card.columns.title, status: Card.columns.status, rank: Card.columns.rank },
  success: Card,
  error: [TitleEmpty, ColumnFull]
})
export const moveCard = Mutation.make("moveCard", {
  payload: { id: Card.columns.id, status: Card.columns.status, rank: Card.columns.rank },
  error: [ColumnFull]
})
export const renameCard = Mutation.make("renameCard", { payload: { id: Card.columns.id, title: Card.columns.title }, error: [TitleEmpty] })
export const assignCard = Mutation.make("assignCard", { payload: { id: Card.columns.id, assigneeId: Card.columns.assigneeId } })
export const deleteCard = Mutation.make("deleteCard", { payload: { id: Card.columns.id } })
export const createProject = Mutation.make("createProject", { payload: { id: Project.columns.id, name: Project.columns.name } })
export const shareProject = Mutation.make("shareProject", { payload: { id: Project.columns.id, shared: Project.columns.shared } })
export const addCollaborator = Mutation.make("addCollaborator", { payload: { projectId: Project.columns.id, userId: User.columns.id } })
export const removeCollaborator = Mutation.make("removeCollaborator", { payload: { projectId: Project.columns.id, userId: User.columns.id } })

export class Board extends Contract.make("board", {
  principal: Me,
  tables: [User, Project, Collaborator, Card],
  access,
  queries: { projects, people, cards, newest, collaborators },
  mutations: { createCard, moveCard, renameCard, assignCard, deleteCard, createProject, shareProject, addCollaborator, removeCollaborator }
}) {}

/** At most this many cards are in "doing". */
export const doingLimit = 5
