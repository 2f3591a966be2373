import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Result, Schema } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import type { Json } from "../../src/data/Value.ts"
import * as Codec from "../../src/protocol/Codec.ts"
import type { ClientMessage, Patch, ServerMessage } from "../../src/protocol/Message.ts"
import { Client, Server } from "./MessageSchema.ts"

const golden = new URL("../golden/protocol/", import.meta.url)
const ends = {
  client: { schema: Client as Schema.Codec<ClientMessage>, decode: Codec.decodeClient, encode: Codec.encodeClient },
  server: { schema: Server as Schema.Codec<ServerMessage>, decode: Codec.decodeServer, encode: Codec.encodeServer }
} as const

/** What JSON keeps of a value: −0 is 0 there. */
const throughJson = (value: unknown) => JSON.parse(JSON.stringify(value)) as Json

/** Replaces, removes or adds something at a place that `at` picks. */
const mutated = (value: Json, at: number, by: Json | undefined): Json => {
  const places: Array<(root: Json) => void> = []
  const visit = (item: Json) => {
    if (typeof item !== "object" || item === null) return
    for (const key of Object.keys(item)) {
      const holder = item as Record<string, Json>
      places.push(() => {
        if (by !== undefined) holder[key] = by
        else if (Array.isArray(item)) item.splice(Number(key), 1)
        else delete holder[key]
      })
      visit(holder[key]!)
    }
    if (!Array.isArray(item)) places.push(() => void ((item as Record<string, Json>)["unknown field"] = by ?? null))
  }
  visit(value)
  places[at % places.length]?.(value)
  return value
}

/** Parts of messages and what looks like them. */
const Substitute = Schema.Union([
  Schema.Literals([0, 1, -1, 0.5, 2 ** 53, true, false, "", "x", "Forbidden", "success", "refused", "x".repeat(257)]),
  Schema.Null,
  Schema.Array(Schema.Literals([0, "x"])),
  Schema.Struct({ _tag: Schema.Literals(["Forbidden", "Other"]), message: Schema.String })
])

for (const [end, { decode, encode, schema }] of Object.entries(ends) as Array<[string, typeof ends["client" | "server"]]>) {
  const check = Schema.decodeUnknownResult(schema as Schema.Codec<ClientMessage | ServerMessage>)
  const agree = (value: Json) => {
    const expected = check(value)
    const actual = decode(JSON.stringify(value))
    if (Result.isFailure(expected)) {
      assert.isFalse(actual.ok, `accepted ${JSON.stringify(value)}`)
      if (!actual.ok) assert.include(actual.problem.message, actual.problem.path)
    } else {
      assert.deepStrictEqual<unknown>(actual, { ok: true, message: expected.success })
    }
    return actual.ok
  }

  describe(end, () => {
    it.prop("what is encoded decodes to itself", [Arbitrary.schema(schema as Schema.Codec<ClientMessage | ServerMessage>)], ([message]) => {
      const text = encode(message as never)
      assert.deepStrictEqual<unknown>(decode(text), { ok: true, message: throughJson(message) })
    }, { arbitrary: { runs: 300 } })

    it.prop("it accepts what the schema accepts and names the path of the rest", [
      Arbitrary.schema(schema as Schema.Codec<ClientMessage | ServerMessage>), Schema.Int, Schema.UndefinedOr(Substitute)
    ], ([message, at, by]) => {
      agree(mutated(throughJson(message), Math.abs(at), by as Json | undefined))
    }, { arbitrary: { runs: 1000 } })

    it("golden files are read and written, and every type of message has one", () => {
      const types = new Set<string>()
      for (const file of readdirSync(golden).filter((name) => name.startsWith(`${end}-`))) {
        const text = readFileSync(new URL(file, golden), "utf8")
        for (const line of text.trim().split("\n")) {
          const decoded = decode(line)
          assert.isTrue(decoded.ok, `${file}: ${JSON.stringify(decoded)}`)
          if (decoded.ok) {
            assert.strictEqual(encode(decoded.message as never), line, file)
            assert.strictEqual(file, `${end}-${decoded.message.type}.json`)
            types.add(decoded.message.type)
          }
          assert.isTrue(agree(JSON.parse(line)))
        }
      }
      const all = (schema.ast as unknown as { types: ReadonlyArray<{ propertySignatures: ReadonlyArray<{ name: string; type: { literal: string } }> }> })
        .types.map((member) => member.propertySignatures.find(({ name }) => name === "type")!.type.literal)
      assert.deepStrictEqual([...types].sort(), [...all].sort())
    })
  })
}

