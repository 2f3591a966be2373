/**
 * Who is shown what, and the frames that keep it so: the synchronous core of `Hub`, and the rules of fan-out.
 *
 * A *member* is one connection's view of one *channel*, which is what all see of a *binding* whose masks hide the same from them.
 * A pass of the engine changes results: each channel writes its patch once, retains it, and pushes it to its members, which
 * gather what their connections have yet to be told. What can be sent then is. A binding or gate that is not ready holds the
 * connections that show it, and nobody else.
 *
 * Invariant: the frames sent to a connection, and what is pending for it, add up to its channels' results at the engine's position.
 *
 * Cost of a step: its patches are encoded once per channel; each member costs a few pointers; connections that are told the
 * same share the frame's bytes. Memory of a connection: what `connection` says, and receipts until they are acknowledged, of 16
 * times `pendingBytes`: with more it is told to end.
 */
import type { Delta, MaskTurn, Pass } from "@headwater/core/Graph"
import type { Receipt } from "@headwater/core/Message"
import type { Position } from "@headwater/core/Position"
import type { Bound } from "@headwater/core/Range"
import type { Shape } from "@headwater/core/Shape"
import * as Bindings from "./bindings.ts"
import type { Channel, Encoder, Limits as ChannelLimits } from "./channel.ts"
import * as Connections from "./connection.ts"
import * as Gates from "./gates.ts"
import * as Patch from "./patch.ts"
import * as Retained from "./retained.ts"
import * as Sending from "./sending.ts"

export interface Environment extends Sending.Environment {
  /** The part of the engine that a hub uses. */
  readonly source: Bindings.Source & Gates.Source
  readonly encoder: Encoder
  readonly limits: Limits
}

export interface Limits extends ChannelLimits, Sending.Limits, Retained.Limits {
  /** Bindings and gates that nobody watches live on for `windowMillis`, but not more of them than this. */
  readonly idleBindings: number
  /** Of one connection, bindings that each changed row of their table is tested for. */
  readonly scanned: number
  /** How long a connection waits for the engine to be where its client has been. */
  readonly behindMillis: number
}

export const defaultLimits: Limits = {
  socketBytes: 256 * 1024,
  pendingBytes: 4 * 1024 * 1024,
  frameBytes: 256 * 1024 * 1024,
  maxResultRows: 100_000,
  maxResultBytes: 64 * 1024 * 1024,
  gatherMillis: 4,
  windowMillis: 60_000,
  windowBytes: 64 * 1024 * 1024,
  idleBindings: 10_000,
  scanned: 50,
  behindMillis: 10_000
}

export interface Connection {
  /** Throws `BudgetExceeded`; the result comes in a frame. `bound` must be complete. */
  readonly subscribe: (id: number, shape: Shape, bound: Bound, options?: { readonly first?: boolean; readonly held?: Position }) => void
  readonly unsubscribe: (id: number) => void
  readonly has: (id: number) => boolean
  readonly acknowledge: (seq: number) => void
  /** Sends a receipt once more, if it was sent here already; else it will come by itself. */
  readonly repeat: (seq: number) => void
  /** The receipts that are stored, exact at the engine's position; ends the hold that every connection begins with. */
  readonly received: (receipts: ReadonlyArray<Receipt>) => void
  /** What the client has been brought to. */
  readonly position: () => Position
  /** The socket has room again. */
  readonly drained: () => void
  readonly close: () => void
}

export interface Options {
  readonly peer: Connections.Peer
  readonly client: string
  /** Nothing is sent before the engine is there. */
  readonly atLeast: Position
  /** Called when a subscription has ended because its result is more than may be sent at once. */
  readonly tooLarge: (id: number, message: string) => void
  /** Called when another connection takes this client over. */
  readonly superseded: () => void
  /** Called when its receipts are too many to be kept: it should be ended. */
  readonly overrun: () => void
  /** Called when the engine is not where the client has been, and has had time: it should be ended. */
  readonly outpaced: () => void
}

export interface Hub {
  readonly connect: (options: Options) => Connection
  readonly stepped: (
    pass: Pass,
    position: Position,
    receipts: ReadonlyArray<{ readonly client: string; readonly receipt: Receipt }>,
    trace: string | undefined
  ) => void
  readonly filled: (pass: Pass) => void
  readonly restarted: () => void
  /** Forgets what is older than the window, and gives up what waits for too long. */
  readonly sweep: () => void
  readonly stats: () => Stats
}

export interface Stats {
  readonly connections: number
  readonly bindings: number
  readonly members: number
  readonly windowBytes: number
  /** Only ever grow. */
  readonly encodedRows: number
  readonly builtFrames: number
  readonly sentFrames: number
}

