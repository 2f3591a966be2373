/** The client's store: 100,000 rows loaded by one frame, then one update seen by a sorted query; heap besides the rows. */
import { execFileSync } from "node:child_process"
import { Column, Query, Table } from "@headwater/core"
import * as Codec from "@headwater/core/Codec"
import type { Frame } from "@headwater/core/Message"
import * as compile from "../src/internal/compile.ts"
import * as Replica from "../src/Replica.ts"

declare const gc: (() => void) | undefined

class Task extends Table.make("tasks", {
  columns: { id: Column.uuid, projectId: Column.uuid, title: Column.text, done: Column.boolean, rank: Column.float8 },
  primaryKey: ["id"]
}) {}
const sorted = Query.make("sorted", {}, () => Query.from(Task).where((t) => t.done.not()).orderBy("rank"))

const rows = 100_000
const order = Object.keys(Task.columns)
const id = (i: number) => `00000000-0000-4000-8000-${String(i).padStart(12, "0")}`
const wire = (i: number, rank: number) => [id(i), id(0), `Task ${i}`, false, rank]
const random = (() => {
  let state = 1
  return () => (state = Math.imul(state, 48271) >>> 0 & 0x7fffffff) / 2 ** 31
})()
const median = (times: Array<number>) => times.sort((a, b) => a - b)[times.length >> 1]!
const heap = () => {
  for (let i = 0; i < 4; i++) gc?.()
  return process.memoryUsage().heapUsed
}

const all = Array.from({ length: rows }, (_, i) => wire(i, i))
const first: Frame = {
  type: "frame", to: 1, opened: [{ id: 1, binding: 1 }],
  patches: [{ binding: 1, reset: true, rows: [["tasks", all]], add: all.map((row) => row[0] as string), remove: [] }]
}
const text = JSON.stringify(first)

const message = (): Frame => {
  const decoded = Codec.decodeServer(text)
  if (!decoded.ok || decoded.message.type !== "frame") throw new Error("The frame does not decode.")
  return decoded.message
}
/** CPU, in milliseconds: the clock is no measure on a machine that does other things. */
const cpu = (run: () => void) => {
  const before = process.cpuUsage()
  run()
  const { system, user } = process.cpuUsage(before)
  return (system + user) / 1000
}
const load = (frame: Frame) => {
  const replica = Replica.make({ tasks: compile.tableRows(Task) })
  const view = replica.open(1, compile.query(sorted, { principal: null })({}))
  replica.connected("e", { tasks: order })
  const time = cpu(() => replica.apply(frame, []))
  return { replica, time, view }
}

/** What somebody would write for this one query: rows by id, and an array in order. */
const byHand = (frame: Frame) => {
  const byId = new Map<string, { readonly id: string; rank: number }>()
  const time = cpu(() => {
    for (const [id, projectId, title, done, rank] of frame.patches[0]!.rows[0]![1] as unknown as ReadonlyArray<[string, string, string, boolean, number]>) {
      byId.set(id, Object.freeze({ id, projectId, title, done, rank }))
    }
    sortedByHand = [...byId.values()].sort((a, b) => a.rank - b.rank || (a.id < b.id ? -1 : 1))
  })
  return time
}
let sortedByHand: ReadonlyArray<unknown> = []

/** In a process of its own nothing else is measured. */
const [, , what] = process.argv
if (what !== undefined) {
  let held: unknown = what === "rows" ? message().patches[0]!.rows[0]![1].map(compile.tableRows(Task).decoder(order)) : what === "replica" ? load(message()) : undefined
  console.log(heap())
  held = undefined
  process.exit(held === undefined ? 0 : 1)
}

const hands = Array.from({ length: 5 }, () => byHand(message()))
if (sortedByHand.length !== rows) throw new Error("The result is wrong.")
sortedByHand = []
const loads = Array.from({ length: 5 }, () => {
  const { time, view } = load(message())
  if (view.rows?.length !== rows || view.rows[10]!.rank !== 10) throw new Error("The result is wrong.")
  return time
})
console.log(`load ${rows} rows: ${median(loads).toFixed(0)} ms (goal 100); by hand ${median(hands).toFixed(0)} ms`)

const heapOf = (what: string) => Number(execFileSync(process.execPath, [...process.execArgv, import.meta.filename, what]))
const none = heapOf("none")
const withRows = heapOf("rows") - none
console.log(`heap besides the rows (${(withRows / 1e6).toFixed(0)} MB): ${((heapOf("replica") - none - withRows) / 1e6).toFixed(1)} MB (goal 10)`)

const { replica, view } = load(message())
let to = 1
const update = (name: string, count: number, read: boolean) => {
  const times = Array.from({ length: 7 }, () => {
    const frames = Array.from({ length: count }, (): Frame => ({
      type: "frame", to: ++to,
      patches: [{ binding: 1, rows: [["tasks", [wire(Math.floor(random() * rows), random() * rows)]]], add: [], remove: [] }]
    }))
    return cpu(() => {
      for (const frame of frames) {
        if (replica.apply(frame, []).views.length !== 1) throw new Error("Nobody was told.")
        if (read && view.rows!.length !== rows) throw new Error("The result is wrong.")
      }
    }) * 1000 / count
  })
  console.log(`${name}: ${median(times).toFixed(2)} µs`)
}
update("one update of a sorted query over 100,000 rows, told (goal 10)", 5000, false)
update("the same, and the whole result read each time", 200, true)
