#!/usr/bin/env node
import * as Effect from "effect/Effect"
import { run } from "../cli.ts"

process.exitCode = await Effect.runPromise(run(process.argv.slice(2), process.env, { out: console.log, error: console.error }))
