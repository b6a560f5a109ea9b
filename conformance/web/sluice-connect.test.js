// Connect-ES in Node on the transport of the TypeScript client: what Connect-ES can do elsewhere, and the calls that it can't
// make with fetch.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { Code, ConnectError, createClient, encodeBinaryHeader } from "@connectrpc/connect";
import { build } from "esbuild";
import { WebSocket } from "ws";
import { cases } from "./connect-cases.js";
import { env } from "./env.js";
import { createSchema, failure, until } from "./schema.js";

const dir = mkdtempSync(join(tmpdir(), "sluice-connect-"));
after(() => rmSync(dir, { recursive: true }));
const source = (name) => new URL(`../../web/packages/client/src/${name}.ts`, import.meta.url).pathname;
const ours = { name: "the Connect-ES of this folder", setup: (b) =>
	b.onResolve({ filter: /^@(connectrpc|bufbuild)\// }, ({ path }) => ({ path: import.meta.resolve(path), external: true })) };
await build({
	stdin: { contents: `export * from "${source("index")}"; export * from "${source("connect")}";`, resolveDir: dir },
	bundle: true, format: "esm", platform: "node", target: "node20", outfile: join(dir, "client.mjs"), plugins: [ours],
});
const { createDuplex, createLongPoll, createSluiceTransport, createStreamingDuplex, createWebSocket } = await import(join(dir, "client.mjs"));

const { service, message } = createSchema(env.descriptorSet);
const carriers = {
	"websocket": createWebSocket({ WebSocket }),
	"duplex-streaming": createStreamingDuplex(),
	"duplex": createDuplex(),
	"long-poll": createLongPoll(),
};

/** createQueue makes an iterable of what is pushed. */
function createQueue() {
	const waiting = [];
	let wake = () => {}, closed = false;
	return {
		push: (m) => (waiting.push(m), wake()),
		close: () => ((closed = true), wake()),
		async *[Symbol.asyncIterator]() {
			for (;;) {
				if (waiting.length > 0) yield waiting.shift();
				else if (closed) return;
				else await new Promise((resolve) => (wake = resolve));
			}
		},
	};
}

for (const [name, carrier] of Object.entries(carriers)) {
	describe(name, { timeout: 60_000 }, () => {
		let opened = 0;
		const requests = [];
		const transport = createSluiceTransport({
			baseUrl: env.http, carriers: carrier, unary: "session", onEvent: (e) => e.type === "open" && opened++,
			interceptors: [(next) => (req) => (requests.push(req.method.name), next(req))],
		});
		after(() => transport.session.close());
		const client = createClient(service, transport);
		const judge = { client, methods: { join: () => "POST,POST" }, message };

		for (const [title, run] of Object.entries(cases)) test(`${name}: ${title}`, { timeout: 15_000 }, () => run(judge));

		test(`${name}: client streaming`, async () => {
			const got = await client.sum((async function* () {
				for (let value = 1; value <= 1000; value++) yield { number: value };
			})());
			assert.deepEqual([Number(got.sum), Number(got.count)], [500_500, 1000]);
		});

		test(`${name}: messages that fail`, async () => {
			await assert.rejects(client.sum((async function* () {
				yield { number: 1 };
				throw new Error("no more");
			})()), /no more/);
		});

		test(`${name}: bidirectional, headers first, one after the other, and over cut connections`, async () => {
			const said = createQueue(), kept = {};
			const headers = { "x-echo": "start", "x-end": "end", "x-echo-bin": encodeBinaryHeader(Uint8Array.of(0, 255)) };
			const answers = client.chat(said, {
				headers, onHeader: (h) => (kept.header = h), onTrailer: (t) => (kept.trailer = t),
			})[Symbol.asyncIterator]();
			const first = answers.next();
			await until("headers come before anything was said", () => kept.header);
			assert.equal(kept.header.get("x-echo"), "start");
			assert.equal(kept.header.get("x-echo-bin"), "AP8");
			const before = opened;
			for (let i = 1; i <= 60; i++) {
				said.push({ text: `${i}` });
				const { value } = await (i === 1 ? first : answers.next());
				assert.match(value.text, new RegExp(`\\b${i}$`));
				if (i % 20 === 0) transport.session.cut();
			}
			said.close();
			assert.equal((await answers.next()).done, true);
			assert.equal(kept.trailer.get("x-echo-trailer"), "end");
			assert.ok(opened >= before + 2, `${opened - before} connections more`);
		});

		test(`${name}: bidirectional, cancel`, async () => {
			const said = createQueue(), abort = new AbortController();
			const answers = client.chat(said, { signal: abort.signal })[Symbol.asyncIterator]();
			said.push({ text: "a" });
			await answers.next();
			abort.abort();
			await assert.rejects(answers.next(), { code: Code.Canceled });
		});

		test(`${name}: bidirectional, deadline`, async () => {
			const answers = client.chat(createQueue(), { timeoutMs: 200 })[Symbol.asyncIterator]();
			await assert.rejects(answers.next(), { code: Code.DeadlineExceeded });
		});

		test(`${name}: interceptors see each call`, async () => {
			requests.length = 0;
			await client.echo({});
			assert.deepEqual(requests, ["Echo"]);
		});
	});
}

test("a unary call goes by fetch until there is a connection, and on it then", { timeout: 15_000 }, async () => {
	let fetched = 0;
	const transport = createSluiceTransport({
		baseUrl: env.http, carriers: carriers.websocket, headers: { "x-echo": "of all" },
		fetch: (url, init) => (fetched++, fetch(url, init)),
	});
	after(() => transport.session.close());
	const client = createClient(service, transport);
	const echo = async () => {
		let header;
		assert.equal((await client.echo({ text: "ä" }, { onHeader: (h) => (header = h) })).text, "ä");
		assert.equal(header.get("x-echo"), "of all");
	};
	await echo();
	assert.deepEqual([fetched, transport.session.carrier], [1, undefined]);
	const err = await client.echo({}, { headers: { "x-fail": "9" } }).catch(ConnectError.from);
	assert.deepEqual([err.code, err.rawMessage, err.findDetails(message("EchoResponse"))[0].text], [9, failure.message, failure.detail]);
	assert.equal(fetched, 2);
	for await (const _ of client.ticker({ count: 1 })) void _;
	assert.equal(transport.session.carrier, "websocket");
	await echo();
	assert.equal(fetched, 2);
});

test("a server stream by fetch", { timeout: 15_000 }, async () => {
	const transport = createSluiceTransport({ baseUrl: env.http, carriers: carriers.websocket, serverStreaming: "fetch" });
	after(() => transport.session.close());
	const got = [];
	for await (const m of createClient(service, transport).ticker({ count: 3 })) got.push(m.number);
	assert.deepEqual(got, [1, 2, 3]);
	assert.equal(transport.session.carrier, undefined);
});
