/**
 * The committed transactions that a running or coming read may have to add or take away.
 *
 * A transaction is needed from when its position is known until every snapshot that is still in use or yet to be taken
 * sees it. Invariant: the log holds all appended transactions that the last settled snapshot does not see; a hold has
 * these at its start, and all that were appended since.
 *
 * Time: O(open holds) per appended transaction, O(transactions held) per settled snapshot. Memory: the changes of the
 * transactions between commit and visibility, and of those since the oldest open hold.
 */
import type { Change } from "@headwater/core/Change"
import type { Position } from "@headwater/core/Position"
import type { Snapshot, TransactionId } from "./Snapshot.ts"
import { sees } from "./Snapshot.ts"

export interface Transaction {
  readonly id: TransactionId
  /** Null as long as no step has it. */
  readonly position: Position | null
  /** As they happened, not netted, in any order. Of a table that it truncated, only those after that. */
  readonly changes: Iterable<Change>
  /** Tables that it emptied. All transactions before it on such a table precede it in positions and in visibility. */
  readonly truncated: ReadonlyArray<string>
}

export interface TransactionLog {
  /**
   * Committed transactions in the order of their positions, which are not null. A position may repeat; then a transaction
   * that truncated a table comes after those whose rows it removed, and before those that wrote to the empty table.
   */
  append(transactions: ReadonlyArray<Transaction>): void
  /** From now on every new snapshot sees at least what this one sees. */
  settle(snapshot: Snapshot): void
  /** To be opened before a read takes its snapshot. */
  hold(): Hold
  /** Transactions kept for coming holds. */
  readonly size: number
}

export interface Hold {
  /** Each transaction once, those appended in that order; grows while the hold is open. */
  readonly transactions: Iterable<Transaction>
  /** Adds transactions that are committed and that nobody may have appended yet; what was or will be appended takes their place. */
  know(transactions: Iterable<Transaction>): void
  /** Twice does no harm. */
  close(): void
}

export const make = (): TransactionLog => {
  let kept: Array<Transaction> = []
  const holds = new Set<Map<TransactionId, Transaction>>()
  return {
    append(transactions) {
      for (const transaction of transactions) {
        kept.push(transaction)
        for (const held of holds) {
          held.delete(transaction.id) // so that it moves to the end
          held.set(transaction.id, transaction)
        }
      }
    },
    settle(snapshot) {
      if (kept.length > 0) kept = kept.filter(({ id }) => !sees(snapshot, id))
    },
    hold() {
      const held = new Map(kept.map((transaction) => [transaction.id, transaction]))
      holds.add(held)
      return {
        // A view, so that what comes later is in it too.
        transactions: { [Symbol.iterator]: () => held.values() },
        know(transactions) {
          for (const transaction of transactions) if (!held.has(transaction.id)) held.set(transaction.id, transaction)
        },
        close: () => void holds.delete(held)
      }
    },
    get size() {
      return kept.length
    }
  }
}
