import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { inject } from "vitest"
import * as CommitSignal from "../src/CommitSignal.ts"
import * as PostgresCommitSignal from "../src/PostgresCommitSignal.ts"
import { contract } from "./CommitSignalContract.ts"

contract("memory", CommitSignal.layerMemory)

const connected = Layer.unwrap(Effect.sync(() => PgClient.layer({ url: Redacted.make(inject("services").postgres), maxConnections: 3 })))
contract("postgres", Layer.provide(PostgresCommitSignal.layer, connected))
