import { useLiveQuery } from "@headwater/client/react"
import { useState } from "react"
import type { Project, User } from "../contract/tables.ts"
import { Avatar } from "./Avatar.tsx"
import type { BoardClient } from "./client.ts"
import { Logo } from "./SignIn.tsx"

export const Sidebar = ({ client, current, me, onChoose, onSignOut, people, projects }: {
  readonly client: BoardClient
  readonly current: Project["id"] | null
  readonly me: User | null
  readonly onChoose: (id: Project["id"]) => void
  readonly onSignOut: () => void
  readonly people: ReadonlyArray<User>
  readonly projects: ReadonlyArray<Project>
}) => {
  const [name, setName] = useState("")
  const create = () => {
    if (name.trim() === "") return
    const id = crypto.randomUUID() as Project["id"]
    setName("")
    void client.createProject({ id, name: name.trim() })
    onChoose(id)
  }
  return (
    <aside className="sidebar">
      <header className="brand">
        <Logo />
        <strong>Board</strong>
      </header>
      <nav aria-label="Projects">
        <h2>Projects</h2>
        {projects.map((project) => (
          <button
            key={project.id}
            className="project-link"
            aria-current={project.id === current ? "page" : undefined}
            onClick={() => onChoose(project.id)}
          >
            <span className="mark" aria-hidden="true">{project.shared ? "○" : "●"}</span>
            <span className="name">{project.name}</span>
            {!project.shared && <small>private</small>}
          </button>
        ))}
        <form
          className="new-project"
          onSubmit={(event) => {
            event.preventDefault()
            create()
          }}
        >
          <input value={name} onChange={(event) => setName(event.target.value)} placeholder="New private project" aria-label="New private project" maxLength={60} />
        </form>
      </nav>
      <Newest client={client} people={people} />
      <footer className="me">
        <Avatar person={me} />
        <span>{me?.name ?? " "}</span>
        <button className="link" onClick={onSignOut}>Sign out</button>
        <small>{me?.email ?? ""}</small>
      </footer>
    </aside>
  )
}

const Newest = ({ client, people }: { readonly client: BoardClient; readonly people: ReadonlyArray<User> }) => {
  const { value } = useLiveQuery(client.newest({}))
  return (
    <section aria-label="Newest cards">
      <h2>Newest</h2>
      <ul className="newest">
        {value?.map((card) => (
          <li key={card.id}>
            <Avatar small person={people.find((person) => person.id === card.assigneeId) ?? null} />
            <span>{card.title}</span>
          </li>
        ))}
      </ul>
    </section>
  )
}
