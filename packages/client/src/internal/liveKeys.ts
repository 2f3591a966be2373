/** The keys of a live query's current rows, for who compares two of its values. */
import type { Key } from "@headwater/core/Key"

const keys = new WeakMap<object, () => ReadonlyArray<Key>>()

export const set = (query: object, get: () => ReadonlyArray<Key>): void => void keys.set(query, get)

export const get = (query: object): ReadonlyArray<Key> => keys.get(query)?.() ?? []
