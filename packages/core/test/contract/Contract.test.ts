import { assert, describe, it } from "@effect/vitest"
import { Access, Closed, Column, Contract, Mutation, Plan, Principal, Query, SyncError, Table, Transaction, UnsupportedQuery, WriteRefused } from "@headwater/core"
import { Effect, Schema } from "effect"
import { access, Board, Collaborator, createTask, Me, openTasks, Project, taskById, Task, User } from "../board.ts"

describe("what types cannot see is refused where a contract is defined", () => {
  class Other extends Principal.make<Other>()("other/Me", { userId: User.columns.id }) {}
  class Tasks extends Table.make("app.tasks", { columns: { id: Column.uuid }, primaryKey: ["id"] }) {}
  const cases: ReadonlyArray<readonly [string, RegExp, () => unknown]> = [
    ["a table that is not in tables", /query openTasks uses the table app.tasks, which is not in tables/, () => Contract.make("c", { tables: [Project], queries: { openTasks } })],
    ["another table of that name", /another table named app.tasks/, () => Contract.make("c", { tables: [Tasks], queries: { openTasks } })],
    ["a table of an exists", /access to projects uses the table collaborators/, () => Contract.make("c", { principal: Me, tables: [Project], access: [access[0]!] })],
    ["the table of a result", /mutation createTask uses the table app.tasks/, () => Contract.make("c", { tables: [Project], mutations: { createTask } })],
    ["no principal", /query myTasks uses a principal/, () => Contract.make("c", { tables: [Task], queries: { myTasks: Board.queries.myTasks } })],
    ["another principal", /query myTasks uses a principal/, () => Contract.make("c", { principal: Other, tables: [Task], queries: { myTasks: Board.queries.myTasks } })],
    ["a principal in a rule", /access to t uses a principal/, () => {
      class T extends Table.make("t", { columns: { id: Column.uuid }, primaryKey: ["id"] }) {}
      return Contract.make("c", { tables: [T], access: [Access.make(T, { read: () => Me.expr.admin })] })
    }],
    ["a table twice", /listed twice/, () => Contract.make("c", { tables: [Task, Task] })],
    ["two rules for a table", /two access rules for users/, () => Contract.make("c", { principal: Me, tables: [User], access: [access[2]!, access[2]!] })],
    ["a key that is not the name", /"taskById" stands under the key "byId"/, () => Contract.make("c", { tables: [Task], queries: { byId: taskById } as never })],
    ["a name that clients need", /every client needs itself/, () => Contract.make("c", { tables: [Task], mutations: { sync: Mutation.make("sync", {}) } as never })],
    ["a query and a mutation of one name", /is a query and a mutation/, () => Contract.make("c", { tables: [Task], queries: { taskById }, mutations: { taskById: Mutation.make("taskById", {}) } as never })],
    ["a new contract", /not instantiated/, () => new (Board as unknown as new() => unknown)()]
  ]
  for (const [name, message, define] of cases) it(name, () => assert.throws(define, message))

  it("a rule that cannot be kept exact", () => {
    assert.throws(() => Access.make(Task, { read: (t) => Query.from(Project).where((p) => p.id.gt(t.projectId)).exists() }), UnsupportedQuery)
    assert.throws(() => Access.make(Task, { read: (t) => t.done && t.title.eq("x") }), /access to app.tasks.*not part of the result/)
  })

  it("a mask that does not fit, or of a key", () => {
    assert.throws(() => Access.make(User, { columns: { name: { read: false } as never } }), /the mask of "name" must not be null/)
    assert.throws(() => Access.make(User, { columns: { name: { read: false, mask: 1 as never } } }), /the mask of "name" is not a value of type text/)
    assert.throws(() => Access.make(User, { columns: { id: { read: false, mask: "x" as never } } }), /primary key/)
  })
})

it("names of the prototype are no names of the contract", () => {
  for (const name of ["constructor", "toString", "__proto__"]) {
    assert.isUndefined(Board.tables[name])
    assert.isUndefined(Board.access[name])
    assert.isUndefined((Board as Contract.Any).queries[name])
    assert.isUndefined((Board as Contract.Any).mutations[name])
  }
  class Odd extends Table.make("constructor", { columns: { constructor: Column.text.nullable(), id: Column.uuid }, primaryKey: ["id"] }) {}
  assert.deepStrictEqual(Table.insertRow(Odd, { id: "00000000-0000-4000-8000-000000000001" }), { constructor: null, id: "00000000-0000-4000-8000-000000000001" } as never)
})

