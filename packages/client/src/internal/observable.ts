/** A value that can be watched: what UI frameworks subscribe to. */
export interface Observable<out A> {
  /** The value now; the same object until it changes. */
  readonly snapshot: A
  /** Calls the listener after each change, until the result is called. A listener that throws is reported, and harms nobody. */
  readonly subscribe: (listener: () => void) => () => void
}

export interface Source<A> extends Observable<A> {
  /** Does not notify yet: `notify` does, once everything that changes together has changed. */
  set(value: A): void
  notify(): void
}

export const make = <A>(initial: A, report: (error: unknown) => void): Source<A> => {
  let snapshot = initial
  const listeners = new Set<{ readonly listener: () => void }>()
  return {
    get snapshot() {
      return snapshot
    },
    subscribe(listener) {
      // The same function may be subscribed twice.
      const entry = { listener }
      listeners.add(entry)
      return () => void listeners.delete(entry)
    },
    set(value) {
      snapshot = value
    },
    notify() {
      // Who subscribes meanwhile has seen the snapshot; who left meanwhile is not told.
      const told = Array.from(listeners)
      for (const entry of told) {
        if (!listeners.has(entry)) continue
        try {
          entry.listener()
        } catch (error) {
          report(error)
        }
      }
    }
  }
}
