/** An application whose functions misbehave when told to, on tables whose constraints know more than their callers may. */
import { Access, Column, Contract, type Expr, Mutation, Principal, Query, Table, Transaction } from "@headwater/core"
import { Unauthenticated } from "@headwater/core/SyncError"
import * as Install from "@headwater/cdc/Install"
import * as PostgresCommitSignal from "@headwater/cdc/PostgresCommitSignal"
import * as PostgresWal from "@headwater/cdc/PostgresWal"
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer, ManagedRuntime, Schema } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { SqlClient } from "effect/sql"
import { createServer } from "node:http"
import type { Socket } from "node:net"
import { freshDatabase } from "../../../test/postgres.ts"
import * as Handlers from "../src/Handlers.ts"
import * as Headwater from "../src/Headwater.ts"
import * as PostgresWriter from "../src/PostgresWriter.ts"
import { pgLayer, query } from "./harness.ts"

export class Project extends Table.make("projects", { columns: { id: Column.text, name: Column.text }, primaryKey: ["id"] }) {}
export class Member extends Table.make("members", {
  columns: { projectId: Column.text.named("project_id"), userId: Column.text.named("user_id") }, primaryKey: ["projectId", "userId"]
}) {}
export class Card extends Table.make("cards", {
  columns: {
    id: Column.int4, projectId: Column.text.named("project_id"), title: Column.text, price: Column.int4.default(0),
    code: Column.text.nullable()
  },
  primaryKey: ["id"]
}) {}
/** Rows are for those whose clearance is high enough; `note` is for the highest. */
export class Paper extends Table.make("papers", { columns: { id: Column.int4, level: Column.float8, note: Column.text }, primaryKey: ["id"] }) {}

export class Numbers extends Table.make("numbers", {
  columns: { id: Column.int4, price: Column.numeric, at: Column.timestamptz, rank: Column.float8, count: Column.int8 }, primaryKey: ["id"]
}) {}
export class Open extends Table.make("open", { columns: { id: Column.int4, projectId: Column.text.named("project_id") }, primaryKey: ["id"] }) {}

/** Read by viewers; the note by editors, who are asked for drafts too. */
export class Doc extends Table.make("docs", { columns: { id: Column.int4, title: Column.text, note: Column.text.nullable() }, primaryKey: ["id"] }) {}
export class Draft extends Table.make("drafts", { columns: { id: Column.int4, docId: Column.int4.named("doc_id") }, primaryKey: ["id"] }) {}
const people = { docId: Column.int4.named("doc_id"), userId: Column.text.named("user_id") }
export class Viewer extends Table.make("viewers", { columns: people, primaryKey: ["docId", "userId"] }) {}
export class Editor extends Table.make("editors", { columns: people, primaryKey: ["docId", "userId"] }) {}

export class Me extends Principal.make<Me>()("attack/Me", { userId: Column.text, clearance: Column.float8 }, { identity: ["userId"] }) {}

const isMember = (projectId: Expr.Expr<string>) => Query.from(Member).where((m) => m.projectId.eq(projectId).and(m.userId.eq(Me.expr.userId))).exists()

const access = [
  Access.make(Project, { read: (p) => isMember(p.id), insert: true }),
  Access.make(Member, { read: (m) => m.userId.eq(Me.expr.userId) }),
  Access.make(Card, {
    read: (c) => isMember(c.projectId),
    insert: (c) => isMember(c.projectId),
    update: (c) => isMember(c.projectId),
    delete: (c) => isMember(c.projectId).and(c.title.ne("kept")),
    columns: { code: { read: (c) => c.title.eq(Me.expr.userId), mask: null } }
  }),
  Access.make(Paper, { read: true, columns: { note: { read: (p) => p.level.le(Me.expr.clearance), mask: "hidden" } } })
]

const isEditor = (docId: Expr.Expr<number>) => Query.from(Editor).where((e) => e.docId.eq(docId).and(e.userId.eq(Me.expr.userId))).exists()
const documents = [
  Access.make(Draft, { read: (d) => isEditor(d.docId) }),
  Access.make(Doc, {
    read: (d) => Query.from(Viewer).where((v) => v.docId.eq(d.id).and(v.userId.eq(Me.expr.userId))).exists(),
    columns: { note: { read: (d) => isEditor(d.id), mask: null } }
  })
]
const drafts = Query.make("drafts", {}, () => Query.from(Draft))
const docs = Query.make("docs", {}, () => Query.from(Doc).orderBy("id"))
const firstDocs = Query.make("firstDocs", {}, () => Query.from(Doc).orderBy("title").limit(2))

/** Throws for one value, as a function of an application may. */
const picky = Schema.String.check(Schema.makeFilter((text: string) => {
  if (text === "throw") throw new Error("internal: filter of the application")
  return true
}))

