/**
 * Rows that a transaction gave to a handler, and whom it may tell: what was read under the caller's rules, and what was inserted
 * under them. So a handler can give back a row that its caller wrote and may not read, and cannot do that with another's.
 *
 * By identity: a row that is copied has to be read again.
 */
import type { Row } from "@headwater/core/Row"

const told = new WeakMap<object, Row>()

export const tell = (principal: Row, row: Row): Row => {
  told.set(row, principal)
  return row
}

export const knows = (principal: Row, row: object): boolean => told.get(row) === principal
