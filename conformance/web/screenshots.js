// npm run screenshots: makes the pictures of the README, of a demo that it starts.
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { choose, untilOf } from "./page-env.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const images = join(root, "docs/images");
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

	/** save writes a picture as WebP, in half the bytes of PNG. */
	const drawing = await context.newPage();
	const save = async (name, png) => {
		const webp = await drawing.evaluate(async (png) => {
			const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
			const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
			canvas.getContext("2d").drawImage(bitmap, 0, 0);
			const blob = await canvas.convertToBlob({ type: "image/webp", quality: 0.9 });
			return btoa(Array.from(new Uint8Array(await blob.arrayBuffer()), (b) => String.fromCharCode(b)).join(""));
		}, png.toString("base64"));
		writeFileSync(join(images, name), Buffer.from(webp, "base64"));
	};

	const page = await open();
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
		const [top, bottom] = await page.evaluate(() => [document.querySelector(".wire").offsetTop, document.querySelector(".trips").offsetTop]);
		await page.setViewportSize({ ...desk, height: bottom - top + 16 });
		await page.evaluate((top) => scrollTo(0, top - 16), top);
		await page.mouse.move(0, 0);
		await page.waitForTimeout(400);
		await save(`demo-${scheme}.webp`, await page.screenshot());
	}
} finally {
	await browser.close();
	demo.kill("SIGKILL");
	rmSync(dir, { recursive: true });
}
