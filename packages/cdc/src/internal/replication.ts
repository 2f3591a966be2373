/**
 * A connection that speaks Postgres' streaming replication protocol: simple queries and replication commands, then one
 * stream of WAL messages with standby status in the other direction. `PgClient` refuses that mode, so this joins its
 * exported codec to a socket.
 *
 * Messages are handed over synchronously, in the turn in which their bytes arrived, so whoever handles them must be
 * quick; while it is busy the socket is not read, and the server waits. Any failure ends the connection for good.
 */
import * as PgAuth from "@effect/sql-pg/PgAuth"
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Sql from "@headwater/core/Sql"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import * as net from "node:net"
import type { Duplex } from "node:stream"
import * as tls from "node:tls"

export class ReplicationError extends Data.TaggedError("ReplicationError")<{
  readonly message: string
  /** The SQLSTATE, where it is the server that refused. */
  readonly code: string | undefined
  readonly cause?: unknown
}> {}

export interface Handlers {
  /** A message of the output plugin. Its bytes are only valid during the call. What it throws fails the stream. */
  readonly onWal: (bytes: Uint8Array) => void
  /** The server has sent everything that ends at or before this LSN. */
  readonly onSent: (lsn: number) => void
}

export interface Connection {
  /** Runs one statement or replication command; rows by column name, values as text. */
  readonly query: (sql: string) => Effect.Effect<ReadonlyArray<{ readonly [column: string]: string | null }>, ReplicationError>
  /** Runs a `START_REPLICATION` command, until that fails. */
  readonly stream: (command: string, handlers: Handlers) => Effect.Effect<never, ReplicationError>
  /** Tells the server, while streaming: what was received, and what it need not keep any more. */
  readonly confirm: (received: number, flushed: number) => void
}

/** Silence for that long ends a streaming connection; the server is asked for a sign of life three times meanwhile. */
const silenceMillis = 30_000

export const connect = (config: PgClient.PgClientConfig): Effect.Effect<Connection, ReplicationError, Scope.Scope> =>
  Effect.gen(function*() {
    const target = yield* resolve(config)
    const wire = yield* Effect.acquireRelease(
      open(target).pipe(
        Effect.timeoutOrElse({ duration: target.timeout, orElse: () => Effect.fail(failure(`no answer from ${target.where}`)) })
      ),
      (wire) => Effect.sync(() => wire.close()),
      { interruptible: true }
    )
    return {
      query: (sql) =>
        Effect.callback((resume) => {
          const rows: Array<{ readonly [column: string]: string | null }> = []
          let columns: ReadonlyArray<string> = []
          let refused: ReplicationError | undefined
          wire.take((message) => {
            switch (message._tag) {
              case "RowDescription":
                columns = message.fields.map((field) => field.name)
                return
              case "DataRow":
                rows.push(Object.fromEntries(columns.map((column, i) => [column, message.values[i] as string | null])))
                return
              case "ErrorResponse":
                refused = refusal(message.fields)
                return
              case "ReadyForQuery":
                resume(refused ? Effect.fail(refused) : Effect.succeed(rows))
            }
          }, (error) => resume(Effect.fail(error)))
          wire.write(simpleQuery(sql))
        }),
      stream: (command, { onSent, onWal }) =>
        Effect.callback((resume) => {
          let heard = Date.now()
          const alive = setInterval(() => {
            if (Date.now() - heard > silenceMillis) wire.fail(failure(`${target.where} has been silent for ${silenceMillis / 1000} seconds`))
            else wire.status(true)
          }, silenceMillis / 3)
          const end = (error: ReplicationError) => {
            clearInterval(alive)
            resume(Effect.fail(error))
          }
          wire.take((message) => {
            heard = Date.now()
            switch (message._tag) {
              case "CopyData": {
                const { data } = message
                if (data[0] === 0x77 && data.length >= 25) onWal(data.subarray(25)) // w
                else if (data[0] === 0x6b && data.length === 18) { // k
                  onSent(u32(data, 1) * 0x1_0000_0000 + u32(data, 5))
                  if (data[17] === 1) wire.status(false)
                } else throw new Error("a replication message of unknown type")
                return
              }
              case "ErrorResponse":
                return wire.fail(refusal(message.fields))
              case "CopyDone":
                return wire.fail(failure("the server ended the stream"))
            }
          }, end)
          wire.write(simpleQuery(command))
          return Effect.sync(() => {
            clearInterval(alive)
            wire.close()
          })
        }),
      confirm: (received, flushed) => {
        wire.received = received
        wire.flushed = flushed
        wire.status(false)
      }
    }
  })

type Backend = PgProtocol.BackendMessage<string | null>

interface Wire {
  received: number
  flushed: number
  /** Whoever is served now: gets the messages, or the error that ended the connection. */
  readonly take: (onMessage: (message: Backend) => void, onError: (error: ReplicationError) => void) => void
  readonly write: (bytes: Uint8Array) => void
  readonly status: (replyNow: boolean) => void
  readonly fail: (error: ReplicationError) => void
  readonly close: () => void
}

