export * from "./internal/view.ts"
