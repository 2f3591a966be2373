/** The board's tables, as they stand in the database (`headwater ddl` prints them). */
import { Column, Table } from "@headwater/core"

export class User extends Table.make("users", {
  columns: { id: Column.uuid.brand("UserId"), name: Column.text, color: Column.text, email: Column.text.nullable() },
  primaryKey: ["id"]
}) {}

export class Project extends Table.make("projects", {
  columns: {
    id: Column.uuid.brand("ProjectId"),
    name: Column.text,
    ownerId: User.columns.id.named("owner_id"),
    /** Everybody sees and edits a shared project; a private one only its collaborators. */
    shared: Column.boolean.default(false)
  },
  primaryKey: ["id"]
}) {}

export class Collaborator extends Table.make("collaborators", {
  columns: { projectId: Project.columns.id.named("project_id"), userId: User.columns.id.named("user_id") },
  primaryKey: ["projectId", "userId"]
}) {}

export const statuses = ["backlog", "todo", "doing", "done"] as const
export type Status = (typeof statuses)[number]

export class Card extends Table.make("cards", {
  columns: {
    id: Column.uuid.brand("CardId"),
    projectId: Project.columns.id.named("project_id"),
    title: Column.text,
    status: Column.enum(...statuses).default("backlog"),
    rank: Column.float8,
    assigneeId: User.columns.id.nullable().named("assignee_id"),
    createdAt: Column.timestamptz.generated().named("created_at")
  },
  primaryKey: ["id"],
  indexes: { by_project: ["projectId", "status", "rank"] },
  optimistic: { createdAt: (_row, { now }) => now }
}) {}
