/**
 * What a contract and its handlers are written with. In a browser bundle import the modules (`@headwater/core/Table`):
 * some bundlers keep all of a barrel.
 */
export * as Access from "./contract/Access.ts"
export * as Contract from "./contract/Contract.ts"
export * as Mutation from "./contract/Mutation.ts"
export * as Principal from "./contract/Principal.ts"
export * from "./contract/SyncError.ts"
export { Transaction, WriteRefused } from "./contract/Transaction.ts"
export type * as Expr from "./query/Expr.ts"
export * as Plan from "./query/Plan.ts"
export { UnsupportedQuery } from "./query/Plan.ts"
export * as Query from "./query/Query.ts"
export * as Column from "./schema/Column.ts"
export * as Table from "./schema/Table.ts"
