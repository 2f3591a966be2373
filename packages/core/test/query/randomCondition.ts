/**
 * Random conditions over the board's tasks, as trees that can be written down in more than one way.
 */
import type { Expr } from "@headwater/core"
import type { Task } from "../board.ts"

export interface Random {
  /** From 0, below `n`. */
  readonly below: (n: number) => number
}

/** mulberry32: the same seed gives the same choices. */
export const random = (seed: number): Random => {
  let state = seed | 0
  return {
    below: (n) => {
      state = state + 0x6D2B79F5 | 0
      let t = Math.imul(state ^ state >>> 15, 1 | state)
      t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t
      return ((t ^ t >>> 14) >>> 0) % n
    }
  }
}

export const seedOf = (): number => process.env["HEADWATER_SEED"] ? Number(process.env["HEADWATER_SEED"]) : Math.floor(Math.random() * 2 ** 31)

export type Tree =
  | { readonly is: "compare"; readonly column: "estimate" | "rank"; readonly operator: Operator; readonly value: number }
  | { readonly is: "range"; readonly low: number; readonly high: number }
  | { readonly is: "text"; readonly pattern: string }
  | { readonly is: "done" }
  | { readonly is: "null" }
  | { readonly is: "member"; readonly values: ReadonlyArray<number> }
  | { readonly is: "not"; readonly of: Tree }
  | { readonly is: "and" | "or"; readonly all: ReadonlyArray<Tree> }

type Operator = "eq" | "ge" | "gt" | "le" | "lt" | "ne"
const operators: ReadonlyArray<Operator> = ["eq", "ne", "lt", "le", "gt", "ge"]

export const tree = (random: Random, depth = 3): Tree => {
  switch (random.below(depth > 0 ? 9 : 6)) {
    case 0:
    case 1:
      return { is: "compare", column: random.below(2) === 0 ? "rank" : "estimate", operator: operators[random.below(6)]!, value: random.below(5) }
    case 2:
      return { is: "range", low: random.below(3), high: random.below(5) }
    case 3:
      return { is: "text", pattern: "ab%_"[random.below(4)]! + "%" }
    case 4:
      return random.below(2) === 0 ? { is: "done" } : { is: "null" }
    case 5:
      return { is: "member", values: Array.from({ length: 1 + random.below(3) }, () => random.below(5)) }
    case 6:
      return { is: "not", of: tree(random, depth - 1) }
    default:
      return { is: random.below(2) === 0 ? "and" : "or", all: Array.from({ length: 2 + random.below(2) }, () => tree(random, depth - 1)) }
  }
}

type Row = Expr.Fields<Task>

/** The obvious way to write it. */
export const plainly = (row: Row, tree: Tree): Expr.Condition => {
  switch (tree.is) {
    case "compare":
      return row[tree.column][tree.operator](tree.value)
    case "range":
      return row.estimate.between(tree.low, tree.high)
    case "text":
      return row.title.like(tree.pattern)
    case "done":
      return row.done
    case "null":
      return row.estimate.isNull()
    case "member":
      return row.estimate.in(tree.values)
    case "not":
      return plainly(row, tree.of).not()
    default: {
      const [first, ...others] = tree.all.map((part) => plainly(row, part))
      return others.reduce<Expr.Condition>((all, part) => tree.is === "and" ? all.and(part) : all.or(part), first!)
    }
  }
}

const opposite = { eq: "ne", ne: "eq", lt: "ge", ge: "lt", gt: "le", le: "gt" } as const

/** Another way to write the same, chosen at random. */
export const otherwise = (row: Row, tree: Tree, random: Random): Expr.Condition => {
  const way = random.below(3)
  if (way === 0) return otherwise(row, tree, random).not().not()
  switch (tree.is) {
    case "compare":
      return way === 1 ? row[tree.column][opposite[tree.operator]](tree.value).not() : row[tree.column][tree.operator](tree.value)
    case "range":
      return way === 1 ? row.estimate.le(tree.high).and(row.estimate.ge(tree.low)) : row.estimate.lt(tree.low).or(row.estimate.gt(tree.high)).not()
    case "done":
      return way === 1 ? row.done.eq(true) : row.done.ne(false)
    case "null":
      return way === 1 ? row.estimate.isNotNull().not() : row.estimate.isNull()
    case "member": {
      const values = [...tree.values, ...tree.values].sort(() => random.below(3) - 1)
      return new Set(tree.values).size === 1 && way === 1 ? row.estimate.eq(tree.values[0]!) : row.estimate.in(values)
    }
    case "not":
      return otherwise(row, tree.of, random).not()
    case "text":
      return plainly(row, tree)
    default: {
      const parts = [...tree.all, ...way === 1 ? [tree.all[0]!] : []].sort(() => random.below(3) - 1).map((part) => otherwise(row, part, random))
      // De Morgan, or from the right.
      if (random.below(2) === 0) {
        const [first, ...others] = parts.map((part) => part.not())
        return others.reduce<Expr.Condition>((all, part) => tree.is === "and" ? all.or(part) : all.and(part), first!).not()
      }
      return parts.reduceRight((all, part) => tree.is === "and" ? part.and(all) : part.or(all))
    }
  }
}

/** The same tree with one leaf that asks something else. */
export const changed = (tree: Tree, random: Random): Tree => {
  switch (tree.is) {
    case "not":
      return { is: "not", of: changed(tree.of, random) }
    case "and":
    case "or": {
      const at = random.below(tree.all.length)
      return { is: tree.is, all: tree.all.map((part, i) => i === at ? changed(part, random) : part) }
    }
    default:
      return { is: "compare", column: "rank", operator: "lt", value: 1000 + random.below(1000) }
  }
}

