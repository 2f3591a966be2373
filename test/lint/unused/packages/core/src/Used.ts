export { used } from "./internal/parts.ts"
