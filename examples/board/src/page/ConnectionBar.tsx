/** Says how current the screen is, and how many writes wait. */
import { useConnection, usePending } from "@headwater/client/react"
import type { BoardClient } from "./client.ts"

const texts = {
  closed: "Closed",
  connecting: "Connecting …",
  offline: "Offline: changes are sent later",
  online: "Live",
  unauthenticated: "Signed out by the server"
}

export const ConnectionBar = ({ client }: { readonly client: BoardClient }) => {
  const { status } = useConnection(client)
  const pending = usePending(client).length
  return (
    <div className="connection" role="status" data-status={status} data-pending={pending}>
      <span className="dot" aria-hidden="true" />
      {texts[status]}
      {pending > 0 && <span className="pending">{pending === 1 ? "1 change waits" : `${pending} changes wait`}</span>}
    </div>
  )
}
