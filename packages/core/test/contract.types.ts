/**
 * What must and what must not compile. Checked by `npm run typecheck`; nothing here runs.
 */
import { Access, Column, Contract, type Expr, Mutation, Principal, Query, type SyncError, Table, Transaction, type WriteRefused } from "@headwater/core"
import { Context, Effect, Schema } from "effect"
import type { Brand } from "effect/Brand"
import { Board, Collaborator, createTask, isCollaborator, Me, moveTask, openTasks, Overloaded, Project, ProjectArchived, remind, searchTasks, Task, taskById, TitleTooLong, User } from "./board.ts"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
declare const exactly: <A, B>(isEqual: Equal<A, B>) => void
type Flat<A> = A extends object ? { [K in keyof A]: A[K] } : A

type ProjectId = string & Brand<"ProjectId">
type TaskId = string & Brand<"TaskId">
type UserId = string & Brand<"UserId">

// Rows and what writes take.
exactly<Flat<Task>, {
  readonly id: TaskId
  readonly projectId: ProjectId
  readonly assigneeId: UserId | null
  readonly title: string
  readonly done: boolean
  readonly rank: number
  readonly priority: "high" | "low"
  readonly labels: ReadonlyArray<string>
  readonly estimate: number | null
  readonly createdAt: string
}>(true)
exactly<Flat<Table.Insert<typeof Task>>, {
  readonly id: TaskId
  readonly projectId: ProjectId
  readonly title: string
  readonly rank: number
  readonly assigneeId?: UserId | null
  readonly done?: boolean
  readonly priority?: "high" | "low"
  readonly labels?: ReadonlyArray<string>
  readonly estimate?: number | null
  readonly createdAt?: string
}>(true)
exactly<Flat<Table.Update<typeof Project>>, { readonly id: ProjectId; readonly name?: string; readonly archived?: boolean }>(true)
exactly<Flat<Table.Key<typeof Collaborator>>, { readonly projectId: ProjectId; readonly userId: UserId }>(true)
exactly<Table.Type<typeof Task>, Task>(true)
exactly<Column.Type<typeof Task.columns.assigneeId>, UserId | null>(true)

// A column that another table uses brings its type, and neither its default nor `generated`.
class Archive extends Table.make("archive", { columns: { id: Task.columns.id, done: Task.columns.done, at: Task.columns.createdAt }, primaryKey: ["id"] }) {}
exactly<Flat<Table.Insert<typeof Archive>>, { readonly id: TaskId; readonly done: boolean; readonly at: string }>(true)

// Queries.
const rows = Query.from(Task)
exactly<typeof rows, Query.Query<Task, "many">>(true)
exactly<Expr.Fields<Task>["assigneeId"], Expr.Expr<UserId | null>>(true)
const picked = rows.select("id", "title").one()
exactly<typeof picked, Query.Query<Pick<Task, "id" | "title">, "maybe">>(true)
const computed = rows.select((t) => ({ ...t, late: t.estimate.gt(3), open: t.done.not() }))
declare const computedRow: Query.Named.Element<typeof computed>
exactly<typeof computedRow["late"], boolean | null>(true)
exactly<typeof computedRow["open"], boolean>(true)
exactly<typeof computedRow["title"], string>(true)
exactly<typeof openTasks, Query.Named<"openTasks", { readonly projectId: ProjectId }, Task, "many">>(true)
exactly<typeof taskById, Query.Named<"taskById", { readonly id: TaskId }, Task, "maybe">>(true)
exactly<typeof searchTasks, Query.Named<"searchTasks", { readonly search: string; readonly limit?: number }, Pick<Task, "id" | "title">, "many">>(true)
exactly<Query.Named.Value<typeof openTasks>, ReadonlyArray<Task>>(true)
exactly<Query.Named.Value<typeof taskById>, Task | null>(true)

