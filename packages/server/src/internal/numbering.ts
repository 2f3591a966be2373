/**
 * What becomes of a mutation whose number could not be taken: decided from what is stored of its client.
 */
import type { Command, Result } from "../Writer.ts"

export interface Stored {
  readonly identity: string
  readonly lastSeq: number
  readonly acknowledged: number
  /** Of the receipt with the command's number; null where there is none. */
  readonly hash: string | null
}

/** Undefined where the number is free after all: try again. */
export const decide = (command: Command, stored: Stored | undefined, maxReceipts: number): Exclude<Result, { readonly _tag: "Committed" }> | undefined => {
  const notRun = (_tag: "AlreadyAcknowledged" | "ClientForked" | "Forbidden" | "LimitExceeded" | "SequenceGap", message: string) =>
    ({ _tag: "NotRun", reason: { _tag, message } }) as const
  if (stored === undefined) {
    return notRun("SequenceGap", "This database does not know the client: connect again to be told the number to go on with.")
  }
  if (stored.identity !== command.identity) {
    return notRun("Forbidden", "This client's mutations belong to another user: take a new client id.")
  }
  if (command.seq === stored.lastSeq + 1) {
    return stored.lastSeq - Math.max(stored.acknowledged, command.acknowledged) < maxReceipts
      ? undefined
      : notRun("LimitExceeded", `${maxReceipts} outcomes wait for this client: acknowledge them first.`)
  }
  if (command.seq > stored.lastSeq) {
    return notRun("SequenceGap", `Mutation ${command.seq} is out of order: ${stored.lastSeq + 1} is next.`)
  }
  if (stored.hash === null) {
    return notRun("AlreadyAcknowledged", `The outcome of mutation ${command.seq} was acknowledged, and is no longer stored.`)
  }
  return stored.hash === command.hash
    ? { _tag: "Repeated" }
    : notRun("ClientForked", `Another mutation was sent as number ${command.seq}: this client's store was copied. Take a new client id.`)
}
