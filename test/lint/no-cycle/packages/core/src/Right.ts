import * as Left from "./Left.ts"

export const right = () => Left.left
