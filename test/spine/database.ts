/**
 * The board of the property test in Postgres, by hand: its tables, and what each live query must show to a user.
 *
 * Shares nothing with the contract but names, so that a mistake of the engine cannot hide in it.
 */
import { Client, types } from "pg"

/** A column's property, its name in the database and its type there. */
type Column = readonly [property: string, name: string, type: string]

export const tables = {
  users: { key: ["id"], columns: [["id", "id", "uuid"], ["name", "name", "text"], ["email", "email", "text"]] },
  projects: {
    key: ["id"],
    columns: [["id", "id", "uuid"], ["name", "name", "text"], ["ownerId", "owner_id", "uuid"], ["shared", "shared", "boolean"]]
  },
  collaborators: { key: ["project_id", "user_id"], columns: [["projectId", "project_id", "uuid"], ["userId", "user_id", "uuid"]] },
  cards: {
    key: ["id"],
    columns: [
      ["id", "id", "uuid"],
      ["projectId", "project_id", "uuid"],
      ["title", "title", "text"],
      ["status", "status", "card_status"],
      ["rank", "rank", "float8"],
      ["cost", "cost", "numeric"],
      ["labels", "labels", "jsonb"],
      ["assigneeId", "assignee_id", "uuid"],
      ["createdAt", "created_at", "timestamptz"]
    ]
  },
  notes: {
    key: ["id"],
    columns: [
      ["id", "id", "uuid"],
      ["projectId", "project_id", "uuid"],
      ["authorId", "author_id", "uuid"],
      ["body", "body", "text"],
      ["secret", "secret", "boolean"],
      ["score", "score", "integer"]
    ]
  },
  counters: { key: ["id"], columns: [["id", "id", "integer"], ["value", "value", "bigint"]] },
  audits: { key: ["id"], columns: [["id", "id", "uuid"], ["mutation", "mutation", "uuid"], ["counter", "counter", "integer"]] },
  marks: { key: ["n"], columns: [["n", "n", "integer"]] }
} as const satisfies Record<string, { readonly key: ReadonlyArray<string>; readonly columns: ReadonlyArray<Column> }>

export type TableName = keyof typeof tables
export const tableNames = Object.keys(tables) as ReadonlyArray<TableName>

/** Columns and keys: all that the shadow needs. */
export const createTables = `
  create type card_status as enum ('backlog', 'todo', 'doing', 'done');
  create table users (id uuid primary key, name text not null, email text);
  create table projects (id uuid primary key, name text not null, owner_id uuid not null, shared boolean not null);
  create table collaborators (project_id uuid, user_id uuid, primary key (project_id, user_id));
  create table cards (
    id uuid primary key, project_id uuid not null, title text not null, status card_status not null, rank float8 not null,
    cost numeric, labels jsonb not null, assignee_id uuid, created_at timestamptz not null default clock_timestamp()
  );
  create table notes (id uuid primary key, project_id uuid not null, author_id uuid not null, body text not null, secret boolean not null, score integer not null);
  create table counters (id integer primary key, value bigint not null);
  create table audits (id uuid primary key default gen_random_uuid(), mutation uuid not null, counter integer not null);
  create table marks (n integer primary key);
`

/** What the source has besides: a delete of a project takes its rows along. */
export const createConstraints = `
  alter table projects add foreign key (owner_id) references users;
  alter table collaborators add foreign key (project_id) references projects on delete cascade on update cascade,
    add foreign key (user_id) references users;
  alter table cards add foreign key (project_id) references projects on delete cascade on update cascade,
    add foreign key (assignee_id) references users, add check (length(title) < 200);
  alter table notes add foreign key (project_id) references projects on delete cascade on update cascade deferrable initially deferred;
`

const literal = (value: string) => `'${value.replaceAll("'", "''")}'`

/** A canonical value as a literal of that type. */
export const sql = (value: unknown, type: string): string => {
  if (value === null) return `null::${type}`
  const text = type === "jsonb" ? JSON.stringify(value) : typeof value === "string" ? value : String(value as number)
  return `${literal(text)}::${type}`
}

const instant = (column: string) =>
  `rtrim(rtrim(to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '0'), '.') || 'Z'`

/** Rows as clients see them: canonical values by property. */
const list = (table: TableName, only?: ReadonlyArray<string>) =>
  tables[table].columns
    .filter(([property]) => only?.includes(property) ?? true)
    .map(([property, name, type]) => `${type === "timestamptz" ? instant(name) : name} as "${property}"`)
    .join(", ")

const collaborates = (me: string, project: string) => `exists (select from collaborators c where c.project_id = ${project} and c.user_id = ${literal(me)})`
const mayEdit = (me: string, project: string) => `(exists (select from projects p where p.id = ${project} and p.shared) or ${collaborates(me, project)})`

/** The rows of a table that a user may read, with what is masked. */
const readable: Record<TableName, (me: string) => string> = {
  users: (me) => `select id, name, case when id = ${literal(me)} then email end as email from users`,
  projects: (me) => `select * from projects x where x.shared or ${collaborates(me, "x.id")}`,
  collaborators: (me) => `select * from collaborators x where ${mayEdit(me, "x.project_id")}`,
  cards: (me) => `select * from cards x where ${mayEdit(me, "x.project_id")}`,
  notes: (me) =>
    `select id, project_id, author_id, body, secret, case when author_id = ${literal(me)} then score else 0 end as score
     from notes x where x.author_id = ${literal(me)} or (${collaborates(me, "x.project_id")} and not x.secret)`,
  counters: () => "select * from counters",
  audits: () => "select * from audits",
  marks: () => "select * from marks"
}

