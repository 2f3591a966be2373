/**
 * What the client says and does on a connection: `hello`, and each message of the server.
 *
 * Invariant: what is offered for resumption is exactly what is shown, the replica's position with the queries that were brought to it;
 * after a frame that did not fit nothing is offered until another one did. A mutation is answered after the frame that shows it
 * was applied.
 */
import { protocolVersion, type Frame, type Hello, type Welcome } from "@headwater/core/Message"
import { FrameRefused } from "../Replica.ts"
import type { Calls } from "./calls.ts"
import type { Speaker } from "./link.ts"
import type { LiveQueries } from "./liveQueries.ts"
import * as Outcomes from "./outcomes.ts"
import type { Principal } from "./principal.ts"
import type { Sending } from "./sending.ts"
import type { Shared } from "./shared.ts"

export interface Conversation extends Speaker {
  /** The server has said that what comes next replaces everything. */
  readonly isResyncing: boolean
}

/** `traces` are the traceparents of the mutations that the frame settles. */
export type OnApply = (frame: Frame, traces: ReadonlyArray<string>, run: () => void) => void

export const make = (
  { changed, contract, environment: env, link, outbox, replica }: Shared,
  principal: Principal, queries: LiveQueries, calls: Calls, sending: Sending, onApply: OnApply | undefined
): Conversation => {
  let session: string | undefined
  let isResyncing = false
  /** The last frame did not fit what is held. */
  let isDistrustful = false

  const hello = (token: string | undefined): Hello => {
    const { at } = replica
    return {
      type: "hello",
      protocol: protocolVersion,
      features: [],
      contract: { name: contract.contractName, hash: contract.hash, ...(link.state.mismatched ? { definitions: contract.definitionHashes } : undefined) },
      client: outbox.client,
      ...(token === undefined ? undefined : { token }),
      ...(at === null ? undefined : { resume: { ...at, ...(session === undefined || isDistrustful ? undefined : { session }) } }),
      acknowledged: outbox.acknowledged,
      subscriptions: queries.subscriptions(!isDistrustful)
    }
  }

  const deliver: Conversation["deliver"] = (message) => {
    switch (message.type) {
      case "welcome":
        return welcomed(message)
      case "frame": {
        if (onApply === undefined) return framed(message)
        return onApply(message, (message.receipts ?? []).flatMap(({ seq }) => outbox.bySeq(seq)?.trace ?? []), () => framed(message))
      }
      case "outcome": {
        calls.settle(outbox.outcome(message.seq, message.reason))
        if (message.reason._tag === "Unauthenticated") link.raise({ type: "renew" })
        return sending.flush()
      }
      case "resync":
        isResyncing = true
        return
      case "error": {
        if (message.code === "ClientTaken") {
          return calls.settle(outbox.abandon(env.newId(), { _tag: "Unauthenticated", message: "This change was written by another user. Retry sends it as the current one." }))
        }
        if (message.id !== undefined) return queries.failed(message.id, Outcomes.queryFailed(message))
        if (!message.fatal) env.warn(`The server refused a message: ${message.message}`)
      }
    }
  }

  const welcomed = (welcome: Welcome) => {
    try {
      replica.connected(welcome.epoch, welcome.columns)
      if (principal.set(welcome.principal)) changed(replica.reconsider())
    } catch (error) {
      return violated(error)
    }
    session = welcome.session
    isResyncing = false
    queries.welcomed(welcome.refused.queries)
    calls.settle(outbox.welcome(welcome.nextSeq, welcome.refused.mutations))
    sending.flush()
  }

  const framed = (frame: Frame) => {
    const receipts = frame.receipts ?? []
    try {
      changed(replica.apply(frame, receipts.flatMap(({ seq }) => outbox.bySeq(seq)?.id ?? [])))
    } catch (error) {
      return violated(error)
    }
    isResyncing = isDistrustful = false
    queries.framed()
    const { acknowledged } = outbox
    for (const { outcome, seq } of receipts) calls.settle(outbox.receipt(seq, outcome))
    if (outbox.acknowledged > acknowledged) link.send({ type: "ack", seq: outbox.acknowledged })
    sending.flush()
  }

  const violated = (error: unknown) => {
    const isRefused = error instanceof FrameRefused
    if (!isRefused) env.report(error)
    isDistrustful = true
    link.raise({ type: "violated", attempt: link.state.attempt, message: isRefused ? error.message : "A frame could not be applied." })
  }

  return {
    get isResyncing() {
      return isResyncing
    },
    hello,
    deliver,
    disconnected: outbox.disconnected
  }
}
