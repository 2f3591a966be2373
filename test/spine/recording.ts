/** What a run leaves behind for `check`. */
import type { Epoch, Position } from "@headwater/core/Position"
import type { Contents, Parameters, QueryName, TableName } from "./database.ts"
import type { Fold } from "./shadow.ts"

export type Fields = Readonly<Record<string, unknown>>

/** What a live query of a client showed right after a frame. */
export interface Shown {
  readonly query: QueryName
  readonly parameters: Parameters
  /** In order. Undefined where pending writes are mixed in. */
  readonly rows: ReadonlyArray<Fields> | undefined
  /** The members that the frames so far amount to, in any order; undefined before the first. */
  readonly members: ReadonlyArray<Fields> | undefined
}

/** One frame at one client, in the order in which the client applied them. */
export interface Delivery {
  readonly client: string
  readonly user: string
  readonly epoch: Epoch
  readonly position: Position
  readonly shown: ReadonlyArray<Shown>
  /** The rows that the frame carried. */
  readonly carried: ReadonlyArray<readonly [table: TableName, row: Fields]>
  /** The mutations whose receipts it carried: the id that the client had then, and its number. */
  readonly receipts: ReadonlyArray<string>
  /** How many messages the client had sent and received by then. */
  readonly messages: number
}

/** What the source held while nobody wrote: right after the step that inserts that mark. */
export interface Quiet {
  readonly mark: number
  readonly contents: Contents
}

export interface Recording {
  readonly epoch: Epoch
  /** The state of the shadow before the first step. */
  readonly start: Position
  /** What was committed, by position: as the database's own triggers saw it. */
  readonly commits: ReadonlyArray<Fold>
  /** What a change source of its own made of that. */
  readonly steps: ReadonlyArray<Fold>
  readonly deliveries: ReadonlyArray<Delivery>
  readonly quiets: ReadonlyArray<Quiet>
  /** What each client sent, in order; `bump` is the id that its effect must carry once. */
  readonly mutations: ReadonlyArray<{ readonly client: string; readonly name: string; readonly bump: string | undefined; readonly outcome: "applied" | "rejected" | "unanswered" }>
  /** The ids under which the server knew each client. */
  readonly stores: ReadonlyMap<string, ReadonlySet<string>>
  /** What each client sent (>) and received (<), for reports. */
  readonly messages: ReadonlyMap<string, ReadonlyArray<string>>
  /** Found while the run went on: bytes that somebody must not get, values that must be equal and were not. */
  readonly violations: ReadonlyArray<string>
}