const open = (target: Target): Effect.Effect<Wire, ReplicationError> =>
  Effect.callback((resume) => {
    const parser = PgProtocol.makeParser<string | null>({
      // The largest message that Postgres can send: rows go up to a gigabyte.
      maxMessageSize: 0x7fff_ffff,
      readField: (bytes, offset, size) => size < 0 ? null : Buffer.from(bytes.buffer, bytes.byteOffset + offset, size).toString()
    })
    let socket: Duplex
    let scram: PgAuth.ScramState | undefined
    let ended: ReplicationError | undefined
    let onMessage: (message: Backend) => void = (message) => startup(message)
    let onError = (error: ReplicationError): void => resume(Effect.fail(error))

    const fail = (error: ReplicationError): void => {
      if (ended) return
      ended = error
      socket.destroy()
      onError(error)
    }
    const wire: Wire = {
      received: 0,
      flushed: 0,
      take(message, error) {
        onMessage = message
        onError = error
        if (ended) error(ended)
      },
      write: (bytes) => {
        if (!ended) socket.write(bytes)
      },
      status: (replyNow) => wire.write(standbyStatus(wire.received, wire.flushed, replyNow)),
      fail,
      close() {
        if (ended) return
        ended = failure("the connection was closed")
        // Lets the server end its process at once, and with it its hold on the slot.
        socket.end(Buffer.concat([copyDone, PgProtocol.encodeTerminate()]))
        socket.once("end", () => socket.destroy()).resume()
        setTimeout(() => socket.destroy(), 1_000).unref()
      }
    }

    const refuse = (what: string, cause?: unknown) => fail(failure(`cannot connect to ${target.where}: ${what}`, cause))
    const authenticate = <A>(result: Result.Result<A, PgAuth.AuthError>, encode: (success: A) => Uint8Array | null): void => {
      if (Result.isFailure(result)) return refuse(result.failure.message, result.failure)
      const answer = encode(result.success)
      if (answer) wire.write(answer)
    }
    const password = target.password
    const startup = (message: Backend): void => {
      if (message._tag.startsWith("Authentication") && message._tag !== "AuthenticationOk" && password === undefined) {
        return refuse("it asks for a password, and none is configured")
      }
      switch (message._tag) {
        case "AuthenticationCleartextPassword":
          return wire.write(PgProtocol.encodePasswordMessage({ password: password! }))
        case "AuthenticationMD5Password":
          return authenticate(
            PgAuth.md5Password({ user: target.user, password: password!, salt: message.salt }),
            (hash) => PgProtocol.encodePasswordMessage({ password: hash })
          )
        case "AuthenticationSASL":
          if (!message.mechanisms.includes(PgAuth.SCRAM_SHA_256)) return refuse(`it offers only ${message.mechanisms.join(", ")}`)
          return authenticate(PgAuth.scramInit({ password: password!, nonce: randomBytes(18).toString("base64") }), (first) => {
            scram = first.state
            return PgProtocol.encodeSASLInitialResponse({ mechanism: PgAuth.SCRAM_SHA_256, initialResponse: first.response })
          })
        case "AuthenticationSASLContinue":
          if (scram?._tag !== "ScramFirst") return refuse("it continues an authentication that was not begun")
          return authenticate(PgAuth.scramContinue(scram, message.data), (next) => {
            scram = next.state
            return PgProtocol.encodeSASLResponse({ data: next.response })
          })
        case "AuthenticationSASLFinal":
          if (scram?._tag !== "ScramFinal") return refuse("it ends an authentication that was not begun")
          return authenticate(PgAuth.scramFinish(scram, message.data), () => {
            scram = undefined
            return null
          })
        case "AuthenticationUnsupported":
          return refuse(`it asks for authentication method ${message.method}, which is not supported`)
        case "ErrorResponse":
          return fail(refusal(message.fields))
        case "ReadyForQuery":
          if (scram !== undefined) return refuse("it did not prove that it knows the password")
          resume(Effect.succeed(wire))
      }
    }
    const onData = (chunk: Uint8Array): void => {
      try {
        parser.pushEach(chunk, (message) => {
          if (!ended) onMessage(message)
        })
      } catch (cause) {
        fail(failure(cause instanceof Error ? cause.message : String(cause), cause))
      }
    }
    const begin = (): void => {
      socket.on("data", onData)
      wire.write(PgProtocol.encodeStartupMessage(target.startup))
    }
    const listen = (): void => {
      socket.on("error", (cause) => fail(failure(`the connection to ${target.where} failed: ${cause.message}`, cause)))
      socket.on("close", () => fail(failure(`${target.where} closed the connection`)))
    }

    socket = target.connect()
    listen()
    const onConnect = (): void => {
      if (target.tls === false) return begin()
      socket.once("data", (answer: Uint8Array) => {
        if (answer.length === 1 && answer[0] === 0x4e) { // N
          return target.tlsOptional ? begin() : refuse("it does not offer TLS")
        }
        if (answer.length !== 1 || answer[0] !== 0x53) return refuse("it does not understand the request for TLS") // S
        const raw = socket
        raw.removeAllListeners("error").removeAllListeners("close")
        socket = tls.connect({
          host: target.host,
          ...(net.isIP(target.host) === 0 && { servername: target.host }),
          ...(typeof target.tls === "object" && target.tls),
          socket: raw as net.Socket
        })
        listen()
        socket.once("secureConnect", begin)
      })
      wire.write(PgProtocol.encodeSslRequest())
    }
    if (target.isConnected) onConnect()
    else socket.once("connect", onConnect)
    return Effect.sync(() => wire.close())
  })

