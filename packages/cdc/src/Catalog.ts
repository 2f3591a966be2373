/**
 * Compares declared tables with the database's catalog, and prints the tables of a new project.
 *
 * Everything that is off is listed at once. What is compared is what exactness needs: that a column reads as it was declared,
 * that the database's equality is ours, that the primary key names rows, and that changes of each column can be captured.
 */
import * as ColumnType from "@headwater/core/ColumnType"
import type * as Column from "@headwater/core/Column"
import type * as Table from "@headwater/core/Table"
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import { CatalogMismatch, ChangeSourceError } from "./ChangeSource.ts"
import * as Database from "./internal/database.ts"
import * as Names from "./internal/names.ts"

/** What captures changes: their rules for generated columns differ. */
export type Source = "wal" | "triggers"

/** Fails with a `CatalogMismatch` as reason where a table is not as declared. One statement. */
export const check = (
  tables: ReadonlyArray<Table.Any>,
  source: Source
): Effect.Effect<void, ChangeSourceError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const names = JSON.stringify(tables.map(Names.relation))
    const [answer] = yield* Effect.mapError(Database.query(sql, catalog, [names]), Database.failed)
    const { relations, version } = JSON.parse(answer![0]!) as { readonly version: number; readonly relations: ReadonlyArray<Relation | null> }
    const problems = tables.flatMap((table, i) => compare(table, relations[i] ?? null, source, version))
    if (problems.length > 0) return yield* new ChangeSourceError({ reason: new CatalogMismatch({ problems }) })
  })

/**
 * `CREATE TABLE` statements for tables that do not exist yet, in declared order, and `CREATE INDEX` for their indexes. Indexed text
 * has collation "C": then one index serves equality and the order by code point that queries have.
 */
export const ddl = (tables: ReadonlyArray<Table.Any>): ReadonlyArray<string> => {
  const schemas = new Set(tables.flatMap((table) => table.tableName.includes(".") ? [table.tableName.split(".")[0]!] : []))
  return [...[...schemas].map((schema) => `CREATE SCHEMA IF NOT EXISTS ${Names.identifier(schema)};`), ...tables.flatMap((table) => [createTable(table), ...createIndexes(table)])]
}

type Problem = CatalogMismatch["problems"][number]

interface Relation {
  readonly kind: string
  readonly persistence: string
  readonly heirs: boolean
  readonly secured: boolean
  readonly columns: ReadonlyArray<CatalogColumn>
  /** Column names of each unique index over whole rows and plain columns; the primary key is one. */
  readonly keys: ReadonlyArray<ReadonlyArray<string>>
}

interface CatalogColumn {
  readonly name: string
  /** Of the base type, where it is a domain. */
  readonly type: string
  readonly labels: ReadonlyArray<string> | null
  readonly nullable: boolean
  readonly deterministic: boolean
  /** "": no, "s": stored, "v": virtual */
  readonly generated: string
  readonly identity: string
}

const compare = (table: Table.Any, relation: Relation | null, source: Source, version: number): ReadonlyArray<Problem> => {
  const problems: Array<Problem> = []
  const report = (message: string, column: string | null = null) => problems.push({ table: table.tableName, column, message })
  if (relation === null) {
    report("there is no such table. `headwater ddl` prints what would create it")
    return problems
  }
  if (relation.kind !== "r" && relation.kind !== "p") report("it is not a table but a view or the like, whose changes cannot be captured")
  if (relation.heirs) report("other tables inherit from it: a read shows their rows, and their changes are not captured")
  if (relation.persistence === "t") report("it is a temporary table")
  if (relation.persistence === "u" && source === "wal") report("it is unlogged: its changes are not in the write-ahead log")
  if (relation.secured) report("row level security hides rows from this role: use one with BYPASSRLS, and say who may read what in the contract")
  for (const [property, column] of Object.entries(table.columns)) {
    const name = Names.column(table, property)
    const actual = relation.columns.find((column) => column.name === name)
    if (actual === undefined) report("there is no such column", name)
    else for (const message of compareColumn(column, actual, source, version)) report(message, name)
  }
  const virtual = relation.columns.find(({ generated }) => generated === "v")
  if (source === "wal" && virtual !== undefined) {
    report(
      "as long as the table has a virtual generated column, updates and deletes would fail with REPLICA IDENTITY FULL: " +
        "make it stored, or use triggers",
      virtual.name
    )
  }
  const key = table.primaryKey.map((property) => Names.column(table, property))
  if (!relation.keys.some((columns) => columns.length === key.length && key.every((name) => columns.includes(name)))) {
    const primary = relation.keys[0]
    report(
      `(${key.join(", ")}) is not its primary key` +
        (primary === undefined ? ": it has none" : `: that is (${primary.join(", ")})`)
    )
  }
  return problems
}

