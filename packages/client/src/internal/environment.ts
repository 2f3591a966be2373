/** What the client asks of the world, and the world as browsers and Node have it. */
export interface Environment {
  /** Epoch milliseconds. */
  readonly now: () => number
  /** In [0, 1). */
  readonly random: () => number
  readonly newId: () => string
  /** What it returns cancels. */
  readonly timer: (run: () => void, millis: number) => () => void
  readonly WebSocket: WebSocketConstructor
  /** A listener, a token source or a storage of the application failed. */
  readonly report: (error: unknown) => void
  readonly warn: (message: string) => void
  /** The page, in browsers. */
  readonly page: Page | undefined
}

/** As in browsers, and in Node's `ws`. */
export type WebSocketConstructor = new(url: string) => {
  send(text: string): void
  close(code?: number, reason?: string): void
  onopen: ((event: never) => void) | null
  onmessage: ((event: never) => void) | null
  onerror: ((event: never) => void) | null
  onclose: ((event: never) => void) | null
}

export interface Page {
  addEventListener(type: string, listener: (event: Event) => void): void
  removeEventListener(type: string, listener: (event: Event) => void): void
  readonly navigator?: { readonly onLine?: boolean }
}

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
