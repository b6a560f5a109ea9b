import assert from "node:assert/strict";
import { test } from "node:test";
import { MessageType, ScalarType } from "@protobuf-ts/runtime";
import { type RpcInterceptor, RpcError, ServiceType, stackIntercept } from "@protobuf-ts/runtime-rpc";
import { encodeMessage } from "./messages.js";
import { createRpcTransport, type SessionRpcTransport } from "./protobuf-ts.js";
import { createTestServer, type ServedCall, type Service, type TestServer } from "./testing.js";

interface Text {
	value: string;
}

const text = new MessageType<Text>("test.v1.Text", [{ no: 1, name: "value", kind: "scalar", T: ScalarType.STRING }]);
const { methods } = new ServiceType("test.v1.Echo", [
	{ name: "Unary", options: {}, I: text, O: text },
	{ name: "Watch", options: {}, I: text, O: text, serverStreaming: true },
	{ name: "Sum", options: {}, I: text, O: text, clientStreaming: true },
	{ name: "Chat", options: {}, I: text, O: text, clientStreaming: true, serverStreaming: true },
]);

/** createClient makes calls as generated clients do. */
function createClient(transport: SessionRpcTransport) {
	const method = (i: number) => methods[i] as (typeof methods)[number];
	type Options = Parameters<SessionRpcTransport["mergeOptions"]>[0];
	const opt = (options: Options) => transport.mergeOptions(options);
	return {
		unary: (input: Text, options?: Options) =>
			stackIntercept<Text, Text>("unary", transport, method(0) as never, opt(options), input),
		watch: (input: Text, options?: Options) =>
			stackIntercept<Text, Text>("serverStreaming", transport, method(1) as never, opt(options), input),
		sum: (options?: Options) =>
			stackIntercept<Text, Text>("clientStreaming", transport, method(2) as never, opt(options)),
		chat: (options?: Options) => stackIntercept<Text, Text>("duplex", transport, method(3) as never, opt(options)),
	};
}

type Client = ReturnType<typeof createClient>;

async function rig(
	service: Service,
	run: (client: Client, server: TestServer, transport: SessionRpcTransport) => Promise<void>,
) {
	const server = createTestServer(service);
	const interceptor: RpcInterceptor = {
		interceptUnary: (next, method, input, options) =>
			next(method, input, { ...options, meta: { ...options.meta, "x-intercepted": method.name } }),
	};
	const transport = createRpcTransport(
		{ baseUrl: "http://localhost/", carriers: server.carrier("multiplexed") },
		{ interceptors: [interceptor], meta: { "x-default": "1" } },
	);
	try {
		await run(createClient(transport), server, transport);
	} finally {
		transport.session.close();
	}
}

const echo: Service = {
	begin: (call) => call.headers([["x-served-by", "test"]]),
	data(call, b) {
		call.write(b);
		call.take(b.length);
	},
	halfClosed: (call) =>
		call.end([
			["grpc-status", "0"],
			["x-end", "of test"],
		]),
};

const encoded = (value: string) => encodeMessage(text.toBinary({ value }));
const rpcError = (code: string, message: RegExp) => (err: unknown) => {
	assert.ok(err instanceof RpcError);
	assert.equal(err.code, code);
	assert.match(err.message, message);
	return true;
};

test("unary: the path, metadata, deadline, status, interceptors", () =>
	rig(echo, async (client, server) => {
		const got = await client.unary({ value: "a" }, { timeout: 5000, meta: { "x-mine": ["1", "2"], "x-bin": "AAEC" } });
		assert.equal(got.response.value, "a");
		assert.deepEqual([got.headers, got.trailers], [{ "x-served-by": "test" }, { "x-end": "of test" }]);
		assert.deepEqual(got.status, { code: "OK", detail: "" });
		const fields = server.calls[0]?.fields;
		assert.deepEqual(
			[":path", "x-mine", "x-bin", "x-default", "x-intercepted", "grpc-timeout"].map((name) => fields?.get(name)),
			["/test.v1.Echo/Unary", "1, 2", "AAEC", "1", "Unary", "5000m"],
		);
	}));

test("duplex: one after the other, over cut connections", () =>
	rig(echo, async (client, server) => {
		const call = client.chat();
		const answers = call.responses[Symbol.asyncIterator]();
		for (let i = 0; i < 20; i++) {
			await call.requests.send({ value: `${i}` });
			if (i % 5 === 4) server.cut();
			assert.equal((await answers.next()).value?.value, `${i}`);
		}
		await call.requests.complete();
		assert.equal((await answers.next()).done, true);
		assert.equal((await call).trailers["x-end"], "of test");
		assert.equal(server.calls[0]?.epoch, 5);
	}));

test("client streaming", () => {
	const service: Service = {
		halfClosed(call) {
			call.write(encoded(`${call.receivedBytes}`));
			call.end([["grpc-status", "0"]]);
		},
	};
	return rig(service, async (client) => {
		const call = client.sum();
		for (const value of ["a", "b", "c"]) await call.requests.send({ value });
		await call.requests.complete();
		assert.equal((await call.response).value, `${3 * encoded("a").length}`);
		await assert.rejects(call.requests.send({ value: "" }));
	});
});

