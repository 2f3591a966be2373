/** The promise client with one live query and one mutation, over a contract without Schema. */
import { createClient } from "@headwater/client/promise"
import * as Column from "@headwater/core/Column"
import * as Contract from "@headwater/core/Contract"
import * as Mutation from "@headwater/core/Mutation"
import * as Query from "@headwater/core/Query"
import * as Table from "@headwater/core/Table"

class Task extends Table.make("tasks", { columns: { id: Column.uuid, title: Column.text, rank: Column.float8 }, primaryKey: ["id"] }) {}
const tasks = Query.make("tasks", {}, () => Query.from(Task).orderBy("rank").limit(50))
const moveTask = Mutation.make("moveTask", { payload: { id: Task.columns.id, rank: Column.float8 } })
class Board extends Contract.make("board", { tables: [Task], queries: { tasks }, mutations: { moveTask } }) {}

const client = createClient(Board, { url: "/sync", optimistic: { moveTask: (tx, move) => tx.update(Task, move) } })
const live = client.tasks()
live.subscribe(() => console.log(live.snapshot))
void client.moveTask({ id: "0f8b7f3c-4b6a-4e57-9b53-d3a5f2b0d1c4", rank: 1 }).then(console.log)
