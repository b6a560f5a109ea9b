// npm run screenshots: makes the pictures of the README, of a demo that it starts.
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { choose, untilOf } from "./page-env.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const images = join(root, "docs/images");
const tripsMs = 20_000; // until there is something to see
const desk = { width: 1160, height: 900 };

const dir = mkdtempSync(join(tmpdir(), "screenshots-"));
const command = join(dir, "sluice");
execFileSync("go", ["build", "-o", command, "./cmd/sluice"], { cwd: root });
const demo = spawn(command, ["demo", "--listen", "127.0.0.1:0", "--admin", "off"], { stdio: ["ignore", "ignore", "pipe"] });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
	const url = await new Promise((resolve) => {
		createInterface({ input: demo.stderr }).on("line", (line) => {
			const at = /listen +(https:\S+)/.exec(line);
			if (at) resolve(at[1].replace("127.0.0.1", "localhost"));
		});
	});
	mkdirSync(images, { recursive: true });
	const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: desk });
	const open = async () => {
		const page = await context.newPage();
		await page.goto(url);
		await untilOf(page)("the first tick", (s) => s.tick > 0);
		return page;
	};
	const say = async (page, text) => {
		await page.fill("#chat-text", text);
		await page.press("#chat-text", "Enter");
		await untilOf(page)("what was said", (s) => s.last === text);
	};

	const page = await open();
	await page.waitForTimeout(tripsMs);
	const other = await open();
	await say(page, "Can you hear me?");
	await say(other, "Yes. What is this on?");
	await say(page, "One connection, for all calls of the page. I cut it now.");
	await page.bringToFront();
	await page.click("#keys-run");
	await page.click("#upload-run");
	await page.waitForTimeout(1500);
	await page.click("#cut");
	await say(other, "I did not notice.");
	await page.waitForTimeout(1000);
	await page.click("#unary-form button");
	await untilOf(page)("an answer", (s) => s.answer.includes("after"));
	await page.click("#keys-run");
	await page.evaluate(() => document.activeElement.blur());
	for (const scheme of ["light", "dark"]) {
		await page.evaluate(choose, { name: "theme", value: scheme });
		const shot = (name, options) => page.screenshot({ path: join(images, `${name}-${scheme}.png`), ...options });
		const [top, bottom] = await page.evaluate(() => [document.querySelector(".wire").offsetTop, document.querySelector(".trips").offsetTop]);
		await page.setViewportSize({ ...desk, height: bottom - top + 16 });
		await page.evaluate((top) => scrollTo(0, top - 16), top);
		await page.mouse.move(0, 0);
		await page.waitForTimeout(400);
		await shot("demo");
		await page.evaluate(() => scrollTo(0, document.querySelector(".trips").offsetTop));
		await page.waitForTimeout(400);
		await page.locator(".trips").screenshot({ path: join(images, `round-trips-${scheme}.png`) });
	}
} finally {
	await browser.close();
	demo.kill("SIGKILL");
	rmSync(dir, { recursive: true });
}
