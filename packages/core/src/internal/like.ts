/**
 * SQL's LIKE: `%` is any text, `_` any character, `\` takes the next character as it stands.
 *
 * A pattern is cut at its `%` into pieces; the first must stand at the start, the last at the end, the others are searched
 * from left to right, each at its first place, so that there is no backtracking over several `%`. A piece with `_` (or letters of
 * either case) is searched for with a bit per character of it: 32 at a time, whatever is in the text. What `_` there is at
 * the ends of such a piece only keeps a distance.
 *
 * Time: O(text) for each 32 characters of the longest piece, at worst. Memory: O(pattern). Nothing is allocated per text.
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
  const middle: Array<{ readonly distance: number; readonly find: Find }> = []
  let distance = 0
  for (const piece of pieces.slice(1, -1)) {
    const start = piece.findIndex((unit) => unit !== any)
    if (start < 0) {
      distance += piece.length
      continue
    }
    const end = piece.findLastIndex((unit) => unit !== any) + 1
    middle.push({ distance: distance + start, find: finder(piece.slice(start, end), insensitive) })
    distance = piece.length - end
  }
  return (text) => {
    const end = backward(text, last, insensitive)
    let at = forward(text, 0, first, insensitive)
    if (at < 0 || at > end) return false
    for (let i = 0; i < middle.length; i++) {
      const { distance, find } = middle[i]!
      if ((at = skip(text, at, distance, end)) < 0 || (at = find(text, at, end)) < 0) return false
    }
    return skip(text, at, distance, end) >= 0
  }
}

/** Where the first match ends that lies between two places, or −1. */
type Find = (text: string, at: number, end: number) => number

/** Of one character of the text: at which places of the piece it stands, as bits of those words that have any. */
interface Places {
  readonly words: Array<number>
  readonly bits: Array<number>
}

/**
 * Of a piece that starts and ends with a certain character. Bit i of the state says that its first i + 1 characters match the
 * text's last ones.
 */
const finder = (piece: ReadonlyArray<number>, insensitive: boolean): Find => {
  const points = pointsOf(piece)
  const first = points[0]!
  const lastWord = (points.length - 1) >>> 5
  const lastBit = 1 << (points.length - 1)
  const anywhere = new Int32Array(lastWord + 1)
  const places = new Map<number, Places>()
  points.forEach((point, i) => {
    const word = i >>> 5
    if (point === any) {
      anywhere[word]! |= 1 << i
      return
    }
    let own = places.get(point)
    if (own === undefined) places.set(point, own = { words: [], bits: [] })
    if (own.words.at(-1) === word) own.bits[own.bits.length - 1]! |= 1 << i
    else {
      own.words.push(word)
      own.bits.push(1 << i)
    }
  })
  const state = new Int32Array(lastWord + 1)
  return (text, at, end) => {
    state.fill(0)
    /** The last word that has a bit. */
    let top = -1
    while (at < end) {
      let point = text.charCodeAt(at++)
      if ((point & 0xfc00) === 0xd800) point = pair(point, text.charCodeAt(at++))
      else if (insensitive) point = fold(point)
      if (top < 0 && point !== first) continue
      const own = places.get(point)
      const until = Math.min(top + 1, lastWord)
      let carry = 1
      let next = 0
      top = -1
      for (let word = 0; word <= until; word++) {
        let fits = anywhere[word]!
        if (own !== undefined && own.words[next] === word) fits |= own.bits[next++]!
        const before = state[word]!
        const now = (before << 1 | carry) & fits
        carry = before >>> 31
        state[word] = now
        if (now !== 0) top = word
      }
      if (top === lastWord && (state[top]! & lastBit) !== 0) return at
    }
    return -1
  }
}

const pair = (high: number, low: number): number => (high - 0xd800) * 0x400 + low - 0xdc00 + 0x10000

const pointsOf = (units: ReadonlyArray<number>): ReadonlyArray<number> => {
  const points: Array<number> = []
  for (let i = 0; i < units.length; i++) {
    const unit = units[i]!
    points.push(unit !== any && (unit & 0xfc00) === 0xd800 && i + 1 < units.length ? pair(unit, units[++i]!) : unit)
  }
  return points
}

/** Where so many characters end, or −1 where that lies beyond `end`. */
const skip = (text: string, at: number, count: number, end: number): number => {
  for (; count > 0 && at < end; count--) at += width(text, at)
  return count > 0 || at > end ? -1 : at
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