interface Target {
  readonly where: string
  readonly host: string
  readonly connect: () => Duplex
  readonly isConnected: boolean
  readonly tls: boolean | tls.ConnectionOptions
  readonly tlsOptional: boolean
  readonly user: string
  readonly password: string | undefined
  readonly startup: PgProtocol.StartupParameters
  readonly timeout: Duration.Duration
}

/** Reads the configuration as `PgClient` does. */
const resolve = (config: PgClient.PgClientConfig): Effect.Effect<Target, ReplicationError> =>
  Effect.gen(function*() {
    const url = config.url === undefined ? undefined : yield* Effect.try({
      try: () => new URL(Redacted.value(config.url!)),
      catch: () => failure("the database's URL is not a URL")
    })
    const part = (name: string, text: string | undefined) => {
      const given = url?.searchParams.get(name) ?? text
      return given === undefined || given === "" ? undefined : given
    }
    const decoded = (text: string | undefined) => text === undefined ? undefined : decodeURIComponent(text)
    const host = config.host ?? part("host", decoded(url?.hostname.replace(/^\[(.*)\]$/, "$1"))) ?? "localhost"
    const port = config.port ?? Number(part("port", url?.port) ?? 5432)
    const path = config.path ?? (host.startsWith("/") ? `${host}/.s.PGSQL.${port}` : undefined)
    const user = config.username ?? part("user", decoded(url?.username)) ?? process.env["USER"] ?? process.env["USERNAME"]
    if (user === undefined) return yield* failure("no user name is configured for the database")
    const given = config.password
    const password = given === undefined ? part("password", decoded(url?.password)) : Redacted.value(Redacted.isRedacted(given) ? given : yield* given)
    const mode = part("sslmode", undefined)
    const optional = mode === "prefer" || mode === "allow"
    const { stream } = config
    return {
      where: path ?? `${host}:${port}`,
      host,
      connect: stream ?? (() =>
        path === undefined
          ? net.connect({ host, port, noDelay: true, keepAlive: true })
          : net.connect({ path })),
      isConnected: stream !== undefined,
      tls: config.ssl ?? (mode !== undefined && mode !== "disable"),
      tlsOptional: config.ssl === undefined && optional,
      user,
      password,
      startup: {
        ...config.startupParameters,
        user,
        database: config.database ?? part("dbname", decoded(url?.pathname.slice(1))),
        application_name: config.applicationName ?? "headwater",
        replication: "database",
        // A role or database may have set others.
        ...Sql.sessionSettings
      },
      timeout: Duration.fromInputUnsafe(config.connectTimeout ?? "5 seconds")
    }
  })

const failure = (message: string, cause?: unknown) => new ReplicationError({ message, code: undefined, cause })

const refusal = (fields: PgProtocol.ErrorFields) =>
  new ReplicationError({ message: fields.message ?? "the server reported an error", code: fields.code, cause: fields })

const u32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 | bytes[at + 3]!) >>> 0

/** A `Q` message. */
const simpleQuery = (sql: string): Uint8Array => {
  const length = Buffer.byteLength(sql)
  const bytes = Buffer.alloc(length + 6)
  bytes[0] = 0x51
  bytes.writeUInt32BE(length + 5, 1)
  bytes.write(sql, 5)
  return bytes
}

/** A `CopyData` message with a standby status update. */
const standbyStatus = (received: number, flushed: number, replyNow: boolean): Uint8Array => {
  const bytes = Buffer.alloc(39)
  bytes[0] = 0x64
  bytes.writeUInt32BE(38, 1)
  bytes[5] = 0x72
  const lsn = (value: number, at: number) => {
    bytes.writeUInt32BE(Math.floor(value / 0x1_0000_0000), at)
    bytes.writeUInt32BE(value % 0x1_0000_0000, at + 4)
  }
  lsn(received, 6)
  lsn(flushed, 14)
  lsn(flushed, 22)
  // Microseconds since 2000.
  bytes.writeBigInt64BE(BigInt(Date.now() - 946_684_800_000) * 1_000n, 30)
  bytes[38] = replyNow ? 1 : 0
  return bytes
}

const copyDone = Buffer.from([0x63, 0, 0, 0, 4])
