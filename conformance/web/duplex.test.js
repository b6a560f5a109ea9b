// npm http2-duplex, as it comes, is a client of raw sessions of HTTP duplex: in Chromium on a page of another origin, with a POST for each
// chunk and with one streaming POST, and in Node over one connection of HTTP/2 and over HTTP/1.1.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { cases } from "./duplex-cases.js";
import { env } from "./env.js";
import { bundle, serve } from "./serve.js";

process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0"; // the certificate is the test's own

const path = "/sluice/v1/raw/sluice.demo.v1.Demo/EchoBytes";
const limit = { timeout: 30_000 };

/** script bundles as the package's own tests do for browsers. */
const script = (format) => bundle("duplex-page.js", {
	format, define: { global: "globalThis" }, inject: [new URL("duplex-process.js", import.meta.url).pathname],
	alias: { stream: "stream-browserify", buffer: "buffer/", events: "events/" },
});

let launched, browser, page, server, directory, session;

/** How often Chromium has said that the process of its network has crashed. */
let crashes = 0;

before(async () => {
	server = await serve(await script("iife"), env.listedPort);
	launched = await chromium.launchServer({ executablePath: env.chromium, args: ["--no-sandbox"], timeout: 30_000 });
	launched.process().stderr.on("data", (said) => {
		if (String(said).includes("Network service crashed")) crashes++;
	});
	browser = await chromium.connect(launched.wsEndpoint());
	const context = await browser.newContext({ ignoreHTTPSErrors: true });
	context.setDefaultTimeout(25_000);
	page = await context.newPage();
	// Some are meant to fail; of others fetch does not say why.
	page.on("requestfailed", (request) => console.error(`# ${request.method()} ${request.url()}: ${request.failure()?.errorText}`));
	await page.goto(server.origin);

	directory = await mkdtemp(join(tmpdir(), "sluice-duplex-"));
	const file = join(directory, "client.mjs");
	await writeFile(file, await script("esm"));
	await import(file);
	// The package asks new Request("") what it supports. A page has a URL of its own for that.
	const { Request } = globalThis;
	globalThis.Request = class extends Request {
		constructor(url, options) {
			super(url || env.http, options);
		}
	};
	session = connect(env.https);
	session.setMaxListeners(0);
}, { timeout: 60_000 });

after(async () => {
	session?.close();
	session?.destroy();
	await browser?.close();
	await launched?.close();
	server?.close();
	if (directory) await rm(directory, { recursive: true });
}, { timeout: 15_000 });

/** fetchOverHTTP2 is as much of fetch as the package wants, over one connection of HTTP/2. */
function fetchOverHTTP2(url, { method = "GET", headers = {}, body, signal } = {}) {
	const { pathname, search } = new URL(url);
	return new Promise((resolve, reject) => {
		const names = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]));
		if (body) names["content-length"] = String(body.length);
		const stream = session.request({ ":method": method, ":path": pathname + search, ...names }, { endStream: !body });
		const abort = () => stream.close(8);
		signal?.addEventListener("abort", abort);
		stream.on("close", () => signal?.removeEventListener("abort", abort));
		stream.on("error", reject);
		stream.on("response", (h) => {
			const status = h[":status"];
			let over = false;
			const content = new ReadableStream({
				start(controller) {
					stream.on("data", (b) => {
						if (over) return;
						controller.enqueue(new Uint8Array(b));
						if (controller.desiredSize <= 0) stream.pause();
					});
					stream.on("end", () => over || stream.rstCode || controller.close());
					stream.on("close", () => !over && stream.rstCode && controller.error(new Error("the stream was reset")));
				},
				pull: () => stream.resume(),
				cancel() {
					over = true;
					stream.close(8);
				},
			});
			const fields = new Headers();
			for (const [name, value] of Object.entries(h)) if (!name.startsWith(":")) fields.set(name, String(value));
			resolve(new Response(status === 204 ? null : content, { status, headers: fields }));
		});
		stream.end(body);
	});
}

/**
 * inPage plays a case in Chromium. That of version 156 crashes in one of some thirty times when a page ends the stream of an upload with
 * an error, as the package does where its download has failed; what runs then or next fails with it, and is played again.
 */
async function inPage(arg) {
	for (;;) {
		const failed = await page.evaluate((arg) => globalThis.judge(arg), arg);
		if (failed === undefined) return;
		await new Promise((resolve) => setTimeout(resolve, 500)); // until it has said so
		if (crashes === 0) assert.fail(failed);
		console.error(`# Chromium's network has crashed: ${failed}`);
		crashes = 0;
	}
}

for (const title of Object.keys(cases)) {
	for (const batched of [true, false]) {
		test(`Chromium, ${batched ? "a POST for each chunk" : "one streaming POST"}: ${title}`, limit, async () => {
			await inPage({ title, url: env.https + path, batched });
		});
		test(`Node, HTTP/1.1, ${batched ? "a POST for each chunk" : "one streaming POST"}: ${title}`, limit, async () => {
			assert.equal(await globalThis.judge({ title, url: env.http + path, batched }), undefined);
		});
	}
	test(`Node, one connection of HTTP/2: ${title}`, limit, async () => {
		assert.equal(await globalThis.judge({ title, url: env.https + path, batched: true, fetch: fetchOverHTTP2 }), undefined);
	});
}

test("Chromium, HTTP/1.1: single byte", limit, async () => {
	assert.equal(await page.evaluate((arg) => globalThis.judge(arg), { title: "single byte", url: env.http + path, batched: true }), undefined);
});
