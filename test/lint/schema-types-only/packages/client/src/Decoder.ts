import type * as Codec from "effect/Schema"
import * as Schema from "effect/Schema"

export const Name: Codec.Schema<string> = Schema.String
