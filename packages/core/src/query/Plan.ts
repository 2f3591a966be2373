/**
 * A query as plain, serialisable data.
 *
 * The builder makes a tree of `Node`s over `Expression`s, top to bottom as the clauses were called. `Select` is the
 * normal form that the engine, the replica and the SQL compiler share; equal selects have equal hashes whatever the
 * order in which conditions were written. Literals are held in wire form (`ColumnType.toWire`), so that a plan is JSON.
 */
import type { Json } from "../data/Value.ts"
import type { ColumnType } from "../schema/ColumnType.ts"

export type Comparison = "=" | "<>" | "<" | "<=" | ">" | ">="

/** A scalar. Its value is never an error: what SQL would refuse is NULL, or the plan is refused where it is defined. */
export type Expression =
  /** A column of the source with that alias, by property name. */
  | { readonly op: "column"; readonly source: string; readonly column: string; readonly type: ColumnType; readonly nullable: boolean }
  /** `value` in wire form; null is NULL. */
  | { readonly op: "literal"; readonly value: Json; readonly type: ColumnType }
  | { readonly op: "parameter"; readonly name: string; readonly type: ColumnType; readonly nullable: boolean }
  /** A field of the principal. */
  | { readonly op: "principal"; readonly field: string; readonly type: ColumnType; readonly nullable: boolean }
  | { readonly op: "compare"; readonly operator: Comparison; readonly left: Expression; readonly right: Expression }
  | { readonly op: "in"; readonly value: Expression; readonly list: ReadonlyArray<Expression> }
  | { readonly op: "isNull"; readonly value: Expression }
  | { readonly op: "like"; readonly value: Expression; readonly pattern: Expression; readonly insensitive: boolean }
  | { readonly op: "and"; readonly all: ReadonlyArray<Expression> }
  | { readonly op: "or"; readonly any: ReadonlyArray<Expression> }
  | { readonly op: "not"; readonly value: Expression }
  /** True or false, never NULL. `query` may refer to columns of the sources around it. */
  | { readonly op: "exists"; readonly query: Node }
  /** Made by column masks only: NULL counts as false. */
  | { readonly op: "if"; readonly condition: Expression; readonly then: Expression; readonly else: Expression }

export interface Order {
  readonly value: Expression
  /** NULLs are last ascending and first descending. */
  readonly descending: boolean
}

export type Node =
  | { readonly op: "scan"; readonly table: string; readonly as: string }
  | { readonly op: "filter"; readonly input: Node; readonly where: Expression }
  | { readonly op: "project"; readonly input: Node; readonly columns: { readonly [name: string]: Expression } }
  | { readonly op: "order"; readonly input: Node; readonly by: ReadonlyArray<Order> }
  | { readonly op: "limit"; readonly input: Node; readonly count: Expression }

export interface Parameter {
  readonly type: ColumnType
  readonly nullable: boolean
}

export interface Plan {
  readonly version: 1
  readonly root: Node
  readonly cardinality: "many" | "maybe" | "one"
  readonly parameters: { readonly [name: string]: Parameter }
}

/** The normal form of a plan over one table: `SELECT … FROM table AS source WHERE … ORDER BY … LIMIT …`. */
export interface Select {
  readonly table: string
  /** The alias by which `where`, `order` and `project` refer to its columns. */
  readonly source: string
  /** Conjuncts, flattened and sorted; none means all rows. Each must be true (NULL does not pass). */
  readonly where: ReadonlyArray<Expression>
  /** Total: ends with those primary key columns that it did not hold already. */
  readonly order: ReadonlyArray<Order>
  /** An int8 literal, parameter or null. A NULL value at run time means no limit; a negative one means none pass. */
  readonly limit: Expression | null
  /** What the application sees of each row; null is the row itself. */
  readonly project: { readonly [name: string]: Expression } | null
}
