/**
 * What happens in a run, from a seed: choices depend on the seed alone, not on what the system answers. So many rows that are
 * named are gone by then, and many writes are not allowed.
 */
import type { Parameters, QueryName } from "./database.ts"
import { sql } from "./database.ts"
import type { Random } from "./random.ts"

export const users = [1, 2, 3].map((n) => `00000000-0000-4000-8000-00000000000${n}`)

/** Signs in nowhere. */
const ghost = "00000000-0000-4000-8000-000000000004"

/** Of the ghost: whatever is in it begins with `vault:`, and nobody may read that. */
export const vault = "10000000-0000-4000-8000-000000000009"
const projects = [1, 2, 3].map((n) => `10000000-0000-4000-8000-00000000000${n}`)

/** Only its own user may see it. */
const email = (user: number, random: Random) => `canary:${user}:${random.int(1000)}@example.com`

/** Bytes that a user must never get: e-mails of others, and anything in the vault. */
export const forbiddenIn = (text: string, user: number): string | undefined =>
  /vault:[^"]*/.exec(text)?.[0] ?? [...text.matchAll(/canary:(\d)[^"]*/g)].find(([, owner]) => owner !== String(user))?.[0]

export interface Mutation {
  readonly name: string
  readonly payload: Readonly<Record<string, unknown>>
}

export interface Schedule {
  readonly seed: () => ReadonlyArray<string>
  readonly mutation: (user: number) => Mutation
  /** Statements of one transaction from outside. */
  readonly outside: () => ReadonlyArray<string>
  readonly truncate: () => ReadonlyArray<string>
  /** Of a collaborator whom somebody may well have let in. */
  readonly revocation: () => { readonly projectId: string; readonly userId: string }
  readonly query: () => { readonly query: QueryName; readonly parameters: Parameters }
}

