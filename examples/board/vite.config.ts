import react from "@vitejs/plugin-react"
import { defineConfig } from "vite"

export default defineConfig({
  plugins: [react()],
  // The packages' sources, without a build of theirs first.
  resolve: { conditions: ["source", "module", "browser", "development|production"] },
  build: { outDir: "dist", target: "es2022" }
})
