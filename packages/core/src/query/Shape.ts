/**
 * What the server compiles once for a query under the contract's access rules, however many clients bind it with however
 * many parameter values.
 *
 * A rule whose row columns are all pinned by the query (`column = parameter`) asks nothing of the row any more: it becomes
 * a gate, and those whom it lets pass share one binding. What is left of the rules joins the query's own conditions. The
 * query sees masked columns as their masks, and in its `exists` only rows that may be read; rules see everything.
 */
import { source as ruleSource } from "../contract/Access.ts"
import type { Any as Contract } from "../contract/Contract.ts"
import type { Json } from "../data/Value.ts"
import { canonicalJson, hash as hashOf } from "../internal/hash.ts"
import * as Plan from "./Plan.ts"

export interface Shape {
  /** Of everything below: equal shapes share bindings. */
  readonly hash: string
  /** The query's own plan, for `explain` and projections. */
  readonly plan: Plan.Plan
  /** Normal form with the row rules among its conjuncts and masked columns replaced by `if` where the query computes with them. */
  readonly select: Plan.Select
  /** Rules over parameters and principal only (and `exists` over those): all must be true for a subscriber, else its result is empty. */
  readonly gates: ReadonlyArray<Plan.Expression>
  /** Parameters that `select` mentions: with `principalFields`, what tells bindings apart. */
  readonly parameterNames: ReadonlyArray<string>
  readonly principalFields: ReadonlyArray<string>
  /** Columns of the row that not everybody may read. */
  readonly masks: ReadonlyArray<Mask>
}

/** A subscriber for whom `readable` (over the row and the principal) is not true sees `mask` (wire form) in that column. */
export interface Mask {
  readonly column: string
  readonly readable: Plan.Expression
  readonly mask: Json
}

/** The source by which all conditions given out here name the table's row. */
export const source = "t0"

/** Throws `UnsupportedQuery` where a mask or a rule makes of the query what cannot be kept exact. */
export const compile = (contract: Contract, plan: Plan.Plan): Shape => {
  const own = Plan.toSelect(plan)
  const scope = new Map([[own.source, own.table]])
  const conditions = own.where.flatMap((where) => Plan.conjuncts(guard(contract, where, scope)))
  const order = own.order.map((key) => ({ ...key, value: guard(contract, key.value, scope) }))
  for (const { value } of order) {
    Plan.forEachPart(value, (part) => {
      if (part.op !== "exists") return
      const [query, construct] = [`a query over ${own.table}`, "orderBy of a masked column"]
      throw new Plan.UnsupportedQuery({
        query,
        construct,
        message: `${query}, under the contract's access rules: ${construct}: who may read it depends on other rows, and an order cannot be kept current by those: order by another column, or mask by the row and the principal alone`
      })
    })
  }

  const pins = pinned(conditions)
  const gates: Array<Plan.Expression> = []
  for (const rule of Plan.conjuncts(readRule(contract, own.table))) {
    const bound = substitute(rule, pins)
    if (mentionsRow(bound)) conditions.push(rule)
    else gates.push(...Plan.conjuncts(bound))
  }

  // Once more through the normal form, since rules bring sources and repetitions of their own.
  const scan: Plan.Node = { op: "scan", table: own.table, as: own.source }
  const ordered: Plan.Node = { op: "order", input: { op: "filter", input: scan, where: { op: "and", all: conditions } }, by: order }
  const limited: Plan.Node = own.limit === null ? ordered : { op: "limit", input: ordered, count: own.limit }
  const select: Plan.Select = { ...Plan.toSelect({ ...plan, root: limited }), project: own.project }

  const parameterNames = new Set<string>()
  const principalFields = new Set<string>()
  for (const expression of [...select.where, ...select.order.map((key) => key.value), ...select.limit === null ? [] : [select.limit]]) {
    Plan.forEachPart(expression, (part) => {
      if (part.op === "parameter") parameterNames.add(part.name)
      else if (part.op === "principal") principalFields.add(part.field)
    })
  }
  const shape = {
    select,
    gates: canonicalGates(gates),
    parameterNames: [...parameterNames].sort(),
    principalFields: [...principalFields].sort(),
    masks: masks(contract, own.table)
  }
  return { ...shape, plan, hash: hashOf({ ...shape, plan: Plan.hash(plan), parameters: plan.parameters }) }
}

/** Who may read a row of that table at all: a condition over the row and the principal. False where no rule allows it. */
export const readRule = (contract: Contract, tableName: string): Plan.Expression => rule(contract, tableName, (access) => access.read)

