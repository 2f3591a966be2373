import { assert, describe, it } from "@effect/vitest"
import { Column, Mutation } from "@headwater/core"
import { Schema } from "effect"
import { Board, createTask, moveTask, Overloaded, Project, ProjectArchived, remind, Task, TitleTooLong } from "../board.ts"

const id = "00000000-0000-4000-8000-000000000001" as Task["id"]
const projectId = "00000000-0000-4000-8000-000000000002" as Project["id"]
const payload = { id, projectId, title: "Write it down" }

/** Another library's schema, as its Standard Schema looks. */
const trimmed = {
  "~standard": {
    version: 1 as const,
    vendor: "test",
    validate: (value: unknown) => typeof value === "string" ? { value: value.trim() } : { issues: [{ message: "Expected a string", path: [] }] },
    types: undefined as unknown as { readonly input: string; readonly output: string }
  }
}

describe("payloads", () => {
  it("travel as JSON and arrive as they were", () => {
    const wire = Mutation.encodePayload(createTask, { ...payload, note: "n" })
    assert.deepStrictEqual(wire, { ok: true, value: { ...payload, note: "n" } })
    assert.deepStrictEqual(Mutation.decodePayload(createTask, JSON.parse(JSON.stringify(wire.ok && wire.value))), { ok: true, value: { ...payload, note: "n" } })
    assert.deepStrictEqual(Mutation.decodePayload(createTask, payload), { ok: true, value: payload })
  })

  it("values that JSON has no form for travel too", () => {
    const mutation = Mutation.make("m", { payload: { n: Column.int8, f: Column.float8, at: Column.timestamptz.nullable() } })
    const value = { n: 2n ** 62n, f: Number.NEGATIVE_INFINITY, at: null }
    const wire = Mutation.encodePayload(mutation, value)
    assert.deepStrictEqual(wire, { ok: true, value: { n: "4611686018427387904", f: "-Infinity", at: null } })
    assert.deepStrictEqual(Mutation.decodePayload(mutation, wire.ok && wire.value), { ok: true, value })
  })

  const wrong: ReadonlyArray<readonly [string, unknown, string, string]> = [
    ["a field that is missing", { id, projectId }, "title", "title is missing"],
    ["another type", { ...payload, title: 1 }, "title", "title is refused: expected string"],
    ["a check of the schema", { ...payload, title: "" }, "title", "title is refused: expected a value with a length of at least 1"],
    ["an id that is none", { ...payload, id: "1" }, "id", "id is not a value of type uuid"],
    ["null", { ...payload, id: null }, "id", "id must not be null"],
    ["an optional field of another type", { ...payload, note: 1 }, "note", "note is refused: expected string"],
    ["no object", [], "", "must be an object"],
    ["a field of the prototype", Object.create(payload), "id", "id is missing"]
  ]
  for (const [name, input, field, message] of wrong) {
    it(`InvalidPayload names the field: ${name}`, () => {
      assert.deepStrictEqual(Mutation.decodePayload(createTask, input), { ok: false, field, message })
    })
  }

  it("unknown fields are refused where they are sent, and dropped where they arrive", () => {
    assert.deepStrictEqual(Mutation.encodePayload(moveTask, { id, rank: 1, extra: 1 }), { ok: false, field: "extra", message: "extra is not a field here" })
    assert.deepStrictEqual(Mutation.decodePayload(moveTask, { id, rank: 1, extra: 1 }), { ok: true, value: { id, rank: 1 } })
  })

  it("a Standard Schema normalises, also an Effect Schema that was made one", () => {
    const mutation = Mutation.make("m", { payload: { a: trimmed, b: Schema.toStandardSchemaV1(Schema.Trim) } })
    assert.deepStrictEqual(Mutation.decodePayload(mutation, { a: " x ", b: " y " }), { ok: true, value: { a: "x", b: "y" } })
    assert.deepStrictEqual(Mutation.decodePayload(mutation, { a: 1, b: "" }), { ok: false, field: "a", message: "a is refused: Expected a string" })
  })

  it("an asynchronous schema is refused when it is used, with its field", () => {
    const later = { "~standard": { version: 1 as const, vendor: "test", validate: () => Promise.resolve({ value: 1 }) } }
    const result = Mutation.decodePayload(Mutation.make("m", { payload: { a: later as never } }), { a: 1 })
    assert.deepInclude(result, { ok: false, field: "a" })
  })

  it("a schema that transforms, or whose values are not JSON, is refused where it is defined", () => {
    assert.throws(() => Mutation.make("m", { payload: { at: Schema.DateFromString as never } }), /mutation m: payload.at: a schema that transforms/)
    assert.throws(() => Mutation.make("m", { payload: { at: Schema.Struct({ at: Schema.Date }) as never } }), /values that are not JSON/)
    assert.throws(() => Mutation.make("m", { payload: { at: 1 as never } }), /payload.at is neither a column nor a schema/)
  })
})

