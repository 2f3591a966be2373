/**
 * What client and server say to each other. One JSON object per WebSocket text frame; `docs/spec/protocol.md` has the rules.
 *
 * Unknown fields are ignored; a message of unknown type is an error unless a feature that both sides named in `hello` and
 * `welcome` allows it. Rows travel as arrays of wire values in the column order that `welcome.columns` states.
 */
import type { Epoch, Position } from "../change/Position.ts"
import type { Json } from "../data/Value.ts"

export const protocolVersion = 1

export type ClientMessage = Hello | Subscribe | Unsubscribe | Mutate | Ack | Ping
export type ServerMessage = Welcome | Frame | OutcomeMessage | ErrorMessage | Resync | Goaway | Pong

/** First on each connection, once. The server answers with `welcome` or a fatal `error`. */
export interface Hello {
  readonly type: "hello"
  readonly protocol: number
  readonly features: ReadonlyArray<string>
  /**
   * `definitions` are the hashes of its queries and mutations, by name. They are looked at where `hash` is not the server's: what
   * differs is refused by name. Without them such a contract is refused as a whole (`ContractMismatch`).
   */
  readonly contract: { readonly name: string; readonly hash: string; readonly definitions?: Definitions }
  /** A random id of this client store; its mutations are numbered from 1. */
  readonly client: string
  readonly token?: string
  /**
   * What the client holds: it will not be shown an older state of that epoch. `session` is that of the last `welcome`, if any:
   * only the server that gave it, to the same principal, can answer with what changed since; else each query is reset.
   */
  readonly resume?: { readonly epoch: Epoch; readonly position: Position; readonly session?: string }
  /** Receipts up to this number have been applied; they may be pruned. */
  readonly acknowledged: number
  /**
   * Answered together, by the first frame. `held` says that the client has that query's result as of `resume.position`, so
   * that its first patch may be the difference to that (or be absent, where nothing changed); without it the first patch is a reset.
   */
  readonly subscriptions: ReadonlyArray<Omit<Subscribe, "type"> & { readonly held?: true }>
}

export interface Definitions {
  readonly queries: { readonly [name: string]: string }
  readonly mutations: { readonly [name: string]: string }
}

export interface Subscribe {
  readonly type: "subscribe"
  /** Chosen by the client, unique on this connection while it is open. */
  readonly id: number
  readonly query: string
  /** By parameter name, in wire form. */
  readonly parameters: { readonly [name: string]: Json }
}

export interface Unsubscribe {
  readonly type: "unsubscribe"
  readonly id: number
}

export interface Mutate {
  readonly type: "mutate"
  /** From 1, without gaps, in order. */
  readonly seq: number
  readonly name: string
  readonly payload: Json
  /** Earlier mutations, not yet answered, whose rows this one read or wrote: rejected with any of them. */
  readonly after?: ReadonlyArray<number>
  /** W3C traceparent. */
  readonly trace?: string
}

/** All receipts up to `seq` have been applied. */
export interface Ack {
  readonly type: "ack"
  readonly seq: number
}

export interface Ping {
  readonly type: "ping"
}

export interface Welcome {
  readonly type: "welcome"
  readonly protocol: number
  readonly features: ReadonlyArray<string>
  readonly epoch: Epoch
  /** Opaque; given back in `hello.resume`. */
  readonly session: string
  /**
   * Who the server takes the caller for: the contract's principal in wire form, by field. Plans and shared handlers on the client
   * see it. Absent where the contract has none.
   */
  readonly principal?: { readonly [field: string]: Json }
  /** The server's position now; the first frame is at this or a later one. */
  readonly position: Position
  /** The client must ping after this much silence, and may take twice this much silence for a dead connection. */
  readonly heartbeatMillis: number
  /** Column order of rows on this connection, by table. */
  readonly columns: { readonly [table: string]: ReadonlyArray<string> }
  /** Queries and mutations of the client's contract that this server does not have, or has differently. */
  readonly refused: { readonly queries: ReadonlyArray<string>; readonly mutations: ReadonlyArray<string> }
  /** The next mutation number that the server expects of this client: the one after its last receipt. */
  readonly nextSeq: number
}