export const readableRows = (table: TableName, me: string): string => `select ${list(table)} from (${readable[table](me)}) y`

export type Parameters = Readonly<Record<string, unknown>>

const select = (table: TableName, me: string, rest: string, only?: ReadonlyArray<string>) =>
  `select ${list(table, only)} from (${readable[table](me)}) y ${rest}`

const text = (value: unknown) => sql(value, "text")
const uuid = (value: unknown) => sql(value, "uuid")
const float = (value: unknown) => sql(value, "float8")

/** Each query of the contract, as somebody would write it. */
export const queries = {
  people: (me) => select("users", me, `order by name collate "C", id`),
  peopleByEmail: (me, { pattern }) => select("users", me, `where email like ${text(pattern)} order by email collate "C", id`),
  projects: (me) => select("projects", me, `order by name collate "C", id`),
  collaborators: (me, { projectId }) => select("collaborators", me, `where project_id = ${uuid(projectId)} order by project_id, user_id`),
  cards: (me, { projectId }) => select("cards", me, `where project_id = ${uuid(projectId)} order by status, rank, id`),
  titles: (me, { projectId }) => select("cards", me, `where project_id = ${uuid(projectId)} and status <> 'done' order by title collate "C", id`, ["id", "title"]),
  newest: (me) => select("cards", me, `order by created_at desc, id limit 5`),
  dearest: (me, { projectId, count }) => select("cards", me, `where project_id = ${uuid(projectId)} order by cost desc, id limit ${sql(count ?? null, "bigint")}`),
  ranked: (me, { from, to }) => select("cards", me, `where rank >= ${float(from)} and rank < ${float(to)} order by rank desc, id`),
  titled: (me, { pattern }) => select("cards", me, `where title like ${text(pattern)} order by title collate "C" desc, id limit 6`),
  mine: (me) => select("cards", me, `where assignee_id = ${uuid(me)} and status in ('todo', 'doing') order by rank, id limit 3`),
  unassigned: (me, { status }) => select("cards", me, `where assignee_id is null and status = ${sql(status, "card_status")} order by cost, id limit 4`),
  notes: (me, { projectId }) => select("notes", me, `where project_id = ${uuid(projectId)} order by id`),
  topNotes: (me) => select("notes", me, `order by score desc, id limit 4`),
  counters: (me) => select("counters", me, `order by id`),
  marks: (me) => select("marks", me, `order by n desc limit 1`)
} satisfies Record<string, (me: string, parameters: Parameters) => string>

export type QueryName = keyof typeof queries

export const queryText = (name: QueryName, me: string, parameters: Parameters): string =>
  (queries[name] as (me: string, parameters: Parameters) => string)(me, parameters)

export type Contents = Readonly<Record<TableName, ReadonlyArray<string>>>

/** All rows, as Postgres prints them, at one instant. */
export const readContents = async (client: Client): Promise<Contents> => {
  const all = tableNames.map((table) => `select '${table}' as name, y::text as row from ${table} y`).join(" union all ")
  const { rows } = await client.query<{ name: TableName; row: string }>(`${all} order by 1, 2`)
  const byTable = Map.groupBy(rows, ({ name }) => name)
  return Object.fromEntries(tableNames.map((table) => [table, (byTable.get(table) ?? []).map(({ row }) => row)])) as unknown as Contents
}

const int8 = 20

/** A connection whose int8 are bigints, as in the contract. Deadlocks are found at once. */
export const connect = async (url: string): Promise<Client> => {
  const client = new Client({
    connectionString: url,
    options: "-c deadlock_timeout=50ms",
    application_name: "outside",
    types: { getTypeParser: ((oid: number, format: "text") => oid === int8 ? BigInt : types.getTypeParser(oid, format)) as typeof types.getTypeParser }
  })
  client.on("error", () => {})
  await client.connect()
  return client
}

/** Ends a connection of the system, of those that it has the `n`-th. */
export const endConnection = (client: Client, n: number) =>
  client.query(
    `with others as (select pid, row_number() over (order by backend_type, pid) - 1 as i, count(*) over () as n
       from pg_stat_activity where datname = current_database() and application_name <> 'outside' and backend_type in ('client backend', 'walsender'))
     select pg_terminate_backend(pid) from others where i = ${n} % n`
  )

/** What the database's connections do, for reports. */
export const activity = async (client: Client): Promise<ReadonlyArray<string>> => {
  const { rows } = await client.query<{ line: string }>(
    `select concat_ws(' ', pid, application_name, backend_type, state, wait_event_type, wait_event, 'since', now() - state_change,
       'blocked by', pg_blocking_pids(pid), left(query, 120)) as line
     from pg_stat_activity where datname = current_database() order by application_name, pid`
  )
  return rows.map(({ line }) => `  ${line}`)
}

/** The same text for equal values, whatever the order of their properties. */
export const show = (value: unknown): string => {
  if (typeof value === "bigint") return `${value}n`
  if (typeof value === "number") return Object.is(value, -0) ? "0" : String(value)
  if (Array.isArray(value)) return `[${value.map(show).join(",")}]`
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "undefined"
  return `{${Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, inner]) => `${key}:${show(inner)}`).join(",")}}`
}
