/**
 * What the contract says, as the closures that the replica runs: tables to row decoders, queries to view definitions.
 *
 * A row's values are not checked against their column types beyond what JavaScript type they have: the server encoded them
 * from canonical values, and has checked those.
 */
import * as ColumnType from "@headwater/core/ColumnType"
import * as Key from "@headwater/core/Key"
import * as Plan from "@headwater/core/Plan"
import type * as Query from "@headwater/core/Query"
import type { Bound } from "@headwater/core/Range"
import type { Row } from "@headwater/core/Row"
import * as Semantics from "@headwater/core/Semantics"
import type * as Table from "@headwater/core/Table"
import type { Json, Value } from "@headwater/core/Value"
import { type Definition, FrameRefused, type Held, type TableRows } from "../Replica.ts"

/** The caller, as the server's last `welcome` named it; null while that is not known. */
export interface Caller {
  principal: Row | null
}

export const tableRows = (table: Table.Any): TableRows => ({
  keyOf: Key.make(table),
  decoder: (order) => {
    const columns = Object.entries(table.columns).map(([property, column]) => {
      const index = order.indexOf(property)
      if (index < 0) throw new FrameRefused(`The server sends no ${property} of ${table.tableName}.`)
      return { property, index, read: reader(column.type) }
    })
    return (wire) => {
      const row: { [property: string]: Value } = {}
      for (let i = 0; i < columns.length; i++) {
        const { index, property, read } = columns[i]!
        const value = wire[index]
        if (value === undefined) throw new FrameRefused(`A row of ${table.tableName} is too short.`)
        row[property] = value === null ? null : read(value)
      }
      return Object.freeze(row)
    }
  }
})

const reader = (type: ColumnType.ColumnType): (wire: Json) => Value => {
  const expected = (kind: string) => new FrameRefused(`A value is no ${kind}.`)
  switch (type.kind) {
    case "boolean":
      return (wire) => {
        if (typeof wire !== "boolean") throw expected(type.kind)
        return wire
      }
    case "int4":
      return (wire) => {
        if (typeof wire !== "number") throw expected(type.kind)
        return wire
      }
    case "int8":
    case "float8":
      return (wire) => {
        const value = ColumnType.fromWire(type, wire)
        if (value === undefined) throw expected(type.kind)
        return value
      }
    case "jsonb":
      return (wire) => wire
    default:
      return (wire) => {
        if (typeof wire !== "string") throw expected(type.kind)
        return wire
      }
  }
}

/** Compiles a query once; what it returns binds parameters. */
export const query = (definition: Query.Named.Any, caller: Caller): (parameters: Row) => Definition => {
  const select = Plan.toSelect(definition.plan)
  const asks = new Set<string>()
  let asksPrincipal = false
  for (const conjunct of select.where) {
    Plan.forEachPart(conjunct, (part) => {
      if (part.op === "exists") asks.add(Plan.scanOf(part.query).table)
      if (part.op === "principal") asksPrincipal = true
    })
  }
  const decide = asks.size === 0 ? certainly(select) : perhaps(select)
  const compareToBoundary = Semantics.compareToValues(select.order)
  const limit = select.limit === null ? null : Semantics.compile(select.limit)
  const columns = select.project === null ? null
    : Object.entries(select.project).map(([name, expression]) => ({ name, evaluate: Semantics.compile(expression) }))
  return (parameters) => {
    const bound: Bound = {
      parameters,
      get principal() {
        return caller.principal ?? unknown
      }
    }
    const count = limit === null ? null : limit(unknown, bound)
    return {
      table: select.table,
      asks: [...asks],
      passes: (row, held) => asksPrincipal && caller.principal === null ? undefined : decide(row, bound, held),
      compare: Semantics.comparator(select.order, { bound }),
      boundary: (wire) => {
        if (wire.length !== select.order.length) throw new FrameRefused("A boundary has another order than its query.")
        return select.order.map(({ value }, i) => {
          const item = wire[i]!
          const canonical = item === null ? null : ColumnType.fromWire(Plan.typeOf(value), item)
          if (canonical === undefined) throw new FrameRefused("A boundary does not fit its query's order.")
          return canonical
        })
      },
      isBeyond: (row, boundary) => compareToBoundary(row, boundary, bound) > 0,
      limit: count === null ? null : Number(count),
      project: columns === null ? null : (row) => {
        const projected: { [name: string]: Value } = {}
        for (const { evaluate, name } of columns) projected[name] = evaluate(row, bound)
        return Object.freeze(projected)
      }
    }
  }
}

type Decide = (row: Row, bound: Bound, held: Held) => boolean | undefined

const certainly = (select: Plan.Select): Decide => Semantics.condition(select.where)

/**
 * A condition that asks for other rows. Those that are held can show that an `exists` is true; that it is false they
 * cannot. So the condition is compiled twice: with every doubt against it, and with every doubt in its favour. Where both
 * agree, that is its value.
 */
const perhaps = (select: Plan.Select): Decide => {
  let held: Held
  /** In conditions like `exists = $flag` doubt has no direction. */
  let doubted = false
  const exists = (doubt: (query: Plan.Node) => boolean | undefined): NonNullable<Semantics.Options["exists"]> => (query, outer) => {
    const { as, table } = Plan.scanOf(query)
    const test = Semantics.condition(Plan.conjuncts({ op: "and", all: Plan.filters(query) }), { source: as, outer, exists: exists(() => undefined) })
    const otherwise = doubt(query)
    return (_, bound) => {
      for (const row of held.rows(table)) if (test(row, bound)) return true
      doubted = true
      // Neither `=== true` nor `=== false`: it fails wherever it stands.
      return otherwise as boolean
    }
  }
  const negated = new Set<Plan.Node>()
  let directed = true
  const where = select.where.map((conjunct) => directedParts(conjunct, (query) => negated.add(query), () => directed = false))
  const surely = Semantics.condition(where, { source: select.source, exists: exists(() => undefined) })
  const possibly = Semantics.condition(where, { source: select.source, exists: exists((query) => !negated.has(query)) })
  return (row, bound, rows) => {
    held = rows
    doubted = false
    if (surely(row, bound) && (directed || !doubted)) return true
    if (doubted && !directed) return undefined
    return possibly(row, bound) ? undefined : false
  }
}

/** In a normal form an `exists` stands alone or under one `not`; each is made a node of its own. */
const directedParts = (expression: Plan.Expression, onNegated: (query: Plan.Node) => void, onOther: () => void): Plan.Expression =>
  Plan.mapTop(expression, (part) => {
    if (part.op === "and" || part.op === "or") return undefined
    if (part.op === "exists") return { ...part, query: { ...part.query } }
    if (part.op === "not" && part.value.op === "exists") {
      const query = { ...part.value.query }
      onNegated(query)
      return { op: "not", value: { op: "exists", query } }
    }
    Plan.forEachPart(part, (inner) => {
      if (inner.op === "exists") onOther()
    })
    return part
  })

const unknown: Row = {}
