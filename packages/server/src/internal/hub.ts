/**
 * Who is shown what, and the frames that keep it so: the synchronous core of `Hub`.
 *
 * A *member* is one connection's view of one *channel*; a channel is what all see of a binding whose masks hide the same from
 * them; an *entry* is a binding with its channels. A connection is *held* while anything it shows is not ready (a refill, a
 * gate that must be read, receipts, the position that its client already has): then no frame goes out, what happens meanwhile is
 * gathered in its members, and the next frame takes all of them to one position (P1). Nobody else is held with it.
 *
 * Invariant: the frames sent to a connection, plus what its members have pending, plus for members marked `reset` the whole
 * result, add up to the channels' results at the engine's position.
 *
 * Cost of a step: its patches are encoded once per channel; each member costs a few pointers; connections that are told the
 * same share the frame's bytes. Memory of a connection: its members, at most `limits.pendingBytes` of references to patches, and
 * receipts until they are acknowledged, of 16 times that: with more it is told to end.
 */
import type { Epoch, Position } from "@headwater/core/Position"
import type { Binding, Delta, Gate, Pass } from "@headwater/core/Graph"
import type { Key } from "@headwater/core/Key"
import type { Receipt, Resync, ServerMessage } from "@headwater/core/Message"
import type { Expression } from "@headwater/core/Plan"
import type { Bound } from "@headwater/core/Range"
import type { Row } from "@headwater/core/Row"
import type { Shape } from "@headwater/core/Shape"
import type { Value } from "@headwater/core/Value"
import * as Patch from "./patch.ts"

/** The part of the engine that a hub uses. */
export interface Source {
  readonly epoch: Epoch
  readonly position: () => Position
  readonly bind: (shape: Shape, bound: Bound) => Binding
  readonly gate: (condition: Expression, bound: Bound) => Gate
  readonly release: (held: Binding | Gate) => void
}

/** How rows are named and written. */
export interface Encoder {
  readonly keyOf: (table: string, row: Row) => Key
  /** JSON text of the row's values; those of `masked` columns are replaced by the shape's masks. Remembers what it made. */
  readonly rowText: (shape: Shape, row: Row, masked: number) => string
  /** Which of `shape.masks` hide their column of this row, as bits. */
  readonly masked: (shape: Shape, row: Row, bound: Bound) => number
  /** JSON text of the values of the shape's order, as seen by that principal. */
  readonly boundaryText: (shape: Shape, boundary: ReadonlyArray<Value> | null, bound: Bound) => string
  /** Equal for principals and parameters to whom the shape's masks hide the same. */
  readonly audience: (shape: Shape, bound: Bound) => string
  /** There is a new graph, of which `masked` must ask from now on. */
  readonly restarted: () => void
}

export interface Peer {
  /** Hands a message to the socket. Never waits or throws. */
  readonly send: (message: string | Uint8Array) => void
  /** Bytes handed over that the network has not taken yet. */
  readonly buffered: () => number
}

export interface Environment {
  readonly source: Source
  readonly encoder: Encoder
  readonly limits: Limits
  /** Milliseconds of a steady clock. */
  readonly now: () => number
  readonly later: (millis: number, run: () => void) => void
  /** Runs the sending of a step's frames, which may then carry another trace than the step's. */
  readonly fanout: (trace: string | undefined, connections: number, run: (trace: string | undefined) => void) => void
  readonly sent: (frames: number, bytes: number) => void
  readonly answered: (client: string, seq: number) => void
  readonly resynced: (reason: Resync["reason"]) => void
}

export interface Limits {
  /** A socket that holds more than this gets no frame until it has drained: whole frames are merged meanwhile. */
  readonly socketBytes: number
  /** What may be gathered for one connection, before it is dropped and the client resynced. */
  readonly pendingBytes: number
  /** A connection that got a frame less than this ago waits so long for its next: steps under load share frames. */
  readonly gatherMillis: number
  /** The retained window: patches older than this, or beyond so many bytes in total, are forgotten. */
  readonly windowMillis: number
  readonly windowBytes: number
  /** Bindings and gates that nobody watches live on for `windowMillis`, but not more of them than this. */
  readonly idleBindings: number
  /** How long a connection waits for the engine to be where its client has been. */
  readonly behindMillis: number
}

