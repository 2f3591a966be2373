/** A small contract for the client's tests; no Schema in it. */
import { Access, Column, Contract, Mutation, Principal, Query, Table } from "@headwater/core"

export class Project extends Table.make("projects", {
  columns: { id: Column.text, name: Column.text, ownerId: Column.text },
  primaryKey: ["id"]
}) {}
export class Task extends Table.make("app.tasks", {
  columns: {
    id: Column.text,
    projectId: Column.text.named("project_id"),
    title: Column.text,
    done: Column.boolean.default(false),
    rank: Column.float8,
    createdAt: Column.timestamptz.generated()
  },
  primaryKey: ["id"],
  optimistic: { createdAt: (_, { now }) => now }
}) {}

export class Me extends Principal.make<Me>()("test/Me", { userId: Column.text }) {}

export const openTasks = Query.make("openTasks", { projectId: Column.text }, ({ projectId }) =>
  Query.from(Task).where((t) => t.projectId.eq(projectId).and(t.done.not())).orderBy("rank").limit(3))
export const allTasks = Query.make("allTasks", {}, () => Query.from(Task).orderBy("rank"))
export const titles = Query.make("titles", {}, () => Query.from(Task).orderBy("rank").select("title"))
export const taskById = Query.make("taskById", { id: Column.text }, ({ id }) => Query.from(Task).where((t) => t.id.eq(id)).one())
export const projects = Query.make("projects", {}, () => Query.from(Project).orderBy("name"))
export const myTasks = Query.make("myTasks", {}, () => Query.from(Task)
  .where((t) => Query.from(Project).where((p) => p.id.eq(t.projectId).and(p.ownerId.eq(Me.expr.userId))).exists()).orderBy("rank"))

export class TitleTooLong extends Mutation.TaggedError<TitleTooLong>()("TitleTooLong", { max: Column.int4 }) {}

export const createTask = Mutation.make("createTask", {
  payload: { id: Column.text, projectId: Column.text, title: Column.text, rank: Column.float8 },
  success: Task,
  error: [TitleTooLong]
})
export const moveTask = Mutation.make("moveTask", { payload: { id: Column.text, rank: Column.float8 } })
export const renameTask = Mutation.make("renameTask", { payload: { id: Column.text, title: Column.text }, error: [TitleTooLong] })
export const removeTask = Mutation.make("removeTask", { payload: { id: Column.text } })
export const archive = Mutation.make("archive", { payload: {}, success: Column.int4 })

export class Board extends Contract.make("board", {
  principal: Me,
  tables: [Project, Task],
  access: [Access.make(Project, { read: true }), Access.make(Task, { read: true, insert: true, update: true, delete: true })],
  queries: { openTasks, allTasks, titles, taskById, projects, myTasks },
  mutations: { createTask, moveTask, renameTask, removeTask, archive }
}) {}

export const columns = {
  projects: ["id", "name", "ownerId"],
  "app.tasks": ["id", "projectId", "title", "done", "rank", "createdAt"]
}

export const created = "2026-01-01T00:00:00Z"

/** A task as it crosses the wire. */
export const wire = (id: string, rank: number, fields: Partial<Task> = {}) => {
  const task = { id, projectId: "p1", title: `Task ${id}`, done: false, rank, createdAt: created, ...fields }
  return columns["app.tasks"].map((column) => task[column as keyof typeof task] as never)
}
