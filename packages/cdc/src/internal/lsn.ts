/**
 * Log sequence numbers as Postgres writes them, and as the numbers that the engine counts in.
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
