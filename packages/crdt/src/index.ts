export * as Counter from "./Counter.ts"
