import type { ReactNode } from "react"
import { useState } from "react"

export const useView = (): ReactNode => useState(null)[0]
