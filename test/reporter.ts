/** Ends every run with one plain line of counts, after the reasons why tests were skipped. */
import type { SerializedError } from "vitest"
import type { Reporter, TestModule } from "vitest/node"

export default class implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, errors: ReadonlyArray<SerializedError>) {
    let passed = 0
    let failed = errors.length
    const reasons = new Map<string, number>()
    for (const module of modules) {
      let failedHere = 0
      for (const test of module.children.allTests()) {
        const result = test.result()
        if (result.state === "passed") passed++
        else if (result.state === "failed") failedHere++
        else {
          const service = /\[needs (\w+)\]/.exec(test.fullName)?.[1]
          const note = result.state === "skipped" ? result.note : undefined
          const reason = service === undefined ? note ?? "skipped in its code" : `${service} is not installed`
          reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
        }
      }
      // A file that fails to load, or a hook of it, has no test to show for that.
      failed += failedHere === 0 && module.state() === "failed" ? 1 : failedHere
    }
    let skipped = 0
    for (const [reason, count] of reasons) {
      skipped += count
      console.log(`SKIPPED ${count} ${count === 1 ? "test" : "tests"}: ${reason}`)
    }
    console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
  }
}
