/** A small application: projects with collaborators, tasks, and users whose mail addresses are their own. */
import { Access, Column, Contract, type Expr, Mutation, Principal, Query, Table, Transaction, WriteRefused } from "@headwater/core"
import { Unauthenticated } from "@headwater/core/SyncError"
import { Context, Effect, Layer, Schema } from "effect"
import { SqlClient } from "effect/sql"
import * as Handlers from "../src/Handlers.ts"
import * as Headwater from "../src/Headwater.ts"

export class User extends Table.make("users", {
  columns: { id: Column.text, name: Column.text, email: Column.text.nullable() }, primaryKey: ["id"]
}) {}
export class Project extends Table.make("projects", { columns: { id: Column.text, name: Column.text }, primaryKey: ["id"] }) {}
export class Collaborator extends Table.make("collaborators", {
  columns: { projectId: Column.text.named("project_id"), userId: Column.text.named("user_id") }, primaryKey: ["projectId", "userId"]
}) {}
export class Task extends Table.make("app.tasks", {
  columns: {
    id: Column.int4, projectId: Column.text.named("project_id"), title: Column.text, done: Column.boolean.default(false), rank: Column.float8.default(0)
  },
  primaryKey: ["id"]
}) {}
/** No rule lets anybody read it. */
export class Secret extends Table.make("secrets", { columns: { id: Column.int4, text: Column.text }, primaryKey: ["id"] }) {}

export class Me extends Principal.make<Me>()("board/Me", { userId: Column.text, admin: Column.boolean }, { identity: ["userId"] }) {}

const isCollaborator = (projectId: Expr.Expr<string>) =>
  Query.from(Collaborator).where((c) => c.projectId.eq(projectId).and(c.userId.eq(Me.expr.userId))).exists()

/** Who is of the staff sees everybody's mail address. */
const isStaff = () => Query.from(Collaborator).where((c) => c.projectId.eq("staff").and(c.userId.eq(Me.expr.userId))).exists()

const access = [
  Access.make(User, { read: true, columns: { email: { read: (u) => u.id.eq(Me.expr.userId).or(isStaff()), mask: null } } }),
  Access.make(Project, { read: (p) => isCollaborator(p.id), insert: true }),
  Access.make(Collaborator, { read: (c) => c.userId.eq(Me.expr.userId), insert: (c) => isCollaborator(c.projectId) }),
  Access.make(Task, {
    read: (t) => isCollaborator(t.projectId),
    insert: (t) => isCollaborator(t.projectId),
    update: (t) => isCollaborator(t.projectId),
    delete: () => Me.expr.admin.eq(true)
  })
]

const tasks = Query.make("tasks", { projectId: Column.text }, ({ projectId }) => Query.from(Task).where((t) => t.projectId.eq(projectId)).orderBy("id"))
const topTasks = Query.make("topTasks", { projectId: Column.text }, ({ projectId }) =>
  Query.from(Task).where((t) => t.projectId.eq(projectId)).orderBy("rank", "desc").limit(3))
const allTasks = Query.make("allTasks", {}, () => Query.from(Task).orderBy("id"))
const users = Query.make("users", {}, () => Query.from(User).orderBy("id"))
const secrets = Query.make("secrets", {}, () => Query.from(Secret))

export class TitleEmpty extends Mutation.TaggedError<TitleEmpty>()("TitleEmpty", { id: Column.int4 }) {}

const task = { id: Column.int4, projectId: Column.text, title: Column.text }
const createTask = Mutation.make("createTask", { payload: task, success: Task, error: [TitleEmpty] })
const setRank = Mutation.make("setRank", { payload: { id: Column.int4, rank: Column.float8 } })
const moveTask = Mutation.make("moveTask", { payload: { id: Column.int4, projectId: Column.text } })
const deleteTask = Mutation.make("deleteTask", { payload: { id: Column.int4 } })
/** Inserts a task; if there is one with that id, gives the other id. */
const insertOr = Mutation.make("insertOr", { payload: { ...task, otherId: Column.int4 }, success: Schema.String })
const countTasks = Mutation.make("countTasks", { payload: { projectId: Column.text, all: Column.boolean }, success: Schema.Int })
const readUser = Mutation.make("readUser", { payload: { id: Column.text }, success: User })
/** Does what `what` says and something must stop. */
const misbehave = Mutation.make("misbehave", { payload: { what: Column.text, id: Column.int4 } })
const bumpAndMail = Mutation.make("bumpAndMail", { payload: { id: Column.text }, success: Schema.Int })

export class Board extends Contract.make("board", {
  principal: Me,
  tables: [User, Project, Collaborator, Task, Secret],
  access,
  queries: { tasks, topTasks, allTasks, users, secrets },
  mutations: { createTask, setRank, moveTask, deleteTask, insertOr, countTasks, readUser, misbehave, bumpAndMail }
}) {}