export const make = (environment: Environment): Hub => {
  const { limits, now, source } = environment
  const bindings = new Bindings.Bindings(source, environment.encoder, limits)
  const gates = new Gates.Gates(source)
  const window = new Retained.Window(limits)
  const sending = new Sending.Sending(environment)
  const connections = new Map<Connections.Connection, Options>()
  const clients = new Map<string, Connections.Connection>()
  /** Those that wait until the engine is at a position that their client has already seen, and since when. */
  const behind = new Map<Connections.Connection, number>()

  const tell = (channel: Channel, patch: Patch.Patch | null, position: Position, trace: string | undefined) => {
    if (patch === null) {
      // More than may be told at once; what there is after it may be less.
      channel.begin(position)
      channel.watchers.startOver()
      return
    }
    if (Patch.isEmpty(patch)) return
    window.retain(channel.log, patch, position, now())
    channel.watchers.push(patch, trace)
  }

  const changed = (delta: Delta, position: Position, trace: string | undefined) => {
    const entry = bindings.get(delta.binding)
    if (entry === undefined) return
    const { before } = entry
    for (const channel of entry.channels.values()) {
      if (!delta.reset) tell(channel, channel.changed(delta), position, trace)
      else if (before !== undefined) tell(channel, channel.difference(before), position, trace)
      else {
        channel.begin(position)
        channel.watchers.startOver()
      }
    }
    if (delta.reset) entry.before = undefined
  }

  const remasked = (turn: MaskTurn, position: Position, trace: string | undefined) => {
    for (const [{ channels }, rows] of bindings.concerned(turn)) {
      if (rows.length === 0) continue
      for (const channel of channels.values()) if (channel.isOf(turn.bound)) tell(channel, channel.remasked(rows), position, trace)
    }
  }

  /** What is not ready any more holds before it is told anything; what is ready now lets go after. */
  const settle = (pass: Pass, position: Position, trace: string | undefined) => {
    bindings.wait(pass.waiting)
    gates.follow(pass.gates, position)
    for (const delta of pass.deltas) changed(delta, position, trace)
    for (const turn of pass.masks) remasked(turn, position, trace)
    bindings.settle()
    gates.settle(position)
    caughtUp(position)
  }

  const caughtUp = (position: Position) => {
    for (const connection of behind.keys()) {
      if (position < connections.get(connection)!.atLeast) continue
      behind.delete(connection)
      connection.letGo()
    }
  }

  const answer = (client: string, receipt: Receipt, trace: string | undefined) => {
    const connection = clients.get(client)
    if (connection === undefined) return
    if (trace !== undefined) connection.trace = trace
    connection.receipts.add(receipt)
    sending.touch(connection)
    if (connection.receipts.bytes > limits.pendingBytes * 16) connections.get(connection)!.overrun()
  }

  const connect = (options: Options): Connection => {
    const { atLeast, client, peer } = options
    const connection = new Connections.Connection(sending, client, peer, atLeast, options.tooLarge)
    connections.set(connection, options)
    const older = clients.get(client)
    if (older !== undefined) connections.get(older)!.superseded()
    clients.set(client, connection)
    if (source.position() < atLeast) {
      behind.set(connection, now())
      connection.hold()
    }
    const act = (run: () => void) => sending.after(undefined, run)
    return {
      subscribe: (id, shape, bound, { first = false, held } = {}) =>
        act(() => connection.subscribe(id, bindings.channel(shape, bound, () => connection.scanned < limits.scanned), () => shape.gates.map((gate) => gates.gate(gate, bound)), first, held)),
      unsubscribe: (id) => act(() => connection.unsubscribe(id, now())),
      has: (id) => connection.subscriptions.has(id),
      acknowledge: (seq) => connection.receipts.acknowledge(seq),
      repeat: (seq) =>
        act(() => {
          if (connection.receipts.repeat(seq)) sending.touch(connection)
        }),
      received: (receipts) =>
        act(() => {
          // What steps brought meanwhile is among them.
          connection.receipts.begin(receipts)
          connection.letGo()
        }),
      position: () => connection.isCurrent ? Math.max(connection.line.position, source.position()) : connection.line.position,
      drained: () => sending.drained(connection),
      close: () => {
        if (connection.line.closed) return
        connection.close(now())
        sending.forget(connection)
        connections.delete(connection)
        behind.delete(connection)
        if (clients.get(client) === connection) clients.delete(client)
      }
    }
  }

  return {
    connect,
    stepped: (pass, position, receipts, trace) =>
      sending.after(trace, () => {
        settle(pass, position, trace)
        for (const { client, receipt } of receipts) answer(client, receipt, trace)
      }),
    filled: (pass) => sending.after(undefined, () => settle(pass, source.position(), undefined)),
    restarted: () =>
      sending.after(undefined, () => {
        bindings.restart()
        gates.restart()
        caughtUp(source.position())
      }),
    sweep: () => {
      const time = now()
      for (const [connection, since] of behind) {
        if (since > time - limits.behindMillis) continue
        behind.delete(connection)
        connections.get(connection)!.outpaced()
      }
      window.sweep(time)
      bindings.sweep(time - limits.windowMillis, limits.idleBindings)
      gates.sweep(time - limits.windowMillis, limits.idleBindings)
    },
    stats: () => {
      let members = 0
      for (const connection of connections.keys()) members += connection.members.size
      const { builtFrames, sentFrames } = sending
      return {
        connections: connections.size, bindings: bindings.size, members, windowBytes: window.bytes, encodedRows: bindings.encodedRows,
        builtFrames, sentFrames
      }
    }
  }
}
