/**
 * Compares what clients saw with what the database was at the positions that they were told, and lists what is wrong.
 *
 * Needs a shadow in the state at `recording.start`, and leaves it in that of the last step.
 */
import type { Client } from "pg"
import { queryText, readableRows, readContents, show, tableNames } from "./database.ts"
import type { Delivery, Fields, Quiet, Recording } from "./recording.ts"
import * as Shadow from "./shadow.ts"
import type { Fold } from "./shadow.ts"

export interface Problem {
  /** Of the promise that is broken. */
  readonly promise: string
  readonly position: number
  readonly client: string
  readonly message: string
}

export const check = async (shadow: Client, recording: Recording): Promise<ReadonlyArray<Problem>> => {
  const problems: Array<Problem> = []
  checkOrder(recording, problems)
  checkReceipts(recording, problems)
  for (const message of recording.violations) problems.push({ promise: "run", position: 0, client: "", message })

  const deliveries = recording.deliveries.filter(({ epoch }) => epoch === recording.epoch).toSorted((a, b) => a.position - b.position)
  let next = 0
  await foldAll(shadow, "commits", recording.commits, recording.quiets, problems, async (until) => {
    // All that was delivered before this commit shows the state without it.
    const before = next
    while (next < deliveries.length && deliveries[next]!.position < until) next++
    await checkState(shadow, deliveries.slice(before, next), problems)
  })
  await checkEffects(shadow, recording, problems)
  return problems
}

/** Whether a change source delivers what was committed. Needs a shadow of its own. */
export const checkSource = async (shadow: Client, recording: Recording): Promise<ReadonlyArray<Problem>> => {
  const problems: Array<Problem> = []
  await foldAll(shadow, "steps", recording.steps, recording.quiets, problems, async () => {})
  const delivered = new Set(recording.steps.flatMap(({ transactions }) => transactions))
  for (const { position, transactions } of recording.commits) {
    for (const id of transactions) if (!delivered.has(id)) problems.push({ promise: "steps", position, client: "", message: `transaction ${id} is missing` })
  }
  return problems
}

/** Folds one after the other; `before` is called with the position of each, and at the end with infinity. */
const foldAll = async (
  shadow: Client,
  what: string,
  folds: ReadonlyArray<Fold>,
  quiets: ReadonlyArray<Quiet>,
  problems: Array<Problem>,
  before: (position: number) => Promise<void>
) => {
  const expected = new Map(quiets.map((quiet) => [quiet.mark, quiet.contents]))
  for (const fold of folds) {
    await before(fold.position)
    try {
      await Shadow.fold(shadow, fold)
    } catch (cause) {
      problems.push({ promise: what, position: fold.position, client: "", message: String(cause) })
      return
    }
    for (const mark of fold.marks) {
      const contents = expected.get(mark)
      if (contents === undefined || !expected.delete(mark)) continue
      const actual = await readContents(shadow)
      for (const table of tableNames) {
        if (actual[table].join("\n") === contents[table].join("\n")) continue
        problems.push({ promise: what, position: fold.position, client: "", message: `the ${what} do not add up to ${table}:\n${difference(contents[table], actual[table])}` })
      }
    }
  }
  await before(Infinity)
  for (const mark of expected.keys()) problems.push({ promise: what, position: 0, client: "", message: `mark ${mark} is missing` })
}

const checkState = async (shadow: Client, deliveries: ReadonlyArray<Delivery>, problems: Array<Problem>) => {
  /** By text: clients share users, and users queries. */
  const answers = new Map<string, ReadonlyArray<string>>()
  const ask = async (text: string) => {
    const answer = answers.get(text) ?? (await shadow.query<Fields>(text)).rows.map(show)
    answers.set(text, answer)
    return answer
  }
  for (const { carried, client, position, shown, user } of deliveries) {
    const report = (promise: string, message: string) => problems.push({ promise, position, client, message })
    for (const { members, parameters, query, rows } of shown) {
      const expected = await ask(queryText(query, user, parameters))
      const compare = (verb: string, wanted: ReadonlyArray<string>, actual: ReadonlyArray<string>) => {
        if (actual.join("\n") !== wanted.join("\n")) report("P1", `${query}(${show(parameters)}) of ${user} ${verb}\n${difference(wanted, actual)}`)
      }
      if (rows !== undefined) compare("shows", expected, rows.map(show))
      if (members !== undefined) compare("consists of", expected.toSorted(), members.map(show).toSorted())
    }
    for (const [table, rows] of Map.groupBy(carried, ([name]) => name)) {
      const allowed = new Set(await ask(readableRows(table, user)))
      for (const [, row] of rows) if (!allowed.has(show(row))) report("P7", `the frame carries a row of ${table} that ${user} may not read: ${show(row)}`)
    }
  }
}

