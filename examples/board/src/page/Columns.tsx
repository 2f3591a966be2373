import { useLiveQuery } from "@headwater/client/react"
import { useState } from "react"
import { type Card, type Project, type Status, statuses, type User } from "../contract/tables.ts"
import { CardView } from "./CardView.tsx"
import type { BoardClient } from "./client.ts"

const names: Record<Status, string> = { backlog: "Backlog", doing: "Doing", done: "Done", todo: "To do" }

/** A rank between two neighbours; beyond the last one where there is none. */
const between = (before: number | undefined, after: number | undefined) =>
  before === undefined ? (after === undefined ? 0 : after - 1) : after === undefined ? before + 1 : (before + after) / 2

export const Columns = ({ client, people, project }: {
  readonly client: BoardClient
  readonly people: ReadonlyArray<User>
  readonly project: Project
}) => {
  const { status: state, value: cards } = useLiveQuery(client.cards({ projectId: project.id }))
  const [dragged, setDragged] = useState<Card["id"] | null>(null)
  const inColumn = (status: Status) => cards?.filter((card) => card.status === status) ?? []

  /** Puts a card before `next`, or at the column's end. */
  const move = (id: Card["id"], status: Status, next: Card | undefined) => {
    // A card that leaves its column takes the end of its drag along.
    setDragged(null)
    if (next?.id === id) return
    const others = inColumn(status).filter((card) => card.id !== id)
    const at = next === undefined ? others.length : others.findIndex((card) => card.id === next.id)
    void client.moveCard({ id, status, rank: between(others[at - 1]?.rank, others[at]?.rank) })
  }
  const add = (status: Status, title: string) =>
    client.createCard({
      id: crypto.randomUUID() as Card["id"],
      projectId: project.id,
      rank: between(inColumn(status).at(-1)?.rank, undefined),
      status,
      title
    })
  return (
    <div className="columns" data-state={state}>
      {statuses.map((status, index) => {
        const held = inColumn(status)
        return (
          <Column
            key={status}
            status={status}
            count={held.length}
            dragging={dragged !== null}
            onAdd={(title) => void add(status, title)}
            onDrop={() => dragged !== null && move(dragged, status, undefined)}
          >
            {held.map((card) => (
              <CardView
                key={card.id}
                card={card}
                client={client}
                people={people}
                onDrag={setDragged}
                onDropBefore={() => dragged !== null && move(dragged, status, card)}
                onStep={(by) => {
                  const to = statuses[index + by]
                  if (to !== undefined) move(card.id, to, undefined)
                }}
              />
            ))}
          </Column>
        )
      })}
    </div>
  )
}

const Column = ({ children, count, dragging, onAdd, onDrop, status }: {
  readonly children: React.ReactNode
  readonly count: number
  readonly dragging: boolean
  readonly onAdd: (title: string) => void
  readonly onDrop: () => void
  readonly status: Status
}) => {
  const [title, setTitle] = useState("")
  const [over, setOver] = useState(false)
  return (
    <section
      className={`column ${status}${over && dragging ? " over" : ""}`}
      aria-label={names[status]}
      onDragOver={(event) => {
        event.preventDefault()
        setOver(true)
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault()
        setOver(false)
        onDrop()
      }}
    >
      <h2>
        {names[status]} <span className="count">{count}</span>
      </h2>
      <ul>{children}</ul>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          if (title.trim() !== "") onAdd(title)
          setTitle("")
        }}
      >
        <input value={title} onChange={(event) => setTitle(event.target.value)} placeholder="Add a card" aria-label={`Add a card to ${names[status]}`} maxLength={200} />
      </form>
    </section>
  )
}
