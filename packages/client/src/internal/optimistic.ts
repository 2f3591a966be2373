/**
 * The application's optimistic functions: how they are run over the overlay, and what is said of those that show nothing.
 *
 * A run that throws a declared error shows nothing, as it will on the server. One that is abandoned or broken is counted, and
 * warned of once per mutation: the mutation itself is sent all the same.
 */
import type * as Contract from "@headwater/core/Contract"
import type { Overlay, Ran, View } from "../Replica.ts"
import type { Environment } from "./environment.ts"

/** Runs a mutation's function over the overlay; throws what ends it. `now` is the instant of the first run. */
export type Optimistic = (overlay: Overlay, payload: object, context: OptimisticContext) => void

export interface OptimisticContext {
  readonly now: string
  /** The caller, decoded; undefined while that is not known. */
  readonly principal: object | undefined
  readonly tables: Contract.Any["tables"]
  /** The view that answers this query with these parameters; undefined where none is live. */
  readonly viewOf: (query: object, parameters: unknown) => { readonly view: View; readonly single: boolean } | undefined
}

/** Ends an optimistic run: what it would show is not known here. */
export class Abandoned {
  readonly message: string
  constructor(message: string) {
    this.message = message
  }
}

export interface OptimisticRuns {
  readonly isRunning: boolean
  /** Runs that were abandoned, so far. */
  readonly abandoned: number
  /** For the replica; null where the mutation has no function. */
  runner(name: string, payload: object): ((overlay: Overlay) => void) | null
  note(name: string, ran: Ran): void
}

export const make = (
  functions: { readonly [mutation: string]: Optimistic | undefined },
  { now, warn }: Pick<Environment, "now" | "warn">,
  context: () => Omit<OptimisticContext, "now">
): OptimisticRuns => {
  const warned = new Set<string>()
  let abandoned = 0
  let isRunning = false
  return {
    get isRunning() {
      return isRunning
    },
    get abandoned() {
      return abandoned
    },
    runner(name, payload) {
      const optimistic = Object.hasOwn(functions, name) ? functions[name] : undefined
      if (optimistic === undefined) return null
      const first = new Date(now()).toISOString()
      return (overlay) => {
        isRunning = true
        try {
          optimistic(overlay, payload, { now: first, ...context() })
        } finally {
          isRunning = false
        }
      }
    },
    note(name, { error }) {
      if (error === undefined) return
      const isDeclared = typeof error === "object" && error !== null && "_tag" in error
      if (isDeclared && !(error instanceof Abandoned)) return
      abandoned++
      if (warned.has(name)) return
      warned.add(name)
      warn(`${name} is not shown before the server has answered: ${error instanceof Abandoned || error instanceof Error ? error.message : String(error)}`)
    }
  }
}
