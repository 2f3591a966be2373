/**
 * `Transaction` in a Postgres transaction: the principal's reads and writes, with the access rules in their SQL.
 *
 * Rules over other rows see the tables as they are when the statement starts, so a row never vouches for itself. A write that a
 * rule refuses has already happened when that is known; it is undone with its savepoint, and until then the transaction is
 * *refused*: it cannot be committed, whatever the handler does about the defect. A write that a constraint refuses is said to be
 * refused by that constraint only where the rules allow it: else constraints would tell of rows that the caller may not read.
 *
 * When the handler is over, what it began and did not wait for is waited for, and nothing more is taken: the connection is
 * about to be another mutation's.
 *
 * Round trips: one for each read and write.
 */
import * as ColumnType from "@headwater/core/ColumnType"
import * as Key from "@headwater/core/Key"
import * as Plan from "@headwater/core/Plan"
import * as Query from "@headwater/core/Query"
import type { Bound } from "@headwater/core/Range"
import * as Row from "@headwater/core/Row"
import * as Semantics from "@headwater/core/Semantics"
import * as Shape from "@headwater/core/Shape"
import * as Sql from "@headwater/core/Sql"
import * as Table from "@headwater/core/Table"
import * as Transaction from "@headwater/core/Transaction"
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { SqlError } from "effect/sql/SqlError"
import type { Operation } from "../Authorization.ts"
import type { Rules } from "../Writer.ts"
import * as SqlFailure from "./sqlFailure.ts"
import * as Told from "./told.ts"

/** Whether access rules are left out, inside `unfiltered`. */
const Unfiltered = Context.Reference<boolean>("@headwater/server/Unfiltered", { defaultValue: () => false })

export interface Running {
  readonly service: Transaction.Service
  /** The refusal that must not be committed, if there is one. */
  readonly refused: () => Transaction.WriteRefused | undefined
  readonly afterCommit: () => ReadonlyArray<Effect.Effect<void>>
  /** Runs a statement of the handler's; dies with one that comes too late. */
  readonly during: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** The handler is over. Waits for what it did not wait for. */
  readonly end: Effect.Effect<void>
}

type Texts = ReadonlyArray<string | null>

const noParameters: Row.Row = Object.freeze({})