test("an error has the code, the message, the trailers and the method", () =>
	rig(
		{
			begin: (call) =>
				call.end([
					["grpc-status", "5"],
					["grpc-message", "no %C3%A4"],
					["x-end", "1"],
				]),
		},
		async (client) => {
			const err = await client.unary({ value: "" }).then(undefined, (e) => e);
			assert.ok(err instanceof RpcError);
			assert.deepEqual(
				[err.code, err.message, err.meta, err.serviceName, err.methodName],
				["NOT_FOUND", "no ä", { "x-end": "1" }, "test.v1.Echo", "Unary"],
			);
			const call = client.watch({ value: "" });
			for (const failed of [call.headers, call.status, call.trailers, call.responses[Symbol.asyncIterator]().next()])
				await assert.rejects(failed, rpcError("NOT_FOUND", /ä/));
		},
	));

test("abort, deadlines of both kinds", () =>
	rig({}, async (client, server) => {
		const abort = new AbortController();
		const { response } = client.unary({ value: "" }, { abort: abort.signal });
		await until(() => server.calls.length === 1);
		abort.abort();
		await assert.rejects(response, rpcError("CANCELLED", /signal/));
		await until(() => server.calls[0]?.cancelled);
		const late = rpcError("DEADLINE_EXCEEDED", /./);
		await assert.rejects(client.unary({ value: "" }, { timeout: 20 }).response, late);
		await assert.rejects(client.unary({ value: "" }, { timeout: new Date(Date.now() + 20) }).response, late);
		await assert.rejects(client.unary({ value: "" }, { timeout: new Date(0) }).response, late);
		const call = client.chat({ timeout: 20 });
		await assert.rejects(call.status, late);
		await assert.rejects(call.requests.send({ value: "" }), late);
	}));

test("a unary call has one response", async () => {
	for (const [count, what] of [
		[0, /no response/],
		[2, /more than one/],
	] as const) {
		const service: Service = {
			halfClosed(call) {
				for (let i = 0; i < count; i++) call.write(encoded("a"));
				call.end([["grpc-status", "0"]]);
			},
		};
		await rig(service, async (client) =>
			assert.rejects(client.unary({ value: "" }).response, rpcError("UNIMPLEMENTED", what)),
		);
	}
});

test("a malformed message ends the call", () =>
	rig({ begin: (call) => call.write(encodeMessage(Uint8Array.of(0x0a, 9))) }, async (client, server) => {
		const call = client.chat();
		await assert.rejects(call.responses[Symbol.asyncIterator]().next(), rpcError("INTERNAL", /malformed/));
		await assert.rejects(call.status, rpcError("CANCELLED", /malformed/));
		await until(() => server.calls[0]?.cancelled);
	}));

/** flood sends as long as it may. */
function flood(count: number) {
	const large = "x".repeat(16_000);
	let sent = 0;
	const more = (call: ServedCall) => {
		if (call.ended) return;
		if (sent === count) return call.end([["grpc-status", "0"]]);
		call.write(encoded(`${++sent} ${large}`)); // which asks again while there is room
	};
	return {
		service: { begin: more, room: more } satisfies Service,
		get sent() {
			return sent;
		},
	};
}

test("who does not read stops the server; a for await reads all", () => {
	const server = flood(300);
	return rig(server.service, async (client) => {
		const call = client.watch({ value: "" });
		await until(() => server.sent >= 8);
		await new Promise((resolve) => setTimeout(resolve, 50));
		assert.ok(server.sent < 20, `${server.sent} messages of 16 kB without a reader`);
		let got = 0;
		for await (const { value } of call.responses) assert.equal(parseInt(value), ++got);
		assert.equal(got, 300);
		assert.equal((await call.status).code, "OK");
	});
});

test("callbacks are given what comes, the first ones too", () => {
	const server = flood(100);
	return rig(server.service, async (client) => {
		const { responses } = client.watch({ value: "" });
		const got: number[] = [];
		const ended = new Promise<void>((resolve) => responses.onComplete(resolve));
		await until(() => server.sent >= 8);
		responses.onMessage(({ value }) => got.push(parseInt(value)));
		const removed = responses.onMessage(() => assert.fail("it was removed"));
		removed();
		await ended;
		assert.deepEqual(
			got,
			Array.from({ length: 100 }, (_, i) => i + 1),
		);
	});
});

test("a callback that throws ends the call", () =>
	rig({ begin: (call) => call.write(encoded("a")) }, async (client, server) => {
		const call = client.chat();
		const failed = new Promise<Error>((resolve) => call.responses.onError(resolve));
		call.responses.onMessage(() => {
			throw new Error("of the callback");
		});
		assert.equal((await failed).message, "of the callback");
		await until(() => server.calls[0]?.cancelled);
	}));

async function until(good: () => boolean | undefined) {
	for (const end = Date.now() + 5000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 2)))
		if (good()) return;
	assert.fail("not within 5 s");
}
