/** What npm publishes works where nothing else of this repository is: every public module, at run time and in types. */
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { promisify } from "node:util"
import { afterAll, assert, beforeAll, describe, test } from "vitest"

interface Manifest {
  readonly name: string
  readonly exports: Readonly<Record<string, object | null>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

const root = path.join(import.meta.dirname, "..")
const readManifest = (dir: string) => JSON.parse(fs.readFileSync(path.join(root, dir, "package.json"), "utf8")) as Manifest
const folders = fs.readdirSync(path.join(root, "packages")).map((name) => `packages/${name}`)
const packages = folders.map(readManifest)
const modules = packages.flatMap(({ exports, name }) =>
  Object.keys(exports).filter((key) => exports[key] !== null).map((key) => path.posix.join(name, key)))

const run = async (cwd: string, command: string, ...args: ReadonlyArray<string>) => {
  try {
    return (await promisify(execFile)(command, args, { cwd, maxBuffer: 1e8 })).stdout
  } catch (error) {
    const { stderr, stdout } = error as { stderr: string; stdout: string }
    throw new Error(`${path.basename(command)} ${args.join(" ")}\n${stdout}\n${stderr}`)
  }
}
const tsc = path.join(root, "node_modules/typescript/bin/tsc")

describe("the packed packages", () => {
  const app = fs.mkdtempSync(path.join(os.tmpdir(), "headwater-pack-"))
  const write = (file: string, text: string) => fs.writeFileSync(path.join(app, file), text)
  afterAll(() => fs.rmSync(app, { recursive: true }))

  beforeAll(async () => {
    await run(root, process.execPath, tsc, "-b", "tsconfig.build.json")
    const workspaces = folders.flatMap((folder) => ["--workspace", folder])
    const packed = JSON.parse(
      await run(root, "npm", "pack", "--json", "--ignore-scripts", "--pack-destination", app, ...workspaces)
    ) as ReadonlyArray<{ name: string; filename: string }>
    const { devDependencies: pinned = {} } = readManifest(".")
    const peers = packages.flatMap(({ peerDependencies = {} }) => Object.keys(peerDependencies))
    const wanted = ["@types/node", "@types/react", ...peers].map((name) => [name, pinned[name]])
    const tarballs = packed.map(({ filename, name }) => [name, `file:./${filename}`])
    write("package.json", JSON.stringify({ type: "module", private: true, dependencies: Object.fromEntries([...wanted, ...tarballs]) }))
    await run(app, "npm", "install", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")
  }, 120_000)

  test("every public module can be imported, and nothing internal", async () => {
    write(
      "import.mjs",
      `for (const name of ${JSON.stringify(modules)}) await import(name)
for (const name of ${JSON.stringify(packages.map(({ name }) => name))}) {
  const { code } = await import(name + "/internal/any").catch((error) => error)
  if (code !== "ERR_PACKAGE_PATH_NOT_EXPORTED") throw new Error(name + " shows its internals")
}`
    )
    await run(app, process.execPath, "import.mjs")
  })

  test("every public module has types that a strict project accepts", async () => {
    const compilerOptions = { module: "NodeNext", target: "ES2022", lib: ["ES2024", "DOM", "ESNext.Disposable"], types: ["node"], strict: true, exactOptionalPropertyTypes: true, noEmit: true }
    write("tsconfig.json", JSON.stringify({ compilerOptions, files: ["app.ts"] }))
    write("app.ts", modules.map((name, index) => `import * as m${index} from "${name}"\nvoid m${index}\n`).join(""))
    await run(app, process.execPath, tsc, "-p", app)
  })

  test("there are modules to try", () => assert.isNotEmpty(modules))
})
