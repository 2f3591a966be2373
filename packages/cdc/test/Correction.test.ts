/**
 * Reads of a simulated database whose transactions become visible in another order than they commit, corrected at every
 * position and compared with the state that the delivered transactions alone make.
 */
import type { Change } from "@headwater/core/Change"
import type { Position } from "@headwater/core/Position"
import type { RangeRows } from "@headwater/core/Range"
import type { Row } from "@headwater/core/Row"
import { assert, describe, test } from "vitest"
import * as Correction from "../src/Correction.ts"
import * as Snapshot from "../src/Snapshot.ts"
import * as TransactionLog from "../src/TransactionLog.ts"
import { random, type Random, seedOf } from "./random.ts"

const table = "tasks"
type Task = { readonly id: number; readonly list: number; readonly rank: number; readonly text: string }
type State = ReadonlyMap<number, Task>

interface Model {
  readonly id: bigint
  readonly changes: ReadonlyArray<Change>
  readonly truncates: boolean
  readonly keys: ReadonlySet<number>
  visible: boolean
  position: Position | null
}

/** What the transactions make together; any order that keeps conflicting ones in commit order gives the same. */
const sum = (transactions: Iterable<Model>): State => {
  const state = new Map<number, Task>()
  for (const { changes, truncates } of transactions) {
    if (truncates) state.clear()
    for (const { after, before } of changes) {
      if (before !== null) state.delete((before as Task).id)
      if (after !== null) state.set((after as Task).id, after as Task)
    }
  }
  return state
}

/** One of `kinds` of source: a log has transactions before they are visible, triggers after that. */
const run = (kind: "log" | "triggers", { chance, int, pick }: Random) => {
  const committed: Array<Model> = []
  let latest: State = new Map()
  let nextId = 5_000_000_000n
  const reserved: Array<bigint> = []
  let position = 0
  const log = TransactionLog.make()
  const counts = { reads: 0, answers: 0, both: 0, truncations: 0 }

  const takeId = () => {
    // Ids are handed out long before commit, so that their order is not that of commits.
    while (reserved.length < 5) reserved.push(nextId++)
    return reserved.splice(int(5), 1)[0]!
  }
  const commit = () => {
    const truncates = chance(0.08)
    // Nobody can write to a table whose TRUNCATE is not visible yet, nor truncate it beside a writer.
    if (committed.some((model) => !model.visible && (model.truncates || truncates))) return
    const next = new Map(truncates ? [] : latest)
    const keys = new Set<number>()
    const changes: Array<Change> = []
    for (let writes = 1 + int(4); writes > 0; writes--) {
      const id = int(12)
      // A row that an invisible transaction wrote is still locked.
      if (committed.some((model) => !model.visible && model.keys.has(id))) continue
      keys.add(id)
      const before = next.get(id) ?? null
      const after = before !== null && chance(0.3) ? null : { id, list: int(3), rank: int(4), text: `${committed.length}.${writes}` }
      if (after === null) next.delete(id)
      else next.set(id, after)
      changes.push({ table, before, after })
    }
    latest = next
    const model: Model = { id: takeId(), changes: chance(0.5) ? changes : changes.toReversed(), truncates, keys, visible: false, position: null }
    // `sum` needs the order in which they happened.
    committed.push({ ...model, changes })
    if (kind === "log") deliver([committed.at(-1)!])
  }
  const deliver = (models: ReadonlyArray<Model>) => {
    position += 1 + int(3)
    for (const model of models) model.position = position
    log.append(models.map(transaction))
  }
  const transaction = (model: Model): TransactionLog.Transaction => ({
    id: model.id, position: model.position, changes: model.changes, truncated: model.truncates ? [table] : []
  })
  const show = () => {
    const hidden = committed.filter((model) => !model.visible)
    if (hidden.length > 0) pick(hidden).visible = true
  }
  const step = () => {
    const fresh = committed.filter((model) => model.visible && model.position === null)
    if (fresh.length > 0) deliver(fresh)
  }
  const snapshot = () => {
    const visible = new Set(committed.filter((model) => model.visible).map((model) => model.id))
    const xmax = [...visible].reduce((max, id) => id >= max ? id + 1n : max, 0n)
    const xip: Array<bigint> = []
    for (let id = 5_000_000_000n; id < xmax; id++) if (!visible.has(id)) xip.push(id)
    return Snapshot.parse(`${xip[0] ?? xmax}:${xmax}:${xip}`)
  }
  const happen = (steps: number) => {
    for (; steps > 0; steps--) {
      const act = int(10)
      if (act < 4) commit()
      else if (act < 8) show()
      else if (act < 9 && kind === "triggers") step()
      else if (act < 9) log.settle(snapshot())
    }
  }

  for (let rounds = 0; rounds < 40; rounds++) {
    happen(int(12))
    const hold = log.hold()
    const from = position
    happen(int(6))
    // The read waits for the table's lock before it takes its snapshot.
    for (const model of committed) if (model.truncates) model.visible = true
    if (kind === "triggers" && committed.some((model) => model.truncates && model.position === null)) step()
    const seen = snapshot()
    const limit = chance(0.5) ? 1 + int(5) : null
    const after = chance(0.3) ? [int(3), int(12)] : null
    const filter = filterOf(int(3), after)
    const inRange = (state: State) => [...state.values()].filter(filter.admits).sort(filter.compare)
    const found = inRange(sum(committed.filter((model) => model.visible)))
    const rows = limit === null ? found : found.slice(0, limit)
    const last = rows.at(-1)
    const read: RangeRows = { rows, completeTo: limit !== null && rows.length === limit && last ? [last.rank, last.id] : null }
    if (kind === "triggers") {
      const unstepped = committed.filter((model) => model.visible && (model.position === null || model.position > from))
      hold.know(unstepped.map((model) => ({ ...transaction(model), position: null })))
    }
    happen(int(15))

    const first = Correction.exactFrom(new Set([table]), seen, hold.transactions, from)
    counts.reads++
    if (first !== null && first > from) counts.truncations++
    for (let k = first ?? Infinity; k <= position; k++) {
      const { completeTo, rows } = Correction.at(filter, seen, read, hold.transactions, k)
      const expected = inRange(sum(committed.filter((model) => model.position !== null && model.position <= k)))
        .filter((row) => completeTo === null || filter.isWithin(row, completeTo))
      assert.deepStrictEqual(rows, expected)
      counts.answers++
      if (committed.some((m) => m.visible && (m.position ?? Infinity) > k) && committed.some((m) => !m.visible && (m.position ?? Infinity) <= k)) counts.both++
    }
    hold.close()
  }
  assert.isAtMost(log.size, committed.length)
  return counts
}

