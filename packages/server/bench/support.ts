/** What the server's benchmarks share: a small contract, and numbers. */
import { Access, Column, Contract, Mutation, Query, Table, Transaction } from "@headwater/core"
import { Effect } from "effect"
import * as Handlers from "../src/Handlers.ts"

export class Task extends Table.make("tasks", {
  columns: { id: Column.int4, projectId: Column.text, title: Column.text, points: Column.int4, updatedAt: Column.int8 },
  primaryKey: ["id"]
}) {}

const createTask = Mutation.make("createTask", { payload: { id: Column.int4, projectId: Column.text, title: Column.text, points: Column.int4, updatedAt: Column.int8 } })

export class Tasks extends Contract.make("bench", {
  tables: [Task],
  access: [Access.make(Task, { read: true, insert: true })],
  queries: { tasksOf: Query.make("tasksOf", { projectId: Column.text }, ({ projectId }) => Query.from(Task).where((task) => task.projectId.eq(projectId))) },
  mutations: { createTask }
}) {}

export const handlers = Handlers.layer(Tasks, {
  createTask: (task) => Effect.flatMap(Transaction, (tx) => Effect.asVoid(tx.insert(Task, task)))
})

export const median = (numbers: ReadonlyArray<number>): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!

export const check = (what: string, isTrue: boolean): void => {
  if (!isTrue) throw new Error(`Wrong result: ${what}`)
}

export const report = (title: string, rows: ReadonlyArray<{ readonly [column: string]: string | number }>): void => {
  for (const row of rows) console.log(JSON.stringify({ bench: title, ...row }))
  console.log(`\n${title}`)
  console.table(rows)
}
