/** Ends every run with one plain line of counts, after the reasons why tests were skipped. */
import type { SerializedError } from "vitest"
import type { Reporter, TestCase, TestModule } from "vitest/node"

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
          const reason = reasonOf(test)
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

const reasonOf = (test: TestCase): string => {
  const service = /\[needs (\w+)\]/.exec(test.fullName)?.[1]
  if (service !== undefined) return `${service} is not installed`
  const result = test.result()
  if (result.state === "skipped" && result.note !== undefined) return result.note
  for (let suite = test.parent; suite.type !== "module"; suite = suite.parent) {
    if (suite.errors().length > 0) return "their setup failed"
  }
  return "skipped in its code"
}
