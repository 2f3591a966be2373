export { engine } from "../../server/src/Engine.ts"
