/** What the parts of a client have in common. */
import type * as Contract from "@headwater/core/Contract"
import type { SyncError } from "@headwater/core/SyncError"
import type { Outbox } from "../Outbox.ts"
import type { Changes, Replica } from "../Replica.ts"
import type { Environment } from "./environment.ts"
import type { Link } from "./link.ts"

export interface Shared {
  readonly contract: Contract.Any
  readonly environment: Environment
  readonly replica: Replica
  readonly outbox: Outbox
  readonly link: Link
  /** Why nothing goes on any more; undefined while it does. */
  readonly closed: () => SyncError | undefined
  /** What the replica says that it did. */
  readonly changed: (changes: Changes) => void
  /** Tells of all that changed, unless more is about to. */
  readonly publish: () => void
}
