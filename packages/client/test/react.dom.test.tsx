import type { LiveQuery } from "@headwater/client/LiveQuery"
import { createClient } from "@headwater/client/promise"
import { useConnection, useLiveQuery, useLiveQuerySuspense, usePending, useRejected } from "@headwater/client/react"
import type { Patch } from "@headwater/core/Message"
import { act, Component, type ReactNode, StrictMode, Suspense } from "react"
import { createRoot, type Root } from "react-dom/client"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { Board, columns, Task, wire } from "./board.ts"
import * as FakeServer from "./FakeServer.ts"

declare global {
  var IS_REACT_ACT_ENVIRONMENT: boolean
}

const connect = () => {
  const server = FakeServer.make()
  const client = createClient(Board, {
    url: "ws://test", WebSocket: server.WebSocket,
    optimistic: { moveTask: (tx, { id, rank }) => tx.update(Task, { id, rank }) }
  })
  return { client, server }
}

let server: FakeServer.FakeServer
let client: ReturnType<typeof connect>["client"]
let container: HTMLElement
let root: Root

beforeEach(async () => {
  globalThis.IS_REACT_ACT_ENVIRONMENT = true
  ;({ client, server } = connect())
  await FakeServer.settled()
  server.peer.hello()
  server.peer.welcome({ columns })
  container = document.body.appendChild(document.createElement("div"))
  root = createRoot(container)
})

afterEach(async () => {
  act(() => root.unmount())
  container.remove()
  await client.sync.close()
})

const show = (node: ReactNode) => act(async () => {
  root.render(<StrictMode>{node}</StrictMode>)
  await FakeServer.settled()
})

const patch = (ranks: ReadonlyArray<readonly [string, number]>, binding: number): Patch =>
  ({ binding, reset: true, rows: [["app.tasks", ranks.map(([id, rank]) => wire(id, rank))]], add: ranks.map(([id]) => id), remove: [] })

const answer = (id: number, ranks: ReadonlyArray<readonly [string, number]>, to = 1) =>
  act(async () => {
    server.peer.frame(to, { opened: [{ id, binding: id }], patches: [patch(ranks, id)] })
    await FakeServer.settled()
  })

const List = ({ query }: { readonly query: LiveQuery<ReadonlyArray<Task>> }) => {
  const { status, value } = useLiveQuery(query)
  return <p>{status}: {value?.map((task) => `${task.id}${task.rank}`).join(" ")}</p>
}

describe("useLiveQuery", () => {
  it("under StrictMode subscribes once, shows what is live, and renders again only for its own changes", async () => {
    let renders = 0
    const Counted = () => {
      renders++
      // Asked for in each render, as applications do.
      return <List query={client.allTasks()} />
    }
    await show(<Counted />)
    assert.strictEqual(container.textContent, "loading: ")
    const [subscription, ...others] = server.peer.take("subscribe")
    assert.deepStrictEqual(others, [])
    await answer(subscription!.id, [["a", 1], ["b", 2]])
    assert.strictEqual(container.textContent, "live: a1 b2")
    const before = renders
    await act(async () => void client.moveTask({ id: "a", rank: 3 }))
    assert.strictEqual(container.textContent, "live: b2 a3")
    assert.strictEqual(renders, before, "the parent is not concerned")
    act(() => server.peer.cut())
    assert.strictEqual(container.textContent, "stale: b2 a3")
  })

  it("a remount, as hot reload does it, keeps the subscription and shows the value at once", async () => {
    await show(<List key="1" query={client.allTasks()} />)
    const [subscription] = server.peer.take("subscribe")
    await answer(subscription!.id, [["a", 1]])
    for (const key of ["2", "3", "4"]) {
      await show(<List key={key} query={client.allTasks()} />)
      assert.strictEqual(container.textContent, "live: a1")
    }
    await show(<p>gone</p>)
    await show(<List key="5" query={client.allTasks()} />)
    assert.strictEqual(container.textContent, "live: a1")
    assert.deepStrictEqual([server.peer.take("subscribe"), server.peer.take("unsubscribe")], [[], []])
  })

  it("other parameters are another query", async () => {
    await show(<List query={client.openTasks({ projectId: "p1" })} />)
    const [first] = server.peer.take("subscribe")
    await answer(first!.id, [["a", 1]])
    await show(<List query={client.openTasks({ projectId: "p2" })} />)
    assert.strictEqual(container.textContent, "loading: ")
    const [second] = server.peer.take("subscribe")
    await answer(second!.id, [["c", 3]], 2)
    assert.strictEqual(container.textContent, "live: c3")
  })
})

class Boundary extends Component<{ readonly children: ReactNode }, { readonly error: unknown }> {
  override state: { readonly error: unknown } = { error: undefined }
  static getDerivedStateFromError(error: unknown) {
    return { error }
  }
  override render() {
    return this.state.error === undefined ? this.props.children : <p>failed: {String(this.state.error)}</p>
  }
}

describe("useLiveQuerySuspense", () => {
  const One = ({ id }: { readonly id: string }) => {
    const task = useLiveQuerySuspense(client.taskById({ id }))
    return <p>{task === null ? "none" : task.title}</p>
  }

  it("suspends until the value is known, asks once, and goes on", async () => {
    await show(<Suspense fallback={<p>waiting</p>}><One id="a" /></Suspense>)
    assert.strictEqual(container.textContent, "waiting")
    const [subscription, ...others] = server.peer.take("subscribe")
    assert.deepStrictEqual(others, [])
    await answer(subscription!.id, [["a", 1]])
    assert.strictEqual(container.textContent, "Task a")
    act(() => server.peer.frame(2, { patches: [{ binding: subscription!.id, rows: [], add: [], remove: ["a"] }] }))
    assert.strictEqual(container.textContent, "none")
    assert.deepStrictEqual(server.peer.take("subscribe"), [])
  })

  it("throws the query's error where there is nothing to show", async () => {
    const { error } = console
    console.error = () => undefined
    try {
      await show(<Boundary><Suspense fallback={<p>waiting</p>}><One id="a" /></Suspense></Boundary>)
      const [subscription] = server.peer.take("subscribe")
      await act(async () => {
        server.peer.send({ type: "error", code: "Forbidden", message: "not yours", id: subscription!.id, fatal: false })
        await FakeServer.settled()
      })
      assert.include(container.textContent, "not yours")
    } finally {
      console.error = error
    }
  })
})

it("useConnection, usePending and useRejected show the client's state", async () => {
  const Status = () => {
    const { status } = useConnection(client)
    const pending = usePending(client)
    const rejected = useRejected(client)
    return <p onClick={() => rejected[0]?.dismiss()}>{status} {pending.map(({ name }) => name).join(" ")} {rejected.length}</p>
  }
  await show(<Status />)
  assert.strictEqual(container.textContent, "online  0")
  await act(async () => void client.moveTask({ id: "a", rank: 1 }))
  assert.strictEqual(container.textContent, "online moveTask 0")
  act(() => server.peer.frame(1, { receipts: [{ seq: 1, outcome: { type: "refused", reason: { _tag: "Forbidden", message: "no" } } }] }))
  assert.strictEqual(container.textContent, "online  1")
  act(() => container.querySelector("p")!.click())
  assert.strictEqual(container.textContent, "online  0")
  act(() => server.peer.cut())
  assert.strictEqual(container.textContent, "offline  0")
})
