/**
 * Lets things happen: a schedule of writes, subscriptions and failures against a system of one server and several clients,
 * and records what each client was told. Knows clients only by what `System` asks of them.
 */
import type { ClientMessage, ServerMessage } from "@headwater/core/Message"
import type { Client } from "pg"
import * as Database from "./database.ts"
import * as Network from "./network.ts"
import type * as Random from "./random.ts"
import type { Delivery, Quiet, Recording, Shown } from "./recording.ts"
import * as Schedule from "./schedule.ts"
import * as Shadow from "./shadow.ts"
import type { Fold } from "./shadow.ts"
import * as Wire from "./wire.ts"

/** A client as applications have it. */
export interface Peer {
  readonly open: (query: Database.QueryName, parameters: Database.Parameters) => Live
  readonly mutate: (name: string, payload: object) => Promise<"applied" | "rejected">
  /** Mutations not yet answered. */
  readonly pending: () => number
  /** For reports. */
  readonly status: () => string
  readonly close: () => Promise<void>
}

export interface Live {
  /** Undefined while it has none. */
  readonly value: () => ReadonlyArray<Readonly<Record<string, unknown>>> | undefined
  readonly failed: () => string | undefined
  readonly close: () => void
}

export interface System {
  readonly port: number
  readonly path: string
  readonly connect: (options: { readonly url: string; readonly user: string; readonly WebSocket: new(url: string, protocols?: string | Array<string>) => object; readonly optimistic: boolean }) => Promise<Peer>
  /** What a change source of its own has delivered so far. */
  readonly steps: ReadonlyArray<Fold>
  readonly start: number
  readonly epoch: string
  /** Ends the server in an orderly way. */
  readonly stopServer: () => Promise<void>
  /** Starts another one on the same port. */
  readonly startServer: () => Promise<void>
  /** The first position that includes a transaction. */
  readonly positionOf: (transaction: string) => Promise<number>
}

export interface Counts {
  frames: number
  mutations: number
  rejected: number
  opened: number
  closed: number
  cuts: number
  /** Results that a connection took over from the one before. */
  resumed: number
  resyncs: number
  revocations: number
  outside: number
  failed: number
  held: number
  truncates: number
  /** Connections of the server to the database that were cut. */
  ended: number
  steps: number
}

interface Participant {
  readonly name: string
  readonly user: number
  readonly link: Network.Link
  readonly peer: Peer
  readonly wire: Wire.Wire
  readonly live: Set<{ readonly query: Database.QueryName; readonly parameters: Database.Parameters; readonly handle: Live }>
  /** Mutations on their way. */
  running: number
  /** Ticks until its link is well again. */
  ill: number
}

export interface Role {
  readonly name: string
  /** Index into `Schedule.users`. */
  readonly user: number
  /** Whether it runs handlers itself, so that pending writes show. */
  readonly optimistic: boolean
}

