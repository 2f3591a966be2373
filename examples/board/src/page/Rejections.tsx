/** Writes that the server refused: they are off the board again, and this says why. */
import { useLiveQuery, useRejected } from "@headwater/client/react"
import { doingLimit } from "../contract/contract.ts"
import type { Card, Project } from "../contract/tables.ts"
import type { BoardClient } from "./client.ts"

const what: { readonly [mutation: string]: (title: string) => string } = {
  addCollaborator: () => "Adding somebody",
  assignCard: (title) => `Assigning ${title}`,
  createCard: (title) => `Adding ${title}`,
  createProject: () => "Making a project",
  deleteCard: (title) => `Deleting ${title}`,
  moveCard: (title) => `Moving ${title}`,
  removeCollaborator: () => "Removing somebody",
  renameCard: (title) => `Renaming ${title}`,
  shareProject: () => "Sharing a project"
}

type Write = BoardClient["sync"]["rejected"]["snapshot"][number]

/** The card's title, as the write has it or the board does. */
const titleOf = ({ payload }: Write, cards: ReadonlyArray<Card>): string => {
  const title = "title" in payload ? payload.title : cards.find((card) => "id" in payload && card.id === payload.id)?.title
  return title === undefined ? "a card" : `“${title.length > 60 ? `${title.slice(0, 59)}…` : title}”`
}

const why = (error: Write["error"]): string => {
  switch (error._tag) {
    case "ColumnFull": return `“Doing” holds at most ${doingLimit} cards. Finish one first.`
    case "TitleEmpty": return "A card needs a title."
    case "SyncError": return error.reason._tag === "WriteRefused" && error.reason.constraint === null ? "What it needs is gone, or no longer yours to change." : error.message
  }
}

export const Rejections = ({ client, project }: { readonly client: BoardClient; readonly project: Project | undefined }) => (
  <div className="rejections" role="log" aria-live="polite">
    {project !== undefined && <List client={client} project={project} />}
  </div>
)

const List = ({ client, project }: { readonly client: BoardClient; readonly project: Project }) => {
  const { value: cards } = useLiveQuery(client.cards({ projectId: project.id }))
  return useRejected(client).map((write) => (
    <div key={write.id} className="rejection">
      <p>
        <strong>{what[write.name]!(titleOf(write, cards ?? []))} was taken back.</strong> {why(write.error)}
      </p>
      <div className="actions">
        <button className="link" onClick={() => write.retry()}>Try again</button>
        <button className="link" onClick={() => write.dismiss()}>Dismiss</button>
      </div>
    </div>
  ))
}