export const make = (
  connection: PgConnection.PgConnection,
  { authorization, tables }: Rules,
  principal: Row.Row,
  /** Without what belongs to the transaction: a statement after its commit takes another connection. */
  outside: (context: Context.Context<never>) => Context.Context<never>
): Running => {
  let refused: Transaction.WriteRefused | undefined
  let savepoints = 0
  let after: Array<Effect.Effect<void>> = []
  let running = 0
  let ended = false
  let whenIdle: (() => void) | undefined
  /** Where a refused write can be undone to: the innermost is the last. */
  const open = ["headwater"]
  const me: Bound = { parameters: noParameters, principal }

  const query = (text: string, parameters: ReadonlyArray<unknown>) => connection.queryValues(text, parameters) as Effect.Effect<ReadonlyArray<Texts>, SqlError>

  const during: Running["during"] = (effect) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        if (ended) return Effect.die(new Error("The mutation is over, and its transaction with it: wait for every read and write before the handler ends."))
        running++
        return Effect.ensuring(restore(effect), Effect.sync(() => {
          if (--running === 0) whenIdle?.()
        }))
      }))

  const control = (text: string) => during(Effect.orDie(query(text, [])))

  const refuse = (error: Transaction.WriteRefused) => {
    refused ??= error
    return Effect.die(error)
  }

  /** The table as the contract has it. */
  const known = (table: Table.Any): Table.Any => {
    const own = tables.get(table.tableName)
    if (own === undefined || !Table.isSame(own, table)) throw new TypeError(`the contract has no such table ${table.tableName}`)
    return own
  }

  const run = (text: string, parameters: ReadonlyArray<unknown>, write?: Write) =>
    Effect.catch(query(text, parameters), (error) => {
      if (SqlFailure.classify(error) !== "constraint") return Effect.die(error)
      const refusal = SqlFailure.refusal(error, write?.table, write?.key ?? null)
      return write === undefined || write.rules.every(({ condition }) => condition === null || isTrue(condition))
        ? refuse(refusal)
        : Effect.flatMap(judge(write, refusal, error), refuse)
    })

  /** What to say of a write that a constraint refused: that, if the rules allow it. */
  const judge = Effect.fnUntraced(function*(write: Write, refusal: Transaction.WriteRefused, error: SqlError) {
    const first = refused === undefined
    refused ??= refusal
    // It is undone sooner than it would be: what failed has to be left before the rules can be asked.
    yield* control(`ROLLBACK TO SAVEPOINT ${open.at(-1)!}`)
    let verdict = refusal
    for (const { condition, otherwise, row } of write.rules) {
      if (condition === null || isTrue(condition)) continue
      const rule = Sql.condition(condition, tables, me, { first: row.parameters.length + 1, source: Shape.source, table: write.table })
      const result = yield* Effect.exit(query(`SELECT (${rule.text})::text FROM ${row.text}`, [...row.parameters, ...rule.parameters]))
      // A value that does not fit its column says nothing of other rows.
      if (Exit.isFailure(result) && SqlFailure.isValue(error)) break
      if (Exit.isSuccess(result) && result.value[0]?.[0] === "true") continue
      verdict = otherwise()
      break
    }
    if (first) refused = verdict
    return verdict
  })

  const read = Effect.fnUntraced(function*(filtered: () => Shape.Shape, plain: () => Plan.Select, parameters: Row.Row) {
    const bound = { parameters, principal }
    if (yield* Unfiltered) {
      const select = plain()
      const { text, parameters: values } = Sql.select(select, tables, bound)
      return { select, rows: (yield* run(text, values)).map(Row.fromTexts(tables.get(select.table)!)) }
    }
    const { gates, select } = filtered()
    const seen: Plan.Select = { ...select, where: [...gates, ...select.where], project: authorization.masked(select.table) }
    const { text, parameters: values } = Sql.select(seen, tables, bound, { columns: "project" })
    const rows = (yield* run(text, values)).map(Row.fromTexts(tables.get(select.table)!))
    return { select, rows: rows.map((row) => Told.tell(principal, row)) }
  })

  /** A check as a column of a statement's result, and what parameters it adds; undefined where all may. */
  const check = (condition: Plan.Expression | null, table: Table.Any, first: number): Sql.Statement | undefined =>
    condition === null || isTrue(condition)
      ? undefined
      : Sql.condition(condition, tables, me, { first, source: Shape.source, table: table.tableName })

  const notAllowed = (table: Table.Any, key: string, operation: Operation) =>
    new Transaction.WriteRefused({
      table: table.tableName, key, constraint: null, message: `The access rules of ${table.tableName} do not allow this ${operation}.`
    })

  const forbidden = (table: Table.Any, key: string, operation: Operation) => refuse(notAllowed(table, key, operation))

  const columns = (table: Table.Any) =>
    Object.keys(table.columns).map((property) => `${alias}.${Sql.identifier(Sql.columnName(table, property))}::text`).join(", ")

  const place = (table: Table.Any, property: string, n: number) => {
    const { cast } = ColumnType.postgres(table.columns[property]!.type)
    return cast === null ? `$${n}` : `$${n}::${cast}`
  }

  const toText = (table: Table.Any, row: Row.Row, property: string) => {
    const value = row[property]!
    return value === null ? null : ColumnType.toText(table.columns[property]!.type, value)
  }

  /** `WHERE` of one row, whose parameters begin with `$first`. */
  const whereKey = (table: Table.Any, key: Row.Row, first: number) => ({
    text: table.primaryKey.map((property, i) =>
      `${alias}.${Sql.identifier(Sql.columnName(table, property))} = ${place(table, property, first + i)}`).join(" AND "),
    parameters: table.primaryKey.map((property) => toText(table, key, property))
  })

  /** As `FROM`: the row as it is, by the rules' name for it. */
  const rowAt = (table: Table.Any, key: Row.Row) => {
    const { parameters, text } = whereKey(table, key, 1)
    return { text: `${Sql.table(table.tableName)} AS ${alias} WHERE ${text}`, parameters }
  }

  /** As `FROM`: a row that has these values, and otherwise those of the row with that key, or none. */
  const rowWith = (table: Table.Any, values: Row.Row, key: Row.Row | null) => {
    const made = Object.fromEntries(Object.entries(values).map(([property, value]) => [
      Sql.columnName(table, property),
      value === null || table.columns[property]!.type.kind === "jsonb" ? value : toText(table, values, property)
    ]))
    const record = (base: string, n: number) => `jsonb_populate_record(${base}, $${n}::jsonb) AS ${alias}`
    if (key === null) return { text: record(`NULL::${Sql.table(table.tableName)}`, 1), parameters: [JSON.stringify(made)] }
    const { parameters, text } = whereKey(table, key, 1)
    const base = text.replaceAll(`${alias}.`, "base.")
    return { text: `${Sql.table(table.tableName)} AS base, ${record("base", parameters.length + 1)} WHERE ${base}`, parameters: [...parameters, JSON.stringify(made)] }
  }

  const service: Transaction.Service = {
    get: (table, input) =>
      during(Effect.suspend(() => {
        const own = known(table)
        const key = Table.keyRow(own, input)
        const shape = authorization.byKey(own.tableName)
        return Effect.map(read(() => shape, () => Plan.toSelect(shape.plan), key), ({ rows }) => rows[0] ?? null)
      })) as never,

    run: (query: unknown, given?: unknown) =>
      during(Effect.suspend(() => {
        let plan: Plan.Plan
        let parameters: Row.Row = noParameters
        if (isNamed(query)) {
          plan = query.plan
          const encoded = Query.encodeParameters(query, given ?? {})
          if (!encoded.ok) throw new TypeError(`query ${query.name}: ${encoded.message}`)
          const decoded = Query.decodeParameters(query, encoded.value)
          if (!decoded.ok) throw new TypeError(`query ${query.name}: ${decoded.message}`)
          parameters = decoded.value
        } else ({ plan } = Query.plan(query as Query.Query<unknown>))
        return Effect.map(read(() => authorization.plan(plan), () => Plan.toSelect(plan), parameters), ({ rows, select }) => {
          const values = select.project === null ? rows : rows.map(projection(select.project, { parameters, principal }))
          return plan.cardinality === "many" ? values : values[0] ?? null
        })
      })) as never,

    insert: (table, input) =>
      during(Effect.flatMap(Unfiltered, (unfiltered) => {
        const own = known(table)
        const row = Table.insertRow(own, input)
        const key = keyText(own, row)
        const { after } = unfiltered ? unchecked : authorization.write(own.tableName, "insert")
        if (after !== null && isFalse(after)) return forbidden(own, key, "insert")
        const properties = Object.keys(row)
        const rule = check(after, own, properties.length + 1)
        const into = properties.length === 0
          ? "DEFAULT VALUES"
          : `(${properties.map((property) => Sql.identifier(Sql.columnName(own, property))).join(", ")}) VALUES (${
            properties.map((property, i) => place(own, property, i + 1)).join(", ")
          })`
        const text = `INSERT INTO ${Sql.table(own.tableName)} AS ${alias} ${into} RETURNING ${columns(own)}${rule === undefined ? "" : `, (${rule.text})::text`}`
        const write = { table: own.tableName, key, rules: [{ condition: after, row: rowWith(own, row, null), otherwise: () => notAllowed(own, key, "insert") }] }
        return Effect.flatMap(run(text, [...properties.map((property) => toText(own, row, property)), ...rule?.parameters ?? []], write), ([texts]) => {
          if (rule !== undefined && texts!.at(-1) !== "true") return forbidden(own, key, "insert")
          const inserted = Row.fromTexts(own)(texts!)
          return Effect.succeed(unfiltered ? inserted : Told.tell(principal, inserted))
        })
      })) as never,

    update: (table, input) =>
      during(Effect.flatMap(Unfiltered, (unfiltered) => {
        const own = known(table)
        const { changes, key } = Table.updateRow(own, input)
        const name = keyText(own, key)
        const { after, before } = unfiltered ? unchecked : authorization.write(own.tableName, "update")
        if (before !== null && isFalse(before) || after !== null && isFalse(after)) return forbidden(own, name, "update")
        const readable = unfiltered ? Plan.alwaysTrue : authorization.read(own.tableName)
        const notThere = () => new Transaction.WriteRefused({
          table: own.tableName, key: name, constraint: null, message: `There is no such row in ${own.tableName} to update.`
        })
        const missing = () => refuse(notThere())
        const properties = Object.keys(changes)
        const where = whereKey(own, key, properties.length + 1)
        const rule = check(after, own, properties.length + own.primaryKey.length + 1)
        const set = properties.length === 0
          // Nothing to change is still checked, and locks the row.
          ? own.primaryKey.slice(0, 1).map((property) => `${Sql.identifier(Sql.columnName(own, property))} = ${alias}.${Sql.identifier(Sql.columnName(own, property))}`)
          : properties.map((property, i) => `${Sql.identifier(Sql.columnName(own, property))} = ${place(own, property, i + 1)}`)
        const text = `UPDATE ${Sql.table(own.tableName)} AS ${alias} SET ${set.join(", ")} WHERE ${where.text} RETURNING (${rule?.text ?? "TRUE"})::text`
        const otherwise = () => notAllowed(own, name, "update")
        const update = run(text, [...properties.map((property) => toText(own, changes, property)), ...where.parameters, ...rule?.parameters ?? []], {
          table: own.tableName,
          key: name,
          rules: [
            { condition: readable, row: rowAt(own, key), otherwise: notThere },
            { condition: before, row: rowAt(own, key), otherwise },
            { condition: after, row: rowWith(own, changes, key), otherwise }
          ]
        })
        if ((before === null || isTrue(before)) && isTrue(readable)) {
          return Effect.flatMap(update, ([result]) =>
            result === undefined ? missing() : result[0] === "true" ? Effect.void : forbidden(own, name, "update"))
        }
        const at = whereKey(own, key, 1)
        const seen = check(readable, own, own.primaryKey.length + 1)
        const allowed = check(before, own, own.primaryKey.length + 1 + (seen?.parameters.length ?? 0))
        const lock = `SELECT (${seen?.text ?? "TRUE"})::text, (${allowed?.text ?? "TRUE"})::text FROM ${Sql.table(own.tableName)} AS ${alias} WHERE ${at.text} FOR UPDATE`
        // Sent together: where the first says no, the second is undone with the mutation.
        return Effect.flatMap(
          Effect.all([run(lock, [...at.parameters, ...seen?.parameters ?? [], ...allowed?.parameters ?? []]), update], { concurrency: "unbounded" }),
          ([[held], [result]]) =>
            held === undefined || held[0] !== "true"
              ? missing()
              : held[1] === "true" && result?.[0] === "true"
              ? Effect.void
              : forbidden(own, name, "update")
        )
      })) as never,

    delete: (table, input) =>
      during(Effect.flatMap(Unfiltered, (unfiltered) => {
        const own = known(table)
        const key = Table.keyRow(own, input)
        const { before } = unfiltered ? unchecked : authorization.write(own.tableName, "delete")
        const readable = unfiltered ? Plan.alwaysTrue : authorization.read(own.tableName)
        const where = whereKey(own, key, 1)
        const seen = check(readable, own, own.primaryKey.length + 1)
        const rule = check(before, own, own.primaryKey.length + 1 + (seen?.parameters.length ?? 0))
        const text = `DELETE FROM ${Sql.table(own.tableName)} AS ${alias} WHERE ${where.text}${seen === undefined ? "" : ` AND (${seen.text})`} RETURNING (${rule?.text ?? "TRUE"})::text`
        const name = keyText(own, key)
        return Effect.flatMap(
          run(text, [...where.parameters, ...seen?.parameters ?? [], ...rule?.parameters ?? []], {
            table: own.tableName, key: name, rules: [{ condition: before, row: rowAt(own, key), otherwise: () => notAllowed(own, name, "delete") }]
          }),
          ([result]) => result === undefined || result[0] === "true" ? Effect.void : forbidden(own, name, "delete")
        )
      })) as never,

    attempt: <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          const name = `headwater_${++savepoints}`
          const kept = after.length
          const before = refused
          const close = Effect.sync(() => void open.splice(open.lastIndexOf(name), 1))
          const back = Effect.map(control(`ROLLBACK TO SAVEPOINT ${name}`), () => {
            after = after.slice(0, kept)
            refused = before
          })
          const settle = (exit: Exit.Exit<A, E>): Effect.Effect<A, E | Transaction.WriteRefused> => {
            const refusal = refused !== before ? refused : Exit.isFailure(exit) ? refusalIn(exit.cause) : undefined
            if (refusal !== undefined) return Effect.andThen(back, Effect.fail(refusal))
            return Exit.isFailure(exit) ? Effect.andThen(back, Effect.failCause(exit.cause)) : Effect.as(control(`RELEASE SAVEPOINT ${name}`), exit.value)
          }
          return Effect.andThen(control(`SAVEPOINT ${name}`), Effect.suspend(() => {
            open.push(name)
            return Effect.ensuring(Effect.flatMap(Effect.exit(restore(effect)), settle), close)
          }))
        })),

    afterCommit: (effect) =>
      Effect.map(Effect.context<never>(), (context) => void after.push(Effect.provideContext(effect as Effect.Effect<void>, outside(context)))),

    unfiltered: (effect) => Effect.provideService(effect, Unfiltered, true)
  }
  const end = Effect.suspend(() => {
    ended = true
    return running === 0 ? Effect.void : Effect.callback<void>((resume) => {
      whenIdle = () => resume(Effect.void)
    })
  })
  return { service, refused: () => refused, afterCommit: () => after, during, end }
}

