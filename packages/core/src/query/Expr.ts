/**
 * A value that a query computes, as a type: what a column, a parameter or the principal is in a condition.
 *
 * Expressions are built by methods and read back as data (`Plan.Expression`). They follow SQL's three-valued logic:
 * comparing a nullable value gives `boolean | null`, and a condition holds where it is true. A JavaScript operator on an
 * expression (`a && b`, `a < b`, `if (a)`) computes nothing about rows: the first two are refused where they are used.
 */
import type * as Plan from "./Plan.ts"

declare const TypeId: unique symbol
declare const OrderId: unique symbol

/** Holds where it is true; NULL does not. */
export type Condition = Expr<boolean | null>

export interface Expr<out A> {
  readonly [TypeId]: () => A
  /** As data; its columns name sources that only the query around it knows. */
  readonly expression: Plan.Expression
  eq<B extends A | null = NonNullable<A>>(value: NonNullable<A> | Expr<B>): Expr<boolean | Extract<A | B, null>>
  ne<B extends A | null = NonNullable<A>>(value: NonNullable<A> | Expr<B>): Expr<boolean | Extract<A | B, null>>
  lt<B extends A | null = NonNullable<A>>(value: NonNullable<A> | Expr<B>): Expr<boolean | Extract<A | B, null>>
  le<B extends A | null = NonNullable<A>>(value: NonNullable<A> | Expr<B>): Expr<boolean | Extract<A | B, null>>
  gt<B extends A | null = NonNullable<A>>(value: NonNullable<A> | Expr<B>): Expr<boolean | Extract<A | B, null>>
  ge<B extends A | null = NonNullable<A>>(value: NonNullable<A> | Expr<B>): Expr<boolean | Extract<A | B, null>>
  /** Equal to one of these; false for none. */
  in<B extends A | null = NonNullable<A>>(values: ReadonlyArray<NonNullable<A> | Expr<B>>): Expr<boolean | Extract<A | B, null>>
  /** Both bounds included. */
  between<B extends A | null = NonNullable<A>, C extends A | null = NonNullable<A>>(low: NonNullable<A> | Expr<B>, high: NonNullable<A> | Expr<C>): Expr<boolean | Extract<A | B | C, null>>
  isNull(): Expr<boolean>
  isNotNull(): Expr<boolean>
  and<B extends boolean | null>(this: Condition, other: Expr<B>): Expr<boolean | Extract<A | B, null>>
  or<B extends boolean | null>(this: Condition, other: Expr<B>): Expr<boolean | Extract<A | B, null>>
  not(this: Condition): Expr<A>
  /** `%` stands for any text, `_` for one code point, `\` takes the next one as it is. Case counts. Text columns only. */
  like(this: Expr<string | null>, pattern: string | Expr<string | null>): Expr<boolean | Extract<A, null>>
  /** `like` that takes the ASCII letters a–z for A–Z. */
  ilike(this: Expr<string | null>, pattern: string | Expr<string | null>): Expr<boolean | Extract<A, null>>
  /** For `orderBy`: NULLs last. */
  asc(): Order
  /** For `orderBy`: NULLs first. */
  desc(): Order
}

/** One key of an `orderBy`. */
export interface Order {
  readonly [OrderId]: true
}

/** What a callback sees of a row: one expression per field, all nullable where the row itself may be absent. */
export type Fields<A> = { readonly [K in keyof NonNullable<A>]-?: Expr<NonNullable<A>[K] | Extract<A, null>> }
