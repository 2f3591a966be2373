/**
 * What one step, or several, do to a binding, in the form that is sent: rows encoded once, text built once.
 *
 * A patch never changes. Merging is associative, and applying a merged patch equals applying its parts in turn: a row that
 * left and came back is neither added nor removed but sent, one that came and left is not mentioned at all.
 *
 * Cost: `merge` and `text` are linear in the rows and keys mentioned.
 */
import type { Key } from "@headwater/core/Key"

export interface Patch {
  /** As clients know the binding. */
  readonly binding: number
  readonly table: string
  /** The whole result: replaces what is held. */
  readonly reset: boolean
  /** New and changed rows, as JSON text, by key. */
  readonly rows: ReadonlyMap<Key, string>
  /** Members that joined; their rows are in `rows`. */
  readonly add: ReadonlySet<Key>
  readonly remove: ReadonlySet<Key>
  /** JSON text; undefined where unchanged. */
  readonly boundary: string | undefined
}

const none: ReadonlySet<Key> = new Set()

/** The result of one that may see nothing. */
export const emptied = (binding: number, table: string, boundary: string | undefined): Patch =>
  ({ binding, table, reset: true, rows: new Map(), add: none, remove: none, boundary })

/** What `first` and then `second` do. Both must be of the same binding. */
export const merge = (first: Patch, second: Patch): Patch => {
  if (second.reset) return second
  const rows = new Map(first.rows)
  const add = new Set(first.add)
  const remove = new Set(first.remove)
  for (const key of second.remove) {
    rows.delete(key)
    // One that was added in between was not held before, so there is nothing to take away.
    if (!add.delete(key) && !first.reset) remove.add(key)
  }
  for (const key of second.add) {
    if (!remove.delete(key)) add.add(key)
  }
  for (const [key, row] of second.rows) rows.set(key, row)
  return {
    binding: second.binding,
    table: second.table,
    reset: first.reset,
    rows,
    add,
    remove,
    boundary: second.boundary ?? first.boundary
  }
}

export const mergeAll = (patches: ReadonlyArray<Patch>): Patch => {
  // What lies before the last reset is of no consequence.
  let start = patches.length - 1
  while (start > 0 && !patches[start]!.reset) start--
  return patches.slice(start + 1).reduce(merge, patches[start]!)
}

/** Nothing to tell: its parts undid each other. */
export const isEmpty = (patch: Patch): boolean =>
  !patch.reset && patch.rows.size === 0 && patch.add.size === 0 && patch.remove.size === 0 && patch.boundary === undefined

const texts = new WeakMap<Patch, string>()

/** The patch as it stands in a frame; made once, shared by all that receive it. */
export const text = (patch: Patch): string => {
  let made = texts.get(patch)
  if (made === undefined) texts.set(patch, made = encode(patch))
  return made
}

const encode = (patch: Patch): string => {
  let rows = ""
  for (const row of patch.rows.values()) rows += rows === "" ? row : `,${row}`
  return `{"binding":${patch.binding}${patch.reset ? ",\"reset\":true" : ""},"rows":[${
    rows === "" ? "" : `[${JSON.stringify(patch.table)},[${rows}]]`
  }],"add":${keys(patch.add)},"remove":${keys(patch.remove)}${patch.boundary === undefined ? "" : `,"boundary":${patch.boundary}`}}`
}

const keys = (set: ReadonlySet<Key>): string => {
  let made = ""
  for (const key of set) made += made === "" ? JSON.stringify(key) : `,${JSON.stringify(key)}`
  return `[${made}]`
}
