/**
 * JSON text that is the same for equal values, whatever the order of their keys; and a hash of it.
 */
import type { Json } from "@headwater/core/Value"
import { createHash } from "node:crypto"

export const text = (value: Json): string => {
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(text).join(",")}]`
  const fields = Object.entries(value as { readonly [key: string]: Json }).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${fields.map(([key, field]) => `${JSON.stringify(key)}:${text(field)}`).join(",")}}`
}

/** 128 bits of SHA-256, as text. */
export const hash = (value: Json): string => createHash("sha256").update(text(value)).digest("base64url").slice(0, 22)