describe("hashes", () => {
  const build = (title: Column.Column<string | null>, name = "openTasks") => {
    class T extends Table.make("t", { columns: { id: Column.uuid, title }, primaryKey: ["id"] }) {}
    return Contract.make("c", {
      tables: [T],
      queries: {
        [name]: Query.make(name, { title: Column.text }, ({ title }) => Query.from(T).where((t) => t.title.eq(title))),
        all: Query.make("all", {}, () => Query.from(T).select("id"))
      } as never,
      mutations: { rename: Mutation.make("rename", { payload: { title: Column.text } }) } as never
    }) as unknown as Contract.Any
  }

  it("two builds of one contract have one hash", () => {
    assert.strictEqual(build(Column.text).hash, build(Column.text).hash)
    assert.deepStrictEqual(build(Column.text).definitionHashes, build(Column.text).definitionHashes)
  })

  it("access rules and defaults are the server's affair: they do not change it", () => {
    const open = Contract.make("board", { principal: Me, tables: [Project, User, Task, Collaborator], queries: Board.queries as never, mutations: Board.mutations as never }) as unknown as Contract.Any
    assert.strictEqual(open.hash, Board.hash)
    assert.strictEqual(build(Column.text.named("TITLE")).hash, build(Column.text).hash)
  })

  it("a changed column changes its queries and no mutation that does not give it back", () => {
    const [before, after] = [build(Column.text), build(Column.text.nullable())]
    assert.notStrictEqual(before.hash, after.hash)
    assert.notStrictEqual(before.definitionHashes.queries["openTasks"], after.definitionHashes.queries["openTasks"])
    assert.strictEqual(before.definitionHashes.mutations["rename"], after.definitionHashes.mutations["rename"])
  })

  it("a renamed query is another", () => {
    assert.notStrictEqual(build(Column.text).hash, build(Column.text, "closedTasks").hash)
  })
})

describe("principals", () => {
  const userId = "00000000-0000-4000-8000-000000000001" as User["id"]

  it("what an authenticator gave becomes canonical; unknown fields are dropped, wrong ones named", () => {
    assert.deepStrictEqual(Principal.decode(Me, { userId: userId.toUpperCase(), admin: false, exp: 1 }), { ok: true, value: { userId, admin: false } })
    assert.deepStrictEqual(Principal.decode(Me, { userId }), { ok: false, field: "admin", message: "admin is missing" })
    assert.deepStrictEqual(Principal.decode(Me, null), { ok: false, field: "", message: "must be an object" })
  })

  it("its identity is that of the fields that are named", () => {
    assert.strictEqual(Principal.identity(Me, { userId, admin: true }), Principal.identity(Me, { userId, admin: false }))
    assert.notStrictEqual(Principal.identity(Me, { userId, admin: true }), Principal.identity(Me, { userId: "00000000-0000-4000-8000-000000000002", admin: true }))
    class Whole extends Principal.make<Whole>()("t/Whole", { a: Column.int8, b: Schema.optionalKey(Schema.Int) }) {}
    assert.strictEqual(Principal.identity(Whole, { a: 1n }), `{"a":"1","b":null}`)
    assert.deepStrictEqual(Principal.values(Whole, { a: 1n, b: 2 }), { a: 1n, b: 2n })
    assert.deepStrictEqual(Principal.values(Whole, { a: 1n }), { a: 1n, b: null })
  })

  it.effect("it is a service, and its fields are expressions", () => Effect.gen(function*() {
    assert.deepStrictEqual(yield* Me, { userId, admin: true })
    assert.deepStrictEqual(Me.expr.userId.expression, { op: "principal", field: "userId", type: { kind: "uuid" }, nullable: false })
  }).pipe(Effect.provideService(Me, { userId, admin: true })))

  it("a field without a column type, or an identity of another field, is refused", () => {
    assert.throws(() => Principal.make<never>()("t/A", { roles: Schema.Array(Schema.String) }), /does not say a column type/)
    assert.throws(() => Principal.make<never>()("t/A", { a: Column.text }, { identity: ["b" as "a"] }), /names "b"/)
  })
})

describe("transactions", () => {
  /** Refuses what it is told to, and notes what it is asked. */
  const transaction = (log: Array<string>) => Transaction.of({
    get: () => Effect.succeed(null),
    run: () => Effect.succeed([]) as never,
    insert: () => Effect.die(new WriteRefused({ table: "t", key: "1", constraint: "t_pkey", message: "it exists" })),
    update: () => Effect.void,
    delete: () => Effect.void,
    attempt: (effect) => Effect.catchDefect(effect, (defect) => defect instanceof WriteRefused ? Effect.fail(defect) : Effect.die(defect)),
    afterCommit: (effect) => Effect.asVoid(Effect.tap(effect, () => Effect.sync(() => void log.push("after")))),
    unfiltered: (effect) => Effect.tap(effect, () => Effect.sync(() => void log.push("unfiltered")))
  })

  it.effect("attempt makes an error of a refused write; afterCommit and unfiltered reach the service", () => {
    const log: Array<string> = []
    return Effect.gen(function*() {
      const insert = Transaction.use((tx) => tx.insert(User, { id: "1" as User["id"], name: "a" }))
      const refused = yield* Effect.flip(Transaction.attempt(insert))
      assert.deepInclude(refused, { _tag: "WriteRefused", constraint: "t_pkey" })
      yield* Transaction.afterCommit(Effect.void)
      yield* Transaction.unfiltered(Effect.void)
      assert.deepStrictEqual(log, ["after", "unfiltered"])
    }).pipe(Effect.provideService(Transaction, transaction(log)))
  })
})

it.effect("a SyncError is caught by its reason, and has its message", () => Effect.gen(function*() {
  const error = new SyncError({ reason: new Closed({ message: "the client was closed" }) })
  assert.strictEqual(error.message, "the client was closed")
  const failed: Effect.Effect<string, SyncError> = Effect.fail(error)
  const caught = yield* failed.pipe(Effect.catchReason("SyncError", "Closed", (reason) => Effect.succeed(reason.message)))
  assert.strictEqual(caught, "the client was closed")
}))

it("every query of the board has a normal form whose conditions stand on its own row", () => {
  for (const query of Object.values(Board.queries)) {
    assert.strictEqual(Plan.toSelect(query.plan).source, "t0", query.name)
  }
})
