import * as fs from "node:fs"

export const read = () => fs.readFileSync("data", "utf8")
