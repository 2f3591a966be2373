/** Writes that the server refused: they are off the board again, and this says why. */
import { useRejected } from "@headwater/client/react"
import { doingLimit } from "../contract/contract.ts"
import type { BoardClient } from "./client.ts"

const what: { readonly [mutation: string]: string } = {
  addCollaborator: "Adding somebody",
  assignCard: "Assigning a card",
  createCard: "Adding a card",
  createProject: "Making a project",
  deleteCard: "Deleting a card",
  moveCard: "Moving a card",
  removeCollaborator: "Removing somebody",
  renameCard: "Renaming a card",
  shareProject: "Sharing a project"
}

const why = (error: { readonly _tag: string; readonly message?: string }): string => {
  switch (error._tag) {
    case "ColumnFull": return `“Doing” holds at most ${doingLimit} cards. Finish one first.`
    case "TitleEmpty": return "A card needs a title."
    default: return error.message ?? error._tag
  }
}

export const Rejections = ({ client }: { readonly client: BoardClient }) => {
  const rejected = useRejected(client)
  return (
    <div className="rejections" role="log" aria-live="polite">
      {rejected.map((write) => (
        <div key={write.id} className="rejection">
          <p>
            <strong>{what[write.name]} was taken back.</strong> {why(write.error)}
          </p>
          <button onClick={() => write.retry()}>Try again</button>
          <button className="link" onClick={() => write.dismiss()}>Dismiss</button>
        </div>
      ))}
    </div>
  )
}
