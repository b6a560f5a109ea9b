// The TypeScript client in Node, against sluice demo: all kinds of calls over each carrier that Node has, and connections
// that are cut under a call while its carrier changes.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { build } from "esbuild";
import { WebSocket } from "ws";

const baseUrl = process.env.PAGE_URL;
if (!baseUrl) throw new Error("PAGE_URL is not set: page_test.go runs this");

const dir = mkdtempSync(join(tmpdir(), "sluice-client-"));
after(() => rmSync(dir, { recursive: true }));
await build({
	entryPoints: [new URL("../../web/packages/client/src/index.ts", import.meta.url).pathname],
	bundle: true, format: "esm", platform: "node", target: "node20", outfile: join(dir, "client.mjs"),
});
const { Code, connect, createDuplex, createLongPoll, createStreamingDuplex, createWebSocket, StatusError } = await import(join(dir, "client.mjs"));

const carriers = {
	"websocket": createWebSocket({ WebSocket }),
	"duplex-streaming": createStreamingDuplex(),
	"duplex": createDuplex(),
	"long-poll": createLongPoll(),
};

// The demo's messages have a text or a number as their first field, and a number as their second.

function varint(n) {
	const b = [];
	for (; n > 127; n = Math.floor(n / 128)) b.push((n % 128) | 128);
	return [...b, n];
}
const text = (s) => {
	const utf8 = Buffer.from(s);
	return Buffer.concat([Uint8Array.from([0x0a, ...varint(utf8.length)]), utf8]);
};
const numbers = (a, b = 0) => Uint8Array.from([0x08, ...varint(a), ...(b ? [0x10, ...varint(b)] : [])]);
function decode(b) {
	const fields = {};
	let at = 0;
	const number = () => {
		for (let n = 0, scale = 1; ; scale *= 128) {
			const c = b[at++];
			n += (c & 127) * scale;
			if (c < 128) return n;
		}
	};
	while (at < b.length) {
		const key = number(), value = number();
		fields[key >> 3] = (key & 7) === 2 ? Buffer.from(b.subarray(at, (at += value))).toString() : value;
	}
	return fields;
}
const all = async (messages) => {
	const got = [];
	for await (const m of messages) got.push(decode(m));
	return got;
};
const service = "/sluice.demo.v1.Demo/";

for (const [name, carrier] of Object.entries(carriers)) {
	describe(name, { timeout: 60_000 }, () => {
		const session = connect({ baseUrl, carriers: carrier });
		after(() => session.close());

		const once = async (method, ...messages) => {
			const call = session.call({ path: service + method, timeoutMs: 20_000 });
			for (const m of messages) await call.send(m);
			call.closeSend();
			return all(call.messages);
		};

		test(`${name}: unary`, async () => {
			assert.deepEqual(await once("Echo", text("grüße")), [{ 1: "grüße" }]);
		});

		test(`${name}: a message larger than the window`, async () => {
			const large = "x".repeat(1_000_000);
			assert.deepEqual(await once("Echo", text(large)), [{ 1: large }]);
		});

		test(`${name}: server streaming`, async () => {
			assert.deepEqual((await once("Ticker", numbers(3, 5))).map((m) => m[1]), [1, 2, 3]);
		});

		test(`${name}: client streaming`, async () => {
			assert.deepEqual(await once("Sum", ...Array.from({ length: 1000 }, (_, i) => numbers(i))), [{ 1: 499_500, 2: 1000 }]);
		});

		test(`${name}: bidirectional, one after the other`, async () => {
			const call = session.call({ path: `${service}Chat` });
			const answers = call.messages[Symbol.asyncIterator]();
			for (let i = 1; i <= 100; i++) {
				await call.send(text(`${i}`));
				assert.deepEqual(decode((await answers.next()).value), { 1: `you said: ${i}`, 2: i });
			}
			call.closeSend();
			assert.equal((await answers.next()).done, true);
			assert.equal((await call.status).code, Code.ok);
		});

		test(`${name}: an error`, async () => {
			await assert.rejects(once("Ticker", numbers(100_001)), (err) => {
				assert.ok(err instanceof StatusError);
				assert.equal(err.code, Code.invalidArgument);
				assert.equal(err.status.message, "count is at most 100000 and every_ms at most 60000");
				return true;
			});
		});

		test(`${name}: a method that is not there`, async () => {
			await assert.rejects(once("Nothing", text("")), { code: Code.unimplemented });
		});

		test(`${name}: deadline`, async () => {
			const call = session.call({ path: `${service}Ticker`, timeoutMs: 100 });
			await call.send(numbers(1000, 50));
			call.closeSend();
			await assert.rejects(all(call.messages), { code: Code.deadlineExceeded });
		});

		test(`${name}: cancel`, async () => {
			const call = session.call({ path: `${service}Ticker` });
			await call.send(numbers(1000, 5));
			call.closeSend();
			for await (const m of call.messages) if (decode(m)[1] === 2) break;
			assert.equal((await call.status).code, Code.cancelled);
		});

		test(`${name}: many at once`, async () => {
			const calls = Array.from({ length: 150 }, (_, i) => once("Echo", text(`${i}`)));
			assert.deepEqual((await Promise.all(calls)).map(([m]) => m[1]), Array.from({ length: 150 }, (_, i) => `${i}`));
		});
	});
}

test("connections cut under 5000 messages, each on another carrier than the one before", { timeout: 120_000 }, async () => {
	const list = Object.values(carriers);
	let opened = 0;
	const session = connect({ baseUrl, carriers: list, onEvent: (e) => e.type === "open" && opened++ });
	const call = session.call({ path: `${service}Chat` });
	const count = 5000;
	let wrong = 0, answered = 0, most = 0;
	const sending = (async () => {
		for (let i = 1; i <= count; i++) {
			await call.send(text(`${i}`));
			if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 20)); // else it is over too soon
		}
		call.closeSend();
	})();
	const cutting = setInterval(() => {
		if (opened % 2 === 0) session.use(list[opened % list.length]);
		else session.cut();
		most = Math.max(most, process.memoryUsage().arrayBuffers);
	}, 30);
	try {
		for await (const m of call.messages) {
			const { 1: said, 2: number } = decode(m);
			answered++;
			if (number !== answered || said !== `you said: ${answered}`) wrong++;
		}
		await sending;
	} finally {
		clearInterval(cutting);
	}
	session.close();
	assert.deepEqual({ answered, wrong }, { answered: count, wrong: 0 });
	assert.ok(opened > 30, `${opened} connections`);
});
