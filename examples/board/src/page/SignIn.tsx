/** Signs in as one of the board's few people: a demonstration has no passwords. */
import { useEffect, useState } from "react"
import type { User } from "../contract/tables.ts"
import { Avatar } from "./Avatar.tsx"

export interface Session {
  readonly token: string
  readonly userId: User["id"]
}

const storageKey = "board.session"

/** Each tab has its own session, so that two tabs can be two people. */
export const readSession = (): Session | null => {
  try {
    const stored = JSON.parse(sessionStorage.getItem(storageKey) ?? "null")
    return typeof stored?.token === "string" && typeof stored.userId === "string" ? stored : null
  } catch {
    return null
  }
}

export const forgetSession = () => sessionStorage.removeItem(storageKey)

type Person = Pick<User, "id" | "name" | "color">

export const SignIn = ({ onSignIn }: { readonly onSignIn: (session: Session) => void }) => {
  const [people, setPeople] = useState<ReadonlyArray<Person>>([])
  const [problem, setProblem] = useState<string | null>(null)
  const [attempt, setAttempt] = useState(0)
  useEffect(() => {
    const abort = new AbortController()
    let retry: ReturnType<typeof setTimeout> | undefined
    fetch("/session/people", { signal: abort.signal })
      .then(async (response) => {
        if (!response.ok) throw new Error(response.statusText)
        setPeople(await response.json())
        setProblem(null)
      })
      .catch(() => {
        if (abort.signal.aborted) return
        setProblem("The server does not answer yet.")
        retry = setTimeout(() => setAttempt(attempt + 1), 1_000)
      })
    return () => {
      abort.abort()
      clearTimeout(retry)
    }
  }, [attempt])
  const signIn = async (userId: User["id"]) => {
    try {
      const response = await fetch("/session", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ userId }) })
      if (!response.ok) throw new Error(response.statusText)
      const session: Session = await response.json()
      sessionStorage.setItem(storageKey, JSON.stringify(session))
      onSignIn(session)
    } catch {
      setProblem("Signing in failed. Is the server running?")
    }
  }
  return (
    <main className="sign-in">
      <div className="sign-in-box">
        <Logo />
        <h1>Who are you today?</h1>
        <p>Open a second tab as somebody else and watch the cards move.</p>
        {people.map((person) => (
          <button key={person.id} className="person" onClick={() => signIn(person.id)}>
            <Avatar person={person} />
            {person.name}
          </button>
        ))}
        {problem && (
          <p className="problem" role="alert">
            {problem}
          </p>
        )}
      </div>
    </main>
  )
}

export const Logo = () => (
  <svg className="logo" viewBox="0 0 32 32" aria-hidden="true">
    <rect width="32" height="32" rx="8" />
    <path d="M6 12c4 0 4 3 8 3s4-3 8-3 4 3 4 3M6 20c4 0 4 3 8 3s4-3 8-3 4 3 4 3" />
  </svg>
)
