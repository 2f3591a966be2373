/**
 * Whether two rows, or two values, have the same content.
 *
 * Values are canonical, so only JSON needs a deep look. Time: O(columns), and O(size) of JSON values that differ in identity.
 */
import type { Row } from "@headwater/core/Row"
import type { Value } from "@headwater/core/Value"

export const isSame = (a: Row | Value | undefined, b: Row | Value | undefined): boolean => {
  if (a === b) return true
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a !== a && b !== b
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const left = a as { readonly [key: string]: Value }
  const right = b as { readonly [key: string]: Value }
  const keys = Object.keys(left)
  if (keys.length !== Object.keys(right).length) return false
  for (const key of keys) if (!Object.hasOwn(right, key) || !isSame(left[key], right[key])) return false
  return true
}