const compareColumn = (declared: Column.Any, actual: CatalogColumn, source: Source, version: number): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const { accepts } = ColumnType.postgres(declared.type)
  if (declared.type.kind === "enum" && actual.labels !== null) {
    const missing = actual.labels.filter((label) => declared.type.kind === "enum" && !declared.type.values.includes(label))
    const unknown = declared.type.values.filter((label) => !actual.labels!.includes(label))
    if (missing.length > 0) problems.push(`the enum ${actual.type} also has ${list(missing)}, which the contract does not declare`)
    if (unknown.length > 0) problems.push(`the enum ${actual.type} has no ${list(unknown)}`)
  } else if (!accepts.includes(actual.type)) {
    problems.push(`it is ${actual.type}, and ${declared.type.kind} was declared`)
  }
  if (actual.nullable && !declared.isNullable) problems.push("it may hold NULL: declare it nullable(), or make it NOT NULL")
  if (!actual.nullable && declared.isNullable) problems.push("it is NOT NULL, and nullable() was declared")
  if (!actual.deterministic) problems.push("its collation is not deterministic, so that different texts are equal: give it another")
  if (actual.generated === "v") problems.push("it is a virtual generated column, whose values no change carries: make it stored, or do not declare it")
  if (actual.generated === "s" && source === "wal" && version < 180000) {
    problems.push("it is a generated column, which the write-ahead log leaves out before Postgres 18: use triggers, or do not declare it")
  }
  if ((actual.generated !== "" || actual.identity === "a") && !declared.isGenerated) {
    problems.push("the database generates it and refuses writes: declare it generated()")
  }
  return problems
}

const list = (values: ReadonlyArray<string>) => values.map((value) => JSON.stringify(value)).join(", ")

const createTable = (table: Table.Any): string => {
  const lines = Object.entries(table.columns).map(([property, column]) => `  ${createColumn(table, property, column)}`)
  const key = table.primaryKey.map((property) => Names.identifier(Names.column(table, property))).join(", ")
  return `CREATE TABLE ${Names.relation(table)} (\n${[...lines, `  PRIMARY KEY (${key})`].join(",\n")}\n);`
}

const createIndexes = (table: Table.Any): ReadonlyArray<string> =>
  Object.entries(table.indexes).map(([name, properties]) => {
    const index = Names.identifier(`${table.tableName.split(".").at(-1)!}_${name}`)
    return `CREATE INDEX ${index} ON ${Names.relation(table)} (${properties.map((property) => Names.identifier(Names.column(table, property))).join(", ")});`
  })

const isIndexed = (table: Table.Any, property: string): boolean =>
  [table.primaryKey, ...Object.values(table.indexes)].some((properties) => properties.includes(property))

const createColumn = (table: Table.Any, property: string, { defaultValue, isGenerated, isNullable, type }: Column.Any): string => {
  const name = Names.identifier(Names.column(table, property))
  const parts = [name, ColumnType.postgres(type).ddl]
  if (type.kind === "text" && isIndexed(table, property)) parts.push('COLLATE "C"')
  if (!isNullable) parts.push("NOT NULL")
  if (isGenerated) {
    // An identity column is never NULL.
    const filled = isNullable && type.kind.startsWith("int") ? undefined : generators[type.kind]
    // What else the database may fill in, only the author knows.
    parts.push(filled ?? "/* filled in by the database: add a DEFAULT, GENERATED ALWAYS AS (…) STORED, or a trigger */")
  } else if (defaultValue !== undefined && defaultValue !== null) {
    parts.push(`DEFAULT ${Names.literal(ColumnType.toText(type, defaultValue))}`)
  }
  if (type.kind === "enum") parts.push(`CHECK (${name} IN (${type.values.map(Names.literal).join(", ")}))`)
  return parts.join(" ")
}

const generators: { readonly [kind: string]: string } = {
  int4: "GENERATED BY DEFAULT AS IDENTITY",
  int8: "GENERATED BY DEFAULT AS IDENTITY",
  uuid: "DEFAULT gen_random_uuid()",
  timestamptz: "DEFAULT now()"
}

const catalog = `
select json_build_object('version', current_setting('server_version_num')::int, 'relations', json_agg(relation order by rank))::text
from (
  select rank, case when class.oid is not null then json_build_object(
    'kind', class.relkind,
    'persistence', class.relpersistence,
    'heirs', class.relkind = 'r' and exists (select from pg_catalog.pg_inherits where inhparent = class.oid),
    'secured', pg_catalog.row_security_active(class.oid),
    'columns', coalesce((
      select json_agg(json_build_object(
        'name', attname,
        'type', base.typname,
        'labels', (select json_agg(enumlabel order by enumsortorder) from pg_catalog.pg_enum where enumtypid = base.oid),
        'nullable', not (attnotnull or type.typnotnull),
        'deterministic', coalesce(collisdeterministic, true),
        'generated', attgenerated,
        'identity', attidentity
      ) order by attnum)
      from pg_catalog.pg_attribute
      join pg_catalog.pg_type as type on type.oid = atttypid
      join pg_catalog.pg_type as base on base.oid = case when type.typtype = 'd' then type.typbasetype else type.oid end
      left join pg_catalog.pg_collation on pg_collation.oid = attcollation
      where attrelid = class.oid and attnum > 0 and not attisdropped
    ), '[]'),
    'keys', coalesce((
      select json_agg((
        select json_agg(attname) from pg_catalog.pg_attribute
        where attrelid = indrelid and attnum = any ((indkey::int2[])[0:indnkeyatts - 1])
      ) order by indisprimary desc)
      from pg_catalog.pg_index
      where indrelid = class.oid and indisunique and indisvalid and indpred is null and indexprs is null
    ), '[]')
  ) end as relation
  from json_array_elements_text($1::text::json) with ordinality as named(name, rank)
  left join pg_catalog.pg_class as class on class.oid = pg_catalog.to_regclass(name)
) as relations`
