export { useEffect } from "react"
