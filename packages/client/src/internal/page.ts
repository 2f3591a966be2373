/**
 * The page around a client: tells of the network coming and going, and asks before it is left while something would be lost.
 *
 * The question's listener is there only while it is needed: it keeps pages out of the browser's back/forward cache.
 */
import type { Page } from "./environment.ts"

export interface PageGuard {
  /** Whether the user is asked before the page is left. */
  guard(needed: boolean): void
  close(): void
}

export const make = (page: Page | undefined, network: { readonly online: () => void; readonly offline: () => void }): PageGuard => {
  const warnBeforeLeaving = (event: Event) => event.preventDefault()
  let guarding = false
  const guard = (needed: boolean) => {
    if (needed === guarding) return
    guarding = needed
    if (needed) page?.addEventListener("beforeunload", warnBeforeLeaving)
    else page?.removeEventListener("beforeunload", warnBeforeLeaving)
  }
  page?.addEventListener("online", network.online)
  page?.addEventListener("offline", network.offline)
  return {
    guard,
    close() {
      guard(false)
      page?.removeEventListener("online", network.online)
      page?.removeEventListener("offline", network.offline)
    }
  }
}