// Three-valued logic.
declare const t: Expr.Fields<Task>
const ofNullable = t.estimate.eq(1)
exactly<typeof ofNullable, Expr.Expr<boolean | null>>(true)
const ofPlain = t.rank.eq(1)
exactly<typeof ofPlain, Expr.Expr<boolean>>(true)
const ofBoth = t.rank.eq(1).and(t.estimate.between(1, 2))
exactly<typeof ofBoth, Expr.Expr<boolean | null>>(true)
const withNullable = t.assigneeId.eq(t.assigneeId)
exactly<typeof withNullable, Expr.Expr<boolean | null>>(true)
const isNull = t.estimate.isNull()
exactly<typeof isNull, Expr.Expr<boolean>>(true)

export const queriesThatDoNotCompile = [
  // @ts-expect-error no such column
  () => rows.where((t) => t.titel.eq("x")),
  // @ts-expect-error another type
  () => rows.where((t) => t.done.eq("x")),
  // @ts-expect-error a TaskId is not a ProjectId
  () => rows.where((t) => t.projectId.eq(t.id)),
  // @ts-expect-error a plain string is not a ProjectId
  () => rows.where((t) => t.projectId.eq("4bf1…")),
  // @ts-expect-error not one of the values
  () => rows.where((t) => t.priority.eq("medium")),
  // @ts-expect-error a text is no condition
  () => rows.where((t) => t.title),
  // @ts-expect-error nothing equals NULL
  () => rows.where((t) => t.estimate.eq(null)),
  // @ts-expect-error patterns are for text
  () => rows.where((t) => t.rank.like("1%")),
  // @ts-expect-error no such column
  () => rows.orderBy("titel"),
  // @ts-expect-error no such column
  () => rows.select("titel"),
  // @ts-expect-error gone after select
  () => rows.select("id").where((t) => t.title.eq("x")),
  // @ts-expect-error a Date is not JSON, and a schema must not transform
  () => Query.make("at", { at: Schema.DateFromString }, () => rows),
  // @ts-expect-error the callback's parameter is a number
  () => Query.make("rank", { rank: Column.float8 }, ({ rank }) => rows.where((t) => t.title.eq(rank)))
]

export const tablesThatDoNotCompile = [
  // @ts-expect-error no such column
  () => Table.make("t", { columns: { id: Column.uuid }, primaryKey: ["di"] }),
  // @ts-expect-error a table needs a primary key
  () => Table.make("t", { columns: { id: Column.uuid }, primaryKey: [] }),
  // @ts-expect-error a default of another type
  () => Column.int4.default("1"),
  // @ts-expect-error the function gives a string
  () => Table.make("t", { columns: { id: Column.uuid, n: Column.int4.generated() }, primaryKey: ["id"], optimistic: { n: (row) => row.id } }),
  // @ts-expect-error never instantiated
  () => new Task()
]

// Principal.
exactly<Principal.Type<typeof Me>, { readonly userId: UserId; readonly admin: boolean }>(true)
exactly<typeof Me.expr.userId, Expr.Expr<UserId>>(true)
exactly<Principal.Self<typeof Me>, Me>(true)
const who = Effect.map(Me, (me) => me.userId)
exactly<typeof who, Effect.Effect<UserId, never, Me>>(true)

// Mutations.
exactly<Mutation.Payload<typeof createTask>, { readonly id: TaskId; readonly projectId: ProjectId; readonly title: string; readonly note?: string }>(true)
exactly<Mutation.Value<typeof createTask>, Task>(true)
exactly<Mutation.Error<typeof createTask>, ProjectArchived | TitleTooLong>(true)
exactly<Mutation.Value<typeof moveTask>, void>(true)
exactly<Mutation.Error<typeof moveTask>, never>(true)
exactly<Mutation.Value<typeof remind>, number>(true)
exactly<Mutation.Error<typeof remind>, Overloaded>(true)

