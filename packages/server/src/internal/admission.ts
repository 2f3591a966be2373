/**
 * What of the contract a client is served: decided once for its version of the contract, then for each query that it asks for.
 *
 * A client and a server of different versions get along as far as their definitions are equal: what differs is refused by name,
 * everything else goes on. Each refusal says what to do.
 *
 * Cost: O(definitions) for a version that differs, O(parameters) for a query.
 */
import type * as Contract from "@headwater/core/Contract"
import type { ErrorCode, Hello, Subscribe } from "@headwater/core/Message"
import * as Query from "@headwater/core/Query"
import type { Bound } from "@headwater/core/Range"
import type { Shape } from "@headwater/core/Shape"

export interface Refusal {
  readonly _tag: "Refusal"
  readonly code: ErrorCode
  readonly message: string
}

/** The definitions, by name, of which client and server have different versions. */
export interface Differing {
  readonly _tag: "Differing"
  readonly queries: ReadonlySet<string>
  readonly mutations: ReadonlySet<string>
}

export interface Admitted {
  readonly _tag: "Admitted"
  readonly shape: Shape
  readonly bound: Bound
}

export const none: Differing = { _tag: "Differing", queries: new Set(), mutations: new Set() }

const refusal = (code: ErrorCode, message: string): Refusal => ({ _tag: "Refusal", code, message })

export const compare = (contract: Contract.Any, { definitions, hash, name }: Hello["contract"]): Differing | Refusal => {
  if (name !== contract.contractName) {
    return refusal("ContractMismatch", `This server serves the contract ${contract.contractName}, not ${JSON.stringify(name)}: check the address.`)
  }
  if (hash === contract.hash) return none
  if (definitions === undefined) {
    return refusal("ContractMismatch", `This server has another version of the contract ${name}: say the hashes of its definitions in hello, or build client and server from one source.`)
  }
  const differing = (theirs: { readonly [name: string]: string }, ours: { readonly [name: string]: string }) =>
    new Set(Object.keys(theirs).filter((key) => !Object.hasOwn(ours, key) || ours[key] !== theirs[key]))
  return {
    _tag: "Differing",
    queries: differing(definitions.queries, contract.definitionHashes.queries),
    mutations: differing(definitions.mutations, contract.definitionHashes.mutations)
  }
}

/** Throws what a schema of the application throws. */
export const admit = (
  contract: Contract.Any,
  shape: Shape | undefined,
  { queries }: Differing,
  principal: Bound["principal"],
  { parameters, query }: Pick<Subscribe, "query" | "parameters">
): Admitted | Refusal => {
  if (shape === undefined) return refusal("UnknownQuery", `The contract ${contract.contractName} has no query ${JSON.stringify(query)} here.`)
  if (queries.has(query)) return refusal("UnknownQuery", `This server has another version of the query ${query}.`)
  const decoded = Query.decodeParameters(contract.queries[query]!, parameters)
  if (!decoded.ok) return refusal("InvalidParameters", `The parameters of ${query} do not fit: ${decoded.message}.`)
  if (shape.gates.some((gate) => gate.op === "literal" && gate.value !== true)) {
    return refusal("Forbidden", `No access rule of ${contract.contractName} lets anybody read what ${query} asks for.`)
  }
  return { _tag: "Admitted", shape, bound: { parameters: decoded.value, principal } }
}
