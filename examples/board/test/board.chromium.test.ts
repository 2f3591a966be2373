/**
 * What a visitor does, in a real browser, on both change sources: two people on one board, writes from each and from outside, and
 * `kill -9` of the server and of Postgres under way. With SCREENSHOTS=1 it renews the pictures in `docs/images`.
 */
import { mkdirSync } from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import type { Browser, Page } from "playwright-core"
import { afterAll, assert, beforeAll, test } from "vitest"
import { describeChromium, launchChromium } from "../../../test/chromium.ts"
import { type RunningBoard, startBoard, until } from "./processes.ts"
import { countReceipts } from "./receipts.ts"

const images = fileURLToPath(new URL("../../../docs/images", import.meta.url))

const column = (page: Page, name: string) => page.getByRole("region", { name, exact: true })
const card = (page: Page, title: string) => page.locator(".card", { hasText: title })
const titles = (page: Page, name: string) => column(page, name).locator(".card .title").allTextContents()
const everything = async (page: Page) => Promise.all(["Backlog", "To do", "Doing", "Done"].map((name) => titles(page, name)))

const signIn = async (page: Page, url: string, name: string) => {
  await page.goto(url)
  await page.getByRole("button", { name }).click()
  await until(`${name} to be online`, async () => await page.locator(".connection").getAttribute("data-status") === "online")
  // Gone after a reload.
  await page.evaluate(() => Object.assign(window, { stillLoaded: true }))
}

const isStillLoaded = (page: Page) => page.evaluate(() => "stillLoaded" in window)

const settled = (page: Page) =>
  until("all writes to be answered", async () => {
    const bar = page.locator(".connection")
    return await bar.getAttribute("data-status") === "online" && await bar.getAttribute("data-pending") === "0"
  }, 40_000)

const add = async (page: Page, to: string, title: string) => {
  const input = page.getByRole("textbox", { name: `Add a card to ${to}` })
  await input.fill(title)
  await input.press("Enter")
}

const rename = async (page: Page, from: string, to: string) => {
  await card(page, from).locator("button.title").click()
  await page.getByRole("textbox", { name: "Title" }).fill(to)
  await page.getByRole("textbox", { name: "Title" }).press("Enter")
}

const shows = (page: Page, name: string, title: string) =>
  until(`“${title}” in ${name}`, async () => (await titles(page, name)).includes(title))