export const mutationsThatDoNotCompile = [
  // @ts-expect-error a schema must not transform
  () => Mutation.make("m", { payload: { at: Schema.DateFromString } }),
  // @ts-expect-error a Date is not JSON
  () => Mutation.make("m", { success: Schema.Date }),
  // @ts-expect-error not an error class with fields
  () => Mutation.make("m", { error: [Error] })
]

// Transactions.
const got = Transaction.use((tx) => tx.get(Task, { id: "1" as TaskId }))
exactly<typeof got, Effect.Effect<Task | null, never, Transaction>>(true)
const found = Transaction.use((tx) => tx.run(Query.from(Task).one()))
exactly<typeof found, Effect.Effect<Task | null, never, Transaction>>(true)
const listed = Transaction.use((tx) => tx.run(openTasks, { projectId: "1" as ProjectId }))
exactly<typeof listed, Effect.Effect<ReadonlyArray<Task>, never, Transaction>>(true)
const inserted = Transaction.use((tx) => tx.insert(User, { id: "1" as UserId, name: "Ada" }))
exactly<typeof inserted, Effect.Effect<User, never, Transaction>>(true)
const attempted = Transaction.attempt(inserted)
exactly<typeof attempted, Effect.Effect<User, WriteRefused, Transaction>>(true)

export const writesThatDoNotCompile = [
  // @ts-expect-error the name is missing
  () => Transaction.use((tx) => tx.insert(User, { id: "1" as UserId })),
  // @ts-expect-error no such column
  () => Transaction.use((tx) => tx.insert(User, { id: "1" as UserId, name: "Ada", nick: "a" })),
  // @ts-expect-error the key is missing
  () => Transaction.use((tx) => tx.update(User, { name: "Ada" })),
  // @ts-expect-error half a key
  () => Transaction.use((tx) => tx.get(Collaborator, { userId: "1" as UserId })),
  // @ts-expect-error parameters are missing
  () => Transaction.use((tx) => tx.run(openTasks)),
  // @ts-expect-error another id
  () => Transaction.use((tx) => tx.run(openTasks, { projectId: "1" as TaskId }))
]

// Handlers.
class Mailer extends Context.Service<Mailer, { readonly send: (to: string) => Effect.Effect<void> }>()("app/Mailer") {}

const shared = {
  createTask: Mutation.handler(createTask, Effect.fnUntraced(function*({ id, projectId, title }) {
    const tx = yield* Transaction
    const project = yield* tx.get(Project, { id: projectId })
    if (project === null || project.archived) return yield* new ProjectArchived({ projectId })
    if (title.length > 200) return yield* new TitleTooLong({ max: 200 })
    const task = { id, projectId, title, rank: 0 }
    return yield* Transaction.attempt(tx.insert(Task, task)).pipe(
      Effect.catchTag("WriteRefused", () => tx.insert(Task, { ...task, title: `${title} (2)` }))
    )
  })),
  moveTask: Mutation.handler(moveTask, Effect.fnUntraced(function*({ id, rank }) {
    yield* (yield* Transaction).update(Task, { id, rank })
  }))
}

/** As an implementation of handlers takes them. */
const handle = <C extends Contract.Any, H extends Contract.Handlers<C, any>>(
  _contract: C,
  _handlers: H & { readonly [K in Exclude<keyof H, keyof Contract.Handlers<C>>]: never }
): Contract.Requirements<C, H> => undefined as never

const requirements = handle(Board, {
  ...shared,
  remind: Effect.fn("remind")(function*({ id }) {
    const task = yield* (yield* Transaction).get(Task, { id })
    if (task === null || task.assigneeId === (yield* Me).userId) return 0
    yield* Transaction.afterCommit((yield* Mailer).send(task.title))
    return 1
  })
})
exactly<typeof requirements, Mailer>(true)
const noRequirements = handle(Board, { ...shared, remind: () => Effect.succeed(1) })
exactly<typeof noRequirements, never>(true)

