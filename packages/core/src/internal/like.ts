/**
 * SQL's LIKE: `%` is any text, `_` any character, `\` takes the next character as it stands.
 *
 * A pattern is cut at its `%` into pieces; the first must stand at the start, the last at the end, the others are searched
 * from left to right, each at its first place. So there is no backtracking over several `%`: time is at most the
 * product of both lengths, whatever a client sends. Nothing is allocated per text.
 */

/** Any character. */
const any = -1

/** Null where the pattern ends in a lone escape, which SQL refuses. Case is that of ASCII letters. */
export const compile = (pattern: string, insensitive: boolean): ((text: string) => boolean) | null => {
  const pieces: Array<Array<number>> = [[]]
  let hasAny = false
  let hasLetters = false
  for (let i = 0; i < pattern.length; i++) {
    let unit = pattern.charCodeAt(i)
    if (unit === 37) {
      pieces.push([])
      continue
    }
    if (unit === 95) {
      hasAny = true
      unit = any
    } else {
      if (unit === 92 && Number.isNaN(unit = pattern.charCodeAt(++i))) return null
      if (insensitive) unit = fold(unit)
      hasLetters ||= unit >= 97 && unit <= 122
    }
    pieces.at(-1)!.push(unit)
  }
  return hasAny || insensitive && hasLetters ? general(pieces, insensitive) : plain(pieces.map(textOf))
}

const textOf = (units: ReadonlyArray<number>): string => units.reduce((text, unit) => text + String.fromCharCode(unit), "")

const fold = (unit: number): number => unit >= 65 && unit <= 90 ? unit + 32 : unit

const plain = (pieces: ReadonlyArray<string>): (text: string) => boolean => {
  const first = pieces[0]!
  if (pieces.length === 1) return (text) => text === first
  const last = pieces.at(-1)!
  const middle = pieces.slice(1, -1).filter((piece) => piece !== "")
  return (text) => {
    if (!text.startsWith(first) || !text.endsWith(last)) return false
    let at = first.length
    for (let i = 0; i < middle.length; i++) {
      const piece = middle[i]!
      at = text.indexOf(piece, at)
      if (at < 0) return false
      at += piece.length
    }
    return at <= text.length - last.length
  }
}

const general = (pieces: ReadonlyArray<ReadonlyArray<number>>, insensitive: boolean): (text: string) => boolean => {
  const first = pieces[0]!
  if (pieces.length === 1) return (text) => forward(text, 0, first, insensitive) === text.length
  const last = pieces.at(-1)!
  const middle = pieces.slice(1, -1).filter((piece) => piece.length > 0)
  return (text) => {
    let at = forward(text, 0, first, insensitive)
    if (at < 0) return false
    for (let i = 0; i < middle.length; i++) {
      let end = forward(text, at, middle[i]!, insensitive)
      while (end < 0) {
        if (at >= text.length) return false
        at += width(text, at)
        end = forward(text, at, middle[i]!, insensitive)
      }
      at = end
    }
    return backward(text, last, insensitive) >= at
  }
}

/** How many units the character at `at` has. */
const width = (text: string, at: number): number => (text.charCodeAt(at) & 0xfc00) === 0xd800 ? 2 : 1

/** Where the piece ends that starts at `at`, or −1. */
const forward = (text: string, at: number, piece: ReadonlyArray<number>, insensitive: boolean): number => {
  for (let i = 0; i < piece.length; i++) {
    if (at >= text.length) return -1
    const unit = piece[i]!
    if (unit === any) at += width(text, at)
    else if (unit === (insensitive ? fold(text.charCodeAt(at)) : text.charCodeAt(at))) at++
    else return -1
  }
  return at
}

/** Where the piece starts that ends with the text, or −1. */
const backward = (text: string, piece: ReadonlyArray<number>, insensitive: boolean): number => {
  let at = text.length
  for (let i = piece.length - 1; i >= 0; i--) {
    if (at <= 0) return -1
    const unit = piece[i]!
    if (unit === any) at -= (text.charCodeAt(at - 1) & 0xfc00) === 0xdc00 ? 2 : 1
    else if (unit === (insensitive ? fold(text.charCodeAt(at - 1)) : text.charCodeAt(at - 1))) at--
    else return -1
  }
  return at
}