export const defaultLimits: Limits = {
  socketBytes: 256 * 1024,
  pendingBytes: 4 * 1024 * 1024,
  gatherMillis: 4,
  windowMillis: 60_000,
  windowBytes: 64 * 1024 * 1024,
  idleBindings: 10_000,
  behindMillis: 10_000
}

interface Entry {
  binding: Binding
  readonly shape: Shape
  readonly bound: Bound
  ready: boolean
  /** Was ready once: its `rows` are what was delivered last. */
  known: boolean
  readonly channels: Map<string, Channel>
  /** The result before the graph was made anew: what the next reset is compared with. */
  before: ReadonlyArray<Row> | undefined
}

interface Channel {
  readonly entry: Entry
  readonly id: number
  readonly bound: Bound
  readonly audience: string
  readonly members: Set<Member>
  /** Patches after `since`, oldest first, with their positions. */
  readonly window: Array<Retained>
  since: Position
  /** The whole result as a patch, until something changes. */
  whole: Patch.Patch | undefined
  /** By first and last part: of members that gathered the same, one merges for all. */
  readonly merged: WeakMap<Patch.Patch, WeakMap<Patch.Patch, Patch.Patch>>
  /** Set while nobody watches. */
  idleSince: number | undefined
}

interface Retained {
  readonly channel: Channel
  readonly patch: Patch.Patch
  readonly position: Position
  readonly at: number
  readonly bytes: number
}

interface GateEntry {
  readonly condition: Expression
  readonly bound: Bound
  gate: Gate
  ready: boolean
  open: boolean
  /** Has been open, or closed, as it is now since this position. */
  since: Position
  readonly members: Set<Member>
  idleSince: number | undefined
}

interface Member {
  readonly connection: ConnectionState
  readonly channel: Channel
  readonly gates: ReadonlyArray<GateEntry>
  /** The subscriptions that it answers. */
  readonly ids: Set<number>
  /** Of `ids`, those that the client has not been told of yet. */
  unopened: Array<number>
  ready: boolean
  open: boolean
  /** Takes part in frames. Before that it is loading, and holds its connection only if it came with `hello`. */
  live: boolean
  readonly first: boolean
  /** The client holds the result as of this position. */
  held: Position | undefined
  /** The next frame carries the whole result; `pending` is void. */
  reset: boolean
  pending: Array<Patch.Patch>
  dirty: boolean
}

interface ConnectionState {
  readonly peer: Peer
  readonly client: string
  readonly superseded: () => void
  readonly overrun: () => void
  readonly members: Map<Channel, Member>
  readonly subscriptions: Map<number, Member>
  /** Reasons not to send a frame now. */
  holds: number
  dirty: Array<Member>
  pendingBytes: number
  receipts: Array<Written>
  /** Sent, and not acknowledged: a repeated mutation is answered from here. */
  readonly delivered: Map<number, Written>
  /** Of both. */
  receiptBytes: number
  pressed: boolean
  resync: Resync["reason"] | undefined
  lastFrame: number
  position: Position
  trace: string | undefined
  closed: boolean
}

/** A receipt, and its text. */
interface Written {
  readonly seq: number
  readonly text: string
}

const written = (receipt: Receipt): Written => ({ seq: receipt.seq, text: JSON.stringify(receipt) })

