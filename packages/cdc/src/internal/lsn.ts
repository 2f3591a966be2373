/**
 * Log sequence numbers and transaction ids as Postgres writes them, and as the numbers that the engine counts in.
 *
 * An LSN is held as a number: exact below 2⁵³, that is for the first 8 PiB of WAL. `PostgresWal` refuses to start beyond.
 */

/** Text such as `16/B374D848`. NaN for anything else. */
export const parse = (text: string): number => {
  const slash = text.indexOf("/")
  if (slash < 1) return Number.NaN
  const high = text.slice(0, slash)
  const low = text.slice(slash + 1)
  if (!hex.test(high) || !hex.test(low)) return Number.NaN
  return Number.parseInt(high, 16) * 0x1_0000_0000 + Number.parseInt(low, 16)
}

const hex = /^[0-9a-fA-F]{1,8}$/

export const format = (lsn: number): string =>
  `${Math.floor(lsn / 0x1_0000_0000).toString(16).toUpperCase()}/${(lsn % 0x1_0000_0000).toString(16).toUpperCase()}`

/**
 * The 64-bit transaction id whose low half is `xid`: the one nearest to `near`, which must be less than 2³¹ transactions
 * away. Postgres itself keeps all ids in use within that distance.
 */
export const widen = (xid: number, near: bigint): bigint => {
  const guess = (near >> 32n << 32n) + BigInt(xid)
  if (guess - near > halfEra) return guess - era
  return near - guess > halfEra ? guess + era : guess
}

const era = 1n << 32n
const halfEra = 1n << 31n