const cards = Query.make("cards", { projectId: Column.text }, ({ projectId }) => Query.from(Card).where((c) => c.projectId.eq(projectId)).orderBy("id"))
const byCode = Query.make("byCode", {}, () => Query.from(Card).orderBy("code").limit(2))
const withCode = Query.make("withCode", { code: Column.text }, ({ code }) => Query.from(Card).where((c) => c.code.ge(code)).orderBy("id"))
const titled = Query.make("titled", { title: picky }, ({ title }) => Query.from(Card).where((c) => c.title.eq(title)))
const like = Query.make("like", { pattern: Schema.String }, ({ pattern }) => Query.from(Card).where((c) => c.title.like(pattern)))
/** No index serves it. */
const openLike = Query.make("openLike", { pattern: Column.text }, ({ pattern }) => Query.from(Open).where((o) => o.projectId.like(pattern)))
const priced = Query.make("priced", { price: Column.numeric, at: Column.timestamptz, rank: Column.float8, count: Column.int8 }, ({ at, count, price, rank }) =>
  Query.from(Numbers).where((n) => n.price.ge(price).or(n.at.ge(at)).or(n.rank.ge(rank)).or(n.count.ge(count))))
const firstCards = Query.make("firstCards", { count: Schema.Int }, ({ count }) => Query.from(Card).orderBy("id").limit(count))
const papers = Query.make("papers", {}, () => Query.from(Paper).orderBy("id"))
/** Of projects, by cards that their reader may not read. */
const projectsWith = Query.make("projectsWith", { title: Column.text }, ({ title }) =>
  Query.from(Open).where((o) => Query.from(Card).where((c) => c.projectId.eq(o.projectId).and(c.title.eq(title))).exists()))

const card = { id: Column.int4, projectId: Column.text, title: Column.text }
const createCard = Mutation.make("createCard", { payload: card, success: Card })
const changeCard = Mutation.make("changeCard", { payload: { id: Column.int4, projectId: Column.text.nullable(), title: Column.text.nullable(), price: Column.int4.nullable() } })
const deleteCard = Mutation.make("deleteCard", { payload: { id: Column.int4 } })
/** Of a project that nobody is a member of yet. */
const createProject = Mutation.make("createProject", { payload: { id: Column.text, name: Column.text }, success: Project })
/** Gives back what its caller may not read, in different ways. */
const discloseCard = Mutation.make("discloseCard", { payload: { id: Column.int4, how: Column.text }, success: Card })
const misbehave = Mutation.make("misbehave", { payload: { what: Column.text }, success: Schema.Unknown })
const checked = Mutation.make("checked", { payload: { text: picky } })

export class Attack extends Contract.make("attack", {
  principal: Me,
  tables: [Project, Member, Card, Paper, Numbers, Open, Doc, Draft, Viewer, Editor],
  access: [...access, ...documents, Access.make(Numbers, { read: true }), Access.make(Open, { read: true })],
  queries: { cards, byCode, withCode, titled, like, openLike, priced, firstCards, papers, projectsWith, drafts, docs, firstDocs },
  mutations: { createProject, discloseCard, createCard, changeCard, deleteCard, misbehave, checked }
}) {}

const ddl = `
  create table projects (id text primary key, name text not null);
  create table members (project_id text, user_id text, primary key (project_id, user_id));
  create table cards (id int primary key, project_id text not null references projects, title text not null, price int not null default 0,
    code text, unique (project_id, title), constraint price_limit check (price < length(title) * 100));
  create table hidden (card_id int references cards);
  create table papers (id int primary key, level float8 not null, note text not null);
  create table numbers (id int primary key, price numeric not null, at timestamptz not null, rank float8 not null, count int8 not null);
  create table open (id int primary key, project_id text not null);
  create table docs (id int primary key, title text not null, note text);
  create table drafts (id int primary key, doc_id int not null);
  create table viewers (doc_id int, user_id text, primary key (doc_id, user_id));
  create table editors (doc_id int, user_id text, primary key (doc_id, user_id));
  create table log (id serial primary key, who text not null, mutation xid8 not null default pg_current_xact_id());
  insert into projects values ('p', 'Public'), ('q', 'Quiet');
  insert into members values ('p', 'eve'), ('p', 'ann'), ('q', 'ann');
  insert into cards (id, project_id, title, price, code) values
    (1, 'p', 'one', 1, 'zeta'), (2, 'p', 'two', 2, 'alpha'), (3, 'q', 'three', 3, 'gamma'), (4, 'p', 'kept', 4, 'delta'), (5, 'p', 'eve', 5, 'epsilon');
  insert into hidden values (4);
  insert into papers values (1, 5, 'five'), (2, 50, 'fifty');
  insert into open values (1, 'p'), (2, 'q');
`