const filterOf = (list: number, after: ReadonlyArray<number> | null): Correction.RangeFilter => {
  const values = (row: Row) => [(row as Task).rank, (row as Task).id] as const
  const compare = (left: ReadonlyArray<unknown>, right: ReadonlyArray<unknown>) =>
    (left[0] as number) - (right[0] as number) || (left[1] as number) - (right[1] as number)
  return {
    table,
    key: (row) => String((row as Task).id),
    same: (left, right) => JSON.stringify(left) === JSON.stringify(right),
    admits: (row) => (row as Task).list !== list && (after === null || compare(values(row), after) > 0),
    ordered: true,
    compare: (left, right) => compare(values(left), values(right)),
    isWithin: (row, boundary) => compare(values(row), boundary) <= 0
  }
}

describe("P1 a read is exact at a position, whatever its snapshot saw", () => {
  for (const kind of ["log", "triggers"] as const) {
    test(kind, () => {
      const seed = seedOf()
      const total = { reads: 0, answers: 0, both: 0, truncations: 0 }
      for (let runs = 0; runs < 60; runs++) {
        try {
          const counts = run(kind, random(seed + runs))
          for (const name of Object.keys(total) as Array<keyof typeof total>) total[name] += counts[name]
        } catch (error) {
          console.error(`SEED=${seed + runs}`)
          throw error
        }
      }
      assert.isAbove(total.answers, 3000)
      assert.isAbove(total.truncations, 10)
      if (kind === "log") assert.isAbove(total.both, 300)
    })
  }
})

test("a sum that is not a set of rows is CorruptStep", () => {
  const row = { id: 1, list: 0, rank: 0, text: "a" }
  const log = [{ id: 9n, position: 3, changes: [{ table, before: row, after: null }], truncated: [] }]
  const read = { rows: [], completeTo: null }
  const act = () => Correction.at(filterOf(2, null), Snapshot.parse("9:9:"), read, log, 3)
  assert.throws(act, /tasks.*row 1.*read again/s)
})

test("snapshots are read as Postgres prints them", () => {
  const snapshot = Snapshot.parse("10:20:12,15")
  const seen = [9n, 10n, 11n, 12n, 15n, 19n, 20n, 21n].filter((id) => Snapshot.sees(snapshot, id))
  assert.deepStrictEqual(seen, [9n, 10n, 11n, 19n])
  assert.strictEqual(Snapshot.format(snapshot), "10:20:12,15")
  assert.throws(() => Snapshot.parse("10:x:"))
})

test("a 32-bit id is widened to the nearest", () => {
  const epoch = 1n << 32n
  assert.strictEqual(Snapshot.widen(5, 3n * epoch - 7n), 3n * epoch + 5n)
  assert.strictEqual(Snapshot.widen(0xffff_fff0, 3n * epoch + 7n), 3n * epoch - 16n)
  assert.strictEqual(Snapshot.widen(700, epoch + 650n), epoch + 700n)
})
