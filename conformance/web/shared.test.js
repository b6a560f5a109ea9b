// sharedSse in Chromium: tabs of one origin on one connection over HTTP/1.1, counted by the feed.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { browsers } from "./browsers.js";
import { bundle } from "./serve.js";

const feed = process.env.READERS_FEED;
if (!feed) throw new Error("READERS_FEED is not set: readers_test.go runs this");
const limit = { timeout: 40_000 };

const files = {
	"/page.js": await bundle("shared-page.js", { format: "esm" }),
	"/sse-worker.js": await bundle("../../web/packages/client/src/sse-worker.ts", { format: "esm" }),
};
const server = createServer((request, response) => {
	const script = files[request.url];
	response.setHeader("content-type", script ? "text/javascript" : "text/html; charset=utf-8");
	response.end(script ?? `<!doctype html><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>`);
});

let browser, origin;
before(async () => {
	await new Promise((resolve, reject) => server.once("error", reject).listen(Number(process.env.READERS_PAGE_PORT), "127.0.0.1", resolve));
	origin = `http://127.0.0.1:${server.address().port}`;
	browser = await browsers.Chromium(process.env.READERS_CHROMIUM);
}, { timeout: 60_000 });
after(async () => {
	await browser?.close();
	server.close();
	server.closeAllConnections();
}, { timeout: 15_000 });

let keys = 0;
const watch = (parameters) => {
	const key = `shared-${process.pid}-${++keys}`;
	return { key, url: `${feed}/v1/feed?${new URLSearchParams({ key, ...parameters })}` };
};
const calls = async (key, cancelled = 0) => {
	const { started = 0, cancelled: ended = 0 } = await (await fetch(`${feed}/v1/calls/${key}?cancelled=${cancelled}`)).json();
	return { started, cancelled: ended };
};

/** open opens a tab that follows. */
async function open(url, options) {
	const page = await browser.newPage();
	await page.goto(origin);
	await page.waitForFunction(() => globalThis.follow);
	await page.evaluate(([u, o]) => void follow(u, o), [url, options]);
	const until = (good, arg) => page.waitForFunction(good, arg, { timeout: 20_000 });
	return { page, until, has: (n) => until((m) => globalThis.state().count >= m, n), state: () => page.evaluate(() => globalThis.state()) };
}

const inOrder = ({ numbers }) => numbers.every((n, i) => i === 0 || n === numbers[i - 1] + 1);

test("eight tabs have one connection, and the last one that leaves closes it", limit, async () => {
	const { url, key } = watch({ count: 1e6, every_ms: 10 });
	const tabs = [];
	for (let i = 0; i < 8; i++) tabs.push(await open(url)); // two more than HTTP/1.1 has connections
	for (const tab of tabs) await tab.has(5);
	assert.deepEqual(await calls(key), { started: 1, cancelled: 0 });
	for (const tab of tabs.slice(0, 7)) await tab.page.close();
	const { count } = await tabs[7].state();
	await tabs[7].has(count + 20);
	assert.ok(inOrder(await tabs[7].state()), "nothing is missing");
	assert.deepEqual(await calls(key), { started: 1, cancelled: 0 });
	await tabs[7].page.close();
	assert.deepEqual(await calls(key, 1), { started: 1, cancelled: 1 });
});

test("a slow tab does not hold up the other, and ends with an error", limit, async () => {
	const { url, key } = watch({ count: 2000, every_ms: 2 });
	const slow = await open(url, { slow: 200, maxQueuedEvents: 5 });
	await slow.has(1);
	const fast = await open(url, { maxQueuedEvents: 2000 });
	await fast.until(() => globalThis.state().done);
	const state = await fast.state();
	assert.ok(inOrder(state) && state.numbers.at(-1) === 2000);
	await slow.until(() => globalThis.state().error);
	assert.match((await slow.state()).error, /RESOURCE_EXHAUSTED: this tab is more than 5 events behind.*maxQueuedEvents/);
	assert.equal((await calls(key)).started, 1);
	await slow.page.close();
	await fast.page.close();
});

test("where the worker can't be had, a tab has a connection of its own", limit, async () => {
	const { url, key } = watch({ count: 5, every_ms: 50 });
	const page = await browser.newPage();
	await page.goto(origin);
	await page.waitForFunction(() => globalThis.follow);
	await page.evaluate((u) => {
		delete globalThis.SharedWorker;
		void follow(u);
	}, url);
	await page.waitForFunction(() => globalThis.state().done, undefined, { timeout: 20_000 });
	assert.deepEqual((await page.evaluate(() => globalThis.state())).numbers, [1, 2, 3, 4, 5]);
	assert.equal((await calls(key)).started, 1);
	await page.close();
});