export interface Connection {
  /** Throws nothing; the result comes in a frame. `bound` must be complete. */
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

export interface Hub {
  readonly connect: (options: {
    readonly peer: Peer
    readonly client: string
    /** Nothing is sent before the engine is there. */
    readonly atLeast: Position
    /** Called when another connection takes this client over. */
    readonly superseded: () => void
    /** Called when its receipts are too many to be kept: it should be ended. */
    readonly overrun: () => void
    /** Called when the engine is not where the client has been, and has had time: it should be ended. */
    readonly outpaced: () => void
  }) => Connection
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

/** Whether a subscriber has these values. */
const isOf = (one: Bound, values: Bound): boolean =>
  Object.entries(values.principal).every(([field, value]) => mayEqual(one.principal[field], value)) &&
  Object.entries(values.parameters).every(([name, value]) => mayEqual(one.parameters[name], value))

/** SQL equates 1.0 and 1.00; to take too much for equal only costs. */
const mayEqual = (a: Value | undefined, b: Value): boolean => a === b || a !== undefined && a !== null && b !== null && Number(a) === Number(b)

/** Receipts that a client has not acknowledged, kept to answer a repeat. */
const maxDelivered = 4096

const encode = new TextEncoder()

export const make = (environment: Environment): Hub => {
  const { encoder, limits, now, source } = environment
  const entries = new Map<Binding, Entry>()
  const unready = new Set<Entry>()
  const gates = new Map<Gate, GateEntry>()
  const unreadyGates = new Set<GateEntry>()
  const clients = new Map<string, ConnectionState>()
  const connections = new Set<ConnectionState>()
  /** Those that wait until the engine is at a position that their client has already seen. */
  const behind = new Map<ConnectionState, { readonly at: Position; readonly since: number; readonly outpaced: () => void }>()
  const retained: Array<Retained> = []
  let retainedFrom = 0
  let windowBytes = 0
  let channelIds = 0
  let memberCount = 0
  let encodedRows = 0
  let builtFrames = 0
  let sentFrames = 0
  let sentBytes = 0
  /** Connections with something to send, of the pass at hand. */
  let touched = new Set<ConnectionState>()
  const gathered = new Set<ConnectionState>()
  let gatherTimer = false

  // -- what is shown -------------------------------------------------------------------------------------------------------

  const put = (channel: Channel, rows: Map<Key, string>, row: Row): Key => {
    const { shape } = channel.entry
    const key = encoder.keyOf(shape.select.table, row)
    rows.set(key, encoder.rowText(shape, row, shape.masks.length === 0 ? 0 : encoder.masked(shape, row, channel.bound)))
    encodedRows++
    return key
  }

  const boundaryOf = (channel: Channel, boundary: ReadonlyArray<Value> | null | undefined) =>
    boundary === undefined ? undefined : encoder.boundaryText(channel.entry.shape, boundary, channel.bound)

  const whole = (channel: Channel): Patch.Patch => {
    if (channel.whole === undefined) {
      const { binding } = channel.entry
      const rows = new Map<Key, string>()
      const add = new Set<Key>()
      for (const row of binding.rows()) add.add(put(channel, rows, row))
      channel.whole = {
        binding: channel.id, table: channel.entry.shape.select.table, reset: true, rows, add, remove: new Set(),
        boundary: boundaryOf(channel, binding.boundary)
      }
    }
    return channel.whole
  }

  /** Of a gate that is closed: no rows, and none to come. */
  const nothing = (channel: Channel) =>
    Patch.emptied(channel.id, channel.entry.shape.select.table, channel.entry.binding.boundary === undefined ? undefined : "null")

  const patchOf = (channel: Channel, delta: Delta): Patch.Patch => {
    const rows = new Map<Key, string>()
    const add = new Set<Key>()
    for (const row of delta.added) add.add(put(channel, rows, row))
    for (const row of delta.changed) put(channel, rows, row)
    return {
      binding: channel.id, table: channel.entry.shape.select.table, reset: false, rows, add,
      remove: new Set(delta.removed), boundary: boundaryOf(channel, delta.boundary)
    }
  }

  /** What became of a result while the graph was made anew. */
  const difference = (channel: Channel, before: ReadonlyArray<Row>): Patch.Patch => {
    const to = whole(channel)
    const rows = new Map(to.rows)
    const add = new Set(to.add)
    const remove = new Set<Key>()
    // What it looked like is not known where columns are masked: those who read them may be others by now.
    const { masks } = channel.entry.shape
    for (const row of before) {
      const old = new Map<Key, string>()
      const key = put(channel, old, row)
      if (!add.delete(key)) remove.add(key)
      else if (masks.length === 0 && rows.get(key) === old.get(key)) rows.delete(key)
    }
    return { ...to, reset: false, rows, add, remove }
  }

  const retain = (channel: Channel, patch: Patch.Patch, position: Position) => {
    const bytes = Patch.text(patch).length
    const entry: Retained = { channel, patch, position, at: now(), bytes }
    channel.window.push(entry)
    retained.push(entry)
    windowBytes += bytes
    while (windowBytes > limits.windowBytes) forget()
  }

  const forget = () => {
    const oldest = retained[retainedFrom++]!
    windowBytes -= oldest.bytes
    if (oldest.channel.window[0] === oldest) {
      oldest.channel.window.shift()
      oldest.channel.since = oldest.position
    }
    if (retainedFrom > 1024 && retainedFrom * 2 > retained.length) {
      retained.splice(0, retainedFrom)
      retainedFrom = 0
    }
  }

  // -- members -------------------------------------------------------------------------------------------------------------

  const hold = (connection: ConnectionState) => void connection.holds++

  const letGo = (connection: ConnectionState) => {
    if (--connection.holds === 0) touched.add(connection)
  }

  const touch = (member: Member) => {
    const { connection } = member
    touched.add(connection)
    if (!member.dirty) {
      member.dirty = true
      connection.dirty.push(member)
    }
  }

  const startOver = (member: Member) => {
    if (member.pending.length > 0) member.pending = []
    member.held = undefined
    member.reset = true
    touch(member)
  }

  const push = (member: Member, patch: Patch.Patch, trace: string | undefined) => {
    const { connection } = member
    connection.trace = trace
    if (member.reset || member.held !== undefined) return touch(member)
    member.pending.push(patch)
    connection.pendingBytes += Patch.text(patch).length
    touch(member)
    if (connection.pendingBytes > limits.pendingBytes) compact(connection)
  }

  /** Too much is pending: nets it out, and if that does not help gives it up. */
  const compact = (connection: ConnectionState) => {
    let bytes = 0
    for (const member of connection.dirty) {
      if (member.pending.length > 1) member.pending = [mergedOf(member.channel, member.pending)]
      if (member.pending.length > 0) bytes += Patch.text(member.pending[0]!).length
    }
    connection.pendingBytes = bytes
    // Half, so that merging is not tried again with each step.
    if (bytes > limits.pendingBytes / 2) resync(connection, "SlowConsumer")
  }

  const resync = (connection: ConnectionState, reason: Resync["reason"]) => {
    connection.resync ??= reason
    connection.pendingBytes = 0
    for (const member of connection.members.values()) if (member.live) startOver(member)
    environment.resynced(reason)
  }

  const mergedOf = (channel: Channel, patches: ReadonlyArray<Patch.Patch>): Patch.Patch => {
    if (patches.length === 1) return patches[0]!
    const first = patches[0]!
    const last = patches.at(-1)!
    let byLast = channel.merged.get(first)
    if (byLast === undefined) channel.merged.set(first, byLast = new WeakMap())
    let merged = byLast.get(last)
    if (merged === undefined) byLast.set(last, merged = Patch.mergeAll(patches))
    return merged
  }

  /** Brings `ready`, `open` and the connection's holds in line with binding and gates. */
  const refresh = (member: Member) => {
    const { channel, connection } = member
    let ready = channel.entry.ready
    let open = true
    for (const gate of member.gates) {
      ready &&= gate.ready
      open &&= gate.open
    }
    if (open !== member.open) {
      member.open = open
      if (member.live) startOver(member)
    }
    if (ready === member.ready) return
    member.ready = ready
    const holds = member.live || member.first
    if (!ready) {
      if (holds) hold(connection)
      return
    }
    if (!member.live) {
      member.live = true
      // A client that has been away needs what happened since, if that is still known and was its to see.
      if (member.held === undefined || !resumable(member, member.held)) startOver(member)
      touch(member)
    }
    if (holds) letGo(connection)
  }

  const resumable = (member: Member, from: Position) =>
    member.channel.since <= from && member.gates.every((gate) => gate.since <= from)

  /** What the client must be told of this member to be at the engine's position; undefined for nothing. */
  const take = (member: Member): Patch.Patch | undefined => {
    const { channel } = member
    member.dirty = false
    if (member.reset) {
      member.reset = false
      return member.open ? whole(channel) : nothing(channel)
    }
    const from = member.held
    if (from !== undefined) {
      member.held = undefined
      if (!resumable(member, from)) return member.open ? whole(channel) : nothing(channel)
      if (!member.open) return undefined
      const since = channel.window.filter((entry) => entry.position > from).map((entry) => entry.patch)
      return since.length === 0 ? undefined : mergedOf(channel, since)
    }
    if (member.pending.length === 0) return undefined
    const patch = mergedOf(channel, member.pending)
    member.pending.length = 0
    return patch
  }

  // -- frames --------------------------------------------------------------------------------------------------------------

  type Traces = { readonly step: string; readonly fanout: string | undefined } | undefined

  interface Shared {
    readonly next: Map<Patch.Patch, Shared>
    bytes: Uint8Array | undefined
  }

  const frameText = (
    connection: ConnectionState,
    to: Position,
    opened: string,
    patches: ReadonlyArray<Patch.Patch>,
    receipts: ReadonlyArray<Written>
  ) => {
    builtFrames++
    let text = `{"type":"frame","to":${to}`
    if (connection.trace !== undefined) text += `,"trace":${JSON.stringify(connection.trace)}`
    if (opened !== "") text += `,"opened":[${opened}]`
    text += ",\"patches\":["
    for (let i = 0; i < patches.length; i++) text += (i === 0 ? "" : ",") + Patch.text(patches[i]!)
    return `${text}]${receipts.length === 0 ? "" : `,"receipts":[${receipts.map((receipt) => receipt.text).join(",")}]`}}`
  }

  /** One frame for a connection that nothing holds. `roots` shares the bytes of frames that say the same. */
  const flush = (connection: ConnectionState, roots: Map<string | undefined, Shared>, time: number, traces: Traces) => {
    if (traces !== undefined && connection.trace === traces.step) connection.trace = traces.fanout
    const to = source.position()
    const patches: Array<Patch.Patch> = []
    let opened = ""
    for (const member of connection.dirty) {
      if (!member.live || member.ids.size === 0) {
        member.dirty = false
        continue
      }
      if (member.unopened.length > 0) {
        for (const id of member.unopened) opened += `${opened === "" ? "" : ","}{"id":${id},"binding":${member.channel.id}}`
        member.unopened = []
      }
      const patch = take(member)
      if (patch !== undefined && !Patch.isEmpty(patch)) patches.push(patch)
    }
    connection.dirty.length = 0
    connection.pendingBytes = 0
    const { receipts, trace } = connection
    if (connection.resync !== undefined) {
      say(connection, { type: "resync", reason: connection.resync })
      connection.resync = undefined
    } else if (patches.length === 0 && opened === "" && receipts.length === 0) return
    let bytes: Uint8Array
    if (opened === "" && receipts.length === 0) {
      let at: Shared = roots.get(trace) ?? { next: new Map(), bytes: undefined }
      roots.set(trace, at)
      for (const patch of patches) {
        let next: Shared | undefined = at.next.get(patch)
        if (next === undefined) at.next.set(patch, next = { next: new Map(), bytes: undefined })
        at = next
      }
      bytes = at.bytes ??= encode.encode(frameText(connection, to, "", patches, receipts))
    } else {
      bytes = encode.encode(frameText(connection, to, opened, patches, receipts))
      for (const receipt of receipts) {
        connection.delivered.set(receipt.seq, receipt)
        environment.answered(connection.client, receipt.seq)
      }
      for (const seq of connection.delivered.keys()) {
        if (connection.delivered.size <= maxDelivered) break
        forgetReceipt(connection, seq)
      }
      connection.receipts = []
    }
    connection.trace = undefined
    connection.position = to
    connection.lastFrame = time
    sentFrames++
    sentBytes += bytes.length
    connection.peer.send(bytes)
  }

  const forgetReceipt = (connection: ConnectionState, seq: number) => {
    connection.receiptBytes -= connection.delivered.get(seq)!.text.length
    connection.delivered.delete(seq)
  }

  const say = (connection: ConnectionState, message: ServerMessage) => connection.peer.send(JSON.stringify(message))

  const flushAll = (of: Iterable<ConnectionState>, force: boolean, traces: Traces) => {
    const roots = new Map<string | undefined, Shared>()
    const time = now()
    const [framesBefore, bytesBefore] = [sentFrames, sentBytes]
    let wait = 0
    for (const connection of of) {
      if (connection.holds > 0 || connection.pressed || connection.closed) continue
      if (!force) {
        const left = connection.lastFrame + limits.gatherMillis - time
        if (left > 0) {
          gathered.add(connection)
          wait = Math.max(wait, left)
          continue
        }
      }
      if (connection.peer.buffered() > limits.socketBytes) {
        connection.pressed = true
        continue
      }
      flush(connection, roots, time, traces)
    }
    if (sentFrames > framesBefore) environment.sent(sentFrames - framesBefore, sentBytes - bytesBefore)
    if (gathered.size > 0 && !gatherTimer) {
      gatherTimer = true
      environment.later(Math.max(1, wait), () => {
        gatherTimer = false
        const ready = [...gathered]
        gathered.clear()
        flushAll(ready, true, undefined)
      })
    }
  }

  /** Runs what touches connections, then sends what can be sent. */
  const act = (trace: string | undefined, run: () => void) => {
    run()
    if (touched.size === 0) return
    const of = touched
    touched = new Set()
    environment.fanout(trace, of.size, (fanout) => flushAll(of, false, trace === undefined ? undefined : { step: trace, fanout }))
  }

  // -- passes --------------------------------------------------------------------------------------------------------------

  const settle = (pass: Pass, position: Position, trace: string | undefined) => {
    for (const binding of pass.waiting) {
      const entry = entries.get(binding)
      if (entry === undefined || !entry.ready) continue
      entry.ready = false
      unready.add(entry)
      for (const channel of entry.channels.values()) for (const member of channel.members) refresh(member)
    }
    for (const gate of pass.gates) {
      const entry = gates.get(gate)
      if (entry === undefined) continue
      if (!gate.ready) {
        entry.ready = false
        unreadyGates.add(entry)
      } else if (gate.open !== entry.open) {
        entry.open = gate.open
        entry.since = position
      }
      for (const member of entry.members) refresh(member)
    }
    for (const delta of pass.deltas) {
      const entry = entries.get(delta.binding)
      if (entry === undefined) continue
      const { before } = entry
      for (const channel of entry.channels.values()) {
        channel.whole = undefined
        if (delta.reset && before === undefined) {
          // A first read: what came before is not known here.
          drop(channel)
          channel.since = position
          for (const member of channel.members) if (member.live) startOver(member)
          continue
        }
        const patch = delta.reset ? difference(channel, before!) : patchOf(channel, delta)
        if (Patch.isEmpty(patch)) continue
        retain(channel, patch, position)
        for (const member of channel.members) if (member.live && member.open) push(member, patch, trace)
      }
      if (delta.reset) entry.before = undefined
    }
    for (const { bound, rows, shape } of pass.masks) {
      const concerned = new Map<Entry, ReadonlyArray<Row>>()
      if (rows === null) {
        for (const entry of entries.values()) if (entry.shape.hash === shape.hash) concerned.set(entry, entry.binding.rows())
      } else {
        for (const { binding, row } of rows) {
          const entry = entries.get(binding)
          if (entry !== undefined) concerned.set(entry, [...concerned.get(entry) ?? [], row])
        }
      }
      for (const [entry, rows] of concerned) {
        if (rows.length > 0) for (const channel of entry.channels.values()) if (isOf(channel.bound, bound)) remask(channel, rows, position, trace)
      }
    }
    for (const entry of unready) {
      if (!entry.binding.ready) continue
      unready.delete(entry)
      entry.ready = entry.known = true
      for (const channel of entry.channels.values()) for (const member of channel.members) refresh(member)
    }
    for (const entry of unreadyGates) {
      if (!entry.gate.ready) continue
      unreadyGates.delete(entry)
      entry.ready = true
      // What it was before is not known where this is the first time.
      if (entry.open !== entry.gate.open || entry.since === Infinity) {
        entry.open = entry.gate.open
        entry.since = position
      }
      for (const member of entry.members) refresh(member)
    }
    catchUp(position)
  }

  /** Rows that did not change look different to a channel. */
  const remask = (channel: Channel, concerned: ReadonlyArray<Row>, position: Position, trace: string | undefined) => {
    channel.whole = undefined
    const rows = new Map<Key, string>()
    for (const row of concerned) put(channel, rows, row)
    const patch: Patch.Patch = {
      binding: channel.id, table: channel.entry.shape.select.table, reset: false, rows, add: new Set(), remove: new Set(), boundary: undefined
    }
    retain(channel, patch, position)
    for (const member of channel.members) if (member.live && member.open) push(member, patch, trace)
  }

  const catchUp = (position: Position) => {
    for (const [connection, { at }] of behind) {
      if (position < at) continue
      behind.delete(connection)
      letGo(connection)
    }
  }

  // -- life and death ------------------------------------------------------------------------------------------------------

  const channelOf = (shape: Shape, bound: Bound): Channel => {
    const binding = source.bind(shape, bound)
    let entry = entries.get(binding)
    if (entry === undefined) {
      entry = { binding, shape, bound, ready: binding.ready, known: binding.ready, channels: new Map(), before: undefined }
      entries.set(binding, entry)
      if (!entry.ready) unready.add(entry)
    } else {
      // One hold on the binding is enough for all of its channels.
      source.release(binding)
    }
    const audience = shape.masks.length === 0 ? "" : encoder.audience(shape, bound)
    let channel = entry.channels.get(audience)
    if (channel === undefined) {
      channel = {
        entry, id: ++channelIds, bound, audience, members: new Set(), window: [], since: source.position(), whole: undefined,
        merged: new WeakMap(), idleSince: undefined
      }
      entry.channels.set(audience, channel)
    }
    channel.idleSince = undefined
    return channel
  }

  const gateOf = (condition: Expression, bound: Bound): GateEntry => {
    const gate = source.gate(condition, bound)
    // Queries with other parameters may share it: it is the same where what the condition names is the same.
    let entry = gates.get(gate)
    if (entry === undefined) {
      entry = {
        condition, bound, gate, ready: gate.ready, open: gate.open, since: gate.ready ? source.position() : Infinity,
        members: new Set(), idleSince: undefined
      }
      gates.set(gate, entry)
      if (!entry.ready) unreadyGates.add(entry)
    } else {
      source.release(gate)
    }
    entry.idleSince = undefined
    return entry
  }

  const drop = (channel: Channel) => {
    // Their bytes are given back when their turn comes.
    channel.window.length = 0
  }

  const leave = (member: Member) => {
    const { channel, connection } = member
    if (!member.ready && (member.live || member.first)) letGo(connection)
    connection.members.delete(channel)
    memberCount--
    member.ids.clear()
    member.pending = []
    channel.members.delete(member)
    if (channel.members.size === 0) channel.idleSince = now()
    for (const gate of member.gates) {
      gate.members.delete(member)
      if (gate.members.size === 0) gate.idleSince = now()
    }
  }

  const end = (channel: Channel) => {
    const { entry } = channel
    drop(channel)
    channel.since = Infinity
    entry.channels.delete(channel.audience)
    if (entry.channels.size > 0) return
    entries.delete(entry.binding)
    unready.delete(entry)
    source.release(entry.binding)
  }

  const endGate = (entry: GateEntry) => {
    gates.delete(entry.gate)
    unreadyGates.delete(entry)
    source.release(entry.gate)
  }

  const sweep = () => {
    const late = now() - limits.behindMillis
    for (const [connection, { outpaced, since }] of behind) {
      if (since > late) continue
      behind.delete(connection)
      outpaced()
    }
    const until = now() - limits.windowMillis
    while (retainedFrom < retained.length && retained[retainedFrom]!.at <= until) forget()
    const idle: Array<Channel> = []
    for (const entry of entries.values()) {
      for (const channel of entry.channels.values()) if (channel.idleSince !== undefined) idle.push(channel)
    }
    idle.sort((a, b) => a.idleSince! - b.idleSince!)
    idle.forEach((channel, i) => {
      if (channel.idleSince! <= until || idle.length - i > limits.idleBindings) end(channel)
    })
    const idleGates = [...gates.values()].filter((gate) => gate.idleSince !== undefined)
    idleGates.sort((a, b) => a.idleSince! - b.idleSince!)
    idleGates.forEach((gate, i) => {
      if (gate.idleSince! <= until || idleGates.length - i > limits.idleBindings) endGate(gate)
    })
  }

  const connect: Hub["connect"] = ({ atLeast, client, outpaced, overrun, peer, superseded }) => {
    const connection: ConnectionState = {
      peer, client, superseded, overrun, members: new Map(), subscriptions: new Map(), holds: 1, dirty: [], pendingBytes: 0, receipts: [],
      delivered: new Map(), receiptBytes: 0, pressed: false, resync: undefined, lastFrame: -Infinity,
      position: atLeast, trace: undefined, closed: false
    }
    connections.add(connection)
    clients.get(client)?.superseded()
    clients.set(client, connection)
    if (source.position() < atLeast) {
      behind.set(connection, { at: atLeast, since: now(), outpaced })
      hold(connection)
    }
    return {
      subscribe: (id, shape, bound, options) =>
        act(undefined, () => {
          const channel = channelOf(shape, bound)
          let member = connection.members.get(channel)
          if (member === undefined) {
            member = {
              connection, channel, gates: shape.gates.map((gate) => gateOf(gate, bound)), ids: new Set(), unopened: [], ready: false,
              open: true, live: false, first: options?.first === true, held: options?.held, reset: false, pending: [], dirty: false
            }
            memberCount++
            connection.members.set(channel, member)
            channel.members.add(member)
            for (const gate of member.gates) gate.members.add(member)
            if (member.first) hold(connection)
          } else if (member.live) startOver(member)
          member.ids.add(id)
          member.unopened.push(id)
          connection.subscriptions.set(id, member)
          refresh(member)
        }),
      unsubscribe: (id) =>
        act(undefined, () => {
          const member = connection.subscriptions.get(id)
          if (member === undefined) return
          connection.subscriptions.delete(id)
          member.ids.delete(id)
          member.unopened = member.unopened.filter((other) => other !== id)
          if (member.ids.size === 0) leave(member)
        }),
      has: (id) => connection.subscriptions.has(id),
      acknowledge: (seq) => {
        connection.receipts = connection.receipts.filter((receipt) => {
          if (receipt.seq > seq) return true
          if (!connection.delivered.has(receipt.seq)) connection.receiptBytes -= receipt.text.length
          return false
        })
        for (const sent of connection.delivered.keys()) if (sent <= seq) forgetReceipt(connection, sent)
      },
      repeat: (seq) =>
        act(undefined, () => {
          const receipt = connection.delivered.get(seq)
          if (receipt === undefined || connection.receipts.includes(receipt)) return
          connection.receipts.push(receipt)
          touched.add(connection)
        }),
      received: (receipts) =>
        act(undefined, () => {
          // What steps brought meanwhile is among them.
          connection.receipts = receipts.map(written)
          connection.receiptBytes = connection.receipts.reduce((sum, { text }) => sum + text.length, 0)
          letGo(connection)
        }),
      position: () =>
        connection.holds > 0 || connection.pressed || connection.dirty.length > 0 || connection.receipts.length > 0
          ? connection.position
          : Math.max(connection.position, source.position()),
      drained: () => {
        if (!connection.pressed) return
        connection.pressed = false
        flushAll([connection], true, undefined)
      },
      close: () => {
        if (connection.closed) return
        connection.closed = true
        for (const member of connection.members.values()) leave(member)
        connection.subscriptions.clear()
        connections.delete(connection)
        behind.delete(connection)
        gathered.delete(connection)
        touched.delete(connection)
        if (clients.get(client) === connection) clients.delete(client)
      }
    }
  }

  return {
    connect,
    stepped: (pass, position, receipts, trace) =>
      act(trace, () => {
        settle(pass, position, trace)
        for (const { client, receipt } of receipts) {
          const connection = clients.get(client)
          if (connection === undefined) continue
          if (trace !== undefined) connection.trace = trace
          const made = written(receipt)
          connection.receipts.push(made)
          connection.receiptBytes += made.text.length
          touched.add(connection)
          if (connection.receiptBytes > limits.pendingBytes * 16) connection.overrun()
        }
      }),
    filled: (pass) => act(undefined, () => settle(pass, source.position(), undefined)),
    restarted: () =>
      act(undefined, () => {
        encoder.restarted()
        const old = [...entries.values()]
        entries.clear()
        unready.clear()
        for (const entry of old) {
          // A result that was never delivered leaves nothing to compare with.
          if (entry.known) entry.before ??= entry.binding.rows()
          entry.binding = source.bind(entry.shape, entry.bound)
          entry.ready = entry.binding.ready
          entries.set(entry.binding, entry)
          if (!entry.ready) unready.add(entry)
          for (const channel of entry.channels.values()) for (const member of channel.members) refresh(member)
        }
        const oldGates = [...gates.values()]
        gates.clear()
        unreadyGates.clear()
        for (const entry of oldGates) {
          entry.gate = source.gate(entry.condition, entry.bound)
          entry.ready = entry.gate.ready
          if (!entry.ready) unreadyGates.add(entry)
          gates.set(entry.gate, entry)
          for (const member of entry.members) refresh(member)
        }
        catchUp(source.position())
      }),
    sweep,
    stats: () => ({
      connections: connections.size, bindings: entries.size, members: memberCount, windowBytes, encodedRows, builtFrames, sentFrames
    })
  }
}