describe("limits", () => {
  const ping = `{"type":"ping"}`
  const mutate = (payload: string) => `{"type":"mutate","seq":1,"name":"m","payload":${payload}}`
  const limits = { maxBytes: 200, maxDepth: 3, maxItems: 4 }
  const path = (text: string) => {
    const decoded = Codec.decodeClient(text, limits)
    return decoded.ok ? "" : `${decoded.problem.code} ${decoded.problem.path}`.trim()
  }

  it("bytes are counted as UTF-8, at the bound exactly", () => {
    for (const filling of ["a", "ä", "€", "😀"]) {
      for (let n = 0; n < 220; n++) {
        const text = mutate(JSON.stringify(filling.repeat(n)))
        const bytes = Buffer.byteLength(text)
        assert.strictEqual(path(text) === "MessageTooLarge", bytes > 200, `${filling} ${n} ${bytes}`)
      }
    }
  })

  it("nesting, arrays and objects are bounded", () => {
    assert.strictEqual(path(mutate("[[[1]]]")), "")
    assert.strictEqual(path(mutate("[[[[1]]]]")), "MalformedMessage payload")
    assert.strictEqual(path(mutate("[1,2,3,4]")), "")
    assert.strictEqual(path(mutate("[1,2,3,4,5]")), "MalformedMessage payload")
    assert.strictEqual(path(mutate(`{"a":1,"b":1,"c":1,"d":1,"e":1}`)), "MalformedMessage payload")
    assert.strictEqual(path(`{"type":"mutate","seq":1,"name":"m","payload":1,"after":[1,2,3,4,5]}`), "MalformedMessage after")
    assert.strictEqual(path(`{"type":"subscribe","id":1,"query":"q","parameters":{"a":[[[1]]]}}`), "")
    assert.strictEqual(path(`{"type":"subscribe","id":1,"query":"q","parameters":{"a":[[[[1]]]]}}`), "MalformedMessage parameters")
    assert.isFalse(Codec.decodeClient(mutate("[".repeat(100_000) + "]".repeat(100_000))).ok)
  })

  it("what JSON.parse lets through and JSON does not know is refused", () => {
    assert.strictEqual(path(mutate("1e999")), "MalformedMessage payload")
    assert.strictEqual(path(`{"type":"ack","seq":1e999}`), "MalformedMessage seq")
    for (const text of ["", "{", "null", "[]", "1", `"ping"`, ping + ping, "\u0000"]) assert.strictEqual(path(text), "MalformedMessage", text)
    assert.strictEqual(path(`{"type":"pong"}`), "MalformedMessage type")
  })

  it("a key named __proto__ stays a key", () => {
    const decoded = Codec.decodeClient(mutate(`{"__proto__":{"polluted":true}}`))
    assert.isTrue(decoded.ok && decoded.message.type === "mutate" && Object.hasOwn(decoded.message.payload as object, "__proto__"))
    const welcome = Codec.decodeServer(readFileSync(new URL("server-welcome.json", golden), "utf8").split("\n")[0]!.replace(`"columns":{`, `"columns":{"__proto__":["id"],`))
    assert.isTrue(welcome.ok && welcome.message.type === "welcome" && Object.hasOwn(welcome.message.columns, "__proto__"))
  })

  it("a frame made of encoded patches is the frame", () => {
    for (const line of readFileSync(new URL("server-frame.json", golden), "utf8").trim().split("\n")) {
      const { patches, type: _, ...rest } = JSON.parse(line) as Extract<ServerMessage, { type: "frame" }>
      assert.strictEqual(Codec.encodeFrame(rest, patches.map((patch: Patch) => JSON.stringify(patch))), line)
    }
  })
})