describe("outcomes", () => {
  const row: Task = {
    id, projectId, assigneeId: null, title: "a", done: false, rank: Number.POSITIVE_INFINITY, priority: "low", labels: ["x"], estimate: null, createdAt: "2026-01-31T12:00:00Z"
  }

  it("a table as success means a row of it", () => {
    const wire = Mutation.encodeSuccess(createTask, row)
    assert.deepStrictEqual(wire, { ok: true, value: { ...row, rank: "Infinity" } })
    assert.deepStrictEqual(Mutation.decodeSuccess(createTask, JSON.parse(JSON.stringify(wire.ok && wire.value))), { ok: true, value: row })
    assert.deepInclude(Mutation.encodeSuccess(createTask, { ...row, title: null }), { ok: false, field: "title" })
  })

  it("a value, and nothing", () => {
    assert.deepStrictEqual(Mutation.encodeSuccess(remind, 1), { ok: true, value: 1 })
    assert.deepStrictEqual(Mutation.encodeSuccess(remind, 1.5), { ok: false, field: "success", message: "the result is refused: expected an integer" })
    assert.deepStrictEqual(Mutation.encodeSuccess(moveTask, undefined), { ok: true, value: null })
    assert.deepStrictEqual(Mutation.decodeSuccess(moveTask, null), { ok: true, value: undefined })
  })

  it("errors come back as instances of their class, made with Schema or without", () => {
    const wire = Mutation.encodeError(createTask, new TitleTooLong({ max: 200 }))
    assert.deepStrictEqual(wire, { _tag: "TitleTooLong", max: 200 })
    const error = Mutation.decodeError(createTask, JSON.parse(JSON.stringify(wire)) as never)
    assert.instanceOf(error, TitleTooLong)
    assert.deepInclude(error, { _tag: "TitleTooLong", max: 200 })
    const overloaded = Mutation.decodeError(remind, Mutation.encodeError(remind, new Overloaded({ retryAfterMillis: 5 }))!)
    assert.instanceOf(overloaded, Overloaded)
    assert.deepInclude(overloaded, { _tag: "Overloaded", retryAfterMillis: 5 })
  })

  it("what is not declared has no form, nor has a declared one whose fields do not fit", () => {
    assert.isUndefined(Mutation.encodeError(moveTask, new TitleTooLong({ max: 200 })))
    assert.isUndefined(Mutation.encodeError(createTask, new TitleTooLong({ max: 1.5 })))
    assert.isUndefined(Mutation.encodeError(createTask, new Error("boom")))
    assert.isUndefined(Mutation.decodeError(createTask, { _tag: "Other" }))
    assert.isUndefined(Mutation.decodeError(createTask, { _tag: "ProjectArchived", projectId: 1 }))
  })

  it("a tag is declared once, and is not the client's own", () => {
    class Again extends Mutation.TaggedError<Again>()("ProjectArchived", {}) {}
    class Sync extends Mutation.TaggedError<Sync>()("SyncError", {}) {}
    assert.throws(() => Mutation.make("m", { error: [ProjectArchived, Again] }), /two errors are tagged ProjectArchived/)
    assert.throws(() => Mutation.make("m", { error: [Sync] }), /the client's own error/)
  })
})

it("two builds of one mutation agree, and every change of it shows", () => {
  const variants = [
    Mutation.make("m", { payload: { a: Column.text } }),
    Mutation.make("m", { payload: { a: Column.text.nullable() } }),
    Mutation.make("m", { payload: { a: Schema.String } }),
    Mutation.make("m", { payload: { a: Schema.NonEmptyString } }),
    Mutation.make("m", { payload: { a: Schema.String.check(Schema.isMaxLength(3)) } }),
    Mutation.make("m", { payload: { a: Schema.String.check(Schema.isMaxLength(4)) } }),
    Mutation.make("m", { payload: { a: Schema.optionalKey(Schema.String) } }),
    Mutation.make("m", { payload: { a: Column.text }, success: Task }),
    Mutation.make("m", { payload: { a: Column.text }, success: Column.int4 }),
    Mutation.make("m", { payload: { a: Column.text }, error: [TitleTooLong] })
  ]
  assert.strictEqual(new Set(variants.map((variant) => JSON.stringify(Mutation.describe(variant)))).size, variants.length)
  assert.deepStrictEqual(Mutation.describe(createTask), Mutation.describe(Board.mutations.createTask))
})
