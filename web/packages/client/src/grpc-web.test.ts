import assert from "node:assert/strict";
import { test } from "node:test";
import improbable from "@improbable-eng/grpc-web";
import { createTransportFactory, type SessionTransportFactory } from "./grpc-web.js";
import { encodeMessage } from "./messages.js";
import { createTestServer, type ServedCall, type Service, type TestServer } from "./testing.js";

const { grpc } = improbable;

class Text {
	constructor(readonly value = "") {}
	toObject() {
		return { value: this.value };
	}
	serializeBinary() {
		return new TextEncoder().encode(this.value);
	}
	static deserializeBinary(b: Uint8Array) {
		return new Text(new TextDecoder().decode(b));
	}
}

const method = (methodName: string, stream: boolean) => ({
	methodName,
	service: { serviceName: "test.v1.Echo" },
	requestStream: stream,
	responseStream: stream,
	requestType: Text,
	responseType: Text,
});
const [unary, chat] = [method("Unary", false), method("Chat", true)];

async function rig(service: Service, run: (transport: SessionTransportFactory, server: TestServer) => Promise<void>) {
	const server = createTestServer(service);
	const transport = createTransportFactory({ baseUrl: "http://localhost/", carriers: server.carrier("multiplexed") });
	try {
		await run(transport, server);
	} finally {
		transport.session.close();
	}
}

interface Got {
	headers: improbable.grpc.Metadata;
	messages: string[];
	code: number;
	message: string;
	trailers: improbable.grpc.Metadata;
}

/** begin begins a call. */
function begin(transport: SessionTransportFactory, what: typeof unary, metadata = {}, onMessage = (_: string) => {}) {
	const client = grpc.client<Text, Text, typeof unary>(what, { host: "http://localhost", transport });
	const got = { messages: [] as string[] } as Got;
	const done = new Promise<Got>((resolve) => {
		client.onHeaders((headers) => (got.headers = headers));
		client.onMessage((m) => {
			got.messages.push(m.value);
			onMessage(m.value);
		});
		client.onEnd((code, message, trailers) => resolve({ ...got, code, message, trailers }));
	});
	client.start(new grpc.Metadata(metadata));
	return { client, done };
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

test("unary: the path, metadata, and nothing waits for finishSend", () =>
	rig(echo, async (transport, server) => {
		const { client, done } = begin(transport, unary, { "x-mine": ["1", "2"], "x-mine-bin": "AP8=" });
		client.send(new Text("a"));
		const got = await done;
		assert.deepEqual([got.code, got.messages], [grpc.Code.OK, ["a"]]);
		assert.deepEqual([got.headers.get("x-served-by"), got.trailers.get("x-end")], [["test"], ["of test"]]);
		assert.ok(got.headers instanceof grpc.Metadata);
		const fields = server.calls[0]?.fields;
		assert.deepEqual(
			[":path", "x-mine", "x-mine-bin", "content-type", "x-grpc-web"].map((name) => fields?.get(name)),
			["/test.v1.Echo/Unary", "1, 2", "AP8=", undefined, undefined],
		);
	}));

test("bidirectional: goes on after a cut", () =>
	rig(echo, async (transport, server) => {
		const { client, done } = begin(transport, chat, {}, (value) => {
			const n = Number(value);
			if (n % 5 === 4) server.cut();
			if (n < 19) client.send(new Text(`${n + 1}`));
			else client.finishSend();
		});
		client.send(new Text("0"));
		const got = await done;
		assert.equal(got.code, grpc.Code.OK);
		assert.deepEqual(
			got.messages,
			Array.from({ length: 20 }, (_, i) => `${i}`),
		);
		assert.equal(server.calls[0]?.epoch, 5);
	}));

test("an error, in the middle of a message too", async () => {
	for (const begun of [[], [0, 0, 0, 0, 9, 1]]) {
		const failing: Service = {
			begin(call) {
				if (begun.length > 0) call.write(Uint8Array.from(begun));
				call.end([
					["grpc-status", "5"],
					["grpc-message", "no %C3%A4 %25"],
					["x-end", "1"],
				]);
			},
		};
		await rig(failing, async (transport) => {
			const got = await begin(transport, chat).done;
			assert.deepEqual([got.code, got.message, got.trailers.get("x-end")], [grpc.Code.NotFound, "no ä %", ["1"]]);
		});
	}
});

/** says begins with headers and a message. */
const says = (value: string) => (call: ServedCall) => {
	call.headers([]);
	call.write(encodeMessage(new TextEncoder().encode(value)));
};

test("a call that is closed is cancelled", () =>
	rig({ begin: says("a") }, async (transport, server) => {
		const first = new Promise((resolve) => {
			const { client } = begin(transport, chat, {}, (value) => {
				client.close();
				resolve(value);
			});
		});
		assert.equal(await first, "a");
		for (const end = Date.now() + 5000; Date.now() < end && !server.calls[0]?.cancelled;)
			await new Promise((resolve) => setTimeout(resolve, 5));
		assert.equal(server.calls[0]?.cancelled, true);
	}));
