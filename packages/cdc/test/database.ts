/** A database of its own for a test, with a layer that connects to it and a way to speak plain SQL. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Redacted, type Scope } from "effect"
import { Client } from "pg"
import { freshDatabase } from "../../../test/postgres.ts"

export interface TestDatabase {
  readonly url: string
  /** Runs statements on a connection of its own; the rows of the last, as text. */
  readonly sql: (statements: string) => Effect.Effect<ReadonlyArray<{ readonly [column: string]: string | null }>>
  /** A connection of its own, for as long as the scope is open. */
  readonly connect: Effect.Effect<(statements: string) => Effect.Effect<void>, never, Scope.Scope>
}

export const layerOf = (url: string, maxConnections = 4) => PgClient.layer({ url: Redacted.make(url), maxConnections })

const text = { getTypeParser: () => (value: string) => value } as never

export const database = (options: { readonly server?: string } = {}) =>
  Effect.map(
    Effect.acquireRelease(Effect.promise(() => freshDatabase(options)), (database) => Effect.promise(() => database.drop())),
    ({ url }): TestDatabase => {
      const open = async () => {
        const client = new Client({ connectionString: url, types: text })
        // A backend that is ended on purpose is no failure of the test.
        client.on("error", () => {})
        await client.connect()
        return client
      }
      return {
        url,
        sql: (statements) =>
          Effect.promise(async () => {
            const client = await open()
            try {
              const result: unknown = await client.query(statements)
              return (Array.isArray(result) ? result.at(-1) : result).rows
            } finally {
              await client.end()
            }
          }),
        connect: Effect.map(
          Effect.acquireRelease(Effect.promise(open), (client) => Effect.promise(() => client.end())),
          (client) => (statements) => Effect.promise(async () => void (await client.query(statements)))
        )
      }
    }
  )