const handlers = Handlers.layer(Attack, {
  createCard: Effect.fnUntraced(function*(row) {
    return yield* (yield* Transaction).insert(Card, row)
  }),
  changeCard: Effect.fnUntraced(function*({ id, price, projectId, title }) {
    yield* (yield* Transaction).update(Card, {
      id, ...projectId === null ? {} : { projectId }, ...title === null ? {} : { title }, ...price === null ? {} : { price }
    })
  }),
  deleteCard: Effect.fnUntraced(function*({ id }) {
    yield* (yield* Transaction).delete(Card, { id })
  }),
  checked: () => Effect.void,
  createProject: Effect.fnUntraced(function*(row) {
    return yield* (yield* Transaction).insert(Project, row)
  }),
  discloseCard: Effect.fnUntraced(function*({ how, id }) {
    const tx = yield* Transaction
    const card = (yield* how === "filtered" ? tx.get(Card, { id }) : Transaction.unfiltered(tx.get(Card, { id })))!
    switch (how) {
      case "kept":
        return kept.card ??= card
      case "deleted":
        yield* tx.unfiltered(tx.delete(Card, { id }))
        return card
      case "inserted":
        yield* tx.unfiltered(tx.delete(Card, { id }))
        return yield* tx.unfiltered(tx.insert(Card, card))
      default:
        return card
    }
  }),
  misbehave: Effect.fnUntraced(function*({ what }) {
    const tx = yield* Transaction
    const sql = yield* SqlClient.SqlClient
    switch (what) {
      case "afterCommit":
        yield* Transaction.afterCommit(Effect.orDie(Effect.asVoid(sql`insert into log (who) values ('afterCommit')`)))
        return null
      case "afterCommit tx":
        yield* Transaction.afterCommit(Effect.andThen(gate.wait, tx.update(Card, { id: 1, price: 77 })))
        return null
      case "afterCommit throws":
        yield* Transaction.afterCommit(Effect.sync(() => {
          throw new Error("internal: after the commit")
        }))
        return null
      case "hold":
        yield* gate.wait
        return null
      case "not awaited":
        // A write that is not awaited, and that no rule allows.
        Effect.runFork(tx.insert(Card, { id: 600, projectId: "q", title: "not awaited" }))
        return null
      case "late":
        void gate.promise().then(() => Effect.runFork(tx.update(Card, { id: 1, price: 66 })))
        return null
      case "swallowed":
        // The transaction is aborted, and the handler does not care.
        yield* Effect.ignore(sql`insert into no_such_table values (1)`)
        return null
      case "never":
        return yield* Effect.never
      case "interrupt":
        return yield* Effect.interrupt
      case "throw":
        throw new Error("internal: thrown")
      case "type":
        return (() => {}) as never
      case "undeclared":
        return yield* (Effect.fail(new TypeError("internal: undeclared")) as unknown as Effect.Effect<never>)
      case "rollback":
        return yield* Effect.orDie(Effect.as(sql`rollback`, null))
      default:
        return what
      case "cycle": {
        const value: Record<string, unknown> = {}
        value["self"] = value
        return value
      }
    }
  })
})

/** What a handler remembers of another caller. */
const kept: { card?: Card } = {}

/** What handlers wait for. */
const makeGate = () => {
  let open: () => void = () => {}
  let opened = Promise.resolve()
  return {
    close: () => {
      opened = new Promise((resolve) => {
        open = resolve
      })
    },
    open: () => open(),
    promise: () => opened,
    wait: Effect.suspend(() => Effect.promise(() => opened))
  }
}

export const gate = makeGate()

/** Tokens are "name" or "name/clearance". */
const authentication = Headwater.authenticate(Me, ({ token = "" }) => {
  const [userId = "", clearance = "0"] = token.split("/")
  switch (userId) {
    case "":
      return Effect.fail(new Unauthenticated({ message: "Sign in." }))
    case "throw":
      throw new Error("internal: authenticate threw")
    case "never":
      return Effect.onInterrupt(Effect.never, () => Effect.sync(() => void hanging.interrupted++))
    case "type":
      return Effect.succeed({ userId: 7 } as never)
    default:
      return Effect.succeed({ userId, clearance: Number(clearance) })
  }
})

export const hanging = { interrupted: 0 }

export const serveAttack = async (options: Headwater.Options & { readonly writer?: PostgresWriter.Options } = {}) => {
  const tables = Object.values(Attack.tables)
  const database = await freshDatabase()
  await query(database.url, ddl)
  await Effect.runPromise(Effect.provide(Install.install({ source: "wal", tables }), pgLayer(database.url)))
  const sockets = new Set<Socket>()
  const composition = Headwater.layer(Attack, options).pipe(
    Layer.provide([handlers, authentication, PostgresWal.layer(tables), PostgresWriter.layerWith(options.writer ?? {})]),
    Layer.provide(PostgresCommitSignal.layer),
    Layer.provide(pgLayer(database.url))
  )
  const app = HttpRouter.serve(Headwater.layerWebSocket().pipe(Layer.provideMerge(composition)), { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(NodeHttpServer.layer(() => createServer().on("connection", (socket) => sockets.add(socket)), { port: 0, host: "127.0.0.1" }))
  )
  const runtime = ManagedRuntime.make(app)
  const address = (await runtime.runPromise(HttpServer.HttpServer)).address
  const port = "port" in address ? address.port : 0
  return {
    database, runtime, port,
    /** The server's ends. */
    sockets,
    url: `ws://127.0.0.1:${port}/sync`,
    query: (sql: string, parameters?: Array<unknown>) => query(database.url, sql, parameters),
    stop: async () => {
      await runtime.dispose()
      await database.drop()
    }
  }
}
