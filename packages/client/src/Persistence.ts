/**
 * Where a client keeps what must outlive a lost connection: its id, and the mutations that were not answered yet.
 *
 * The port is plain, since the promise client uses it without Effect. A layer decides what durable means: in memory it is the life
 * of the page, and an enqueued write ends with it.
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import * as memory from "./internal/memoryStorage.ts"
import type { Change, Stored } from "./Outbox.ts"

export interface Storage {
  /** What was stored last; undefined for nothing. Called once, first. */
  load(): Stored | undefined | Promise<Stored | undefined>
  /** Stores all of it or nothing, in the order of the calls. Returns, or resolves, once it is durable. */
  commit(change: Change): void | Promise<void>
}

export class Persistence extends Context.Service<Persistence, Storage>()("@headwater/client/Persistence") {}

/** In memory: nothing survives the page. */
export const layerMemory: Layer.Layer<Persistence> = Layer.sync(Persistence, memory.make)
