/**
 * Messages as text, and text as messages: the only place where what comes off a socket is checked.
 *
 * Decoding is strict about what it knows (types, ranges, sizes, nesting) and drops what it does not know. It never throws:
 * what is malformed is a `Problem` that names the path. Whatever is returned holds only the fields of `Message`.
 *
 * Cost: `JSON.parse` and one visit of each field. Rows of a frame are taken as they were parsed; their values are checked
 * where they become canonical (`ColumnType.fromWire`).
 */
import type { Json } from "../data/Value.ts"
import type {
  ClientMessage, Definitions, ErrorCode, Frame, Hello, Mutate, Outcome, Patch, Receipt, Refusal, ServerMessage, Subscribe, Welcome
} from "./Message.ts"

export type Decoded<A> =
  | { readonly ok: true; readonly message: A }
  | { readonly ok: false; readonly problem: Problem }

export interface Problem {
  readonly code: "MalformedMessage" | "MessageTooLarge"
  /** Where in the message: "subscriptions[2].query"; empty for the message itself. */
  readonly path: string
  /** What was wrong with it, path included; holds nothing of the message's values. */
  readonly message: string
}

/** What a server accepts of a client. */
export interface Limits {
  /** Of a message's UTF-8 text. */
  readonly maxBytes: number
  /** Of a payload or parameter value: a scalar has depth 0. */
  readonly maxDepth: number
  /** Elements of any one array, and keys of any one object, within a message. */
  readonly maxItems: number
}

export const defaultLimits: Limits = { maxBytes: 1024 * 1024, maxDepth: 32, maxItems: 10_000 }

/** Of names, hashes and ids, in UTF-16 units. They are well-formed and without U+0000: databases cannot hold other text. */
export const maxNameLength = 256

export const decodeClient = (text: string, limits: Limits = defaultLimits): Decoded<ClientMessage> =>
  decode(text, limits.maxBytes, (message, type) => {
    switch (type) {
      case "hello":
        return hello(message, limits)
      case "subscribe":
        return { type, ...subscription(message, "", limits) }
      case "unsubscribe":
        return { type, id: index(message.id, "id") }
      case "mutate":
        return mutate(message, limits)
      case "ack":
        return { type, seq: index(message.seq, "seq") }
      case "ping":
        return { type }
      default:
        return unknownType(type)
    }
  })

export const decodeServer = (text: string): Decoded<ServerMessage> =>
  decode(text, Infinity, (message, type) => {
    switch (type) {
      case "welcome":
        return welcome(message)
      case "frame":
        return frame(message)
      case "outcome":
        return { type, seq: ordinal(message.seq, "seq"), reason: refusal(message.reason, "reason") }
      case "error":
        return {
          type,
          code: oneOf(message.code, "code", errorCodes),
          message: string(message.message, "message"),
          ...(message.id === undefined ? undefined : { id: index(message.id, "id") }),
          fatal: boolean(message.fatal, "fatal")
        }
      case "resync":
        return { type, reason: oneOf(message.reason, "reason", resyncReasons) }
      case "goaway":
        return { type, reason: string(message.reason, "reason"), retryAfterMillis: index(message.retryAfterMillis, "retryAfterMillis") }
      case "pong":
        return { type, position: index(message.position, "position") }
      default:
        return unknownType(type)
    }
  })

export const encodeClient = (message: ClientMessage): string => JSON.stringify(message)

export const encodeServer = (message: ServerMessage): string => JSON.stringify(message)

/**
 * A frame from patches that are text already (`JSON.stringify` of a `Patch`), so that what connections share is encoded once.
 * Decodes to the same as the frame that holds those patches.
 */
export const encodeFrame = (frame: Omit<Frame, "type" | "patches">, patches: ReadonlyArray<string>): string =>
  `{"type":"frame","to":${frame.to}` +
  (frame.trace === undefined ? "" : `,"trace":${JSON.stringify(frame.trace)}`) +
  (frame.opened === undefined ? "" : `,"opened":${JSON.stringify(frame.opened)}`) +
  `,"patches":[${patches.join(",")}]` +
  (frame.receipts === undefined ? "" : `,"receipts":${JSON.stringify(frame.receipts)}`) +
  "}"

type Fields = { readonly [field: string]: Json | undefined }

/** Never leaves this module. */
class Malformed {
  readonly path: string
  readonly reason: string
  constructor(path: string, reason: string) {
    this.path = path
    this.reason = reason
  }
}

