// grpc-websockets, with the clients that speak it as they come from npm: improbable-eng/grpc-web, with
// permessage-deflate and without, and nice-grpc-web. Each makes calls of all kinds. And grpc-websockets-multiplex, whose only
// client is no package: a transport for improbable-eng/grpc-web that does as it does.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import improbable from "@improbable-eng/grpc-web";
import { createChannel, createClientFactory, Metadata, WebsocketTransport } from "nice-grpc-web";
import { WebSocket } from "ws";
import { env } from "./env.js";
import { createSchema, failure, sleep, until } from "./schema.js";

const { grpc } = improbable;
const { service } = createSchema(env.descriptorSet);

process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0"; // the certificate is the test's own
globalThis.WebSocket = WebSocket;
class Uncompressed extends WebSocket {
	constructor(url, protocols) {
		super(url, protocols, { perMessageDeflate: false });
	}
}

/**
 * createMultiplexed returns a transport that carries all calls on one WebSocket, as Deephaven's
 * MultiplexedWebsocketTransport does. That one has no cancel of a call; this one closes the
 * WebSocket if told to.
 */
function createMultiplexed() {
	let socket;
	let next = 0;
	let opened;
	after(() => socket.terminate());
	return (options) => {
		const id = next++;
		const { protocol, host, pathname } = new URL(options.url);
		const send = (number, bytes) => {
			const message = Buffer.alloc(4 + bytes.length);
			message.writeUInt32BE(number >>> 0);
			message.set(bytes, 4);
			opened.then((s) => s.send(message));
		};
		return {
			start(metadata) {
				if (!socket || socket.readyState > WebSocket.OPEN) {
					const s = new WebSocket(protocol.replace("http", "ws") + "//" + host + pathname, ["grpc-websockets-multiplex", "grpc-websockets"]);
					s.binaryType = "nodebuffer";
					s.setMaxListeners(0);
					opened = new Promise((resolve) => s.on("open", () => resolve(s)));
					socket = s;
				}
				metadata.append("grpc-websockets-path", pathname.slice(1));
				let block = "";
				metadata.forEach((key, values) => (block += `${key}: ${values.join(", ")}\r\n`));
				send(id, Buffer.from(block, "latin1"));
				const mine = socket;
				let ended = false;
				const end = (err) => {
					if (!ended) options.onEnd(err);
					ended = true;
				};
				mine.on("close", () => end(new Error("the WebSocket was closed")));
				mine.on("message", (data) => {
					assert.equal(mine.protocol, "grpc-websockets-multiplex");
					const number = data.readUInt32BE();
					if ((number & 0x7fffffff) !== id || ended) return;
					options.onChunk(new Uint8Array(data.subarray(4)));
					if (number >>> 31) end();
				});
			},
			sendMessage: (bytes) => send(id, Buffer.concat([Buffer.of(0), bytes])),
			finishSend: () => send(id + 0x80000000, Buffer.of(1)),
			cancel: () => socket.close(),
		};
	};
}

/** createImprobable makes calls as that library's users do. */
function createImprobable(host, socket, transport = grpc.WebsocketTransport()) {
	const wrap = (schema, value) => ({ value, toObject: () => value, serializeBinary: () => toBinary(schema, value) });
	return {
		/**
		 * call starts one; messages are those of the client. done is kept when it ends, with
		 * whatever status. Without finish it is not half-closed.
		 */
		call(name, messages, { metadata = {}, onMessage = () => {}, onHeaders = () => {}, finish = true } = {}) {
			const { input, output, methodKind } = service.method[name];
			const got = { messages: [] };
			globalThis.WebSocket = socket;
			const client = grpc.client(
				{
					methodName: service.method[name].name,
					service: { serviceName: service.typeName },
					requestStream: methodKind === "client_streaming" || methodKind === "bidi_streaming",
					responseStream: methodKind === "server_streaming" || methodKind === "bidi_streaming",
					requestType: { serializeBinary() {} },
					responseType: { deserializeBinary: (b) => wrap(output, fromBinary(output, b)) },
				},
				{ host, transport },
			);
			const done = new Promise((resolve) => {
				client.onHeaders((h) => {
					got.header = (name) => h.get(name)[0];
					onHeaders();
				});
				client.onMessage((m) => {
					got.messages.push(m.value);
					onMessage(m.value);
				});
				client.onEnd((code, text, t) => resolve(Object.assign(got, { code, text, trailer: (name) => t.get(name)[0] })));
			});
			client.start(new grpc.Metadata(metadata));
			const send = (m) => client.send(wrap(input, create(input, m)));
			for (const m of messages) send(m);
			if (finish) client.finishSend();
			return { done, send, finish: () => client.finishSend(), cancel: () => client.close() };
		},
	};
}

