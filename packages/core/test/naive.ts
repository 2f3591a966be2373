/** The slowest obvious evaluation of `exists`: look at every row of its table. */
import type { Row } from "../src/data/Row.ts"
import type { Node } from "../src/query/Plan.ts"
import * as Semantics from "../src/query/Semantics.ts"

/** `rows` by table name. */
export const exists = (rows: (table: string) => ReadonlyArray<Row>): NonNullable<Semantics.Options["exists"]> => (query, outer) => {
  const conditions: Array<Parameters<typeof Semantics.compile>[0]> = []
  let node: Node = query
  while (node.op !== "scan") {
    if (node.op === "filter") conditions.push(node.where)
    node = node.input
  }
  const scan = node
  const test = Semantics.condition(conditions, { source: scan.as, outer, exists: exists(rows) })
  return (_, bound) => rows(scan.table).some((row) => test(row, bound))
}
