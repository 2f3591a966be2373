/**
 * What the types cost: the compiler's own count for tables, queries, and a contract with its handlers. A count does not
 * flicker as times do.
 */
import { assert, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../../../", import.meta.url))
const most = 40_000

const column = (i: number): string => [
  "Column.text", "Column.boolean.default(false)", "Column.int4.nullable()", "Column.float8", `Column.enum("a", "b").default("a")`,
  "Column.timestamptz.generated()", "Column.numeric", "Column.json(Schema.Array(Schema.String))", "Column.int8.nullable()", "Column.text.named(\"x\")"
][i % 10]!

const table = (n: number): string => `export class T${n} extends Table.make("t${n}", { columns: {
  id: Column.uuid.brand("T${n}"), parentId: ${n === 0 ? "Column.uuid.nullable()" : `T${n - 1}.columns.id`},
  ${Array.from({ length: 10 }, (_, i) => `c${i}: ${column(i)}`).join(", ")}
}, primaryKey: ["id"] }) {}
export class E${n} extends Mutation.TaggedError<E${n}>()("E${n}", { id: T${n}.columns.id }) {}`

/** Of each kind that there is. */
const query = (n: number, tables: number): string => {
  const t = `T${n % tables}`
  const other = `T${(n + 1) % tables}`
  return `export const q${n} = Query.make("q${n}", ${[
    `{ id: ${t}.columns.id }, ({ id }) => Query.from(${t}).where((t) => t.id.eq(id)).one()`,
    `{ a: Column.text, n: Schema.optionalKey(Schema.Int) }, ({ a, n }) => Query.from(${t}).where((t) => t.c0.ilike(a).and(t.c1.not())).orderBy("c3", "desc").limit(n)`,
    `{ low: Column.int4 }, ({ low }) => Query.from(${t}).where((t) => t.c2.ge(low).or(t.c2.isNull())).orderBy((t) => [t.c5.desc(), t.c0]).select((t) => ({ ...t, late: t.c2.gt(1) }))`,
    `{}, () => Query.from(${t}).where((t) => Query.from(${other}).where((o) => o.parentId.eq(t.id).and(o.c1)).exists()).select("id", "c0", "c7")`,
    `{ a: Schema.String }, ({ a }) => Query.from(${t}).where((t) => a.isNull().or(t.c0.in([a, "x"]))).where((t) => t.c3.between(0, 1)).limit(50)`
  ][n % 5]})`
}

const source = (tables: number, queries: number, mutations: number): string => `
import { Column, Contract, Mutation, Query, Table, Transaction } from "@headwater/core"
import { Effect, Schema } from "effect"
${Array.from({ length: tables }, (_, n) => table(n)).join("\n")}
${Array.from({ length: queries }, (_, n) => query(n, tables)).join("\n")}
${Array.from({ length: mutations }, (_, n) => `export const m${n} = Mutation.make("m${n}", { payload: { id: T${n % tables}.columns.id, title: Schema.NonEmptyString }, success: T${n % tables}, error: [E${n % tables}] })`).join("\n")}
export class C extends Contract.make("c", {
  tables: [${Array.from({ length: tables }, (_, n) => `T${n}`).join(", ")}],
  queries: { ${Array.from({ length: queries }, (_, n) => `q${n}`).join(", ")} },
  mutations: { ${Array.from({ length: mutations }, (_, n) => `m${n}`).join(", ")} }
}) {}
export const handlers: Contract.Handlers<typeof C> = {
${Array.from({ length: mutations }, (_, n) => `  m${n}: Effect.fnUntraced(function*({ id }) {
    const row = yield* (yield* Transaction).get(T${n % tables}, { id })
    return row ?? (yield* new E${n % tables}({ id }))
  })`).join(",\n")}
}
`

const count = (text: string): number => {
  const cache = join(root, "node_modules/.cache")
  mkdirSync(cache, { recursive: true })
  const directory = mkdtempSync(join(cache, "headwater-types-"))
  try {
    writeFileSync(join(directory, "generated.ts"), text)
    writeFileSync(join(directory, "tsconfig.json"), JSON.stringify({ extends: join(root, "tsconfig.base.json"), compilerOptions: { noEmit: true }, files: ["generated.ts"] }))
    const { stdout } = spawnSync(join(root, "node_modules/.bin/tsc"), ["-p", directory, "--extendedDiagnostics"], { encoding: "utf8", shell: process.platform === "win32" })
    assert.notMatch(stdout, /error TS/)
    return Number(/^Instantiations:\s+(\d+)/m.exec(stdout)?.[1])
  } finally {
    rmSync(directory, { recursive: true })
  }
}

it("12 tables, 50 queries and their contract cost the compiler less than 40,000 instantiations; ten times as many less than ten times that", () => {
  const one = count(source(12, 50, 10))
  const ten = count(source(12, 500, 10))
  console.log(`instantiations: ${one} for 50 queries, ${ten} for 500`)
  assert.isBelow(one, most)
  assert.isBelow(ten, 10 * most)
})