/** createNice has the same methods, on nice-grpc-web. */
function createNice(host) {
	const definition = {};
	for (const [name, m] of Object.entries(service.method)) {
		definition[name] = {
			path: `/${service.typeName}/${m.name}`,
			requestStream: m.methodKind === "client_streaming" || m.methodKind === "bidi_streaming",
			responseStream: m.methodKind === "server_streaming" || m.methodKind === "bidi_streaming",
			requestSerialize: (value) => toBinary(m.input, create(m.input, value)),
			responseDeserialize: (bytes) => fromBinary(m.output, bytes),
			options: {},
		};
	}
	const client = createClientFactory().create(definition, createChannel(host, WebsocketTransport()));
	return {
		call(name, messages, { metadata = {}, onMessage = () => {}, onHeaders = () => {}, finish = true } = {}) {
			const queue = [...messages];
			let ended = finish;
			let wake = () => {};
			async function* requests() {
				for (;;) {
					while (queue.length > 0) yield queue.shift();
					if (ended) return;
					await new Promise((resolve) => (wake = resolve));
				}
			}
			const abort = new AbortController();
			const got = { messages: [], code: 0, text: "" };
			const md = new Metadata();
			for (const [k, v] of Object.entries(metadata)) md.set(k, k.endsWith("-bin") ? Buffer.from(v, "base64") : v);
			const text = (m, name) => {
				const v = m.get(name);
				return v instanceof Uint8Array ? Buffer.from(v).toString("base64").replaceAll("=", "") : v;
			};
			const options = {
				metadata: md,
				signal: abort.signal,
				onHeader: (h) => {
					got.header = (name) => text(h, name);
					onHeaders();
				},
				onTrailer: (t) => (got.trailer = (name) => text(t, name)),
			};
			const run = async () => {
				const { requestStream, responseStream } = definition[name];
				const answer = client[name](requestStream ? requests() : messages[0], options);
				const take = (m) => {
					got.messages.push(m);
					onMessage(m);
				};
				if (responseStream) for await (const m of answer) take(m);
				else take(await answer);
			};
			const done = run().then(
				() => got,
				(err) => Object.assign(got, { code: err.code, text: err.details, err }),
			);
			const send = (m) => {
				queue.push(m);
				wake();
			};
			const end = () => {
				ended = true;
				wake();
			};
			return { done, send, finish: end, cancel: () => abort.abort() };
		},
	};
}

const bin = Buffer.from([0, 1, 0xfa, 0xff]).toString("base64").replaceAll("=", "");
const asked = { "x-echo": "start", "x-end": "end", "x-echo-bin": bin, "x-end-bin": bin };

function fields(got) {
	assert.equal(got.header("x-echo"), "start");
	assert.equal(got.header("x-echo-bin"), bin);
	assert.equal(got.trailer("x-echo-trailer"), "end");
	assert.equal(got.trailer("x-echo-trailer-bin"), bin);
}

const running = async (c) => (await c.call("echo", [{}]).done).header("x-running");

const cases = {
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
		const saved = service.method.echo.name;
		const got = await c.call("missing", [{}]).done;
		assert.equal(got.code, 12);
		assert.equal(service.method.echo.name, saved);
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

// A method that the backend does not have, for the clients to ask for.
service.method.missing = { ...service.method.echo, name: "Missing" };

for (const [title, base] of Object.entries({ "": env.http, " with TLS": env.https })) {
	for (const [name, client] of Object.entries({
		improbable: createImprobable(base, WebSocket),
		"improbable, uncompressed": createImprobable(base, Uncompressed),
		nice: createNice(base),
		multiplexed: createImprobable(base, WebSocket, createMultiplexed()),
	})) {
		for (const [what, run] of Object.entries(cases)) {
			test(`${name}${title}: ${what}`, { timeout: 15_000 }, () => run(client, !name.includes("uncompressed")));
		}
	}
}
