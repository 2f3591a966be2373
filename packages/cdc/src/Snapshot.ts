/**
 * Which transactions a Postgres snapshot sees, as `pg_snapshot` prints it: `xmin:xmax:xip,xip,…`.
 *
 * Ids are 64 bit (`xid8`), those of top-level transactions: a subtransaction is visible with its parent. "Sees" means that
 * it had ended; a transaction that was rolled back is seen too, and left nothing to see.
 */

export type TransactionId = bigint

export interface Snapshot {
  /** Every id below had ended. */
  readonly xmin: TransactionId
  /** This id and all above had not begun, or not ended. */
  readonly xmax: TransactionId
  /** Between the two, those that had not ended. */
  readonly inProgress: ReadonlySet<TransactionId>
}

/** Of the text form. Throws on anything else: it comes from the database. */
export const parse = (text: string): Snapshot => {
  const parts = /^(\d+):(\d+):([\d,]*)$/.exec(text)
  if (parts === null) throw new Error(`Not a pg_snapshot: ${JSON.stringify(text)}`)
  const list = parts[3]!
  return {
    xmin: BigInt(parts[1]!),
    xmax: BigInt(parts[2]!),
    inProgress: new Set(list === "" ? [] : list.split(",").map(BigInt))
  }
}

export const format = (snapshot: Snapshot): string =>
  `${snapshot.xmin}:${snapshot.xmax}:${[...snapshot.inProgress].join(",")}`

export const sees = (snapshot: Snapshot, id: TransactionId): boolean =>
  id < snapshot.xmin || id < snapshot.xmax && !snapshot.inProgress.has(id)

/**
 * The 64-bit id of a transaction known by its lower 32 bits (as in the replication stream), given any id less than 2^31
 * transactions away from it.
 */
export const widen = (low: number, near: TransactionId): TransactionId => {
  const distance = BigInt.asIntN(32, BigInt(low) - near)
  return near + distance
}
