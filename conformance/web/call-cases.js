// What calls of callers.js have to be able to do.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { failure, sleep, until } from "./schema.js";

const bin = Buffer.from([0, 1, 0xfa, 0xff]).toString("base64").replaceAll("=", "");
const asked = { "x-echo": "start", "x-end": "end", "x-echo-bin": bin, "x-end-bin": bin };

function fields(got) {
	assert.equal(got.header("x-echo"), "start");
	assert.equal(got.header("x-echo-bin"), bin);
	assert.equal(got.trailer("x-echo-trailer"), "end");
	assert.equal(got.trailer("x-echo-trailer-bin"), bin);
}

const running = async (c) => (await c.call("echo", [{}]).done).header("x-running");

/** cases are called with a caller, and whether it compresses. They fail by throwing. */
export const cases = {
	async unary(c) {
		const got = await c.call("echo", [{ text: "grüße" }], { metadata: asked }).done;
		assert.equal(got.code, 0, got.text);
		assert.deepEqual(got.messages.map((m) => m.text), ["grüße"]);
		fields(got);
	},

	async "unary, 1 MiB"(c) {
		const text = randomBytes(1 << 19).toString("hex"); // more than permessage-deflate may make small
		const got = await c.call("echo", [{ text }]).done;
		assert.equal(got.code, 0, got.text);
		assert.ok(got.messages[0].text === text);
	},

	async "unary, error"(c) {
		const got = await c.call("echo", [{}], { metadata: { ...asked, "x-fail": "9" } }).done;
		assert.equal(got.code, 9);
		assert.equal(got.text, failure.message);
		assert.deepEqual(got.messages, []);
		fields(got);
	},

	async "unary, not there"(c) {
		const got = await c.call("missing", [{}]).done;
		assert.equal(got.code, 12);
	},

	async "unary, deadline"(c) {
		const got = await c.call("echo", [{}], { metadata: { "grpc-timeout": "200m", "x-wait": "1" } }).done;
		assert.equal(got.code, 4);
	},

	async "message above the limit"(c) {
		const got = await c.call("echo", [{ text: randomBytes(5 << 19).toString("hex") }]).done;
		assert.equal(got.code, 8, got.text);
		assert.match(got.text, /limits\.message_bytes/);
	},

	async "message compressed by more than the limit"(c, compressed) {
		const got = await c.call("echo", [{ text: "x".repeat(2 << 20) }]).done;
		assert.equal(got.code, compressed ? 8 : 0, got.text);
		if (compressed) assert.match(got.text, /limits\.decompression_ratio/);
	},

	async "server stream"(c) {
		const arrived = [];
		const got = await c.call("ticker", [{ count: 4, everyMs: 100 }], { metadata: asked, onMessage: () => arrived.push(Date.now()) }).done;
		assert.equal(got.code, 0, got.text);
		assert.deepEqual(got.messages.map((m) => m.number), [1, 2, 3, 4]);
		assert.ok(arrived[3] - arrived[0] > 100, "messages come as they are sent");
		fields(got);
	},

	async "server stream, error"(c) {
		const got = await c.call("ticker", [{ count: 3 }], { metadata: { ...asked, "x-fail": "9" } }).done;
		assert.equal(got.code, 9);
		assert.equal(got.text, failure.message);
		assert.equal(got.messages.length, 3);
		fields(got);
	},

	async "server stream, cancel"(c) {
		let second;
		const two = new Promise((resolve) => (second = resolve));
		const call = c.call("ticker", [{ count: 1000, everyMs: 50 }], { onMessage: (m) => m.number === 2 && second() });
		await two;
		assert.equal(await running(c), "1");
		call.cancel();
		await until("the backend's call ends", async () => (await running(c)) === "0");
	},

	async "client stream"(c) {
		const call = c.call("sum", [{ number: 1n }, { number: 2n }], { metadata: asked, finish: false });
		await sleep(100);
		call.send({ number: 39n });
		call.finish();
		const got = await call.done;
		assert.equal(got.code, 0, got.text);
		assert.deepEqual(got.messages.map((m) => [m.sum, m.count]), [[42n, 3]]);
		fields(got);
	},

	async "client stream, many"(c) {
		const got = await c.call("sum", Array.from({ length: 2000 }, () => ({ number: 3n }))).done;
		assert.equal(got.code, 0, got.text);
		assert.deepEqual(got.messages.map((m) => [m.sum, m.count]), [[6000n, 2000]]);
	},

	async "bidi, ping-pong"(c) {
		const call = c.call("chat", [{ text: "0" }], {
			metadata: asked,
			finish: false,
			onMessage: (m) => (m.number < 50 ? call.send({ text: String(m.number) }) : call.finish()),
		});
		const got = await call.done;
		assert.equal(got.code, 0, got.text);
		assert.deepEqual(got.messages.map((m) => m.text), Array.from({ length: 50 }, (_, i) => String(i)));
		fields(got);
	},

	async "bidi, headers before any message"(c) {
		let early;
		const headers = new Promise((resolve) => (early = resolve));
		const call = c.call("chat", [], { metadata: asked, finish: false, onHeaders: () => early() });
		await headers;
		call.finish();
		const got = await call.done;
		assert.equal(got.code, 0, got.text);
		assert.deepEqual(got.messages, []);
		fields(got);
	},

	async "bidi, error"(c) {
		const call = c.call("chat", [{ text: "a" }], { metadata: { "x-fail": "9" }, finish: false, onMessage: () => call.finish() });
		const got = await call.done;
		assert.equal(got.code, 9);
		assert.equal(got.text, failure.message);
		assert.equal(got.messages.length, 1);
	},

	async "bidi, cancel"(c) {
		let first;
		const one = new Promise((resolve) => (first = resolve));
		const call = c.call("chat", [{ text: "a" }], { finish: false, onMessage: () => first() });
		await one;
		assert.equal(await running(c), "1");
		call.cancel();
		await until("the backend's call ends", async () => (await running(c)) === "0");
	},
};
