import { useLiveQuery } from "@headwater/client/react"
import type { Project, User } from "../contract/tables.ts"
import { Avatar } from "./Avatar.tsx"
import type { BoardClient } from "./client.ts"

/** The project's name, who works on it, and for its owner who else may. */
export const ProjectHead = ({ client, mine, people, project }: {
  readonly client: BoardClient
  readonly mine: boolean
  readonly people: ReadonlyArray<User>
  readonly project: Project
}) => {
  const { value: collaborators } = useLiveQuery(client.collaborators({ projectId: project.id }))
  const on = new Set(collaborators?.map((c) => c.userId))
  const toggle = (userId: User["id"]) =>
    on.has(userId) ? client.removeCollaborator({ projectId: project.id, userId }) : client.addCollaborator({ projectId: project.id, userId })
  return (
    <div className="project-head">
      <h1>{project.name}</h1>
      <div className="people" role="group" aria-label="Collaborators">
        {people.filter((person) => mine || on.has(person.id)).map((person) => (
          <button
            key={person.id}
            className="toggle"
            aria-pressed={on.has(person.id)}
            aria-label={person.name}
            disabled={!mine || person.id === project.ownerId}
            onClick={() => void toggle(person.id)}
          >
            <Avatar small person={person} />
          </button>
        ))}
      </div>
      {mine && (
        <label className="share">
          <input type="checkbox" checked={project.shared} onChange={(event) => void client.shareProject({ id: project.id, shared: event.target.checked })} />
          Open to everybody
        </label>
      )}
    </div>
  )
}
