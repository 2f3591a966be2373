import { useLiveQuery } from "@headwater/client/react"
import { useEffect, useRef, useState } from "react"
import { type Card, type Project, type Status, statuses, type User } from "../contract/tables.ts"
import { CardView } from "./CardView.tsx"
import type { BoardClient } from "./client.ts"

const names: Record<Status, string> = { backlog: "Backlog", doing: "Doing", done: "Done", todo: "To do" }

/** A rank between two neighbours; beyond the last one where there is none. By chance, so that two people never choose the same one. */
const between = (before: number | undefined, after: number | undefined) => {
  const part = 0.4 + Math.random() / 5
  if (before === undefined) return (after ?? 0) - 2 * part
  return after === undefined ? before + 2 * part : before + (after - before) * part
}

export const Columns = ({ client, people, project }: {
  readonly client: BoardClient
  readonly people: ReadonlyArray<User>
  readonly project: Project
}) => {
  const { status: state, value: cards } = useLiveQuery(client.cards({ projectId: project.id }))
  const [dragged, setDragged] = useState<Card["id"] | null>(null)
  const inColumn = (status: Status) => cards?.filter((card) => card.status === status) ?? []

  /** A card that was put somewhere by key, to be looked at there: React makes a new element for it in another column. */
  const placed = useRef<{ readonly id: Card["id"]; readonly rank: number; readonly focus: boolean } | null>(null)
  useEffect(() => {
    const { focus, id, rank } = placed.current ?? {}
    if (!cards?.some((card) => card.id === id && card.rank === rank)) return
    placed.current = null
    const element = document.querySelector<HTMLElement>(`[data-card="${id}"]`)
    if (focus) element?.focus({ preventScroll: true })
    element?.scrollIntoView({ block: "nearest", inline: "nearest" })
  }, [cards])

  /** Puts a card before `next`, or at the column's end. */
  const move = (id: Card["id"], status: Status, next: Card | undefined, focus = false) => {
    // A card that leaves its column takes the end of its drag along.
    setDragged(null)
    if (next?.id === id) return
    const others = inColumn(status).filter((card) => card.id !== id)
    const at = next === undefined ? others.length : others.findIndex((card) => card.id === next.id)
    const rank = between(others[at - 1]?.rank, others[at]?.rank)
    if (focus) placed.current = { id, rank, focus }
    void client.moveCard({ id, status, rank })
  }
  const add = (status: Status, title: string) => {
    const id = crypto.randomUUID() as Card["id"]
    const rank = between(inColumn(status).at(-1)?.rank, undefined)
    placed.current = { id, rank, focus: false }
    void client.createCard({ id, projectId: project.id, rank, status, title })
  }
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
            onAdd={(title) => add(status, title)}
            onDrop={() => dragged !== null && move(dragged, status, undefined)}
          >
            {held.map((card, at) => (
              <CardView
                key={card.id}
                card={card}
                client={client}
                people={people}
                onDrag={setDragged}
                onDropBefore={() => dragged !== null && move(dragged, status, card)}
                onShift={(by) => {
                  if (held[at + by] !== undefined) move(card.id, status, held[by === 1 ? at + 2 : at - 1], true)
                }}
                onStep={(by) => {
                  const to = statuses[index + by]
                  if (to !== undefined) move(card.id, to, undefined, true)
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
