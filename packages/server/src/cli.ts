/**
 * The command `headwater`: installs, shows and removes what a server needs in a database, and prints the tables of a new
 * project. Everything that it does is in `@headwater/cdc`; here are arguments, and text for people.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Catalog from "@headwater/cdc/Catalog"
import type { ChangeSourceError } from "@headwater/cdc/ChangeSource"
import * as Install from "@headwater/cdc/Install"
import type * as Contract from "@headwater/core/Contract"
import type * as Table from "@headwater/core/Table"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as SqlClient from "effect/sql/SqlClient"
import * as path from "node:path"
import { pathToFileURL } from "node:url"
import { parseArgs } from "node:util"

export const usage = `headwater install    lets a server follow the tables of a contract; may be repeated
headwater status     shows what is installed in a database
headwater uninstall  removes all of it, receipts too
headwater ddl        prints the tables of a contract, for a new project

  --database <url>     a Postgres database; DATABASE_URL unless given
  --contract <module>  the module that exports the contract (install, ddl); <module>#<export> where it exports several
  --source <source>    wal or triggers (install); unless given what is installed, else wal if wal_level is logical
  --role <role>        the role that servers connect as, if it is another than the one that installs
  --print              prints the SQL and runs nothing (install, uninstall)

install needs CREATE on the database, and to own the tables; for wal also wal_level = logical, and servers need REPLICATION.`

/** What was asked cannot be understood, or not be found. */
export class UsageError extends Data.TaggedError("UsageError")<{ readonly message: string }> {}

/** The database does not answer. */
export class DatabaseUnreachable extends Data.TaggedError("DatabaseUnreachable")<{ readonly message: string; readonly cause: unknown }> {}

/** What the command writes, without line ends. */
export interface Output {
  readonly out: (text: string) => void
  readonly error: (text: string) => void
}

/** Runs a command line (without `node` and its script). Succeeds with the exit code: 1 where it failed, 2 where it made no sense. */
export const run = (
  args: ReadonlyArray<string>,
  environment: Readonly<Record<string, string | undefined>>,
  output: Output
): Effect.Effect<number> =>
  command(args, environment, output).pipe(
    Effect.as(0),
    Effect.catch((error) => Effect.sync(() => {
      output.error(error.message)
      if (error._tag !== "UsageError") return 1
      output.error(`\n${usage}`)
      return 2
    }))
  )

const command = Effect.fnUntraced(function*(args: ReadonlyArray<string>, environment: Readonly<Record<string, string | undefined>>, { out }: Output) {
  const { positionals: [name, ...rest], values } = yield* Effect.try({
    try: () => parseArgs({ args: [...args], allowPositionals: true, options }),
    catch: (cause) => new UsageError({ message: cause instanceof Error ? cause.message : String(cause) })
  })
  if (values.help === true || name === "help" || name === undefined && args.length === 0) return out(usage)
  if (rest.length > 0) return yield* new UsageError({ message: `Too many arguments: ${rest.join(" ")}` })
  const allowed = name === undefined || !Object.hasOwn(commands, name) ? undefined : commands[name as keyof typeof commands]
  if (allowed === undefined) return yield* new UsageError({ message: `There is no command ${name ?? "given"}` })
  for (const option of Object.keys(values)) {
    if (!allowed.includes(option)) return yield* new UsageError({ message: `headwater ${name} takes no --${option}` })
  }
  const { role, source } = values
  if (source !== undefined && source !== "wal" && source !== "triggers") {
    return yield* new UsageError({ message: `--source is wal or triggers, not ${source}` })
  }
  const url = values.database ?? environment["DATABASE_URL"]
  const connected = <A>(effect: Effect.Effect<A, ChangeSourceError, SqlClient.SqlClient>) =>
    url === undefined
      ? Effect.fail(new UsageError({ message: "Name the database: --database postgres://…, or DATABASE_URL" }))
      : URL.canParse(url)
      ? Effect.provide(effect, PgClient.layer({ url: Redacted.make(url), applicationName: "headwater", maxConnections: 1 })).pipe(
        Effect.mapError((error) =>
          error._tag === "ChangeSourceError" && error.reason._tag !== "SourceUnavailable"
            ? error
            : new DatabaseUnreachable({ message: `${shown(url)}: ${error.message}`, cause: error }))
      )
      : Effect.fail(new UsageError({ message: `Not the URL of a database: ${url}` }))

  switch (name as keyof typeof commands) {
    case "ddl":
      return out(Catalog.ddl(yield* tablesOf(values.contract)).join("\n\n"))
    case "status":
      return out(describe(yield* connected(Install.status)))
    case "uninstall":
      if (values.print === true) return out(script(yield* connected(Install.planUninstall)))
      yield* connected(Install.uninstall)
      return out("Nothing of Headwater is left in this database.")
    case "install": {
      const tables = yield* tablesOf(values.contract)
      return yield* connected(Effect.gen(function*() {
        const { installed, walLevel } = yield* Install.status
        const options = { source: source ?? installed?.source ?? (walLevel === "logical" ? "wal" as const : "triggers" as const), tables, role }
        if (values.print === true) return out(script(yield* Install.plan(options)))
        out(describe(yield* Install.install(options)))
      }))
    }
  }
})

