// improbable-eng/grpc-web, the older client, in Node over HTTP/1.1.
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import improbable from "@improbable-eng/grpc-web";
import node from "@improbable-eng/grpc-web-node-http-transport";
import { env } from "./env.js";
import { createSchema, failure, until } from "./schema.js";

const { grpc } = improbable;
const { service, message } = createSchema(env.descriptorSet);
globalThis.self ??= globalThis; // the fetch transport takes AbortController from it

const wrap = (schema, value) => ({ value, toObject: () => value, serializeBinary: () => toBinary(schema, value) });

/** method is a hand-made MethodDefinition, as grpc-web's generator writes them. */
function method({ name, input, output, methodKind }) {
	return {
		methodName: name,
		service: { serviceName: service.typeName },
		requestStream: false,
		responseStream: methodKind === "server_streaming",
		requestType: { serializeBinary() {} },
		responseType: { deserializeBinary: (b) => wrap(output, fromBinary(output, b)) },
		create: (fields) => wrap(input, create(input, fields)),
	};
}

const echo = method(service.method.echo);
const ticker = method(service.method.ticker);

/** call starts a call; its promise is kept when the call ends, with whatever status. */
function call(transport, definition, fields, metadata = {}, onMessage = () => {}) {
	const got = { messages: [] };
	let request;
	const done = new Promise((resolve) => {
		request = grpc.invoke(definition, {
			host: env.http,
			transport,
			request: definition.create(fields),
			metadata: new grpc.Metadata(metadata),
			onHeaders: (h) => (got.header = h),
			onMessage: (m) => (got.messages.push(m.value), onMessage(m.value)),
			onEnd: (code, text, trailer) => resolve(Object.assign(got, { code, text, trailer })),
		});
	});
	return { done, close: () => request.close() };
}

const running = async (transport) => (await call(transport, echo, {}).done).header.get("x-running")[0];
const bin = Buffer.from([0, 1, 0xfa, 0xff]).toString("base64").replaceAll("=", "");

const cases = {
	async unary(transport) {
		const got = await call(transport, echo, { text: "grüße" }).done;
		assert.equal(got.code, grpc.Code.OK);
		assert.deepEqual(got.messages.map((m) => m.text), ["grüße"]);
	},

	async "unary, 1 MiB"(transport) {
		const text = "0123456789abcdef".repeat(65536);
		const got = await call(transport, echo, { text }).done;
		assert.equal(got.code, grpc.Code.OK);
		assert.ok(got.messages[0].text === text);
	},

	async "unary, metadata"(transport) {
		const got = await call(transport, echo, {}, { "x-echo": "start", "x-end": "end", "x-echo-bin": bin, "x-end-bin": bin }).done;
		assert.equal(got.code, grpc.Code.OK);
		assert.deepEqual(got.header.get("x-echo"), ["start"]);
		assert.deepEqual(got.trailer.get("x-echo-trailer"), ["end"]);
		assert.deepEqual(got.header.get("x-echo-bin"), [bin]);
		assert.deepEqual(got.trailer.get("x-echo-trailer-bin"), [bin]);
	},

	async "unary, error"(transport) {
		const got = await call(transport, echo, {}, { "x-fail": "9", "x-echo": "start", "x-end": "end" }).done;
		assert.equal(got.code, grpc.Code.FailedPrecondition);
		assert.equal(got.text, failure.message);
		assert.deepEqual(got.trailer.get("x-echo-trailer"), ["end"]);
		assert.deepEqual(got.messages, []);
	},

	async "server stream"(transport) {
		const arrived = [];
		const got = await call(transport, ticker, { count: 4, everyMs: 200 }, { "x-end": "end" }, () => arrived.push(Date.now())).done;
		assert.equal(got.code, grpc.Code.OK);
		assert.deepEqual(got.messages.map((m) => m.number), [1, 2, 3, 4]);
		assert.deepEqual(got.trailer.get("x-echo-trailer"), ["end"]);
		assert.ok(arrived[3] - arrived[0] > 150, "messages come as they are sent");
	},

	async "server stream, error"(transport) {
		const got = await call(transport, ticker, { count: 3 }, { "x-fail": "9", "x-end": "end" }).done;
		assert.equal(got.code, grpc.Code.FailedPrecondition);
		assert.equal(got.text, failure.message);
		assert.equal(got.messages.length, 3);
		assert.deepEqual(got.trailer.get("x-echo-trailer"), ["end"]);
	},

	async "server stream, cancel"(transport) {
		let second;
		const two = new Promise((resolve) => (second = resolve));
		const tick = call(transport, ticker, { count: 1000, everyMs: 50 }, {}, (m) => m.number === 2 && second());
		await two;
		assert.equal(await running(transport), "1");
		tick.close();
		await until("the backend's call ends", async () => (await running(transport)) === "0");
	},
};

for (const [name, transport] of Object.entries({
	"node-http": node.NodeHttpTransport(),
	fetch: grpc.FetchReadableStreamTransport({}),
})) {
	for (const [title, run] of Object.entries(cases)) {
		test(`improbable, ${name}: ${title}`, { timeout: 15_000 }, () => run(transport));
	}
}