export const make = (random: Random): Schedule => {
  const cards: Array<string> = []
  const notes: Array<string> = []
  const ownProjects = [...projects]

  const fresh = (pool: Array<string>) => {
    const id = random.uuid()
    pool.push(id)
    return id
  }
  /** The later ones are likelier to exist. */
  const known = (pool: ReadonlyArray<string>) => pool.length === 0 ? random.uuid() : pool[Math.max(0, pool.length - 1 - random.int(Math.min(pool.length, 40)))]!
  const project = () => random.pick(random.chance(0.9) ? projects : ownProjects)
  const title = () => random.pick(["ale", "beer", "Cider", "über", "😀 tea", "a%b", "a_b", "it's", "\\", ""]) + random.pick(["", " a", " b", `${random.int(100)}`])
  const rank = () => random.pick([random.int(20), random.int(1000) / 7, 0, -1.5, 1e300, NaN, Infinity])
  const cost = () => random.pick([null, `${random.int(50)}`, `${random.int(5)}.50`, `${random.int(5)}.5`, "12345678901234567890.123", "NaN"])
  const status = () => random.pick(["backlog", "todo", "doing", "done"])
  const labels = () => random.pick([[], ["x"], ["x", "y \"z\""]])
  const assignee = () => random.pick([null, ...users])
  const insertCard = (id: string, projectId: string, prefix = "") =>
    `insert into cards (id, project_id, title, status, rank, cost, labels, assignee_id) values (${
      [sql(id, "uuid"), sql(projectId, "uuid"), sql(prefix + title(), "text"), sql(status(), "card_status"), sql(rank(), "float8"), sql(cost(), "numeric"), sql(labels(), "jsonb"), sql(assignee(), "uuid")].join(", ")
    })`
  const insertNote = (id: string, projectId: string, author: string, prefix = "") =>
    `insert into notes (id, project_id, author_id, body, secret, score) values (${
      [sql(id, "uuid"), sql(projectId, "uuid"), sql(author, "uuid"), sql(prefix + title(), "text"), sql(random.chance(0.4), "boolean"), random.int(9)].join(", ")
    })`
  const isCard = () => `id = '${known(cards)}'`
  const member = () => ({ projectId: random.pick(projects), userId: random.pick(users) })

  const statement = (): string => {
    switch (random.int(22)) {
      case 0: case 1: case 2: case 3:
        return insertCard(fresh(cards), project())
      case 4:
        return `insert into cards (id, project_id, title, status, rank, labels)
          select gen_random_uuid(), '${project()}', 'many ' || i, 'todo', i, '[]' from generate_series(1, ${2 + random.int(12)}) i`
      case 5: case 6:
        return `update cards set rank = ${sql(rank(), "float8")}, status = ${sql(status(), "card_status")} where ${isCard()}`
      case 7:
        return `update cards set cost = ${sql(cost(), "numeric")}, assignee_id = ${sql(assignee(), "uuid")} where ${isCard()}`
      case 8:
        return `update cards set project_id = '${project()}' where ${isCard()}`
      case 9:
        return `update cards set title = title || '.', labels = ${sql(labels(), "jsonb")} where status = ${sql(status(), "card_status")} and length(title) < 20`
      case 10: case 11:
        return `delete from cards where ${isCard()}`
      case 12:
        // The first ones of many orders.
        return `delete from cards where ${random.chance(0.5) ? `project_id = '${project()}' and rank < ${random.int(20)}` : `created_at > (select max(created_at) from cards) - interval '${random.int(1000)} ms'`}`
      case 13: {
        const from = known(cards)
        return `update cards set id = '${fresh(cards)}' where id = '${from}'`
      }
      case 14: case 15:
        return insertNote(fresh(notes), project(), random.pick(users))
      case 16:
        return `update notes set secret = not secret, score = ${random.int(9)} where id = '${known(notes)}'`
      case 17:
        return `delete from notes where id = '${known(notes)}'`
      case 18: {
        const user = random.int(users.length)
        return `update users set email = ${random.chance(0.2) ? "null" : sql(email(user, random), "text")} where id = '${users[user]!}'`
      }
      case 19:
        return `update projects set shared = not shared, name = ${sql(title(), "text")} where id = '${random.pick(projects)}'`
      case 20:
        return random.chance(0.5) ? insertCard(random.uuid(), vault, "vault:") : insertNote(random.uuid(), vault, ghost, "vault:")
      default: {
        const { projectId, userId } = member()
        return random.chance(0.7)
          ? `insert into collaborators values ('${projectId}', '${userId}') on conflict do nothing`
          : `update collaborators set user_id = '${random.pick(users)}' where project_id = '${projectId}' and user_id = '${userId}'
             and not exists (select from collaborators where project_id = '${projectId}' and user_id <> '${userId}')`
      }
    }
  }

  return {
    seed: () => [
      ...[...users, ghost].map((id, i) => `insert into users values ('${id}', 'user ${i}', ${sql(email(i, random), "text")})`),
      ...projects.map((id, i) => `insert into projects values ('${id}', 'project ${i}', '${users[i % 2]!}', ${i === 0})`),
      `insert into projects values ('${vault}', 'vault:', '${ghost}', false)`,
      `insert into collaborators values ('${projects[1]!}', '${users[0]!}'), ('${projects[1]!}', '${users[1]!}'), ('${projects[2]!}', '${users[2]!}')`,
      `insert into counters values (1, 0), (2, 0)`,
      ...Array.from({ length: 90 }, () => insertCard(fresh(cards), project())),
      ...Array.from({ length: 3 }, () => insertCard(random.uuid(), vault, "vault:")),
      ...Array.from({ length: 8 }, () => insertNote(fresh(notes), project(), random.pick(users))),
      insertNote(random.uuid(), vault, ghost, "vault:")
    ],
    mutation(user) {
      switch (random.int(20)) {
        case 0: case 1: case 2:
          return {
            name: "createCard",
            payload: {
              id: random.chance(0.9) ? fresh(cards) : known(cards),
              projectId: random.chance(0.9) ? project() : vault,
              title: random.chance(0.8) ? title() : "",
              status: status(),
              rank: rank(),
              cost: cost(),
              assigneeId: assignee()
            }
          }
        case 3: case 4:
          return { name: "editCard", payload: { id: known(cards), title: random.chance(0.95) ? title() : "x".repeat(250), cost: cost(), labels: labels() } }
        case 5: case 6: case 7:
          return { name: "moveCard", payload: { id: known(cards), status: status(), rank: rank() } }
        case 8:
          return { name: "assignCard", payload: { id: known(cards), assigneeId: assignee() } }
        case 9: case 10:
          return { name: "deleteCard", payload: { id: known(cards) } }
        case 11:
          return { name: "finishAll", payload: { projectId: project() } }
        case 12:
          return { name: "addNote", payload: { id: fresh(notes), projectId: project(), body: title(), secret: random.chance(0.4), score: random.int(9) } }
        case 13:
          return { name: "editNote", payload: { id: known(notes), secret: random.chance(0.4), score: random.int(9) } }
        case 14:
          return random.chance(0.3)
            ? { name: "createProject", payload: { id: fresh(ownProjects), name: title() } }
            : { name: "shareProject", payload: { id: projects[user % 2]!, shared: random.chance(0.5) } }
        case 15:
          return { name: "grant", payload: member() }
        case 16:
          return { name: "revoke", payload: member() }
        default:
          return { name: "bump", payload: { mutation: random.uuid(), counter: 1 + random.int(2) } }
      }
    },
    outside: () => Array.from({ length: random.pick([1, 1, 1, 2, 3, 5]) }, statement),
    truncate: () => ["truncate cards", ...Array.from({ length: random.int(3) }, () => insertCard(fresh(cards), project()))],
    revocation: member,
    query() {
      const projectId = random.chance(0.95) ? project() : vault
      switch (random.int(15)) {
        case 0:
          return { query: "people", parameters: {} }
        case 1:
          return { query: "peopleByEmail", parameters: { pattern: random.pick(["canary:%", "%1%", "canary:0%"]) } }
        case 2:
          return { query: "projects", parameters: {} }
        case 3:
          return { query: "collaborators", parameters: { projectId } }
        case 4: case 5:
          return { query: "cards", parameters: { projectId } }
        case 6:
          return { query: "titles", parameters: { projectId } }
        case 7:
          return { query: "newest", parameters: {} }
        case 8:
          return { query: "dearest", parameters: { projectId, ...random.chance(0.8) && { count: random.int(7) } } }
        case 9: {
          const from = random.int(15)
          return { query: "ranked", parameters: { from, to: random.chance(0.2) ? Infinity : from + 1 + random.int(8) } }
        }
        case 10:
          return { query: "titled", parameters: { pattern: random.pick(["%a%", "%😀%", "_e%", "many%", "%.", "a\\%%"]) } }
        case 11:
          return { query: "mine", parameters: {} }
        case 12:
          return { query: "unassigned", parameters: { status: status() } }
        case 13:
          return { query: "notes", parameters: { projectId } }
        default:
          return { query: random.pick(["topNotes", "counters"]), parameters: {} }
      }
    }
  }
}
