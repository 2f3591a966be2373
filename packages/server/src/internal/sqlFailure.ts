/**
 * What a failed statement means: to try again, to tell the caller, or to log.
 */
import { WriteRefused } from "@headwater/core/Transaction"
import * as SqlError from "effect/sql/SqlError"

export type Failure =
  /** A conflict with other transactions: the same transaction, run again, may well succeed. */
  | "conflict"
  /** The connection is gone; whether a COMMIT arrived is not known. */
  | "disconnected"
  /** The write itself is refused. */
  | "constraint"
  | "other"

interface Fields {
  readonly code?: string
  readonly schema?: string
  readonly table?: string
  readonly column?: string
  readonly constraint?: string
}

const fieldsOf = (error: SqlError.SqlError): Fields => (error.reason.cause ?? {}) as Fields

export const classify = (error: SqlError.SqlError): Failure => {
  const code = fieldsOf(error).code ?? ""
  switch (error.reason._tag) {
    case "SerializationError":
    case "DeadlockError":
      return "conflict"
    case "ConnectionError":
      return "disconnected"
    case "UniqueViolation":
    case "ConstraintError":
      return "constraint"
    default:
      // Bad data, what is too large for an index, and what a trigger raises: the write's own fault.
      if (code.startsWith("22") || code.startsWith("54") || code === "P0001") return "constraint"
      // Shutting down, starting up, too many connections.
      return code.startsWith("57P") || code === "53300" ? "disconnected" : "other"
  }
}

/** A value does not fit the type of its column. */
export const isValue = (error: SqlError.SqlError): boolean => (fieldsOf(error).code ?? "").startsWith("22")

/** A constraint's refusal as its caller may see it: names only, no data (P7). */
export const refusal = (error: SqlError.SqlError, table: string | undefined, key: string | null): WriteRefused => {
  const fields = fieldsOf(error)
  const where = table ?? (fields.table === undefined ? "" : fields.schema === undefined || fields.schema === "public" ? fields.table : `${fields.schema}.${fields.table}`)
  const constraint = fields.constraint ?? null
  return new WriteRefused({
    table: where,
    key,
    constraint,
    message: constraint !== null
      ? `The constraint ${constraint} refuses the write to ${where}.`
      : fields.column !== undefined
      ? `The column ${fields.column} of ${where} must not be NULL.`
      : `The database refuses the write to ${where}.`
  })
}

export const isSqlError = SqlError.isSqlError
