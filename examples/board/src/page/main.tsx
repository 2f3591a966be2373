import { StrictMode, useEffect, useState } from "react"
import { createRoot } from "react-dom/client"
import { BoardPage } from "./BoardPage.tsx"
import { type BoardClient, connect } from "./client.ts"
import { readSession, type Session, SignIn } from "./SignIn.tsx"
import "./style.css"

/** A client per session: signing out closes it, and forgets what it held. */
const useClient = (session: Session | null): BoardClient | null => {
  const [client, setClient] = useState<BoardClient | null>(null)
  useEffect(() => {
    if (session === null) return
    const connected = connect(session)
    setClient(connected)
    return () => {
      setClient(null)
      void connected.sync.close()
    }
  }, [session])
  return client
}

const App = () => {
  const [session, setSession] = useState(readSession)
  const client = useClient(session)
  if (session === null) return <SignIn onSignIn={setSession} />
  if (client === null) return null
  return <BoardPage client={client} session={session} onSignOut={() => setSession(null)} />
}

createRoot(document.getElementById("root")!).render(<StrictMode><App /></StrictMode>)
