import { assert, describe, it } from "@effect/vitest"
import type { ServerMessage } from "@headwater/core/Message"
import * as Connection from "../src/Connection.ts"
import * as Random from "./random.ts"

const options: Connection.Options = { minDelayMillis: 100, maxDelayMillis: 1600, connectTimeoutMillis: 1000 }
const welcome: ServerMessage = {
  type: "welcome", protocol: 1, features: [], epoch: "e", session: "s", position: 1, heartbeatMillis: 1000, columns: {},
  refused: { queries: [], mutations: [] }, nextSeq: 1
}
const frame: ServerMessage = { type: "frame", to: 1, patches: [] }
const fatal = (code: Extract<ServerMessage, { type: "error" }>["code"]): ServerMessage => ({ type: "error", code, message: `${code}!`, fatal: true })

/** Feeds events; those of a socket or token get the attempt at hand. */
const machine = () => {
  let state = Connection.initial(true)
  let now = 0
  const did: Array<string> = []
  const machine = {
    get state() {
      return state
    },
    get status() {
      return Connection.statusOf(state)
    },
    now: () => now,
    at: (time: number) => {
      now = time
      return machine
    },
    feed: (...events: ReadonlyArray<Connection.Event["type"] | ServerMessage | Connection.Event>) => {
      for (const event of events) {
        const full = typeof event === "string" ? { type: event, attempt: state.attempt, message: "!" }
          : ["welcome", "frame", "error", "goaway", "pong", "resync", "outcome"].includes(event.type) && !("attempt" in event) ? { type: "received", attempt: state.attempt, message: event }
          : event
        const step = Connection.step(state, full as Connection.Event, now, 0.5, options)
        state = step.state
        for (const action of step.actions) did.push(action.type === "deliver" ? action.message.type : action.type)
      }
      return machine
    },
    did: () => did.splice(0).join(" ")
  }
  return machine
}