interface Write {
  readonly table: string
  readonly key: string
  /** What must be true of a row, which stands behind `FROM`, and what the refusal is where it is not. */
  readonly rules: ReadonlyArray<{
    readonly condition: Plan.Expression | null
    readonly row: { readonly text: string; readonly parameters: ReadonlyArray<unknown> }
    readonly otherwise: () => Transaction.WriteRefused
  }>
}

const alias = Sql.identifier(Shape.source)
const unchecked = { before: null, after: null }

const isTrue = (expression: Plan.Expression) => expression.op === "literal" && expression.value === true
const isFalse = (expression: Plan.Expression) => expression.op === "literal" && expression.value === false

const isNamed = (query: unknown): query is Query.Named.Any => typeof query === "object" && query !== null && "plan" in query && "name" in query

const projection = (columns: { readonly [name: string]: Plan.Expression }, bound: Bound) => {
  const all = Object.entries(columns).map(([name, expression]) => [name, Semantics.compile(expression)] as const)
  return (row: Row.Row) => Object.freeze(Object.fromEntries(all.map(([name, evaluate]) => [name, evaluate(row, bound)])))
}

const keyTexts = new WeakMap<Table.Any, (row: Row.Row) => string>()

const keyText = (table: Table.Any, row: Row.Row): string => {
  // A key that the database fills in is not known yet.
  if (table.primaryKey.some((property) => row[property] === undefined)) return ""
  let make = keyTexts.get(table)
  if (make === undefined) keyTexts.set(table, make = Key.make(table))
  return make(row)
}

/** A refusal among the defects; rows that do not fit their table, and constraint violations of a handler's own SQL, too. */
export const refusalIn = (cause: Cause.Cause<unknown>): Transaction.WriteRefused | undefined => {
  for (const reason of cause.reasons) {
    const error = reason._tag === "Die" ? reason.defect : reason._tag === "Fail" ? reason.error : undefined
    if (error instanceof Transaction.WriteRefused) return error
    if (error instanceof Table.InvalidRow) return new Transaction.WriteRefused({ table: error.table, key: null, constraint: null, message: error.message })
    if (reason._tag === "Die" && SqlFailure.isSqlError(error) && SqlFailure.classify(error) === "constraint") return SqlFailure.refusal(error, undefined, null)
  }
  return undefined
}