export const handlersThatDoNotCompile = [
  // @ts-expect-error 'remind' is missing
  () => handle(Board, shared),
  // @ts-expect-error an error that the contract does not declare
  () => handle(Board, { ...shared, remind: () => Effect.fail(new TitleTooLong({ max: 1 })) }),
  // @ts-expect-error another result
  () => handle(Board, { ...shared, remind: () => Effect.succeed("1") }),
  // @ts-expect-error a handler that the contract does not have
  () => handle(Board, { ...shared, remind: () => Effect.succeed(1), other: () => Effect.void }),
  // @ts-expect-error fields of the error are missing
  () => new ProjectArchived({}),
  // @ts-expect-error an error that the mutation does not declare
  () => Mutation.handler(moveTask, () => Effect.fail(new TitleTooLong({ max: 1 })))
]

// Errors: what is not handled is left in the type.
declare const call: Effect.Effect<Task, Mutation.Error<typeof createTask> | SyncError>
const half = call.pipe(Effect.catchTag("ProjectArchived", () => Effect.succeed(null)))
exactly<typeof half, Effect.Effect<Task | null, SyncError | TitleTooLong>>(true)
const byReason = call.pipe(Effect.catchReason("SyncError", "WriteRefused", (reason) => Effect.succeed([reason.table, reason.constraint] as const)))
exactly<Effect.Success<typeof byReason>, Task | readonly [string, string | null]>(true)

export const errorsThatDoNotCompile = [
  // @ts-expect-error no such tag
  () => call.pipe(Effect.catchTag("ProjectArchive", () => Effect.succeed(null))),
  // @ts-expect-error TitleTooLong and SyncError are not handled
  (): Effect.Effect<Task | null> => half,
  // @ts-expect-error no such reason
  () => call.pipe(Effect.catchReason("SyncError", "Written", () => Effect.void)),
  // @ts-expect-error name the class
  () => class extends Mutation.TaggedError()("Nameless", {}) {}
]

// Access.
export const rulesThatDoNotCompile = [
  // @ts-expect-error a text is no condition
  () => Access.make(User, { read: (u) => u.name }),
  // @ts-expect-error no such column
  () => Access.make(User, { read: (u) => u.nick.eq("x") }),
  // @ts-expect-error a mask of another type
  () => Access.make(User, { read: true, columns: { email: { read: false, mask: 1 } } }),
  // @ts-expect-error NULL does not fit, so a mask is needed
  () => Access.make(User, { read: true, columns: { name: { read: false } } }),
  // @ts-expect-error another id
  () => isCollaborator("1" as TaskId)
]

// Contract.
exactly<Contract.Provided<typeof Board>, Me | Transaction>(true)
exactly<keyof Contract.Mutations<typeof Board>, "createTask" | "moveTask" | "remind">(true)
exactly<keyof Contract.Queries<typeof Board>, "myTasks" | "openTasks" | "people" | "searchTasks" | "taskById">(true)
class Open extends Contract.make("open", { tables: [Task], queries: { taskById } }) {}
exactly<Contract.Provided<typeof Open>, Transaction>(true)

const sync = Mutation.make("sync", {})
const then = Query.make("then", {}, () => rows)
const both = Mutation.make("taskById", {})
export const contractsThatDoNotCompile = [
  // @ts-expect-error `sync` is the client's own member
  () => Contract.make("other", { tables: [Task], mutations: { sync } }),
  // @ts-expect-error a client with a member `then` would be awaited
  () => Contract.make("other", { tables: [Task], queries: { then } }),
  // @ts-expect-error the key is not the definition's name
  () => Contract.make("other", { tables: [Task], queries: { byId: taskById } }),
  // @ts-expect-error a query and a mutation of one name
  () => Contract.make("other", { tables: [Task], queries: { taskById }, mutations: { taskById: both } }),
  // @ts-expect-error a mutation is no query
  () => Contract.make("other", { tables: [Task], queries: { moveTask } })
]
