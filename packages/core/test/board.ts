/** The contract that core's tests share: the tables and rules of an issue board. */
import { Access, Column, Contract, type Expr, Mutation, Principal, Query, Table } from "@headwater/core"
import { Schema } from "effect"

export class Project extends Table.make("projects", {
  columns: { id: Column.uuid.brand("ProjectId"), name: Column.text, archived: Column.boolean.default(false) },
  primaryKey: ["id"]
}) {}
export class User extends Table.make("users", {
  columns: { id: Column.uuid.brand("UserId"), name: Column.text, email: Column.text.nullable() },
  primaryKey: ["id"]
}) {}
export class Task extends Table.make("app.tasks", {
  columns: {
    id: Column.uuid.brand("TaskId"),
    projectId: Project.columns.id.named("project_id"),
    assigneeId: User.columns.id.nullable(),
    title: Column.text,
    done: Column.boolean.default(false),
    rank: Column.float8,
    priority: Column.enum("low", "high").default("low"),
    labels: Column.json(Schema.Array(Schema.String)).default([]),
    estimate: Column.int4.nullable(),
    createdAt: Column.timestamptz.generated()
  },
  primaryKey: ["id"],
  optimistic: { createdAt: (_, { now }) => now }
}) {}
export class Collaborator extends Table.make("collaborators", {
  columns: { projectId: Project.columns.id, userId: User.columns.id, role: Column.enum("viewer", "editor") },
  primaryKey: ["projectId", "userId"]
}) {}

export class Me extends Principal.make<Me>()("board/Me", { userId: User.columns.id, admin: Schema.Boolean }, { identity: ["userId"] }) {}

export const isCollaborator = (projectId: Expr.Expr<Project["id"]>) =>
  Query.from(Collaborator).where((c) => c.projectId.eq(projectId).and(c.userId.eq(Me.expr.userId))).exists()

export const openTasks = Query.make("openTasks", { projectId: Project.columns.id }, ({ projectId }) =>
  Query.from(Task).where((t) => t.projectId.eq(projectId).and(t.done.not())).orderBy("rank").limit(50))
export const taskById = Query.make("taskById", { id: Task.columns.id }, ({ id }) => Query.from(Task).where((t) => t.id.eq(id)).one())
export const searchTasks = Query.make("searchTasks", { search: Schema.String, limit: Schema.optionalKey(Schema.Int) }, ({ limit, search }) =>
  Query.from(Task).where((t) => search.isNull().or(t.title.ilike(search))).orderBy("createdAt", "desc").limit(limit).select("id", "title"))
export const myTasks = Query.make("myTasks", {}, () => Query.from(Task).where((t) => t.assigneeId.eq(Me.expr.userId)))
export const people = Query.make("people", { email: Column.text.nullable() }, ({ email }) =>
  Query.from(User).where((u) => email.isNull().or(u.email.eq(email))).orderBy("email").orderBy("name"))

export class ProjectArchived extends Mutation.TaggedError<ProjectArchived>()("ProjectArchived", { projectId: Project.columns.id }) {}
export class TitleTooLong extends Mutation.TaggedError<TitleTooLong>()("TitleTooLong", { max: Column.int4 }) {}
export class Overloaded extends Schema.TaggedError<Overloaded>()("Overloaded", { retryAfterMillis: Schema.Int }) {}

export const createTask = Mutation.make("createTask", {
  payload: { id: Task.columns.id, projectId: Project.columns.id, title: Schema.NonEmptyString, note: Schema.optionalKey(Schema.String) },
  success: Task,
  error: [ProjectArchived, TitleTooLong]
})
export const moveTask = Mutation.make("moveTask", { payload: { id: Task.columns.id, rank: Column.float8 } })
export const remind = Mutation.make("remind", { payload: { id: Task.columns.id }, success: Schema.Int, error: [Overloaded] })

export const access = [
  Access.make(Project, { read: (p) => isCollaborator(p.id) }),
  Access.make(Task, {
    read: (t) => isCollaborator(t.projectId).or(Me.expr.admin),
    insert: (t) => isCollaborator(t.projectId),
    update: (t) => isCollaborator(t.projectId),
    delete: () => Me.expr.admin
  }),
  Access.make(User, { read: true, columns: { email: { read: (u) => u.id.eq(Me.expr.userId), mask: null } } })
]

export class Board extends Contract.make("board", {
  principal: Me,
  tables: [Project, User, Task, Collaborator],
  access,
  queries: { openTasks, taskById, searchTasks, myTasks, people },
  mutations: { createTask, moveTask, remind }
}) {}
