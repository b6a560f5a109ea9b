// Does in Chromium what docs/browser.md says of its page, and prints the carrier: node first-call.js URL
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const url = process.argv[2];
const executablePath = process.env.FIRST_CALL_CHROMIUM;
if (!url || !executablePath) throw new Error("no URL, or FIRST_CALL_CHROMIUM is not set: first_call_test.go runs this");

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"], timeout: 60_000 });
try {
	const page = await browser.newPage(); // which takes only certificates that are trusted
	page.setDefaultTimeout(20_000);
	const errors = [];
	page.on("pageerror", (err) => errors.push(err));
	await page.goto(url);
	const says = async (number, text) => {
		await page.fill("input", text);
		await page.press("input", "Enter");
		await page.locator("pre").filter({ hasText: `${number}  you said: ${text}\n` }).waitFor();
	};
	await says(1, "hello");
	await page.context().setOffline(true);
	await new Promise((resolve) => setTimeout(resolve, 500));
	await page.context().setOffline(false);
	await says(2, "still there?");
	assert.equal(await page.locator("pre").textContent(), "1  you said: hello\n2  you said: still there?\n");
	assert.deepEqual(errors, []);
	console.log(await page.locator("small").textContent());
} finally {
	await browser.close();
}
