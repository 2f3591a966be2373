/**
 * Schemas that an application brings (Effect Schema, or any Standard Schema), used through the value that they are: no
 * schema library is imported here.
 *
 * An Effect Schema value checks its type side, so it must not transform; with `Schema.toStandardSchemaV1` one that
 * normalises (a trim, say) can be used. A Standard Schema must be synchronous.
 */
import type { Json } from "../data/Value.ts"
import type { ColumnType } from "../schema/ColumnType.ts"

/** What is needed of an Effect Schema. */
export interface EffectSchema {
  readonly ast: object
  readonly Type: unknown
  readonly Encoded: unknown
  readonly "~type.optionality": "required" | "optional"
}

/** standardschema.dev, version 1. */
export interface StandardSchema {
  readonly "~standard": {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => unknown
    readonly types?: { readonly input: unknown; readonly output: unknown } | undefined
  }
}

export type Any = EffectSchema | StandardSchema

/** What it accepts. */
export type Type<S> = S extends EffectSchema ? S["Type"]
  : S extends StandardSchema ? NonNullable<S["~standard"]["types"]>["output"]
  : never

type Input<S> = S extends EffectSchema ? S["Encoded"]
  : S extends StandardSchema ? NonNullable<S["~standard"]["types"]>["input"]
  : never

type NotJson = bigint | symbol | Date | Uint8Array | ReadonlyMap<any, any> | ReadonlySet<any> | ((...args: never) => unknown)

/** `unknown` for a schema that may stand in a contract, else a sentence that says why not. */
export type Valid<S> = [Type<S>] extends [Input<S>]
  ? [Extract<Type<S>, NotJson>] extends [never] ? unknown : "its values are not JSON: use a column"
  : "a schema may normalise a value, but not change its type"

export interface Invalid {
  readonly ok: false
  /** Continues a sentence that names the field: "must not be null". */
  readonly message: string
}

export type Checked<A> = { readonly ok: true; readonly value: A } | Invalid

export const invalid = (message: string): Invalid => ({ ok: false, message })

export interface Checker {
  /** The value to go on with, normalised, or why not. */
  readonly check: (input: unknown) => Checked<Json>
  /** The key may be left out. */
  readonly isOptional: boolean
  readonly isNullable: boolean
  /** Undefined where a schema does not say, or where no scalar column can hold its values. */
  readonly columnType: ColumnType | undefined
  /** As much of it as two builds of one contract can compare. */
  readonly description: Json
}

export const isSchema = (value: unknown): value is Any =>
  (typeof value === "object" || typeof value === "function") && value !== null && ("~standard" in value || isEffectSchema(value))

const isEffectSchema = (value: object): value is EffectSchema & EffectValue =>
  "ast" in value && typeof value.ast === "object" && value.ast !== null && "_tag" in value.ast && "make" in value

/** `where` begins the message of what is thrown for a schema that cannot be used. */
export const make = (schema: Any, where: string): Checker => {
  if (isEffectSchema(schema)) {
    const { ast } = schema
    const standard = "~standard" in schema
    if (!standard) refuseTransformations(ast, where)
    const scalar = columnTypeOf(ast)
    return {
      check: standard ? (input) => checkStandard(schema as never, input) : (input) => checkEffect(schema, input),
      isOptional: ast.context?.isOptional === true,
      isNullable: scalar.nullable,
      columnType: scalar.type,
      description: describeAst(ast)
    }
  }
  return {
    check: (input) => checkStandard(schema as StandardSchema, input),
    isOptional: false,
    isNullable: true,
    columnType: undefined,
    description: { standard: (schema as StandardSchema)["~standard"].vendor }
  }
}

const checkStandard = (schema: StandardSchema, input: unknown): Checked<Json> => {
  const result = schema["~standard"].validate(input) as {
    readonly value?: unknown
    readonly issues?: ReadonlyArray<{ readonly message: string; readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> }>
  } | PromiseLike<unknown>
  if ("then" in result) return invalid("has an asynchronous schema, which cannot be used")
  if (result.issues !== undefined) {
    const [issue] = result.issues
    const path = (issue?.path ?? []).map((part) => String(typeof part === "object" ? part.key : part))
    return invalid(sentence(path, issue?.message ?? "refused"))
  }
  return json(result.value)
}

const checkEffect = (schema: EffectValue, input: unknown): Checked<Json> => {
  try {
    return json(schema.make(input))
  } catch (error) {
    const issue = error instanceof Error ? error.cause : undefined
    if (typeof issue !== "object" || issue === null || !("_tag" in issue)) throw error
    return invalid(describeIssue(issue as Issue, []))
  }
}

const sentence = (path: ReadonlyArray<string>, message: string): string =>
  path.length === 0 ? `is refused: ${message}` : `is refused at ${path.join(".")}: ${message}`

const json = (value: unknown): Checked<Json> => isJson(value) ? { ok: true, value } : invalid("is not JSON")

/** Plain data only: what `JSON.parse(JSON.stringify(value))` gives back unchanged. */
export const isJson = (value: unknown): value is Json => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true
    case "number":
      return Number.isFinite(value)
    case "object": {
      if (value === null) return true
      if (Array.isArray(value)) return value.every(isJson)
      const prototype: unknown = Object.getPrototypeOf(value)
      return (prototype === Object.prototype || prototype === null) && Object.values(value).every(isJson)
    }
    default:
      return false
  }
}

/** What is read of Effect's Schema values; they are plain data. */
interface EffectValue {
  readonly ast: Ast
  readonly make: (input: unknown) => unknown
}

