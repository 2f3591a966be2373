/** The page's connection: one per signed-in user. */
import { createClient } from "@headwater/client/promise"
import { Board } from "../contract/contract.ts"
import { Card, Project } from "../contract/tables.ts"

/** What each write shows until the server has answered. The server decides; these only guess. */
const optimistic: NonNullable<Parameters<typeof createClient<typeof Board>>[1]["optimistic"]> = {
  createCard: (tx, { id, projectId, rank, status, title }) => {
    tx.insert(Card, { id, projectId, rank, status, title: title.trim() })
  },
  moveCard: (tx, { id, rank, status }) => {
    tx.update(Card, { id, rank, status })
  },
  renameCard: (tx, { id, title }) => {
    tx.update(Card, { id, title: title.trim() })
  },
  assignCard: (tx, { assigneeId, id }) => {
    tx.update(Card, { id, assigneeId })
  },
  deleteCard: (tx, { id }) => {
    tx.delete(Card, { id })
  },
  shareProject: (tx, { id, shared }) => {
    tx.update(Project, { id, shared })
  }
}

export const connect = (token: string) =>
  createClient(Board, { url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/sync`, token: () => token, optimistic })

export type BoardClient = ReturnType<typeof connect>
