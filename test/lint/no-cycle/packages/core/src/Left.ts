import * as Right from "./Right.ts"

export const left = () => Right.right
