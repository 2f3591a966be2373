/**
 * Rows in an order, in chunks of bounded size.
 *
 * The order must be total: two rows that compare as equal are the same row. A row is found by comparing, so it must be
 * removed by the object (or an equal one) with which it was inserted.
 *
 * Time: O(log n + chunk) per insert and remove; O(n) to read all, O(n log n) to fill, O(n) where it is in order already.
 */
import type { Row } from "@headwater/core/Row"

const chunkSize = 256

export interface SortedRows {
  readonly size: number
  insert(row: Row): void
  /** Whether it was there. */
  remove(row: Row): boolean
  /** Replaces everything; takes the array over. */
  fill(rows: Array<Row>): void
  /** The first `limit`, in order, as a new array. */
  first(limit: number): Array<Row>
}

export const make = (compare: (a: Row, b: Row) => number): SortedRows => {
  /** None is empty. */
  let chunks: Array<Array<Row>> = []
  let size = 0

  /** The first chunk whose last row is not before `row`; the last chunk where there is none. */
  const chunkOf = (row: Row): number => {
    let low = 0
    let high = chunks.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      const chunk = chunks[middle]!
      if (compare(chunk[chunk.length - 1]!, row) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  const indexIn = (chunk: ReadonlyArray<Row>, row: Row): number => {
    let low = 0
    let high = chunk.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compare(chunk[middle]!, row) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  return {
    get size() {
      return size
    },
    insert(row) {
      size++
      if (chunks.length === 0) {
        chunks.push([row])
        return
      }
      const at = chunkOf(row)
      const chunk = chunks[at]!
      chunk.splice(indexIn(chunk, row), 0, row)
      if (chunk.length > chunkSize) chunks.splice(at + 1, 0, chunk.splice(chunkSize / 2))
    },
    remove(row) {
      if (chunks.length === 0) return false
      const at = chunkOf(row)
      const chunk = chunks[at]!
      const index = indexIn(chunk, row)
      if (index === chunk.length || compare(chunk[index]!, row) !== 0) return false
      size--
      chunk.splice(index, 1)
      if (chunk.length === 0) chunks.splice(at, 1)
      return true
    },
    fill(rows) {
      rows.sort(compare)
      size = rows.length
      chunks = []
      for (let i = 0; i < rows.length; i += chunkSize / 2) chunks.push(rows.slice(i, i + chunkSize / 2))
    },
    first(limit) {
      if (limit >= size) return chunks.length === 1 ? chunks[0]!.slice() : ([] as Array<Row>).concat(...chunks)
      const rows: Array<Row> = []
      for (const chunk of chunks) {
        for (const row of chunk) {
          if (rows.length >= limit) return rows
          rows.push(row)
        }
      }
      return rows
    }
  }
}
