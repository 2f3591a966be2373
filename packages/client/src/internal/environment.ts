/** The world as browsers and Node have it. */
import type { Environment, Page, WebSocketConstructor } from "./engine.ts"

declare const process: { readonly env: { readonly NODE_ENV?: string } } | undefined

export const platform = (webSocket?: WebSocketConstructor): Environment => {
  const page = globalThis as unknown as Page
  return {
    now: () => Date.now(),
    random: () => Math.random(),
    newId: () => crypto.randomUUID(),
    timer: (run, millis) => {
      // Longer ones would fire at once.
      const timer = setTimeout(run, Math.min(millis, 2 ** 31 - 1))
      return () => clearTimeout(timer)
    },
    WebSocket: webSocket ?? globalThis.WebSocket as unknown as WebSocketConstructor,
    report: (error) => {
      if (typeof globalThis.reportError === "function") globalThis.reportError(error)
      else console.error(error)
    },
    warn: (message) => {
      if (typeof process === "undefined" || process.env.NODE_ENV !== "production") console.warn(`Headwater: ${message}`)
    },
    page: typeof page.addEventListener === "function" ? page : undefined
  }
}
