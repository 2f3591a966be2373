/**
 * Instants with microseconds as canonical text: "2026-01-31T12:00:00.5Z", "10000-01-01T00:00:00Z",
 * "0044-03-15T12:00:00Z BC", "infinity", "-infinity". In UTC, proleptic Gregorian, in Postgres' range; one text per instant.
 */

const pattern =
  /^(\d{4,6})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6})0*)?)?(?:Z|([+-])(\d\d)(?::?(\d\d)(?::?(\d\d))?)?)( BC)?$/
const plain = /^\d{4}-\d\d-\d\dT[0-2]\d:[0-5]\d:[0-5]\d(?:\.\d{0,5}[1-9])?Z$/
const daySeconds = 86_400

/** Canonical text, or undefined for what is no instant. The offset is required; more than six decimals do not fit. */
export const parse = (text: string): string | undefined => {
  if (plain.test(text) && isDate(number(text, 0, 4), number(text, 5, 7), number(text, 8, 10)) && number(text, 11, 13) < 24) return text
  if (text === "infinity" || text === "-infinity") return text
  const match = pattern.exec(text)
  if (match === null) return undefined
  const written = Number(match[1])
  if (written === 0) return undefined
  const year = match[12] === undefined ? written : 1 - written
  const month = Number(match[2])
  const day = Number(match[3])
  const hour = Number(match[4])
  const minute = Number(match[5])
  const second = Number(match[6] ?? 0)
  const offsetHour = Number(match[9] ?? 0)
  const offsetMinute = Number(match[10] ?? 0)
  const offsetSecond = Number(match[11] ?? 0)
  if (month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59) return undefined
  if (offsetHour > 15 || offsetMinute > 59 || offsetSecond > 59) return undefined
  const offset = (offsetHour * 60 + offsetMinute) * 60 + offsetSecond
  const seconds = daysFromCivil(year, month, day) * daySeconds + (hour * 60 + minute) * 60 + second + (match[8] === "-" ? offset : -offset)
  if (seconds < minSeconds || seconds >= endSeconds) return undefined
  return format(seconds, (match[7] ?? "").replace(/0+$/, ""))
}

const number = (text: string, from: number, to: number): number => {
  let result = 0
  for (let i = from; i < to; i++) result = result * 10 + text.charCodeAt(i) - 48
  return result
}

const isDate = (year: number, month: number, day: number): boolean =>
  year > 0 && month > 0 && month < 13 && day > 0 && (day < 29 || day <= daysIn(year, month))

const daysIn = (year: number, month: number): number =>
  month === 2 ? year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28 : month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31

/** Days since 1970-01-01; Howard Hinnant's `days_from_civil`. Year 0 is 1 BC. */
const daysFromCivil = (year: number, month: number, day: number): number => {
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1
  return era * 146_097 + yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear - 719_468
}

const minSeconds = daysFromCivil(-4713, 11, 24) * daySeconds
const endSeconds = daysFromCivil(294_277, 1, 1) * daySeconds

const format = (seconds: number, fraction: string): string => {
  const days = Math.floor(seconds / daySeconds)
  const inDay = seconds - days * daySeconds
  const shifted = days + 719_468
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const yearOfEra = Math.floor((dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365)
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153)
  const day = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  const date = `${String(year > 0 ? year : 1 - year).padStart(4, "0")}-${two(month)}-${two(day)}`
  const time = `${two(Math.floor(inDay / 3600))}:${two(Math.floor(inDay / 60) % 60)}:${two(inDay % 60)}`
  return `${date}T${time}${fraction === "" ? "" : `.${fraction}`}Z${year > 0 ? "" : " BC"}`
}

const two = (value: number): string => value < 10 ? `0${value}` : String(value)

/** Of what Postgres prints under DateStyle ISO and TimeZone UTC. */
export const fromPostgres = (text: string): string => {
  const space = text.charCodeAt(10) === 32 ? 10 : text.indexOf(" ")
  if (text.endsWith("+00")) return `${text.slice(0, space)}T${text.slice(space + 1, -3)}Z`
  if (text.endsWith("+00 BC")) return `${text.slice(0, space)}T${text.slice(space + 1, -6)}Z BC`
  if (text === "infinity" || text === "-infinity") return text
  throw new Error(`${text} is not a timestamptz as Postgres prints it with DateStyle ISO and TimeZone UTC: the session has other settings`)
}

const isPlain = (text: string): boolean => text.charCodeAt(4) === 45 && text.charCodeAt(text.length - 1) === 90

export const compare = (a: string, b: string): number => {
  if (a === b) return 0
  if (isPlain(a) && isPlain(b)) {
    if (a.length === b.length) return a < b ? -1 : 1
    const length = a.length < b.length ? a.length : b.length
    for (let i = 0; i < length; i++) {
      const x = a.charCodeAt(i)
      const y = b.charCodeAt(i)
      // The one that ends here has no more decimals.
      if (x !== y) return x === 90 ? -1 : y === 90 ? 1 : x - y
    }
  }
  return orderKey(a) < orderKey(b) ? -1 : 1
}

/** Text whose `<` is the order of instants; equal exactly for equal instants. */
export const orderKey = (text: string): string => {
  if (isPlain(text)) return text.slice(0, -1)
  if (text === "infinity") return "~"
  if (text === "-infinity") return "!"
  const dash = text.indexOf("-")
  const year = Number(text.slice(0, dash))
  return text.endsWith(" BC")
    ? `-${String(9999 - year).padStart(4, "0")}${text.slice(dash, -4)}`
    : `A${String(year).padStart(6, "0")}${text.slice(dash, -1)}`
}
