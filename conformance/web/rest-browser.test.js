// Streams over REST in browsers: their EventSource and their fetch, on a page of another origin
// than the gateway's.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { browsers } from "./browsers.js";
import { cases } from "./rest-cases.js";
import { env } from "./rest-env.js";

const server = createServer((request, response) => {
	response.setHeader("content-type", "text/html; charset=utf-8");
	response.end(`<!doctype html><link rel="icon" href="data:,">`);
});
before(() => new Promise((resolve, reject) => server.once("error", reject).listen(env.pagePort, "127.0.0.1", resolve)), { timeout: 10_000 });
after(() => {
	server.close();
	server.closeAllConnections();
});

for (const [browserName, launch] of Object.entries(browsers)) {
	describe(browserName, { timeout: 120_000 }, () => {
		const spoken = new Map(); // versions of HTTP, by origin
		let browser, page;
		before(async () => {
			browser = await launch(env[browserName.toLowerCase()]);
			page = await browser.newPage();
			await page.onResponse(({ url, protocol }) => {
				const to = new URL(url).origin;
				spoken.set(to, (spoken.get(to) ?? new Set()).add(protocol));
			});
			await page.goto(`http://127.0.0.1:${env.pagePort}`);
		}, { timeout: 90_000 });
		after(() => browser?.close(), { timeout: 15_000 });

		// An EventSource waits a second before it comes back, so the cases run side by side.
		describe("cases", { concurrency: true, timeout: 60_000 }, () => {
			for (const [name, base] of [["http", env.http], ["https", env.https]]) {
				for (const [title, judge] of Object.entries(cases)) {
					test(`${name}: ${title}`, { timeout: 40_000 }, () => judge({ base, call: (f, argument) => page.evaluate(f, argument) }));
				}
			}
		});

		test("it was HTTP/1.1 without TLS, and HTTP/2 with it", () => {
			const by = (base) => [...spoken.get(new URL(base).origin)];
			assert.deepEqual({ http: by(env.http), https: by(env.https) }, { http: ["http/1.1"], https: ["h2"] });
		});
	});
}
