import { useState } from "react"
import type { Card, User } from "../contract/tables.ts"
import { Avatar } from "./Avatar.tsx"
import type { BoardClient } from "./client.ts"

/** A card: drag it, or move it with the arrow keys; click its title to edit it in place. */
export const CardView = ({ card, client, onDrag, onDropBefore, onStep, people }: {
  readonly card: Card
  readonly client: BoardClient
  readonly onDrag: (id: Card["id"] | null) => void
  readonly onDropBefore: () => void
  readonly onStep: (by: 1 | -1) => void
  readonly people: ReadonlyArray<User>
}) => {
  const [draft, setDraft] = useState<string | null>(null)
  const [over, setOver] = useState(false)
  const assignee = people.find((person) => person.id === card.assigneeId) ?? null
  const save = () => {
    if (draft !== null && draft.trim() !== "" && draft.trim() !== card.title) void client.renameCard({ id: card.id, title: draft })
    setDraft(null)
  }
  return (
    <li
      className={`card${over ? " over" : ""}`}
      data-card={card.id}
      draggable={draft === null}
      tabIndex={0}
      onDragStart={(event) => {
        event.dataTransfer.effectAllowed = "move"
        event.dataTransfer.setData("text/plain", card.title)
        onDrag(card.id)
      }}
      onDragEnd={() => onDrag(null)}
      onDragOver={() => setOver(true)}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault()
        event.stopPropagation()
        setOver(false)
        onDropBefore()
      }}
      onKeyDown={(event) => {
        if (event.target !== event.currentTarget) return
        if (event.key === "ArrowRight") onStep(1)
        if (event.key === "ArrowLeft") onStep(-1)
        if (event.key === "Enter") setDraft(card.title)
        if (event.key === "Delete") void client.deleteCard({ id: card.id })
      }}
    >
      {draft === null
        ? <button className="title" onClick={() => setDraft(card.title)}>{card.title}</button>
        : (
          <input
            className="title"
            autoFocus
            aria-label="Title"
            value={draft}
            maxLength={200}
            onChange={(event) => setDraft(event.target.value)}
            onBlur={save}
            onKeyDown={(event) => {
              if (event.key === "Enter") save()
              if (event.key === "Escape") setDraft(null)
            }}
          />
        )}
      <div className="card-foot">
        <label className="assignee">
          <Avatar small person={assignee} />
          <select
            aria-label={`Assignee of ${card.title}`}
            value={card.assigneeId ?? ""}
            onChange={(event) => void client.assignCard({ id: card.id, assigneeId: event.target.value === "" ? null : event.target.value as User["id"] })}
          >
            <option value="">Nobody</option>
            {people.map((person) => <option key={person.id} value={person.id}>{person.name}</option>)}
          </select>
        </label>
        <button className="delete" aria-label={`Delete ${card.title}`} onClick={() => void client.deleteCard({ id: card.id })}>×</button>
      </div>
    </li>
  )
}
