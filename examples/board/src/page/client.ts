/** The page's connection: one per signed-in user. */
import { createClient } from "@headwater/client/promise"
import { Board } from "../contract/contract.ts"
import { Card, Collaborator, Project } from "../contract/tables.ts"
import type { Session } from "./SignIn.tsx"

/** What each write shows until the server has answered. The server decides; these only guess. */
const optimistic = ({ userId }: Session): NonNullable<Parameters<typeof createClient<typeof Board>>[1]["optimistic"]> => ({
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
  createProject: (tx, { id, name }) => {
    tx.insert(Project, { id, name, ownerId: userId, shared: false })
    tx.insert(Collaborator, { projectId: id, userId })
  },
  shareProject: (tx, { id, shared }) => {
    tx.update(Project, { id, shared })
  },
  addCollaborator: (tx, { projectId, userId }) => {
    tx.insert(Collaborator, { projectId, userId })
  },
  removeCollaborator: (tx, { projectId, userId }) => {
    tx.delete(Collaborator, { projectId, userId })
  }
})

export const connect = (session: Session) =>
  createClient(Board, {
    url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/sync`,
    token: () => session.token,
    optimistic: optimistic(session)
  })

export type BoardClient = ReturnType<typeof connect>