const decode = <A>(text: string, maxBytes: number, read: (message: Fields, type: string) => A): Decoded<A> => {
  if (exceeds(text, maxBytes)) {
    return problem("MessageTooLarge", "", `The message is larger than ${maxBytes} bytes: send less in one message.`)
  }
  let parsed: Json
  try {
    parsed = JSON.parse(text) as Json
  } catch {
    return problem("MalformedMessage", "", "The message is not JSON.")
  }
  try {
    const message = object(parsed, "")
    return { ok: true, message: read(message, string(message.type, "type")) }
  } catch (error) {
    if (error instanceof Malformed) return problem("MalformedMessage", error.path, `${error.path || "The message"} ${error.reason}.`)
    throw error
  }
}

const problem = (code: Problem["code"], path: string, message: string) => ({ ok: false, problem: { code, path, message } }) as const

const unknownType = (type: string): never => {
  throw new Malformed("type", `is unknown: ${JSON.stringify(type.slice(0, 40))} is no message of protocol 1`)
}

/** Whether `text`, well-formed as from a socket, takes more than `bytes` as UTF-8; counts only where its length leaves that open. */
const exceeds = (text: string, bytes: number): boolean => {
  if (text.length > bytes) return true
  if (text.length * 3 <= bytes) return false
  let size = text.length
  for (let i = 0; i < text.length && size <= bytes; i++) {
    const unit = text.charCodeAt(i)
    // Two units of a pair take four bytes: one more each.
    if (unit >= 0x80) size += unit >= 0x800 && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1
  }
  return size > bytes
}

const hello = (message: Fields, limits: Limits): Hello => {
  const contract = object(message.contract, "contract")
  const resume = message.resume === undefined ? undefined : object(message.resume, "resume")
  return {
    type: "hello",
    protocol: index(message.protocol, "protocol"),
    features: names(message.features, "features", limits),
    contract: {
      name: name(contract.name, "contract.name"),
      hash: name(contract.hash, "contract.hash"),
      ...(contract.definitions === undefined ? undefined : { definitions: definitions(object(contract.definitions, "contract.definitions"), limits) })
    },
    client: name(message.client, "client"),
    ...(message.token === undefined ? undefined : { token: string(message.token, "token") }),
    ...(resume && {
      resume: {
        epoch: name(resume.epoch, "resume.epoch"),
        position: index(resume.position, "resume.position"),
        ...(resume.session === undefined ? undefined : { session: name(resume.session, "resume.session") })
      }
    }),
    acknowledged: index(message.acknowledged, "acknowledged"),
    subscriptions: array(message.subscriptions, "subscriptions", limits).map((item, i) => {
      const path = `subscriptions[${i}]`
      const fields = object(item, path)
      return { ...subscription(fields, `${path}.`, limits), ...(fields.held === undefined ? undefined : { held: onlyTrue(fields.held, `${path}.held`) }) }
    })
  }
}

const definitions = (message: Fields, limits: Limits): Definitions => ({
  queries: hashes(message.queries, "contract.definitions.queries", limits),
  mutations: hashes(message.mutations, "contract.definitions.mutations", limits)
})

const hashes = (value: Json | undefined, path: string, { maxItems }: Limits): { readonly [name: string]: string } => {
  const entries = Object.entries(object(value, path))
  if (entries.length > maxItems) throw new Malformed(path, `holds more than ${maxItems} keys`)
  const result: { [name: string]: string } = {}
  for (const [key, hash] of entries) define(result, key, name(hash, `${path}.${key.slice(0, maxNameLength)}`))
  return result
}

const subscription = (message: Fields, path: string, limits: Limits): Omit<Subscribe, "type"> => {
  const parameters = object(message.parameters, `${path}parameters`)
  json(parameters as Json, `${path}parameters`, limits.maxDepth + 1, limits.maxItems)
  return {
    id: index(message.id, `${path}id`),
    query: name(message.query, `${path}query`),
    parameters: parameters as { readonly [name: string]: Json }
  }
}

const mutate = (message: Fields, limits: Limits): Mutate => {
  const payload = message.payload
  if (payload === undefined) throw new Malformed("payload", "is missing")
  json(payload, "payload", limits.maxDepth, limits.maxItems)
  return {
    type: "mutate",
    seq: ordinal(message.seq, "seq"),
    name: name(message.name, "name"),
    payload,
    ...(message.after === undefined ? undefined : { after: array(message.after, "after", limits).map((seq, i) => ordinal(seq, `after[${i}]`)) }),
    ...(message.trace === undefined ? undefined : { trace: name(message.trace, "trace") })
  }
}

