/**
 * What the graph keeps for one table, and the change that it is at.
 *
 * The change's row is looked up once, and only when a binding asks for it.
 */
import * as Key from "../../data/Key.ts"
import type { Row } from "../../data/Row.ts"
import type * as Table from "../../schema/Table.ts"
import type { CompiledShape } from "./compiledShape.ts"
import type { Shared } from "./exists.ts"
import { type Held, Rows } from "./rows.ts"

export class TableState {
  readonly rows: Rows
  readonly shapes: Array<CompiledShape> = []
  readonly arrangements = new Set<Shared>()
  /** The row before the change, as it is held where it is. Set by what looks it up. */
  before: Row | null = null
  after: Row | null = null
  #held: Held | null = null
  #wasHeld = false
  #key: Key.Key | undefined

  constructor(table: Table.Any) {
    this.rows = new Rows(Key.make(table), Object.keys(table.columns))
  }

  begin(before: Row | null, after: Row | null): void {
    this.before = before
    this.after = after
    this.#held = null
    this.#key = undefined
  }

  get key(): Key.Key {
    return this.#key ??= this.rows.keyOf((this.after ?? this.before)!)
  }

  /** Its content is the row after the change, or the one before where it is deleted. */
  current(): Held {
    if (this.#held === null) this.#find()
    return this.#held!
  }

  /** Whether anybody held the row before the change. */
  wasHeld(): boolean {
    if (this.#held === null) this.#find()
    return this.#wasHeld
  }

  #find(): void {
    const { key } = this
    const held = this.rows.byKey.get(key)
    if (held !== undefined) return this.found(held)
    this.#held = { key, row: (this.after ?? this.before)!, uses: 0 }
    this.#wasHeld = false
  }

  /** A binding has it. */
  found(held: Held): void {
    if (this.#held !== null) return
    this.#held = held
    this.#wasHeld = true
    this.before = held.row
    const after = this.after
    // An update that changes nothing leaves the object that everybody has.
    if (after !== null && !this.rows.same(held.row, after)) held.row = after
  }
}