/**
 * All live queries of the connection, from the position of the frame before (the socket's order tells) to `to`, which is the
 * same where a query's first result joins others that are already there.
 * Shared by connections, except `opened` and `receipts`.
 */
export interface Frame {
  readonly type: "frame"
  readonly to: Position
  /** W3C traceparent of the server's fan-out of its last step, where that is traced. */
  readonly trace?: string
  /** Which binding answers a subscription, from this frame on. Precedes that binding's first patch or is in its frame. */
  readonly opened?: ReadonlyArray<{ readonly id: number; readonly binding: number }>
  readonly patches: ReadonlyArray<Patch>
  readonly receipts?: ReadonlyArray<Receipt>
}

/** What the steps of a frame do to one binding. */
export interface Patch {
  /** Assigned by the server; the same for all subscribers of one server. */
  readonly binding: number
  /** True where this is the whole result and replaces what was held. */
  readonly reset?: true
  /** New and changed rows of the binding, by table. A row already held is replaced. */
  readonly rows: ReadonlyArray<readonly [table: string, rows: ReadonlyArray<ReadonlyArray<Json>>]>
  /** Members that joined: for a query over one table the row's key. */
  readonly add: ReadonlyArray<string>
  /** Members that left; rows that no member needs any more are dropped by the client. */
  readonly remove: ReadonlyArray<string>
  /** For a limited query: the wire values of its order at its last member, or null where the result is exhausted. Absent: unchanged. */
  readonly boundary?: ReadonlyArray<Json> | null
}

/** The stored outcome of a mutation: final. */
export interface Receipt {
  readonly seq: number
  readonly outcome: Outcome
}

export type Outcome =
  | { readonly type: "success"; readonly value: Json }
  /** A declared error: its tag and fields in wire form. */
  | { readonly type: "error"; readonly error: { readonly _tag: string; readonly [field: string]: Json } }
  | { readonly type: "refused"; readonly reason: Refusal }

/** Reasons of a `SyncError` that come from a server. */
export type Refusal =
  | { readonly _tag: "WriteRefused"; readonly table: string; readonly key: string | null; readonly constraint: string | null; readonly message: string }
  | { readonly _tag: "Forbidden" | "InvalidPayload" | "UnknownMutation" | "Unauthenticated" | "LimitExceeded" | "ServerFailure" | "ClientForked" | "AlreadyAcknowledged" | "SequenceGap"; readonly message: string }
  | { readonly _tag: "DependencyRejected"; readonly seq: number; readonly message: string }

/** Only for a mutation that was never run: its number is free again. */
export interface OutcomeMessage {
  readonly type: "outcome"
  readonly seq: number
  readonly reason: Refusal
}

export type ErrorCode =
  | "MalformedMessage" | "MessageTooLarge" | "UnsupportedProtocol" | "ContractMismatch" | "Unauthenticated" | "ClientTaken" | "LimitExceeded"
  | "UnknownQuery" | "InvalidParameters" | "Forbidden" | "BudgetExceeded" | "SubscriptionInUse" | "ServerFailure"

export interface ErrorMessage {
  readonly type: "error"
  readonly code: ErrorCode
  /** What was wrong and what to do; nothing internal. */
  readonly message: string
  /** The subscription that failed; absent where the connection did. */
  readonly id?: number
  /** The server closes the connection after it. */
  readonly fatal: boolean
}

/** What is held may be out of date from here on: the next frame resets every binding. Mutations go on. */
export interface Resync {
  readonly type: "resync"
  readonly reason: "SlowConsumer" | "PositionLost" | "EpochChanged"
}

/** The server is about to close: connect again, elsewhere if you can. */
export interface Goaway {
  readonly type: "goaway"
  readonly reason: string
  readonly retryAfterMillis: number
}

/** The position that the connection has reached; sent for `ping`. */
export interface Pong {
  readonly type: "pong"
  readonly position: Position
}