interface Ast {
  readonly _tag: string
  readonly encoding?: unknown
  readonly context?: { readonly isOptional: boolean }
  readonly checks?: ReadonlyArray<{ readonly annotations?: { readonly expected?: unknown; readonly representation?: { readonly id?: unknown; readonly payload?: unknown } } }>
  readonly literal?: unknown
  readonly types?: ReadonlyArray<Ast>
  readonly elements?: ReadonlyArray<Ast>
  readonly rest?: ReadonlyArray<Ast>
  readonly propertySignatures?: ReadonlyArray<{ readonly name: PropertyKey; readonly type: Ast }>
  readonly indexSignatures?: ReadonlyArray<{ readonly parameter: Ast; readonly type: Ast }>
}

interface Issue {
  readonly _tag: string
  readonly path?: ReadonlyArray<PropertyKey>
  readonly issue?: Issue
  readonly issues?: ReadonlyArray<Issue>
  readonly ast?: Ast
  readonly filter?: { readonly annotations?: { readonly expected?: unknown } }
  readonly annotations?: { readonly message?: unknown }
}

const describeIssue = (issue: Issue, path: ReadonlyArray<string>): string => {
  const here = [...path, ...(issue.path ?? []).map(String)]
  const inner = issue.issues?.[0] ?? issue.issue
  const expected = issue.filter?.annotations?.expected
  if (typeof expected === "string") return sentence(here, `expected ${expected}`)
  if (inner !== undefined) return describeIssue(inner, here)
  if (issue._tag === "MissingKey") return sentence(here, "it is missing")
  return sentence(here, issue.ast === undefined ? "not a valid value" : `expected ${nameOf(issue.ast)}`)
}

const nameOf = (ast: Ast): string =>
  ast._tag === "Literal" ? JSON.stringify(ast.literal)
    : ast._tag === "Union" ? (ast.types ?? []).map(nameOf).join(" or ")
    : ast._tag.toLowerCase()

const plain = new Set(["String", "Number", "Boolean", "Null", "Undefined", "Literal", "TemplateLiteral", "Arrays", "Objects", "Union", "Enum", "Unknown", "Any"])

const refuseTransformations = (ast: Ast, where: string): void => {
  if (ast.encoding !== undefined) {
    throw new TypeError(`${where}: a schema that transforms cannot be used as it is: wrap it in Schema.toStandardSchemaV1 if it keeps the type, or use a column`)
  }
  if (!plain.has(ast._tag)) {
    throw new TypeError(`${where}: a schema of kind ${ast._tag} has values that are not JSON: use a column`)
  }
  for (const part of parts(ast)) refuseTransformations(part, where)
}

const parts = (ast: Ast): ReadonlyArray<Ast> => [
  ...ast.types ?? [], ...ast.elements ?? [], ...ast.rest ?? [],
  ...(ast.propertySignatures ?? []).map((property) => property.type),
  ...(ast.indexSignatures ?? []).flatMap((signature) => [signature.parameter, signature.type])
]

const isInteger = (ast: Ast): boolean =>
  (ast.checks ?? []).some((check) => check.annotations?.representation?.id === "effect/schema/isInt")

const columnTypeOf = (ast: Ast): { readonly type: ColumnType | undefined; readonly nullable: boolean } => {
  switch (ast._tag) {
    case "String":
    case "TemplateLiteral":
      return { type: { kind: "text" }, nullable: false }
    case "Number":
      return { type: { kind: isInteger(ast) ? "int8" : "float8" }, nullable: false }
    case "Boolean":
      return { type: { kind: "boolean" }, nullable: false }
    case "Literal":
      return { type: kinds[typeof ast.literal as keyof typeof kinds], nullable: false }
    case "Null":
    case "Undefined":
      return { type: undefined, nullable: true }
    case "Union": {
      const members = (ast.types ?? []).map((type) => ({ ...columnTypeOf(type), empty: type._tag === "Null" || type._tag === "Undefined" }))
      const [first, ...others] = members.filter((member) => !member.empty)
      const same = first !== undefined && others.every((other) => other.type?.kind === first.type?.kind)
      return { type: same ? first.type : undefined, nullable: members.some((member) => member.nullable) }
    }
    default:
      return { type: undefined, nullable: false }
  }
}

const kinds = { string: { kind: "text" }, number: { kind: "float8" }, boolean: { kind: "boolean" } } as const

const describeAst = (ast: Ast): Json => ({
  is: ast._tag,
  ...(ast.context?.isOptional === true ? { optional: true } : {}),
  ...(ast._tag === "Literal" ? { literal: String(ast.literal) } : {}),
  ...(ast.checks === undefined ? {} : { checks: ast.checks.map((check) => describeCheck(check)) }),
  ...(ast.propertySignatures === undefined ? {} : { properties: ast.propertySignatures.map((property) => [String(property.name), describeAst(property.type)]) }),
  ...(ast.types === undefined ? {} : { types: ast.types.map(describeAst) }),
  ...(ast.elements === undefined ? {} : { elements: ast.elements.map(describeAst) }),
  ...(ast.rest === undefined ? {} : { rest: ast.rest.map(describeAst) }),
  ...(ast.indexSignatures === undefined ? {} : { index: ast.indexSignatures.map((signature) => [describeAst(signature.parameter), describeAst(signature.type)]) })
})

const describeCheck = ({ annotations }: NonNullable<Ast["checks"]>[number]): Json => ({
  id: typeof annotations?.representation?.id === "string" ? annotations.representation.id : null,
  payload: isJson(annotations?.representation?.payload) ? annotations.representation.payload : null
})

