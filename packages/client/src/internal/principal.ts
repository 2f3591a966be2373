/** Who the server says the caller is: as the application knows it, and as conditions compare it. */
import type * as Contract from "@headwater/core/Contract"
import * as Field from "@headwater/core/Field"
import type { Welcome } from "@headwater/core/Message"
import { FrameRefused } from "../Replica.ts"
import type { Caller } from "./compile.ts"

export interface Principal {
  readonly caller: Caller
  /** Undefined while it is not known. */
  readonly value: object | undefined
  /** Whether it is another one than before. Throws `FrameRefused` where it does not fit the contract. */
  set(wire: Welcome["principal"]): boolean
}

export const make = ({ principal }: Contract.Any): Principal => {
  const caller: Caller = { principal: null }
  let value: object | undefined
  let text = ""
  return {
    caller,
    get value() {
      return value
    },
    set(wire) {
      const before = text
      text = JSON.stringify(wire ?? null)
      if (text === before) return false
      caller.principal = null
      value = undefined
      if (principal === undefined || wire === undefined) return true
      const decoded = Field.decode(principal.fields, wire)
      const row = decoded.ok ? Field.canonicalRow(principal.types, decoded.value) : decoded
      if (!decoded.ok || !row.ok) throw new FrameRefused(`The server's principal does not fit: ${row.ok ? "" : row.message}`)
      value = decoded.value
      caller.principal = row.value
      return true
    }
  }
}
