import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import type { Browser } from "playwright-core"
import { afterAll, assert, beforeAll, test } from "vitest"
import { describeChromium, launchChromium } from "./chromium.ts"

describeChromium("a real browser", () => {
  let browser: Browser
  beforeAll(async () => {
    browser = await launchChromium()
  })
  afterAll(() => browser.close())

  test("shows a page of ours and runs its script", async () => {
    const server = createServer((_, response) => {
      response.setHeader("content-type", "text/html")
      response.end("<h1>0</h1><script>document.querySelector('h1').textContent = 6 * 7</script>")
    }).listen(0, "127.0.0.1")
    await new Promise((resolve) => server.once("listening", resolve))
    const page = await browser.newPage()
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    assert.strictEqual(await page.textContent("h1"), "42")
    await page.close()
    server.closeAllConnections()
    server.close()
  })
})