const welcome = (message: Fields): Welcome => {
  const columns: { [table: string]: ReadonlyArray<string> } = {}
  for (const [table, list] of Object.entries(object(message.columns, "columns"))) {
    define(columns, table, names(list, `columns.${table}`, unlimited))
  }
  const refused = object(message.refused, "refused")
  return {
    type: "welcome",
    protocol: index(message.protocol, "protocol"),
    features: names(message.features, "features", unlimited),
    epoch: name(message.epoch, "epoch"),
    session: name(message.session, "session"),
    ...(message.principal === undefined ? undefined : { principal: object(message.principal, "principal") as { readonly [field: string]: Json } }),
    position: index(message.position, "position"),
    heartbeatMillis: ordinal(message.heartbeatMillis, "heartbeatMillis"),
    columns,
    refused: {
      queries: names(refused.queries, "refused.queries", unlimited),
      mutations: names(refused.mutations, "refused.mutations", unlimited)
    },
    nextSeq: ordinal(message.nextSeq, "nextSeq")
  }
}

const frame = (message: Fields): Frame => ({
  type: "frame",
  to: index(message.to, "to"),
  ...(message.trace === undefined ? undefined : { trace: name(message.trace, "trace") }),
  ...(message.opened === undefined ? undefined : {
    opened: array(message.opened, "opened", unlimited).map((item, i) => {
      const opened = object(item, `opened[${i}]`)
      return { id: index(opened.id, `opened[${i}].id`), binding: index(opened.binding, `opened[${i}].binding`) }
    })
  }),
  patches: array(message.patches, "patches", unlimited).map((item, i) => patch(object(item, `patches[${i}]`), i)),
  ...(message.receipts === undefined ? undefined : {
    receipts: array(message.receipts, "receipts", unlimited).map((item, i): Receipt => {
      const receipt = object(item, `receipts[${i}]`)
      return { seq: ordinal(receipt.seq, `receipts[${i}].seq`), outcome: outcome(receipt.outcome, `receipts[${i}].outcome`) }
    })
  })
})

const patch = (message: Fields, i: number): Patch => {
  const rows = array(message.rows, `patches[${i}].rows`, unlimited)
  for (let t = 0; t < rows.length; t++) {
    const entry = rows[t]
    if (!Array.isArray(entry) || entry.length !== 2 || typeof entry[0] !== "string" || !Array.isArray(entry[1]) || !entry[1].every(Array.isArray)) {
      throw new Malformed(`patches[${i}].rows[${t}]`, "must be a table's name and an array of rows")
    }
  }
  const boundary = message.boundary
  return {
    binding: index(message.binding, `patches[${i}].binding`),
    ...(message.reset === undefined ? undefined : { reset: onlyTrue(message.reset, `patches[${i}].reset`) }),
    rows: rows as unknown as Patch["rows"],
    add: strings(message.add, `patches[${i}].add`),
    remove: strings(message.remove, `patches[${i}].remove`),
    ...(boundary === undefined ? undefined : { boundary: boundary === null ? null : array(boundary, `patches[${i}].boundary`, unlimited) })
  }
}

const outcome = (value: Json | undefined, path: string): Outcome => {
  const fields = object(value, path)
  switch (fields.type) {
    case "success":
      if (fields.value === undefined) throw new Malformed(`${path}.value`, "is missing")
      return { type: "success", value: fields.value }
    case "error": {
      const error = object(fields.error, `${path}.error`)
      name(error._tag, `${path}.error._tag`)
      return { type: "error", error: error as { readonly _tag: string; readonly [field: string]: Json } }
    }
    case "refused":
      return { type: "refused", reason: refusal(fields.reason, `${path}.reason`) }
    default:
      throw new Malformed(`${path}.type`, "must be success, error or refused")
  }
}

const refusal = (value: Json | undefined, path: string): Refusal => {
  const fields = object(value, path)
  const message = string(fields.message, `${path}.message`)
  switch (fields._tag) {
    case "WriteRefused":
      return {
        _tag: "WriteRefused",
        table: string(fields.table, `${path}.table`),
        key: nullableString(fields.key, `${path}.key`),
        constraint: nullableString(fields.constraint, `${path}.constraint`),
        message
      }
    case "DependencyRejected":
      return { _tag: "DependencyRejected", seq: ordinal(fields.seq, `${path}.seq`), message }
    default:
      return { _tag: oneOf(fields._tag, `${path}._tag`, plainRefusals), message }
  }
}