export const ddl = `
  create schema app;
  create table users (id text primary key, name text not null, email text);
  create table projects (id text primary key, name text not null);
  create table collaborators (project_id text, user_id text, primary key (project_id, user_id));
  create table app.tasks (id int primary key, project_id text not null references projects deferrable initially deferred, title text not null,
    done boolean not null default false, rank float8 not null default 0, extra text);
  create unique index tasks_title on app.tasks (project_id, title);
  create table secrets (id int primary key, text text not null);
  create table counters (id text primary key, value int not null);
  create sequence conflicts;
  -- What sequences count is not rolled back.
  create function fail_once() returns void language plpgsql as $$ begin
    if nextval('conflicts') % 2 = 1 then raise exception 'conflict' using errcode = '40001'; end if;
  end $$;
  insert into users values ('ann', 'Ann', 'ann@example.com'), ('bob', 'Bob', 'bob@example.com'), ('eve', 'Eve', null);
  insert into projects values ('p', 'Private'), ('q', 'Quiet');
  insert into collaborators values ('p', 'ann'), ('p', 'bob'), ('q', 'ann');
  insert into app.tasks (id, project_id, title) values (1, 'p', 'one'), (2, 'p', 'two'), (3, 'q', 'three');
  insert into counters values ('a', 0);
`

/** What is sent after commits. */
export class Mailer extends Context.Service<Mailer, { readonly sent: Array<string> }>()("test/Mailer") {}

export const handlers = Handlers.layer(Board, {
  createTask: Effect.fnUntraced(function*({ id, projectId, title }) {
    const tx = yield* Transaction
    const row = yield* tx.insert(Task, { id, projectId, title })
    // After the write, which must be undone.
    if (title === "") return yield* new TitleEmpty({ id })
    return row
  }),
  setRank: ({ id, rank }) => Transaction.useSync((tx) => tx.update(Task, { id, rank })).pipe(Effect.flatten),
  moveTask: Effect.fnUntraced(function*({ id, projectId }) {
    yield* (yield* Transaction).update(Task, { id, projectId })
  }),
  deleteTask: Effect.fnUntraced(function*({ id }) {
    yield* (yield* Transaction).delete(Task, { id })
  }),
  insertOr: Effect.fnUntraced(function*({ id, otherId, projectId, title }) {
    const tx = yield* Transaction
    return yield* Transaction.attempt(Effect.gen(function*() {
      yield* tx.update(Task, { id: 1, rank: -1 })
      yield* tx.insert(Task, { id, projectId, title })
      return "first"
    })).pipe(Effect.catchTag("WriteRefused", (refused: WriteRefused) =>
      Effect.as(tx.insert(Task, { id: otherId, projectId, title: `${title}!` }), `${refused.constraint}`)))
  }),
  countTasks: Effect.fnUntraced(function*({ all, projectId }) {
    const tx = yield* Transaction
    const run = tx.run(tasks, { projectId })
    return (yield* all ? Transaction.unfiltered(run) : run).length
  }),
  readUser: Effect.fnUntraced(function*({ id }) {
    const user = yield* (yield* Transaction).unfiltered((yield* Transaction).get(User, { id }))
    return user!
  }),
  misbehave: Effect.fnUntraced(function*({ id, what }) {
    const tx = yield* Transaction
    yield* tx.update(Task, { id: 1, rank: 99 })
    switch (what) {
      case "die":
        return yield* Effect.die(new Error("internal: password=hunter2"))
      case "swallow":
        // A refusal that is caught as a defect does not become a commit.
        return yield* Effect.catchDefect(Effect.asVoid(tx.insert(Task, { id, projectId: "none of mine", title: "x" })), () => Effect.void)
      case "deferred":
        return yield* tx.unfiltered(Effect.asVoid(tx.insert(Task, { id, projectId: "no such project", title: "x" })))
      case "conflict": {
        const sql = yield* SqlClient.SqlClient
        return yield* Effect.orDie(Effect.asVoid(sql`select fail_once()`))
      }
      case "slow":
        return yield* Effect.sleep("300 millis")
      case "nothing":
        return
    }
  }),
  bumpAndMail: Effect.fnUntraced(function*({ id }) {
    const sql = yield* SqlClient.SqlClient
    const { sent } = yield* Mailer
    yield* Transaction.afterCommit(Effect.sync(() => void sent.push(id)))
    const [row] = yield* Effect.orDie(sql<{ value: number }>`update counters set value = value + 1 where id = ${id} returning value`)
    return row!.value
  })
})

/** Tokens are names; "admin:" before one makes an administrator. */
export const authentication = Headwater.authenticate(Me, ({ token }) =>
  token === undefined || token === "wrong"
    ? Effect.fail(new Unauthenticated({ message: token === undefined ? "The token is missing: sign in." : "The token is not valid: sign in again." }))
    : Effect.succeed({ userId: token.replace("admin:", ""), admin: token.startsWith("admin:") }))

export const mailer = Layer.sync(Mailer, () => ({ sent: [] }))