const difference = (expected: ReadonlyArray<string>, actual: ReadonlyArray<string>) => {
  const missing = expected.filter((row) => !actual.includes(row)).map((row) => `  - ${row}`)
  const extra = actual.filter((row) => !expected.includes(row)).map((row) => `  + ${row}`)
  return missing.length + extra.length > 0 ? [...missing, ...extra].join("\n") : `the right ${actual.length} rows in another order, or several times:\n  ${actual.join("\n  ")}\ninstead of\n  ${expected.join("\n  ")}`
}

/** P8 */
const checkOrder = ({ deliveries }: Recording, problems: Array<Problem>) => {
  const last = new Map<string, Delivery>()
  for (const delivery of deliveries) {
    const before = last.get(delivery.client)
    if (before !== undefined && before.epoch === delivery.epoch && delivery.position < before.position) {
      problems.push({ promise: "P8", position: delivery.position, client: delivery.client, message: `was at ${before.position} before` })
    }
    last.set(delivery.client, delivery)
  }
}

/** P3, and one receipt for each mutation. */
const checkReceipts = (recording: Recording, problems: Array<Problem>) => {
  const inserted = new Map<string, number>()
  for (const { position, receipts } of recording.commits) {
    for (const id of receipts) {
      if (inserted.has(id)) problems.push({ promise: "P4", position, client: "", message: `a second receipt of mutation ${id} is inserted` })
      else inserted.set(id, position)
    }
  }
  for (const [client, stores] of recording.stores) {
    const frames = recording.deliveries.filter((delivery) => delivery.client === client)
    const receipts = new Map([...inserted].filter(([id]) => stores.has(id.slice(0, id.indexOf(" ")))))
    const answered = recording.mutations.filter((mutation) => mutation.client === client && mutation.outcome !== "unanswered").length
    if (receipts.size < answered) problems.push({ promise: "P4", position: 0, client, message: `${answered} mutations were answered, ${receipts.size} receipts inserted` })
    for (const [id, position] of receipts) {
      const first = frames.find((frame) => frame.position >= position)
      if (first !== undefined && !first.receipts.includes(id)) {
        problems.push({ promise: "P3", position: first.position, client, message: `the receipt of mutation ${id}, committed at ${position}, is not in this frame` })
      }
      const early = frames.find((frame) => frame.position < position && frame.receipts.includes(id))
      if (early !== undefined) problems.push({ promise: "P3", position: early.position, client, message: `the receipt of mutation ${id} is in a frame before its commit at ${position}` })
    }
    for (const frame of frames) {
      for (const id of frame.receipts) {
        if (!receipts.has(id)) problems.push({ promise: "P3", position: frame.position, client, message: `a receipt of mutation ${id} arrives that was never inserted` })
      }
    }
  }
}

/** P4: what mutations did, at the end. */
const checkEffects = async (shadow: Client, recording: Recording, problems: Array<Problem>) => {
  const report = (client: string, message: string) => problems.push({ promise: "P4", position: 0, client, message })
  const { rows: audits } = await shadow.query<{ mutation: string; n: number }>(`select mutation, count(*)::int as n from audits group by 1`)
  const times = new Map(audits.map(({ mutation, n }) => [mutation, n]))
  for (const { bump, client, name, outcome } of recording.mutations) {
    if (bump === undefined) continue
    const n = times.get(bump) ?? 0
    if (outcome === "applied" ? n !== 1 : outcome === "rejected" ? n !== 0 : n > 1) report(client, `${name} ${bump} is ${outcome} and took effect ${n} times`)
  }
  const { rows: [sum] } = await shadow.query<{ counted: bigint; audited: bigint }>(
    `select (select coalesce(sum(value), 0)::int8 from counters) as counted, (select count(*) from audits) as audited`
  )
  if (sum!.counted !== sum!.audited) report("", `counters stand at ${sum!.counted} after ${sum!.audited} audits`)
}

/** The first ones, with the last commits and messages before. */
export const describe = (problems: ReadonlyArray<Problem>, recording: Recording): string => {
  const lines = [`${problems.length} problems, the first:`]
  for (const { client, message, position, promise } of problems.slice(0, 6)) lines.push(`${promise} at ${position}${client && ` at ${client}`}: ${message}`)
  const first = problems.find(({ position }) => position > 0)
  if (first === undefined) return lines.join("\n")
  lines.push("what was committed last up to the first one:")
  for (const { changes, position, receipts, transactions } of recording.commits.filter(({ position }) => position <= first.position).slice(-4)) {
    lines.push(`${position} (transactions ${transactions.join(", ")})`)
    for (const { after, before, table } of changes.slice(0, 10)) lines.push(`  ${table} ${before === null ? "" : `−${before}`} ${after === null ? "" : `+${after}`}`)
    for (const receipt of receipts) lines.push(`  receipt ${receipt}`)
  }
  const at = recording.deliveries.find(({ client, position }) => client === first.client && position === first.position)
  if (at !== undefined) {
    lines.push(`the last messages of client ${first.client}:`)
    lines.push(...recording.messages.get(first.client)!.slice(Math.max(0, at.messages - 10), at.messages).map((message) => `  ${message.slice(0, 1500)}`))
  }
  return lines.join("\n")
}
