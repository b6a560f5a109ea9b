// The readers of REST streams and openDuplex, in Node and on a page of another origin in Chromium.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import { browsers } from "./browsers.js";
import { bundle, serve } from "./serve.js";
import { choices, duplexes, streams } from "./readers-cases.js";

function variable(name) {
	const value = process.env[name];
	if (!value) throw new Error(`${name} is not set: readers_test.go runs this`);
	return value;
}

const feed = variable("READERS_FEED");
const gateway = variable("READERS_DEMO");
const limit = { timeout: 40_000 };
const path = "/sluice/v1/raw/sluice.demo.v1.Demo/EchoBytes";
const ways = {
	"a gateway's method": gateway + path,
	"a gateway's method, HTTP/2": variable("READERS_DEMO_TLS") + path,
	"a Go program": variable("READERS_DUPLEX"),
};

process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0"; // the certificate is the test's own

/** createRelay passes connections on to the feed's gateway, and cuts each after so many bytes down if it is told to. */
async function createRelay() {
	const sockets = new Set();
	let order = {}, bytes = 0;
	const { hostname, port } = new URL(feed);
	const server = createServer((client) => {
		const upstream = connect(Number(port), hostname);
		let passed = 0, since; // of a connection that is used again
		for (const s of [client, upstream]) {
			sockets.add(s);
			s.on("error", () => {}).on("close", () => {
				sockets.delete(s);
				client.destroySoon();
				upstream.destroySoon();
			});
		}
		client.pipe(upstream);
		upstream.on("data", (b) => {
			if (client.writableEnded) return;
			if (since !== order) passed = 0;
			since = order;
			passed += b.length;
			bytes += b.length;
			const rest = order.cutAfter - passed;
			if (rest <= 0) {
				client.end(b.subarray(0, b.length + rest)); // in the middle of the response
				upstream.destroy();
			} else if (!client.write(b)) {
				upstream.pause();
				client.once("drain", () => upstream.resume());
			}
		});
	});
	// A page can't reach into this process, so it says by HTTP what is to be done.
	const control = createHttpServer((request, response) => {
		response.setHeader("access-control-allow-origin", "*");
		const answer = JSON.stringify({ bytes });
		order = Object.fromEntries([...new URL(request.url, "http://x").searchParams].map(([k, v]) => [k, Number(v)]));
		bytes = 0;
		response.end(answer);
	});
	for (const s of [server, control]) await new Promise((resolve, reject) => s.once("error", reject).listen(0, "127.0.0.1", resolve));
	return {
		url: `http://127.0.0.1:${server.address().port}`,
		control: `http://127.0.0.1:${control.address().port}`,
		close() {
			for (const s of sockets) s.destroy();
			server.close();
			control.close();
			control.closeAllConnections();
		},
	};
}

const script = await bundle("readers-page.js");
const dir = mkdtempSync(join(tmpdir(), "sluice-readers-"));
writeFileSync(join(dir, "page.mjs"), await bundle("readers-page.js", { format: "esm", platform: "node" }));
await import(join(dir, "page.mjs"));
after(() => rmSync(dir, { recursive: true }));

const clients = {
	Node: async () => ({ run: (where) => globalThis.judge({ WebSocket, ...where, relay: relayOf(where.relay) }), close() {} }),
	Chromium: async () => {
		const site = await serve(script, Number(variable("READERS_PAGE_PORT")));
		const browser = await browsers.Chromium(variable("READERS_CHROMIUM"));
		const page = await browser.newPage();
		await page.goto(site.origin);
		return {
			run: (where) => page.evaluate(inPage, where),
			async close() {
				await browser.close();
				site.close();
			},
		};
	},
};

/** relayOf makes the control of the relay, here and in a page. */
function relayOf(relay) {
	return relay && { url: relay.url, control: async (order) => (await fetch(`${relay.control}/?${new URLSearchParams(order)}`)).json() };
}
const inPage = new Function("where", `${relayOf}; return judge({ ...where, relay: relayOf(where.relay) });`);

/** In a page that is where its platform makes a difference; MATRIX=whole has it all. */
const inPages = {
	"a gateway's method, by websocket": Object.keys(duplexes),
	"a gateway's method, by http": ["keys come back one by one", "pieces of a few bytes, two at a time", "giving up ends both directions"],
	"a gateway's method, HTTP/2, by http": ["keys come back one by one", "10 MB come back", "who does not read is not sent more, and sends no more"],
	"a Go program, by websocket": ["keys come back one by one", "10 MB come back"],
	"a Go program, by http": ["keys come back one by one"],
};

for (const [name, open] of Object.entries(clients)) {
	describe(name, { timeout: 150_000 }, () => {
		let client, relay;
		before(async () => {
			relay = await createRelay();
			client = await open();
		}, { timeout: 60_000 });
		after(async () => {
			await client?.close();
			relay?.close();
		}, { timeout: 15_000 });

		const judge = (title, where) => test(`${name}: ${title}${where.duplex ? `, ${where.what}, by ${where.duplex.carrier}` : ""}`, limit, async () => {
			const { url, control } = relay;
			assert.equal(await client.run({ title, feed, gateway, relay: { url, control }, ...where }), undefined);
		});
		for (const title of Object.keys({ ...streams, ...choices })) judge(title, {});
		for (const [what, url] of Object.entries(ways)) {
			for (const carrier of ["websocket", "http"]) {
				if (what.endsWith("HTTP/2") && (carrier === "websocket" || name === "Node")) continue; // they would be over HTTP/1.1
				const titles = name === "Node" || process.env.MATRIX === "whole" ? Object.keys(duplexes) : inPages[`${what}, by ${carrier}`];
				for (const title of titles) judge(title, { what, duplex: { url, carrier } });
			}
		}
	});
}