/** Which columns of that table's rows not everybody may read. */
export const masks = (contract: Contract, tableName: string): ReadonlyArray<Mask> =>
  Object.entries(contract.access[tableName]?.columns ?? {})
    .map(([column, { mask, read }]) => ({ column, readable: canonical(tableName, read), mask }))
    .filter(({ readable }) => !(readable.op === "literal" && readable.value === true))

/**
 * What must be true of the row as it was and as it becomes, over unfiltered tables. An insert has no before, a delete no
 * after: null.
 */
export const writeCheck = (contract: Contract, tableName: string, operation: "delete" | "insert" | "update"): {
  readonly before: Plan.Expression | null
  readonly after: Plan.Expression | null
} => {
  switch (operation) {
    case "insert":
      return { before: null, after: rule(contract, tableName, (access) => access.insert) }
    case "update":
      return { before: rule(contract, tableName, (access) => access.update.before), after: rule(contract, tableName, (access) => access.update.after) }
    case "delete":
      return { before: rule(contract, tableName, (access) => access.delete), after: null }
  }
}

const rule = (contract: Contract, tableName: string, pick: (access: Access) => Plan.Expression): Plan.Expression => {
  const access = contract.access[tableName]
  return access === undefined ? Plan.alwaysFalse : canonical(tableName, pick(access))
}

type Access = Contract["access"][string]

/** A rule as a condition on `t0`, its own sources named by depth. */
const canonical = (tableName: string, rule: Plan.Expression): Plan.Expression => {
  const node = Plan.renameSources({ op: "filter", input: { op: "scan", table: tableName, as: ruleSource }, where: rule })
  return Plan.normalise({ op: "and", all: Plan.filters(node) })
}

/** A condition of the query as its reader sees the data: masks for columns, readable rows in `exists`. `scope` has the table of each source. */
const guard = (contract: Contract, expression: Plan.Expression, scope: ReadonlyMap<string, string>): Plan.Expression =>
  Plan.mapTop(expression, (part) => {
    if (part.op === "column") {
      const column = contract.access[scope.get(part.source) ?? ""]?.columns[part.column]
      if (column === undefined || column.read.op === "literal" && column.read.value === true) return part
      return {
        op: "if",
        condition: moved(column.read, part.source),
        then: part,
        else: { op: "literal", value: column.mask, type: part.type }
      }
    }
    if (part.op !== "exists") return undefined
    const { as, table } = Plan.scanOf(part.query)
    const inside = new Map(scope).set(as, table)
    const where: Plan.Expression = {
      op: "and",
      all: [
        ...Plan.filters(part.query).map((condition) => guard(contract, condition, inside)),
        moved(contract.access[table]?.read ?? Plan.alwaysFalse, as)
      ]
    }
    const scan: Plan.Node = { op: "scan", table, as }
    Plan.checkExists(where, as, (construct, advice) => {
      const query = `a query with exists over ${table}`
      throw new Plan.UnsupportedQuery({ query, construct, message: `${query}, under the contract's access rules: ${construct}: ${advice}` })
    })
    return { op: "exists", query: { op: "filter", input: scan, where } }
  })

const moved = (rule: Plan.Expression, to: string): Plan.Expression =>
  Plan.mapExpression(rule, (part) => part.op === "column" && part.source === ruleSource ? { ...part, source: to } : part)

/** Columns that have one value in all rows of a binding, by the query's own conditions. */
const pinned = (conditions: ReadonlyArray<Plan.Expression>): ReadonlyMap<string, Plan.Expression> => {
  const pins = new Map<string, Plan.Expression>()
  for (const condition of conditions) {
    const key = Plan.equatedColumn(condition, source)
    if (key !== undefined && key.value.op !== "column" && !pins.has(key.column.column)) pins.set(key.column.column, key.value)
  }
  return pins
}

const substitute = (expression: Plan.Expression, pins: ReadonlyMap<string, Plan.Expression>): Plan.Expression =>
  Plan.mapExpression(expression, (part) => part.op === "column" && part.source === source ? pins.get(part.column) ?? part : part)

const mentionsRow = (expression: Plan.Expression): boolean => {
  let mentions = false
  Plan.forEachPart(expression, (part) => {
    mentions ||= part.op === "column" && part.source === source
  })
  return mentions
}

const canonicalGates = (gates: ReadonlyArray<Plan.Expression>): ReadonlyArray<Plan.Expression> => {
  const byContent = new Map(gates.map((gate) => [canonicalJson(gate), gate]))
  return [...byContent].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, gate]) => gate)
}
