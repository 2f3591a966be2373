/**
 * The client with Effect. The promise client is `@headwater/client/promise`, the React hooks are `@headwater/client/react`. In a browser
 * bundle import the modules (`@headwater/client/Client`): some bundlers keep all of a barrel.
 */
export * as Client from "./Client.ts"
export * as LiveQuery from "./LiveQuery.ts"
export * as Persistence from "./Persistence.ts"