describe("Connection", () => {
  it("asks for a token, opens, greets, and passes messages on after welcome", () => {
    const m = machine()
    assert.strictEqual(m.feed("start").did(), "askToken")
    assert.strictEqual(m.feed("token").did(), "open")
    assert.deepStrictEqual(m.status, { status: "connecting" })
    assert.strictEqual(m.feed("opened").did(), "greet")
    assert.strictEqual(m.feed(welcome).did(), "welcome")
    assert.deepStrictEqual(m.status, { status: "online" })
    assert.strictEqual(m.feed(frame, { type: "resync", reason: "SlowConsumer" }, { type: "pong", position: 1 }).did(), "frame resync")
  })

  const online = () => {
    const m = machine().feed("start", "token", "opened", welcome, frame)
    m.did()
    return m
  }

  it("a lost connection is tried again after a delay that doubles up to its bound", () => {
    const m = online()
    const delays: Array<number> = []
    assert.strictEqual(m.feed("ended").did(), "disconnect")
    for (let i = 0; i < 7; i++) {
      assert.strictEqual(m.status.status, "offline")
      delays.push(m.status.retryAt! - m.now())
      assert.strictEqual(m.at(m.state.deadline! - 1).feed("wake").did(), "")
      assert.strictEqual(m.at(m.state.deadline!).feed("wake").did(), "askToken")
      m.feed("token", "ended").did()
    }
    assert.deepStrictEqual(delays, [75, 150, 300, 600, 1200, 1200, 1200])
    m.at(m.state.deadline!).feed("wake", "token", "opened", welcome).did()
    assert.strictEqual(m.feed("ended").status.retryAt! - m.now(), 1200, "a welcome alone is no success")
    m.at(m.state.deadline!).feed("wake", "token", "opened", welcome, frame).did()
    assert.strictEqual(m.feed("ended").status.retryAt! - m.now(), 75)
  })

  it("a refused token is renewed at once, and once", () => {
    const m = online()
    m.feed("ended").at(m.state.deadline!).feed("wake", "token", "opened").did()
    assert.strictEqual(m.feed(fatal("Unauthenticated")).did(), "error disconnect askToken")
    assert.strictEqual(m.status.status, "unauthenticated")
    assert.strictEqual(m.feed("token", "opened", fatal("Unauthenticated")).did(), "open greet error disconnect")
    assert.strictEqual(m.status.status, "unauthenticated")
    assert.isDefined(m.status.retryAt)
    m.at(m.state.deadline!).feed("wake", "token", "opened", welcome)
    assert.deepStrictEqual(m.status, { status: "online" })
  })

  it("a token that is out of date in the middle is renewed too", () => {
    assert.strictEqual(online().feed("renew").did(), "disconnect askToken")
  })

  it("silence is met by a ping, and more of it by a new connection", () => {
    const m = online()
    assert.strictEqual(m.state.deadline, 1000)
    assert.strictEqual(m.at(1000).feed("wake").did(), "ping")
    assert.strictEqual(m.state.deadline, 2000)
    m.at(1100).feed({ type: "pong", position: 1 })
    assert.strictEqual(m.state.deadline, 2000)
    assert.strictEqual(m.at(2000).feed("wake").did(), "ping")
    assert.strictEqual(m.at(3100).feed("wake").did(), "disconnect")
    assert.strictEqual(m.status.status, "offline")
  })

  it("a server that hears nothing is pinged, though it talks", () => {
    const m = online()
    m.at(900).feed(frame).did()
    assert.strictEqual(m.state.deadline, 1000)
    assert.strictEqual(m.at(1000).feed("wake").did(), "ping")
  })

  it("goaway moves to another server when it says, spread over time", () => {
    const m = online()
    assert.strictEqual(m.feed({ type: "goaway", reason: "restart", retryAfterMillis: 400 }).did(), "disconnect")
    assert.strictEqual(m.status.retryAt, 600)
  })

  it("without a network it waits for one", () => {
    const m = online()
    m.feed("networkDown")
    assert.strictEqual(m.status.status, "online", "the browser may be wrong")
    m.feed("ended").did()
    assert.deepStrictEqual([m.status.status, m.state.deadline], ["offline", null])
    assert.strictEqual(m.feed("networkUp").did(), "askToken")
  })

  it("a server that is silent when the network seems gone counts as lost soon; one that answers does not", () => {
    const m = machine().feed("start", "token", "opened", { ...welcome, heartbeatMillis: 15_000 }, frame)
    m.did()
    assert.strictEqual(m.at(1_000).feed("networkDown").did(), "ping")
    assert.strictEqual(m.at(1_100).feed({ type: "pong", position: 1 }).state.deadline, 16_000)
    assert.strictEqual(m.at(2_000).feed("networkDown").did(), "ping")
    assert.strictEqual(m.state.deadline, 5_000)
    assert.strictEqual(m.at(5_000).feed("wake").did(), "disconnect")
    assert.deepStrictEqual([m.status.status, m.state.deadline], ["offline", null])
  })

  it("another client id is taken at once; another contract is said in full at once, and then waited for", () => {
    const m = machine().feed("start", "token", "opened")
    m.did()
    assert.strictEqual(m.feed(fatal("ClientTaken")).did(), "error disconnect askToken")
    assert.strictEqual(m.feed("token", "opened", fatal("ContractMismatch")).did(), "open greet error disconnect askToken")
    assert.isTrue(m.state.mismatched)
    m.feed("token", "opened", fatal("ContractMismatch"))
    assert.deepInclude(m.status.error, { code: "ContractMismatch" })
    assert.isAtLeast(m.status.retryAt! - m.now(), 800)
  })

  it("what comes out of turn ends the connection", () => {
    for (const message of [frame, { type: "pong", position: 1 }, { type: "resync", reason: "PositionLost" }] as const) {
      const m = machine().feed("start", "token", "opened", message)
      assert.deepInclude(m.status.error, { code: "ProtocolError" }, message.type)
    }
    assert.deepInclude(online().feed(welcome).status.error, { code: "ProtocolError" })
    assert.deepInclude(machine().feed("start", "token", "opened", { ...welcome, protocol: 2 } as never).status.error, { code: "ProtocolError" })
  })

  it("closed is final", () => {
    const m = online()
    assert.strictEqual(m.feed("close").did(), "disconnect")
    assert.strictEqual(m.feed("start", "wake", "networkUp", "ended", frame).did(), "")
    assert.deepStrictEqual(m.status, { status: "closed" })
  })

  it("P10 whatever happens, there is one socket at most, nothing is passed on before welcome, and it gets online again", () => {
    for (const seed of Random.seeds(200)) Random.withSeed(seed, (random) => {
      let state = Connection.initial(true)
      let now = 0
      let sockets = 0
      let greeted = false
      let welcomed = false
      const feed = (event: Connection.Event) => {
        const before = state
        if (event.type === "ended" && event.attempt === state.attempt) sockets = 0
        const result = Connection.step(state, event, now, random.int(100) / 100, options)
        state = result.state
        for (const action of result.actions) {
          switch (action.type) {
            case "open":
              assert.strictEqual(sockets, 0, "two sockets")
              sockets++
              greeted = welcomed = false
              break
            case "disconnect":
              sockets = 0
              break
            case "greet":
              assert.isFalse(greeted, "greeted twice")
              greeted = true
              break
            case "deliver":
              if (action.message.type === "welcome") welcomed = true
              else if (action.message.type !== "error") assert.isTrue(welcomed, "passed on before welcome")
              break
            case "ping":
              assert.isTrue(welcomed)
          }
        }
        assert.isAtLeast(state.attempt, before.attempt)
        if (state.deadline === null) assert.isTrue(["idle", "closed"].includes(state.phase.at) || state.phase.at === "waiting" && !state.hasNetwork, state.phase.at)
      }
      const messages: ReadonlyArray<ServerMessage> = [
        welcome, frame, { type: "pong", position: 2 }, { type: "goaway", reason: "", retryAfterMillis: 50 }, fatal("Unauthenticated"), fatal("ClientTaken"),
        fatal("ServerFailure"), fatal("ContractMismatch"), { type: "resync", reason: "SlowConsumer" }
      ]
      for (let i = 0; i < 300; i++) {
        now += random.int(400)
        const attempt = random.oneIn(5) ? Math.max(0, state.attempt - random.int(3)) : state.attempt
        feed(random.pick<() => Connection.Event>([
          () => ({ type: "start" }), () => ({ type: "wake" }), () => ({ type: "networkUp" }), () => ({ type: "networkDown" }),
          () => ({ type: "token", attempt }), () => ({ type: "tokenFailed", attempt, message: "no" }), () => ({ type: "opened", attempt }),
          () => ({ type: "received", attempt, message: random.pick(messages) }), () => ({ type: "received", attempt, message: random.oneIn(2) ? welcome : frame }),
          () => ({ type: "violated", attempt, message: "no" }), () => ({ type: "ended", attempt }), () => ({ type: "sent" }), () => ({ type: "renew" }),
          () => ({ type: "reconnect" })
        ])())
      }
      // A server that works, and a network.
      feed({ type: "start" })
      feed({ type: "networkUp" })
      for (let i = 0; i < 20 && state.phase.at !== "online"; i++) {
        const { attempt, phase } = state
        if (phase.at === "authenticating") feed({ type: "token", attempt })
        else if (phase.at === "opening") feed({ type: "opened", attempt })
        else if (phase.at === "greeting") feed({ type: "received", attempt, message: welcome })
        else {
          now = Math.max(now, state.deadline!)
          feed({ type: "wake" })
        }
      }
      assert.strictEqual(state.phase.at, "online")
    })
  })
})
