// What a browser loads at least: the promise client with one live query and one mutation, and a contract without Schema.
import { createClient } from "@headwater/client/promise"
import * as Access from "@headwater/core/Access"
import * as Column from "@headwater/core/Column"
import * as Contract from "@headwater/core/Contract"
import * as Mutation from "@headwater/core/Mutation"
import * as Query from "@headwater/core/Query"
import * as Table from "@headwater/core/Table"

class Task extends Table.make("tasks", { columns: { id: Column.uuid, title: Column.text }, primaryKey: ["id"] }) {}
const tasks = Query.make("tasks", {}, () => Query.from(Task).orderBy("title").limit(100))
const rename = Mutation.make("rename", { payload: { id: Task.columns.id, title: Task.columns.title } })
class Tasks extends Contract.make("tasks", {
  tables: [Task],
  access: [Access.make(Task, { read: true, update: true })],
  queries: { tasks },
  mutations: { rename }
}) {}

const client = createClient(Tasks, {
  url: "ws://localhost/sync",
  optimistic: { rename: (tx, payload) => { tx.update(Task, payload) } }
})
const list = client.tasks()
list.subscribe(() => console.log(list.snapshot.value))
void client.rename({ id: "00000000-0000-4000-8000-000000000000", title: "Hello" })