for (const source of ["wal", "triggers"] as const) {
  describeChromium(`the board on ${source}`, () => {
    let browser: Browser
    let board: RunningBoard
    let stream: Awaited<ReturnType<typeof countReceipts>>
    beforeAll(async () => {
      ;[browser, board] = await Promise.all([launchChromium(), startBoard(source)])
      // An effect is a row here for each insert and rename, and a receipt one for each outcome that was stored.
      await board.query(`
        create table effects (title text);
        create function note_effect() returns trigger language plpgsql as $$ begin insert into effects values (new.title); return null; end $$;
        create trigger note_effect after insert or update of title on cards for each row execute function note_effect();
        create table inserted_receipts (client text, seq bigint);
        create function note_receipt() returns trigger language plpgsql security definer as $$
          begin insert into public.inserted_receipts values (new.client, new.seq); return null; end $$;
        create trigger note_receipt after insert on headwater.receipts for each row execute function note_receipt();
      `)
      stream = await countReceipts(board.databaseUrl, source)
    }, 60_000)
    afterAll(async () => {
      await stream?.stop()
      await browser?.close()
      await board?.stop()
    })

    test("two tabs see each other's writes and those from outside; after kill -9 of server and Postgres every write has one receipt and one effect", { timeout: 180_000 }, async () => {
      const ada = await (await browser.newContext({ viewport: { width: 1280, height: 760 } })).newPage()
      const grace = await (await browser.newContext({ viewport: { width: 1280, height: 760 } })).newPage()
      await Promise.all([signIn(ada, board.url, "Ada Lovelace"), signIn(grace, board.url, "Grace Hopper")])
      await shows(ada, "Doing", "Ferry arrivals, live")

      // Each other's writes, and one from outside.
      await card(ada, "Show wind direction").dragTo(column(ada, "Doing"))
      await shows(grace, "Doing", "Show wind direction on the map")
      await rename(grace, "Translate berth names", "Translate berth names to Dutch")
      await shows(ada, "Backlog", "Translate berth names to Dutch")
      assert.include(await board.sql("update cards set status = 'done' where title like 'Ferry%'"), "UPDATE 1")
      await Promise.all([shows(ada, "Done", "Ferry arrivals, live"), shows(grace, "Done", "Ferry arrivals, live")])

      // Grace does not see the private project, nor Ada's address.
      assert.strictEqual(await grace.getByText("Workshop").count(), 0)
      assert.strictEqual(await ada.getByText("Workshop").count(), 1)

      if (process.env["SCREENSHOTS"] && source === "wal") {
        mkdirSync(images, { recursive: true })
        await ada.screenshot({ path: path.join(images, "board.png") })
      }

      // A write that a rule of the server refuses shows at once, and is taken back with a reason.
      for (const n of [1, 2, 3]) await add(ada, "Doing", `Work ${n}`)
      await settled(ada)
      await card(ada, "Warn when a mooring").dragTo(column(ada, "Doing"))
      await ada.getByText("Moving “Warn when a mooring is double booked” was taken back").waitFor()
      await shows(ada, "To do", "Warn when a mooring is double booked")
      if (process.env["SCREENSHOTS"] && source === "wal") await ada.screenshot({ path: path.join(images, "rejected.png") })
      await ada.getByRole("button", { name: "Dismiss" }).click()

      // Writes before, while and after each of the two is gone.
      const written: Array<string> = ["Work 1", "Work 2", "Work 3"]
      const write = async (count: number) => {
        for (let i = 0; i < count; i++) {
          for (const page of [ada, grace]) {
            const title = `Crash ${written.length}`
            written.push(title)
            await add(page, "Backlog", title)
          }
        }
      }
      for (const kill of [board.killServer, board.killPostgres]) {
        await write(2)
        kill()
        await write(3)
        if (kill === board.killServer && process.env["SCREENSHOTS"] && source === "wal") {
          await until("the page to notice", async () => await ada.locator(".connection").getAttribute("data-status") !== "online")
          await ada.screenshot({ path: path.join(images, "offline.png") })
        }
        await Promise.all([settled(ada), settled(grace)])
        await write(1)
        await Promise.all([settled(ada), settled(grace)])
      }

      const held = async () => {
        const rows = await board.query(`
          select status, title from cards join projects on projects.id = project_id where name = 'Harbour app' order by rank, cards.id`)
        return ["backlog", "todo", "doing", "done"].map((status) => rows.filter((row) => row["status"] === status).map((row) => row["title"]))
      }
      for (const page of [ada, grace]) {
        await until("the page to show what the database holds", async () => JSON.stringify(await everything(page)) === JSON.stringify(await held()))
        assert.isTrue(await isStillLoaded(page), "no tab was reloaded")
        assert.strictEqual(await page.locator(".rejection").count(), 0)
      }
      const effects = await board.query("select title, count(*)::int as n from effects where title like 'Crash%' or title like 'Work%' group by title")
      assert.deepStrictEqual(new Map(effects.map((row) => [row["title"], row["n"]])), new Map(written.map((title) => [title, 1])))
      const [receipts] = await board.query("select count(*)::int as all, count(distinct (client, seq))::int as distinct from inserted_receipts")
      // The drag, the rename and the drag that was refused have one, too.
      assert.deepStrictEqual(receipts, { all: written.length + 3, distinct: written.length + 3 })
      // The same in the change stream. (By triggers a second reader need not see what was acknowledged before it looked.)
      if (source === "wal") await until("the stream to bring all receipts", () => stream.inserted.size === written.length + 3)
      assert.isAtLeast(stream.inserted.size, 1)
      for (const [receipt, times] of stream.inserted) assert.strictEqual(times, 1, receipt)
    })
  })
}
