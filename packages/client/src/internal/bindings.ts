/**
 * What the frames of a connection mean: which views a binding stands for, and how its rows are read.
 *
 * Invariant: a view has at most one binding, and all views of a binding have the same members and boundary. Everything that
 * can be wrong with a frame is found by `read`, before anything changes. A new connection starts with no binding.
 *
 * Time of a frame: O(rows sent, added and removed), per view of its binding.
 */
import type { Key } from "@headwater/core/Key"
import type { Frame } from "@headwater/core/Message"
import type { Row } from "@headwater/core/Row"
import type { Json, Value } from "@headwater/core/Value"
import type { TableRows } from "../Replica.ts"
import * as Store from "./store.ts"
import * as View from "./view.ts"

/** A frame that cannot be applied; nothing of it was. */
export class FrameRefused {
  readonly message: string
  constructor(message: string) {
    this.message = message
  }
}

export interface Bindings {
  /** Throws `FrameRefused` where a table cannot be read in that order; then nothing changed. */
  connected(columns: { readonly [table: string]: ReadonlyArray<string> }): void
  has(view: View.State): boolean
  delete(view: View.State): void
  /** Throws `FrameRefused`. */
  read(frame: Frame): ReadonlyArray<Decoded>
  /** Applies a frame to members and confirmed rows. */
  apply(frame: Frame, decoded: ReadonlyArray<Decoded>, hasPending: boolean): void
}

/** A patch that fits. */
interface Decoded {
  readonly targets: ReadonlyArray<View.State>
  readonly patch: Frame["patches"][number]
  readonly keys: ReadonlyArray<Key>
  readonly rows: ReadonlyArray<Row>
  readonly add: ReadonlyArray<Key>
  readonly boundary: ReadonlyArray<Value> | null | undefined
}

export const make = (tables: { readonly [name: string]: TableRows }, views: ReadonlyMap<number, View.State>): Bindings => {
  let decoders: ReadonlyMap<string, (wire: ReadonlyArray<Json>) => Row> = new Map()
  const targetsOf = new Map<number, Set<View.State>>()
  const bindingOf = new Map<View.State, number>()

  const unbind = (view: View.State) => {
    const binding = bindingOf.get(view)
    if (bindingOf.delete(view)) targetsOf.get(binding!)?.delete(view)
  }

  const answer = (frame: Frame) => {
    for (const { binding, id } of frame.opened ?? []) {
      const view = views.get(id)
      if (view === undefined) continue
      unbind(view)
      let sharers = targetsOf.get(binding)
      if (sharers === undefined) targetsOf.set(binding, sharers = new Set())
      const known = view.known ? undefined : [...sharers].find((other) => other.known)
      if (known !== undefined) {
        View.reset(view, View.membersOf(known))
        view.boundary = known.boundary
      }
      sharers.add(view)
      bindingOf.set(view, binding)
    }
  }

  return {
    connected(columns) {
      decoders = new Map(Object.entries(columns).flatMap(([table, order]) =>
        Object.hasOwn(tables, table) ? [[table, tables[table]!.decoder(order)] as const] : []))
      targetsOf.clear()
      bindingOf.clear()
    },
    has: (view) => bindingOf.has(view),
    delete: unbind,
    read(frame) {
      const opened = new Map<number, Array<View.State>>()
      for (const { binding, id } of frame.opened ?? []) {
        const view = views.get(id)
        if (view !== undefined) opened.set(binding, [...opened.get(binding) ?? [], view])
      }
      const based = new Set<View.State>()
      return frame.patches.flatMap((patch): ReadonlyArray<Decoded> => {
        const targets = [...new Set([...targetsOf.get(patch.binding) ?? [], ...opened.get(patch.binding) ?? []])]
        const [first] = targets
        if (first === undefined) return []
        const { store } = first
        const rows: Array<Row> = []
        for (const [table, wires] of patch.rows) {
          if (table !== store.name) continue
          const decode = decoders.get(table)
          if (decode === undefined) throw new FrameRefused(`The server named no columns of ${table}.`)
          for (const wire of wires) rows.push(decode(wire))
        }
        const keys = rows.map(store.keyOf)
        // Mostly all rows are new ones, in the same order: then one string stands for a key everywhere.
        const aligned = patch.add.length === keys.length && patch.add.every((key, i) => key === keys[i])
        if (!aligned) {
          const sent = new Set(keys)
          for (const key of patch.add) {
            if (!sent.has(key) && !store.confirmed.rows.has(key)) throw new FrameRefused(`A row of ${store.name} was neither sent nor held.`)
          }
        }
        for (const view of targets) {
          if (patch.reset) based.add(view)
          else if (!view.known && !based.has(view) && !targets.some((other) => other.known)) throw new FrameRefused("A query's first patch is no whole result.")
        }
        const boundary = patch.boundary && first.definition.boundary(patch.boundary)
        return [{ targets, patch, keys, rows, add: aligned ? keys : patch.add, boundary }]
      })
    },
    apply(frame, decoded, hasPending) {
      answer(frame)
      for (const { add, boundary, keys, patch, rows, targets } of decoded) {
        const [first, ...others] = targets as readonly [View.State, ...Array<View.State>]
        const { store } = first
        changeMembers(first, patch, add)
        for (let i = 0; i < rows.length; i++) if (add === keys || View.isMember(first, keys[i]!)) Store.confirm(store, keys[i]!, rows[i]!, hasPending)
        for (const view of others) changeMembers(view, patch, add)
        for (const view of targets) {
          if (boundary === undefined && !patch.reset) continue
          view.boundary = boundary
          view.todo.recheck = true
        }
      }
    }
  }
}

const changeMembers = (view: View.State, patch: Frame["patches"][number], add: ReadonlyArray<Key>) => {
  if (patch.reset) return View.reset(view, add)
  for (const key of patch.remove) {
    View.leave(view, key)
    Store.mark(view.store, key)
  }
  for (const key of add) {
    View.join(view, key)
    Store.mark(view.store, key)
  }
}
