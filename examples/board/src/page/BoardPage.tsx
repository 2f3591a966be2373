import { useLiveQuery } from "@headwater/client/react"
import { useState } from "react"
import type { Project } from "../contract/tables.ts"
import type { BoardClient } from "./client.ts"
import { Columns } from "./Columns.tsx"
import { ConnectionBar } from "./ConnectionBar.tsx"
import { ProjectHead } from "./ProjectHead.tsx"
import { Rejections } from "./Rejections.tsx"
import { Sidebar } from "./Sidebar.tsx"
import { forgetSession, type Session } from "./SignIn.tsx"

export const BoardPage = ({ client, onSignOut, session }: {
  readonly client: BoardClient
  readonly onSignOut: () => void
  readonly session: Session
}) => {
  const { value: projects } = useLiveQuery(client.projects({}))
  const { value: people } = useLiveQuery(client.people({}))
  const [chosen, setChosen] = useState<Project["id"] | null>(null)
  const project = projects?.find((p) => p.id === chosen) ?? projects?.[0]
  const me = people?.find((person) => person.id === session.userId) ?? null
  return (
    <div className="page">
      <Sidebar
        client={client}
        me={me}
        people={people ?? []}
        projects={projects ?? []}
        current={project?.id ?? null}
        onChoose={setChosen}
        onSignOut={() => {
          forgetSession()
          onSignOut()
        }}
      />
      <main className="board">
        <ConnectionBar client={client} />
        {project && (
          <>
            <ProjectHead key={`head ${project.id}`} client={client} project={project} people={people ?? []} mine={project.ownerId === session.userId} />
            <Columns key={project.id} client={client} project={project} people={people ?? []} />
          </>
        )}
        {projects?.length === 0 && <p className="empty">No projects yet: make one on the left.</p>}
      </main>
      <Rejections client={client} />
    </div>
  )
}
