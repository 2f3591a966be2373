/** Each module as a namespace. Where the size of a bundle counts, import `@headwater/cdc/PostgresWal` and so on. */
export * as Catalog from "./Catalog.ts"
export * as ChangeSource from "./ChangeSource.ts"
export * as CommitSignal from "./CommitSignal.ts"
export * as Install from "./Install.ts"
export * as PostgresCommitSignal from "./PostgresCommitSignal.ts"
export * as PostgresCommitToken from "./PostgresCommitToken.ts"
export * as PostgresTriggers from "./PostgresTriggers.ts"
export * as PostgresWal from "./PostgresWal.ts"
