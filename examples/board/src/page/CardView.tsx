import { useLayoutEffect, useRef, useState } from "react"
import { flushSync } from "react-dom"
import type { Card, User } from "../contract/tables.ts"
import { Avatar } from "./Avatar.tsx"
import type { BoardClient } from "./client.ts"

/** A card: drag it, or move it with the arrow keys; click its title, or press Enter, to edit it in place. */
export const CardView = ({ card, client, onDrag, onDropBefore, onShift, onStep, people }: {
  readonly card: Card
  readonly client: BoardClient
  readonly onDrag: (id: Card["id"] | null) => void
  readonly onDropBefore: () => void
  /** Along its column. */
  readonly onShift: (by: 1 | -1) => void
  /** To the next column. */
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
  const element = useRef<HTMLLIElement>(null)
  /** By key: the focus goes back to the card, which the next key is for. */
  const endEditing = (end: () => void) => {
    flushSync(end)
    element.current?.focus()
  }
  const keys: { readonly [key: string]: () => void } = {
    ArrowRight: () => onStep(1),
    ArrowLeft: () => onStep(-1),
    ArrowDown: () => onShift(1),
    ArrowUp: () => onShift(-1),
    Enter: () => setDraft(card.title),
    Delete: () => void client.deleteCard({ id: card.id })
  }
  return (
    <li
      ref={element}
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
        const action = keys[event.key]
        if (action === undefined || event.altKey || event.ctrlKey || event.metaKey) return
        // Neither scrolls, nor types into the field that Enter opens.
        event.preventDefault()
        action()
      }}
    >
      {draft === null
        ? <button className="title" onClick={() => setDraft(card.title)}>{card.title}</button>
        : (
          <TitleField
            value={draft}
            onChange={setDraft}
            onBlur={save}
            onEnter={() => endEditing(save)}
            onEscape={() => endEditing(() => setDraft(null))}
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

/** As high as its text, so that a card looks the same while it is edited. */
const TitleField = ({ onBlur, onChange, onEnter, onEscape, value }: {
  readonly onBlur: () => void
  readonly onChange: (value: string) => void
  readonly onEnter: () => void
  readonly onEscape: () => void
  readonly value: string
}) => {
  const field = useRef<HTMLTextAreaElement>(null)
  useLayoutEffect(() => {
    const { style } = field.current!
    style.height = "auto"
    style.height = `${field.current!.scrollHeight}px`
  }, [value])
  return (
    <textarea
      ref={field}
      className="title"
      autoFocus
      aria-label="Title"
      rows={1}
      value={value}
      maxLength={200}
      onFocus={(event) => event.target.setSelectionRange(value.length, value.length)}
      // A title is one line; what is pasted may be more.
      onChange={(event) => onChange(event.target.value.replace(/\s*\n\s*/g, " "))}
      onBlur={onBlur}
      onKeyDown={(event) => {
        // Enter and Escape that an input method takes are not for the card.
        if (event.nativeEvent.isComposing) return
        if (event.key === "Escape") onEscape()
        if (event.key !== "Enter") return
        event.preventDefault()
        onEnter()
      }}
    />
  )
}
