import type { User } from "../contract/tables.ts"

/** A person's initials on their color; a dashed circle for nobody. */
export const Avatar = ({ person, small = false }: { readonly person: Pick<User, "name" | "color"> | null; readonly small?: boolean }) => (
  <span
    className={`avatar${small ? " small" : ""}${person ? "" : " nobody"}`}
    style={person ? { background: person.color } : undefined}
    title={person?.name ?? "Nobody"}
    aria-hidden="true"
  >
    {person?.name.split(" ").map((part) => part[0]).join("")}
  </span>
)