const options = {
  database: { type: "string" },
  contract: { type: "string" },
  source: { type: "string" },
  role: { type: "string" },
  print: { type: "boolean" },
  help: { type: "boolean", short: "h" }
} as const

const commands = {
  install: ["database", "contract", "source", "role", "print"],
  status: ["database"],
  uninstall: ["database", "print"],
  ddl: ["contract"]
} satisfies { readonly [name: string]: ReadonlyArray<string> }

/** Without its password. */
const shown = (url: string) => {
  const { host, pathname, protocol } = new URL(url)
  return `${protocol}//${host}${pathname}`
}

const tablesOf = Effect.fnUntraced(function*(contract: string | undefined): Effect.fn.Return<ReadonlyArray<Table.Any>, UsageError> {
  if (contract === undefined) return yield* new UsageError({ message: "Name the module that exports the contract: --contract ./contract.ts" })
  const [file, wanted] = contract.split("#") as [string, string?]
  const module = yield* Effect.tryPromise({
    try: () => import(pathToFileURL(path.resolve(file)).href) as Promise<Record<string, unknown>>,
    catch: (cause) => new UsageError({ message: `Cannot load ${file}: ${cause instanceof Error ? cause.message : String(cause)}` })
  })
  // A module may export one contract under two names.
  const found = new Map(Object.entries(module).filter(([name, value]) => isContract(value) && (wanted === undefined || name === wanted)).map(([name, value]) => [value as Contract.Any, name]))
  const [first, second] = found.keys()
  if (first === undefined) return yield* new UsageError({ message: `${file} exports no contract${wanted === undefined ? "" : ` ${wanted}`}` })
  if (second !== undefined) return yield* new UsageError({ message: `${file} exports several contracts: say ${file}#${[...found.values()].join(` or ${file}#`)}` })
  return Object.values(first.tables)
})

const isContract = (value: unknown): value is Contract.Any =>
  (typeof value === "function" || typeof value === "object" && value !== null) && "contractName" in value && "tables" in value

const script = (parts: ReadonlyArray<Install.Part>): string =>
  parts.length === 0
    ? "-- Nothing to do."
    : parts.map(({ statements, title }) => `-- ${title}\nBEGIN;\nSET LOCAL lock_timeout = '${Install.lockTimeoutMillis}ms';\nSET LOCAL search_path = pg_catalog;\n${statements.map((statement) => `${statement};`).join("\n")}\nCOMMIT;`).join("\n\n")

const describe = ({ installed, publications, servers, serverVersion, slots, tables, walLevel }: Install.Status): string => {
  const server = `Postgres ${Math.floor(serverVersion / 10000)}.${serverVersion % 10000}, wal_level ${walLevel}`
  const left = slots.map(({ name, pid, retainedBytes }) =>
    `  replication slot ${name}: ${pid === null ? "unused" : `used by process ${pid}`}, keeps ${(retainedBytes / 2 ** 20).toFixed(1)} MiB of write-ahead log`)
  if (installed === null) return [`Nothing is installed. ${server}`, ...left].join("\n")
  return [
    `Installed for the source ${installed.source}, generation ${installed.generation}. ${server}`,
    "  schema headwater",
    ...publications.map((name) => `  publication ${name}`),
    ...tables.flatMap(({ attached, name, note }) => [`  ${name}: ${attached.join(", ") || "nothing: install again"}`, ...(note === null ? [] : [`    ${note}`])]),
    ...left,
    ...servers.map(({ leaseUntil, slot }) => `  server ${slot}, lease until ${leaseUntil}`)
  ].join("\n")
}