const plainRefusals = [
  "Forbidden", "InvalidPayload", "UnknownMutation", "Unauthenticated", "LimitExceeded", "ServerFailure", "ClientForked",
  "AlreadyAcknowledged", "SequenceGap"
] as const satisfies ReadonlyArray<Exclude<Refusal["_tag"], "WriteRefused" | "DependencyRejected">>

const errorCodes = [
  "MalformedMessage", "MessageTooLarge", "UnsupportedProtocol", "ContractMismatch", "Unauthenticated", "ClientTaken",
  "LimitExceeded", "UnknownQuery", "InvalidParameters", "Forbidden", "BudgetExceeded", "SubscriptionInUse", "ServerFailure"
] as const satisfies ReadonlyArray<ErrorCode>

const resyncReasons = ["SlowConsumer", "PositionLost", "EpochChanged"] as const

const unlimited = { maxItems: Infinity }

const kindOf = (value: Json | undefined): string =>
  value === undefined ? "is missing" : `is ${value === null ? "null" : Array.isArray(value) ? "an array" : `of type ${typeof value}`}`

const wrong = (path: string, expected: string, value: Json | undefined): never => {
  throw new Malformed(path, value === undefined ? "is missing" : `must be ${expected}, but ${kindOf(value)}`)
}

const object = (value: Json | undefined, path: string): Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? value as Fields : wrong(path, "an object", value)

const array = (value: Json | undefined, path: string, { maxItems }: { readonly maxItems: number }): ReadonlyArray<Json> => {
  if (!Array.isArray(value)) return wrong(path, "an array", value)
  if (value.length > maxItems) throw new Malformed(path, `holds more than ${maxItems} elements`)
  return value
}

const string = (value: Json | undefined, path: string): string => typeof value === "string" ? value : wrong(path, "a string", value)

const nullableString = (value: Json | undefined, path: string): string | null => value === null ? null : string(value, path)

const boolean = (value: Json | undefined, path: string): boolean => typeof value === "boolean" ? value : wrong(path, "true or false", value)

const onlyTrue = (value: Json, path: string): true => value === true ? value : wrong(path, "true or absent", value)

const name = (value: Json | undefined, path: string): string => {
  const text = string(value, path)
  if (text.length === 0 || text.length > maxNameLength) throw new Malformed(path, `must have 1 to ${maxNameLength} characters`)
  if (text.includes("\0") || !text.isWellFormed()) throw new Malformed(path, "must be well-formed text without U+0000")
  return text
}

const names = (value: Json | undefined, path: string, limits: { readonly maxItems: number }): ReadonlyArray<string> =>
  array(value, path, limits).map((item, i) => name(item, `${path}[${i}]`))

const strings = (value: Json | undefined, path: string): ReadonlyArray<string> => {
  const items = array(value, path, unlimited)
  for (let i = 0; i < items.length; i++) if (typeof items[i] !== "string") wrong(`${path}[${i}]`, "a string", items[i])
  return items as ReadonlyArray<string>
}

/** A safe integer from 0. */
const index = (value: Json | undefined, path: string): number =>
  Number.isSafeInteger(value) && value as number >= 0 ? value as number + 0 : wrong(path, "an integer from 0", value)

/** A safe integer from 1. */
const ordinal = (value: Json | undefined, path: string): number =>
  Number.isSafeInteger(value) && value as number >= 1 ? value as number : wrong(path, "an integer from 1", value)

const oneOf = <A extends string>(value: Json | undefined, path: string, values: ReadonlyArray<A>): A =>
  values.includes(value as A) ? value as A : wrong(path, `one of ${values.join(", ")}`, value)

/** `__proto__` is a key like any other. */
const define = <A>(record: { [key: string]: A }, key: string, value: A) => {
  Object.defineProperty(record, key, { value, enumerable: true, configurable: true, writable: true })
}

/** `JSON.parse` reads 1e999 as Infinity, which is no JSON; and it has no bounds. */
const json = (value: Json, path: string, depth: number, maxItems: number): void => {
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new Malformed(path, "is a number beyond a double")
    return
  }
  if (typeof value !== "object" || value === null) return
  if (depth === 0) throw new Malformed(path, "is nested too deeply")
  if (Array.isArray(value)) {
    if (value.length > maxItems) throw new Malformed(path, `holds more than ${maxItems} elements`)
    for (let i = 0; i < value.length; i++) json(value[i] as Json, path, depth - 1, maxItems)
  } else {
    const keys = Object.keys(value)
    if (keys.length > maxItems) throw new Malformed(path, `holds more than ${maxItems} keys`)
    for (const key of keys) json((value as { readonly [key: string]: Json })[key] as Json, path, depth - 1, maxItems)
  }
}
