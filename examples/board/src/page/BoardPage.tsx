import { useConnection, useLiveQuery } from "@headwater/client/react"
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
  const { status } = useConnection(client)
  const signOut = () => {
    const waiting = client.sync.pending.snapshot.length
    // They end with the client.
    if (waiting > 0 && !confirm(`${waiting === 1 ? "One change was" : `${waiting} changes were`} not sent yet. Sign out and lose ${waiting === 1 ? "it" : "them"}?`)) return
    forgetSession()
    onSignOut()
  }
  return (
    <div className="page">
      <Sidebar
        client={client}
        me={me}
        people={people ?? []}
        projects={projects ?? []}
        current={project?.id ?? null}
        onChoose={setChosen}
        onSignOut={signOut}
      />
      <main className="board">
        <header className="board-head">
          {project && <ProjectHead key={project.id} client={client} project={project} people={people ?? []} mine={project.ownerId === session.userId} />}
          <ConnectionBar client={client} />
        </header>
        {status === "unauthenticated" && (
          <p className="notice" role="alert">
            The server does not know this session any more. <button className="link" onClick={signOut}>Sign in again</button>
          </p>
        )}
        {project && <Columns key={project.id} client={client} project={project} people={people ?? []} />}
        {projects === undefined && status === "offline" && <p className="empty">The server does not answer yet.</p>}
        {projects?.length === 0 && <p className="empty">No projects yet: make one on the left.</p>}
      </main>
      <Rejections client={client} project={project} />
    </div>
  )
}
