/** Signing in: a token is the user's id and a signature over it. A demonstration has no passwords. */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import * as path from "node:path"
import type { User } from "../contract/tables.ts"

/** Kept beside the data, so that a restart signs nobody out. */
export const loadSecret = (file: string): Buffer => {
  if (!existsSync(file)) {
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, randomBytes(32), { mode: 0o600 })
  }
  return readFileSync(file)
}

const sign = (secret: Buffer, userId: string) => createHmac("sha256", secret).update(userId).digest("base64url")

export const issueToken = (secret: Buffer, userId: User["id"]): string => `${userId}.${sign(secret, userId)}`

/** The user whom a token names; null for a forged or malformed one. */
export const readToken = (secret: Buffer, token: string): User["id"] | null => {
  const [userId = "", signature = ""] = token.split(".")
  const expected = Buffer.from(sign(secret, userId))
  const actual = Buffer.from(signature)
  return expected.length === actual.length && timingSafeEqual(expected, actual) ? userId as User["id"] : null
}
