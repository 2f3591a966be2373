/** Signing in: a token is the user's id and a signature over it. A demonstration has no passwords. */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto"
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import * as path from "node:path"
import type { User } from "../contract/tables.ts"

/** Kept beside the data, so that a restart signs nobody out. Whole or not there, and one for all who start at the same time. */
export const loadSecret = (file: string): Buffer => {
  if (!existsSync(file)) {
    mkdirSync(path.dirname(file), { recursive: true })
    const draft = `${file}.${randomBytes(6).toString("hex")}`
    writeFileSync(draft, randomBytes(length), { mode: 0o600, flush: true })
    try {
      // Unlike a rename, leaves one that is there by now.
      linkSync(draft, file)
    } catch (error) {
      if (!existsSync(file)) throw error
    } finally {
      rmSync(draft)
    }
  }
  const secret = readFileSync(file)
  if (secret.length < length) throw new Error(`${file} has ${secret.length} bytes, and a secret has ${length}: delete the file to have a new one made, which signs everybody out.`)
  return secret
}

const length = 32

const sign = (secret: Buffer, userId: string) => createHmac("sha256", secret).update(userId).digest("base64url")

export const issueToken = (secret: Buffer, userId: User["id"]): string => `${userId}.${sign(secret, userId)}`

/** The user whom a token names; null for a forged or malformed one. */
export const readToken = (secret: Buffer, token: string): User["id"] | null => {
  const [userId = "", signature = ""] = token.split(".")
  const expected = Buffer.from(sign(secret, userId))
  const actual = Buffer.from(signature)
  return expected.length === actual.length && timingSafeEqual(expected, actual) ? userId as User["id"] : null
}
