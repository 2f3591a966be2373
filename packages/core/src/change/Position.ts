/**
 * Where a reader stands in the order of steps.
 *
 * A `Position` is opaque, ordered and not dense: commit-end LSN on WAL, step number on triggers. It is a safe integer,
 * so it compares with `<` and travels as JSON. (An LSN leaves that range after 8 PiB of WAL; a source refuses to start
 * there.) Positions of different epochs must not be compared.
 */
export type Position = number

/** Before every step of any epoch. */
export const origin: Position = 0

/** The identity of an order of steps: system identifier, timeline and the sequencer's generation. */
export type Epoch = string

/** Obtained by a writer inside its transaction, so that any reader can wait until it shows that commit. */
export interface CommitToken {
  readonly epoch: Epoch
  readonly transaction: string
}
