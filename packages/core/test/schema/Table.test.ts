import { assert, describe, it } from "@effect/vitest"
import { Column, Table } from "@headwater/core"
import { Schema } from "effect"
import { Project, Task } from "../board.ts"

const id = "00000000-0000-4000-8000-000000000001" as Task["id"]
const projectId = "00000000-0000-4000-8000-000000000002" as Project["id"]

const invalid = (run: () => unknown): Table.InvalidRow => {
  try {
    run()
  } catch (error) {
    assert.instanceOf(error, Table.InvalidRow)
    return error
  }
  return assert.fail("it was accepted")
}

describe("a declaration that contradicts itself is refused", () => {
  const columns = { id: Column.uuid, n: Column.int4.nullable(), j: Column.json() }
  const cases: ReadonlyArray<readonly [string, RegExp, () => unknown]> = [
    ["no primary key", /needs a primary key/, () => Table.make("t", { columns, primaryKey: [] as never })],
    ["an unknown column in the key", /"x", which is not a column/, () => Table.make("t", { columns, primaryKey: ["x" as "id"] })],
    ["a nullable key", /"n" is nullable/, () => Table.make("t", { columns, primaryKey: ["n"] })],
    ["a JSON key", /no equality/, () => Table.make("t", { columns, primaryKey: ["j"] })],
    ["a key twice", /names a column twice/, () => Table.make("t", { columns, primaryKey: ["id", "id"] })],
    ["one column under two properties", /the same column "id"/, () => Table.make("t", { columns: { id: Column.uuid, other: Column.uuid.named("id") }, primaryKey: ["id"] })],
    ["a name of three parts", /"schema.table"/, () => Table.make("a.b.c", { columns, primaryKey: ["id"] })],
    ["an empty name", /"schema.table"/, () => Table.make("", { columns, primaryKey: ["id"] })],
    ["a property that is no identifier", /not an identifier/, () => Table.make("t", { columns: { ...columns, "a b": Column.text }, primaryKey: ["id"] })],
    ["something else than a column", /is not a column/, () => Table.make("t", { columns: { id: Schema.String as never }, primaryKey: ["id"] })],
    ["optimistic of a column that is not generated", /needs a column that is generated/, () => Table.make("t", { columns, primaryKey: ["id"], optimistic: { n: () => 1 } })],
    ["a default that does not fit", /Column.default: is not a value of type int4/, () => Column.int4.default(1.5)],
    ["an enum with a value twice", /declared twice/, () => Column.enum("a", "a")]
  ]
  for (const [name, message, define] of cases) it(name, () => assert.throws(define, message))
})

describe("a table is a value", () => {
  it("instanceof and new throw, and its name does not depend on the class", () => {
    assert.throws(() => ({} as object) instanceof Task, /instanceof says nothing/)
    assert.throws(() => new (Task as unknown as new() => unknown)(), /not instantiated/)
    assert.strictEqual((class extends Task {}).tableName, "app.tasks")
    assert.isTrue(Table.isSame(class extends Task {}, Task))
  })

  it("a column of another table brings type and nullability, and neither name, default nor generated", () => {
    class Other extends Table.make("other", {
      columns: { id: Task.columns.id, projectId: Task.columns.projectId, done: Task.columns.done, at: Task.columns.createdAt, who: Task.columns.assigneeId, labels: Task.columns.labels.named("tags") },
      primaryKey: ["id"]
    }) {}
    assert.deepInclude(Task.columns.projectId, { columnName: "project_id" })
    assert.deepInclude(Other.columns.projectId, { columnName: undefined, isNullable: false })
    assert.deepInclude(Task.columns.done, { defaultValue: false })
    assert.deepInclude(Other.columns.done, { defaultValue: undefined })
    assert.deepInclude(Other.columns.at, { isGenerated: false })
    assert.deepInclude(Other.columns.who, { isNullable: true })
    assert.deepInclude(Other.columns.labels, { columnName: "tags", defaultValue: undefined })
    assert.isDefined(Other.columns.labels.schema)
  })
})

describe("what a handler or a wire gives becomes canonical or is named", () => {
  it("an insert gets defaults and NULLs; what the database generates is left out", () => {
    assert.deepStrictEqual(Table.insertRow(Task, { id: id.toUpperCase(), projectId, title: "a", rank: -0 }), {
      id, projectId, assigneeId: null, title: "a", done: false, rank: 0, priority: "low", labels: [], estimate: null
    })
    assert.isTrue(Object.isFrozen(Table.insertRow(Task, { id, projectId, title: "a", rank: 1 })))
    assert.deepInclude(Table.insertRow(Task, { id, projectId, title: "a", rank: 1, createdAt: "2026-01-31T13:00:00+01:00" }), { createdAt: "2026-01-31T12:00:00Z" })
    assert.deepInclude(Table.insertRow(Task, { id, projectId, title: "a", rank: 1, done: undefined }), { done: false })
  })

  it("an update has a key and changes", () => {
    assert.deepStrictEqual(Table.updateRow(Task, { id, estimate: null, title: "b", done: undefined }), { key: { id }, changes: { estimate: null, title: "b" } })
    assert.deepStrictEqual(Table.keyRow(Task, { id, title: "ignored" }), { id })
  })

  const row = { id, projectId, title: "a", rank: 1 }
  const cases: ReadonlyArray<readonly [string, string, RegExp, () => unknown]> = [
    ["a column that is missing", "title", /is missing/, () => Table.insertRow(Task, { id, projectId, rank: 1 })],
    ["another type", "rank", /not a value of type float8/, () => Table.insertRow(Task, { ...row, rank: "1" })],
    ["null where it may not be", "title", /must not be null/, () => Table.updateRow(Task, { id, title: null })],
    ["beyond the range", "estimate", /not a value of type int4/, () => Table.insertRow(Task, { ...row, estimate: 2 ** 31 })],
    ["no value of the enum", "priority", /one of low, high/, () => Table.insertRow(Task, { ...row, priority: "medium" })],
    ["JSON that its schema refuses", "labels", /is refused at 1: expected string/, () => Table.insertRow(Task, { ...row, labels: ["a", 1] })],
    ["text that Postgres cannot store", "title", /not a value of type text/, () => Table.insertRow(Task, { ...row, title: "a\0" })],
    ["an unknown column", "titel", /not a column of this table/, () => Table.insertRow(Task, { ...row, titel: "a" })],
    ["a column of the prototype", "toString", /not a column of this table/, () => Table.insertRow(Task, { ...row, toString: "a" })],
    ["a key that is missing", "id", /is missing/, () => Table.updateRow(Task, { title: "a" })],
    ["a key that is inherited", "id", /is missing/, () => Table.keyRow(Task, Object.create({ id }) as object)]
  ]
  for (const [name, column, message, run] of cases) {
    it(name, () => {
      const error = invalid(run)
      assert.deepInclude(error, { _tag: "InvalidRow", table: "app.tasks", column })
      assert.match(error.message, message)
    })
  }

  it("an optimistic row is complete, or null where a generated column has no stand-in", () => {
    const now = "2026-01-31T12:00:00Z"
    assert.deepInclude(Table.optimisticRow(Task, Table.insertRow(Task, row), now), { title: "a", createdAt: now })
    class Numbered extends Table.make("n", { columns: { id: Column.int8.generated() }, primaryKey: ["id"] }) {}
    assert.isNull(Table.optimisticRow(Numbered, Table.insertRow(Numbered, {}), now))
  })
})
