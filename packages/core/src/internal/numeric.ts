/**
 * Postgres' `numeric` as its text: any number of digits, exactly, without arithmetic.
 *
 * Canonical text is what Postgres prints: no sign on zero, no leading zeros but one before the point, the scale kept
 * ("1.00"), "NaN", "Infinity", "-Infinity". NaN is the greatest.
 */

const maxInteger = 131_072
const maxScale = 16_383
const pattern = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,6}))?$/

/** Canonical text, or undefined where Postgres would refuse `text` (or accept it only in a notation that we do not). */
export const parse = (text: string): string | undefined => {
  if (text === "NaN" || text === "Infinity" || text === "-Infinity") return text
  if (text.length > maxInteger + maxScale + 16) return undefined
  const match = pattern.exec(text)
  if (match === null) return undefined
  let integer = match[2]!
  let fraction = match[3] ?? ""
  if (integer === "" && fraction === "") return undefined
  const exponent = Number(match[4] ?? 0)
  if (Math.abs(exponent) > maxInteger + maxScale) return undefined
  if (exponent !== 0) {
    const digits = integer + fraction
    const point = integer.length + exponent
    integer = point <= 0 ? "" : digits.slice(0, point).padEnd(point, "0")
    fraction = point < 0 ? "0".repeat(-point) + digits : digits.slice(point)
  }
  integer = integer.replace(/^0+/, "")
  if (integer.length > maxInteger || fraction.length > maxScale) return undefined
  const sign = match[1] === "-" && (integer !== "" || /[1-9]/.test(fraction)) ? "-" : ""
  return `${sign}${integer === "" ? "0" : integer}${fraction === "" ? "" : `.${fraction}`}`
}

const dot = 46
const zero = 48

/** Where a canonical text stands among: −∞, negative, not negative, ∞, NaN. */
const rank = (text: string): number => {
  const first = text.charCodeAt(0)
  return first === 45 ? text.charCodeAt(1) === 73 ? 0 : 1 : first === 73 ? 3 : first === 78 ? 4 : 2
}

/** By value: "1.0" equals "1.00". */
export const compare = (a: string, b: string): number => {
  if (a === b) return 0
  const x = rank(a)
  const y = rank(b)
  if (x !== y) return x - y
  return x === 1 ? compareMagnitude(b, a, 1) : x === 2 ? compareMagnitude(a, b, 0) : 0
}

const compareMagnitude = (a: string, b: string, start: number): number => {
  const x = integerEnd(a, start)
  const y = integerEnd(b, start)
  if (x !== y) return x - y
  const length = a.length < b.length ? a.length : b.length
  for (let i = start; i < length; i++) {
    const difference = a.charCodeAt(i) - b.charCodeAt(i)
    if (difference !== 0) return difference
  }
  return hasDigits(a, length) ? 1 : hasDigits(b, length) ? -1 : 0
}

const integerEnd = (text: string, start: number): number => {
  for (let i = start; i < text.length; i++) if (text.charCodeAt(i) === dot) return i
  return text.length
}

const hasDigits = (text: string, start: number): boolean => {
  for (let i = start; i < text.length; i++) if (text.charCodeAt(i) > zero) return true
  return false
}

/**
 * Text that is equal exactly for equal values and whose `<` is the order of values: a letter for the class, the position
 * of the first digit that counts, then the digits that count (complemented in negative numbers).
 */
export const orderKey = (text: string): string => {
  const negative = text.charCodeAt(0) === 45
  switch (rank(text)) {
    case 0:
      return "A"
    case 3:
      return "Y"
    case 4:
      return "Z"
  }
  const point = integerEnd(text, 0)
  const start = negative ? 1 : 0
  let first = start
  while (first < text.length && text.charCodeAt(first) <= zero) first++
  if (first === text.length) return "M"
  let last = text.length
  while (text.charCodeAt(last - 1) <= zero) last--
  const digits = text.slice(first, last).replace(".", "")
  // 0.d₁d₂… × 10^exponent
  const exponent = first < point ? point - first : point + 1 - first
  return negative ? `B${integerKey(-exponent)}${complement(digits)}~` : `P${integerKey(exponent)}${digits}`
}

/**
 * An integer as text whose `<` is the order of integers: a letter that tells sign and number of digits, then the digits
 * (complemented in negative numbers).
 */
export const integerKey = (value: number | bigint): string => {
  const text = String(value)
  return text.charCodeAt(0) === 45
    ? String.fromCharCode(0x5b - (text.length - 1)) + complement(text.slice(1))
    : String.fromCharCode(0x60 + text.length) + text
}

const complement = (digits: string): string => {
  let result = ""
  for (let i = 0; i < digits.length; i++) result += String.fromCharCode(105 - digits.charCodeAt(i))
  return result
}
