// node page.js CHROMIUM URL: opens the page of the admin server at URL and says what it shows.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [, , executablePath, base] = process.argv;
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"], timeout: 30_000 });
try {
	const page = await browser.newPage();
	page.setDefaultTimeout(20_000);
	const requests = [];
	const problems = [];
	page.on("request", (r) => requests.push(r.url()));
	page.on("requestfailed", (r) => problems.push(`${r.url()}: ${r.failure().errorText}`));
	page.on("response", (r) => r.status() >= 400 && problems.push(`${r.url()}: ${r.status()}`));
	page.on("console", (m) => m.type() === "error" && problems.push(m.text()));
	page.on("pageerror", (e) => problems.push(String(e)));
	await page.goto(`${base}/docs`);
	await page.waitForSelector(".opblock-summary-path");
	const paths = await page.$$eval(".opblock-summary-path", (all) => all.map((e) => e.dataset.path));
	assert.ok(paths.length >= 4, `paths are ${paths}`); // the demo has a method of each kind
	// An operation with its schemas.
	await page.click(".opblock-summary-control >> nth=0");
	await page.waitForSelector(".opblock-body .responses-wrapper");
	assert.equal(await page.$(".try-out"), null, "calls would go to another origin");
	if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT, fullPage: true });
	const foreign = requests.filter((url) => !url.startsWith(base + "/") && !url.startsWith("data:"));
	assert.deepEqual(foreign, [], "the page asked others");
	assert.deepEqual(problems, []);
	console.log(`${paths.length} operations, ${requests.filter((url) => !url.startsWith("data:")).length} requests, title ${await page.title()}`);
} finally {
	await browser.close();
}