export const run = async (
  system: System,
  url: string,
  random: Random.Random,
  schedule: Schedule.Schedule,
  cast: ReadonlyArray<Role>,
  ticks: number
): Promise<{ readonly recording: Recording; readonly counts: Counts }> => {
  const counts: Counts = { frames: 0, mutations: 0, rejected: 0, opened: 0, closed: 0, cuts: 0, resumed: 0, resyncs: 0, revocations: 0, outside: 0, failed: 0, held: 0, truncates: 0, ended: 0, steps: 0 }
  const deliveries: Array<Delivery> = []
  const quiets: Array<Quiet> = []
  const violations = new Set<string>()
  const mutations: Array<{ client: string; name: string; bump: string | undefined; outcome: "applied" | "rejected" | "unanswered" }> = []
  const logs = new Map<string, ReadonlyArray<string>>()
  const participants: Array<Participant> = []

  const main = await Database.connect(url)

  // Whoever waits is woken by whatever happens.
  let wake: ReadonlyArray<() => void> = []
  const happened = () => {
    const woken = wake
    wake = []
    for (const run of woken) run()
  }
  const until = async (what: string, condition: () => boolean | string) => {
    const deadline = performance.now() + 15_000
    while (true) {
      const state = condition()
      if (state === true) return
      const left = deadline - performance.now()
      if (left <= 0) {
        const activity = await Database.activity(main)
        throw new Error([`waited in vain until ${what}: ${state}`, ...waiting(), "the database's connections:", ...activity].join("\n"))
      }
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        wake = [...wake, resolve]
        timer = setTimeout(resolve, Math.min(left, 100))
      })
      clearTimeout(timer)
    }
  }

  /** What clients said and heard last whose mutations run. */
  const waiting = () =>
    participants.filter(({ running }) => running > 0).flatMap(({ ill, link, name, peer, running }) => [
      `${name}: ${running} mutations, ${peer.pending()} pending, ${peer.status()}, ${link.connections()} connections, ${ill > 0 ? "ill" : "well"}`,
      ...logs.get(name)!.slice(-8).map((message) => `  ${message.slice(0, 600)}`)
    ])

  for (const { name, optimistic, user } of cast) {
    const link = await Network.link(system.port, system.path)
    const wire = Wire.make()
    const messages: Array<string> = []
    logs.set(name, messages)
    let applied: Wire.Applied | undefined
    const live: Participant["live"] = new Set()
    const tap: Network.Tap = {
      opened() {},
      sent(text) {
        messages.push(`> ${text}`)
        wire.send(JSON.parse(text) as ClientMessage)
      },
      received(text) {
        messages.push(`< ${text}`)
        const forbidden = Schedule.forbiddenIn(text, user)
        if (forbidden !== undefined) violations.add(`P7 client ${name} received ${forbidden} in ${text.slice(0, 400)}`)
        const message = JSON.parse(text) as ServerMessage
        if (message.type === "error") violations.add(`client ${name} was told ${text}`)
        if (message.type === "resync") counts.resyncs++
        applied = wire.receive(message)
        counts.resumed += applied?.resumed ?? 0
      },
      handled() {
        if (applied === undefined) return
        const isClear = participant.peer.pending() === 0
        const shown: Array<Shown> = []
        for (const { handle, parameters, query } of live) {
          const failed = handle.failed()
          if (failed !== undefined) violations.add(`client ${name}: ${query} failed: ${failed}`)
          shown.push({ query, parameters, rows: optimistic && !isClear ? undefined : handle.value(), members: undefined })
        }
        for (const { members, parameters, query } of wire.subscriptions()) {
          // Rows travel whole.
          const projected = query === "titles" ? members?.map(({ id, title }) => ({ id, title })) : members
          shown.push({ query, parameters, rows: undefined, members: projected })
        }
        counts.frames++
        const { carried, epoch, position, receipts } = applied
        deliveries.push({ client: name, user: Schedule.users[user]!, epoch, position, shown, carried, receipts: receipts.map(({ seq }) => `${wire.store()} ${seq}`), messages: messages.length })
        applied = undefined
        happened()
      }
    }
    const peer = await system.connect({ url: link.url, user: Schedule.users[user]!, WebSocket: Network.tapped(tap), optimistic })
    const participant: Participant = { name, user, link, peer, wire, live, running: 0, ill: 0 }
    participants.push(participant)
  }

  const open = (participant: Participant, query: Database.QueryName, parameters: Database.Parameters) => {
    participant.live.add({ query, parameters, handle: participant.peer.open(query, parameters) })
    counts.opened++
  }
  const close = (participant: Participant, which: Participant["live"] extends Set<infer A> ? A : never) => {
    which.handle.close()
    participant.live.delete(which)
    counts.closed++
  }
  const mutate = (participant: Participant, { name, payload }: Schedule.Mutation) => {
    const entry: typeof mutations[number] = { client: participant.name, name, bump: name === "bump" ? String(payload["mutation"]) : undefined, outcome: "unanswered" }
    mutations.push(entry)
    counts.mutations++
    participant.running++
    void participant.peer.mutate(name, payload).then((outcome) => {
      entry.outcome = outcome
      if (outcome === "rejected") counts.rejected++
    }, (cause: unknown) => void violations.add(`mutation ${name} of client ${participant.name} threw ${String(cause)}`)).finally(() => {
      participant.running--
      happened()
    })
  }

  // Writers from outside: each is a connection, and does one thing after the other.
  interface Outside {
    readonly client: Client
    queue: Promise<unknown>
    length: number
    /** Of a transaction left open: ticks until it ends. */
    left: number
  }
  const writers: Array<Outside> = []
  for (let i = 0; i < 4; i++) writers.push({ client: await Database.connect(url), queue: Promise.resolve(), length: 0, left: 0 })
  const perform = (writer: Outside, statements: ReadonlyArray<string>, done: (rows: number) => void = () => {}) => {
    writer.length++
    writer.queue = writer.queue.then(async () => {
      let rows = 0
      for (const statement of statements) rows += (await writer.client.query(statement)).rowCount ?? 0
      done(rows)
      // A constraint, or a deadlock: the next statement begins anew.
    }).catch(() => {
      counts.failed++
      return writer.client.query("rollback")
    }).finally(() => {
      writer.length--
      happened()
    })
  }
  const transaction = (statements: ReadonlyArray<string>) => statements.length === 1 ? statements : ["begin", ...statements, "commit"]
  const finish = (writer: Outside) => {
    if (writer.left === 0) return
    writer.left = 0
    perform(writer, [random.chance(0.85) ? "commit" : "rollback"], () => counts.held++)
  }
  const isIdle = (writer: Outside) => writer.length === 0 && writer.left === 0

  const heal = (participant: Participant) => {
    participant.ill = 0
    participant.link.refuse = false
    participant.link.release()
  }
  const cut = (participant: Participant, afterBytes: number) => {
    if (participant.link.cut(afterBytes)) counts.cuts++
  }

  let marks = 0

  /** Everything comes to rest, and everybody shows what the database holds. */
  const rest = async () => {
    for (const writer of writers) finish(writer)
    for (const participant of participants) heal(participant)
    await until("outside writers are done", () => writers.every(isIdle))
    await until("all mutations are answered", () =>
      participants.every(({ running }) => running === 0) || participants.map(({ name, peer, running }) => `${name}: ${running} running, ${peer.pending()} pending`).join("; "))
    const mark = ++marks
    await main.query(`insert into marks values (${mark})`)
    quiets.push({ mark, contents: await Database.readContents(main) })
    await until("the change source delivered the mark", () => system.steps.some(({ marks }) => marks.includes(mark)))
    const shows = ({ live }: Participant) => [...live].find(({ query }) => query === "marks")?.handle.value()?.[0]?.["n"] === mark
    await until(`all clients show mark ${mark}`, () => participants.every(shows) || participants.filter((participant) => !shows(participant)).map(({ link, live, name }) =>
      `${name} shows ${JSON.stringify([...live].find(({ query }) => query === "marks")?.handle.value())} after ${link.connections()} connections, its last frame is at ${deliveries.findLast(({ client }) => client === name)?.position}`).join("; "))
    for (const participant of participants) {
      await until(`client ${participant.name} has nothing pending`, () => participant.peer.pending() === 0)
      for (const { handle, parameters, query } of participant.live) {
        await until(`client ${participant.name} has ${query}`, () => handle.value() !== undefined)
        const { rows } = await main.query(Database.queryText(query, Schedule.users[participant.user]!, parameters))
        const expected = rows.map(Database.show).join("\n")
        const shows = () => handle.value()!.map(Database.show).join("\n")
        if (shows() !== expected) violations.add(`P10 at rest client ${participant.name} shows ${query}(${Database.show(parameters)}) as\n${shows()}\ninstead of\n${expected}`)
      }
    }
  }

  let commits: ReadonlyArray<Fold> = []
  try {
    for (const participant of participants) open(participant, "marks", {})
    const restartAt = 200 + random.int(ticks - 400)
    for (let tick = 1; tick <= ticks; tick++) {
      const participant = participants[random.int(cast.length)]
      const dice = participant === undefined ? random.pick([30, 31, 32, 33, 50, 51, 52, 81, 86]) : random.int(100)
      const writer = random.pick(writers)
      const statements = schedule.outside()
      const choice = schedule.query()
      const mutation = schedule.mutation(participant?.user ?? 0)
      const revocation = schedule.revocation()
      const ticksLeft = 1 + random.int(12)
      const bytes = random.chance(0.5) ? 0 : random.int(3000)
      if (participant !== undefined && dice < 30) {
        mutate(participant, mutation)
      } else if (dice < 48) {
        if (writer.left === 0) {
          perform(writer, transaction(statements))
          counts.outside++
        }
      } else if (dice < 60) {
        // Stays open while others commit.
        if (isIdle(writer)) {
          perform(writer, ["begin", ...statements])
          writer.left = ticksLeft
          counts.outside++
        }
      } else if (participant !== undefined && dice < 80) {
        const others = [...participant.live].filter(({ query }) => query !== "marks")
        if (others.length < 7 && (others.length < 3 || dice < 71)) open(participant, choice.query, choice.parameters)
        else close(participant, others[ticksLeft % others.length]!)
      } else if (dice < 88) {
        const { projectId, userId } = revocation
        if (writer.left === 0) {
          const [statement, done] = dice < 85
            ? [`delete from collaborators where project_id = '${projectId}' and user_id = '${userId}'`, (rows: number) => counts.revocations += rows] as const
            : [`insert into collaborators values ('${projectId}', '${userId}') on conflict do nothing`, () => {}] as const
          perform(writer, [statement], done)
        }
      } else if (participant !== undefined && dice < 92) {
        cut(participant, bytes)
      } else if (participant !== undefined && dice < 95 && participant.ill === 0) {
        participant.ill = 2 * ticksLeft
        if (dice === 92) {
          participant.link.refuse = true
          cut(participant, 0)
        } else {
          participant.link.stall()
        }
      } else if (dice === 98 && tick % 2 === 0) {
        counts.ended++
        void Database.endConnection(main, ticksLeft)
      } else if (dice === 99 && tick % 3 === 0 && isIdle(writer)) {
        perform(writer, transaction(schedule.truncate()), () => counts.truncates++)
      }

      for (const each of writers) if (each.left > 0 && --each.left === 0) {
        each.left = 1
        finish(each)
      }
      for (const each of participants) if (each.ill > 0 && --each.ill === 0) {
        if (random.chance(0.3)) cut(each, 0)
        heal(each)
      }
      if (tick === restartAt) {
        for (const each of writers) finish(each)
        await system.stopServer()
        // A process that ends takes its sockets along.
        for (const { link } of participants) link.cut(0)
        await system.startServer()
      }
      if (tick === ticks) {
        await rest()
        commits = await readCommits(system, main)
        break
      }
      if (tick % 150 === 0) {
        await rest()
        continue
      }
      // Neither runs away from the system nor waits for it each time.
      const bound = random.int(8)
      const inFlight = () => writers.reduce((n, { length }) => n + length, 0) + participants.reduce((n, { ill, link, running }) => n + (ill > 0 || link.refuse ? 0 : Math.min(running, 4)), 0)
      if (tick % 4 === 0 && inFlight() > bound) {
        for (const each of writers) finish(each)
        await until(`at most ${bound} writes are in flight`, () => inFlight() <= bound || `${inFlight()}`)
      } else {
        await new Promise(setImmediate)
      }
    }
  } finally {
    for (const { link, peer } of participants) {
      await peer.close()
      await link.close()
    }
    for (const { client } of [...writers, { client: main }]) await client.end()
  }
  counts.steps = system.steps.length
  return {
    counts,
    recording: {
      epoch: system.epoch,
      start: system.start,
      commits,
      steps: [...system.steps],
      deliveries,
      quiets,
      mutations,
      stores: new Map(participants.map(({ name, wire }) => [name, wire.stores])),
      messages: logs,
      violations: [...violations]
    }
  }
}

/** Where in the order of steps each transaction is that wrote something. */
const readCommits = async (system: System, client: Client): Promise<ReadonlyArray<Fold>> => {
  const images = await Shadow.readImages(client)
  const ids = new Set(images.map(({ transaction }) => transaction))
  return Shadow.ofImages(images, new Map(await Promise.all([...ids].map(async (id) => [id, await system.positionOf(id)] as const))))
}
