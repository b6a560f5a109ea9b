import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { create, createFileRegistry } from "@bufbuild/protobuf";
import {
	FileDescriptorProtoSchema,
	FileDescriptorSetSchema,
	file_google_protobuf_wrappers,
	type StringValueSchema,
} from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, createContextValues } from "@connectrpc/connect";
import type { GenService } from "@bufbuild/protobuf/codegenv2";
import {
	createGzip,
	createSluiceTransport,
	datagrams,
	type SluiceTransport,
	type SluiceTransportOptions,
} from "./connect.js";
import { createTestServer, type Service, type TestServer } from "./testing.js";

type Method<Kind> = { methodKind: Kind; input: typeof StringValueSchema; output: typeof StringValueSchema };
type EchoService = GenService<{ unary: Method<"unary">; chat: Method<"bidi_streaming"> }>;

/** echoService is what generated code would have. */
const echoService = (() => {
	const type = ".google.protobuf.StringValue";
	const file = create(FileDescriptorProtoSchema, {
		name: "echo.proto",
		package: "test.v1",
		syntax: "proto3",
		dependency: ["google/protobuf/wrappers.proto"],
		service: [
			{
				name: "Echo",
				method: [
					{ name: "Unary", inputType: type, outputType: type },
					{ name: "Chat", inputType: type, outputType: type, clientStreaming: true, serverStreaming: true },
				],
			},
		],
	});
	const set = create(FileDescriptorSetSchema, { file: [file_google_protobuf_wrappers.proto, file] });
	return createFileRegistry(set).getService("test.v1.Echo") as EchoService;
})();

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

async function rig(
	service: Service,
	run: (server: TestServer, transport: SluiceTransport) => Promise<void>,
	options: Partial<SluiceTransportOptions> = {},
) {
	const server = createTestServer(service);
	const carriers = server.carrier("multiplexed");
	const transport = createSluiceTransport({ baseUrl: "http://localhost/", carriers, unary: "session", ...options });
	try {
		await run(server, transport);
	} finally {
		transport.session.close();
	}
}

test("unary: the path, headers, trailers", () =>
	rig(echo, async (server, transport) => {
		let header = new Headers();
		let trailer = new Headers();
		const answer = await createClient(echoService, transport).unary(
			{ value: "a" },
			{ headers: { "x-mine": "1" }, timeoutMs: 5000, onHeader: (h) => (header = h), onTrailer: (t) => (trailer = t) },
		);
		assert.equal(answer.value, "a");
		assert.deepEqual([header.get("x-served-by"), trailer.get("x-end")], ["test", "of test"]);
		const fields = server.calls[0]?.fields;
		assert.equal(fields?.get(":path"), "/test.v1.Echo/Unary");
		assert.deepEqual([fields?.get("x-mine"), fields?.get("grpc-timeout")], ["1", "5000m"]);
		assert.equal(server.calls[0]?.cancelled, false, "the signal that Connect aborts at the end cancels nothing");
	}));

test("bidirectional: goes on after a cut", () =>
	rig(echo, async (server, transport) => {
		const says: ((value: string | undefined) => void)[] = [];
		const said = Array.from({ length: 21 }, () => new Promise<string | undefined>((resolve) => says.push(resolve)));
		const words = async function* () {
			for (const word of said) {
				const value = await word;
				if (value === undefined) return;
				yield { value };
			}
		};
		const answers = createClient(echoService, transport).chat(words())[Symbol.asyncIterator]();
		for (let i = 0; i < 20; i++) {
			const next = answers.next();
			says[i]?.(`${i}`);
			if (i % 5 === 4) server.cut();
			const { value } = await next;
			assert.equal(value?.value, `${i}`);
		}
		says[20]?.(undefined);
		assert.equal((await answers.next()).done, true);
		assert.equal(server.calls.length, 1);
		assert.equal(server.calls[0]?.epoch, 5);
	}));

test("an error of the server, in the middle of a message too", async () => {
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
		await rig(failing, async (_, transport) => {
			const err = await createClient(echoService, transport).unary({}).catch(ConnectError.from);
			assert.ok(err instanceof ConnectError);
			assert.deepEqual([err.code, err.rawMessage, err.metadata.get("x-end")], [Code.NotFound, "no ä %", "1"]);
		});
	}
});

test("abort, deadline and messages that fail cancel the call", () =>
	rig({}, async (server, transport) => {
		const client = createClient(echoService, transport);
		const abort = new AbortController();
		const aborted = assert.rejects(client.unary({}, { signal: abort.signal }), { code: Code.Canceled });
		await until("the call has begun", () => server.calls.length === 1);
		abort.abort();
		await aborted;
		await assert.rejects(client.unary({}, { timeoutMs: 20 }), { code: Code.DeadlineExceeded });
		const failing = async function* () {
			yield { value: "a" };
			await new Promise((resolve) => setTimeout(resolve, 20));
			throw new Error("no more");
		};
		await assert.rejects(client.chat(failing())[Symbol.asyncIterator]().next(), /no more/);
		await until("all calls are cancelled", () => server.calls.every((c) => c.cancelled));
		assert.ok(server.calls.length >= 2, "what was late may not have begun");
	}));

test("abort and deadline of a call by fetch don't wait for headers", { timeout: 10_000 }, () =>
	rig(
		{},
		async (_, transport) => {
			const client = createClient(echoService, transport);
			const awake = setInterval(() => {}, 1000); // Connect's timers don't keep Node running
			const abort = new AbortController();
			const aborted = assert.rejects(client.unary({}, { signal: abort.signal }), { code: Code.Canceled });
			setTimeout(() => abort.abort(), 20);
			await aborted;
			await assert.rejects(client.unary({}, { timeoutMs: 20 }), { code: Code.DeadlineExceeded });
			await assert.rejects(client.unary({}, { signal: abort.signal }), { code: Code.Canceled });
			clearInterval(awake);
		},
		{ unary: "fetch", headers: () => new Promise(() => {}) },
	),
);

test("headers that throw at once end a call by fetch, and nothing else", async () => {
	const unhandled: unknown[] = [];
	const listener = (reason: unknown) => unhandled.push(reason);
	process.on("unhandledRejection", listener);
	const headers = () => {
		throw new Error("no token");
	};
	await rig(
		{},
		async (_, transport) => {
			await assert.rejects(createClient(echoService, transport).unary({}), /no token/);
			await new Promise((resolve) => setTimeout(resolve, 20));
		},
		{ unary: "fetch", headers },
	);
	process.off("unhandledRejection", listener);
	assert.deepEqual(unhandled, []);
});

/** until waits for something that happens by itself. */
async function until(what: string, good: () => boolean): Promise<void> {
	for (const end = Date.now() + 20_000; !good(); await new Promise((resolve) => setTimeout(resolve, 5)))
		if (Date.now() > end) assert.fail(what);
}

test("headers that never come are asked for again", { timeout: 10_000 }, () => {
	let asked = 0;
	const headers = () => (asked++ === 0 ? new Promise<HeadersInit>(() => {}) : {});
	return rig(
		echo,
		async (_, transport) => {
			const client = createClient(echoService, transport);
			await assert.rejects(client.unary({ value: "a" }), (err) => (err as ConnectError).code === Code.Unavailable);
			for (let n = 0; n < 500 && !transport.state.reason; n++) await new Promise((resolve) => setTimeout(resolve, 10));
			assert.match(`${transport.state.reason}`, /^headers: .*time/);
			assert.equal((await client.unary({ value: "b" })).value, "b");
			assert.equal(asked, 2);
		},
		{ headers, waitMs: 100 },
	);
});

test("a query that an interceptor adds is not of the method's path", () =>
	rig(
		echo,
		async (server, transport) => {
			await createClient(echoService, transport).unary({ value: "a" });
			assert.equal(server.calls[0]?.fields.get(":path"), "/test.v1.Echo/Unary");
		},
		{ interceptors: [(next) => (req) => next({ ...req, url: `${req.url}?to=a/b` })] },
	));

test("JSON, and gzip", async () => {
	const gzip = createGzip();
	const value = "a".repeat(5000);
	for (const options of [
		{ useBinaryFormat: false },
		{ acceptCompression: [gzip], sendCompression: gzip },
		{ useBinaryFormat: false, acceptCompression: [gzip], sendCompression: gzip },
	]) {
		const service: Service = {
			...echo,
			begin(call) {
				const fields: [string, string][] = [["content-type", call.fields.get("content-type") ?? "application/grpc"]];
				const encoding = call.fields.get("grpc-encoding");
				call.headers(encoding ? [...fields, ["grpc-encoding", encoding]] : fields);
			},
		};
		const run = async (server: TestServer, transport: SluiceTransport) => {
			assert.equal((await createClient(echoService, transport).unary({ value })).value, value);
			const [call] = server.calls;
			const json = options.useBinaryFormat === false ? "application/grpc+json" : undefined; // binary is the default
			assert.equal(call?.fields.get("content-type"), json);
			assert.equal(call?.fields.get("grpc-encoding"), options.sendCompression && "gzip");
			assert.equal(call?.fields.get("grpc-accept-encoding"), options.acceptCompression && "gzip");
			assert.equal(call?.fields.has("x-grpc-web"), false);
			if (options.sendCompression) assert.ok((call?.receivedBytes ?? value.length) < 200);
		};
		await rig(service, run, options);
	}
});

test("datagrams by a context value", () =>
	rig(echo, async (server, transport) => {
		const client = createClient(echoService, transport);
		const none = (async function* () {})();
		for (const wanted of [true, "late", undefined] as const) {
			const contextValues = createContextValues().set(datagrams, wanted);
			for await (const _ of client.chat(none, { contextValues }));
		}
		const asked = server.calls.map(({ fields }) => [fields.get(":datagrams"), fields.get(":datagrams-late")]);
		assert.deepEqual(asked, [
			["1", undefined],
			["1", "deliver"],
			[undefined, undefined],
		]);
		assert.ok(server.calls.every(({ fields }) => !fields.has("sluice-datagrams")));
	}));

/** flood sends without an end. */
const flood: Service = {
	begin(call) {
		call.headers([]);
		for (let i = 0; i < 3; i++) call.write(Uint8Array.of(0, 0, 0, 0, 3, 10, 1, 97));
	},
};

test("a loop over responses that was left: nobody takes them", () =>
	rig(
		flood,
		async (server, transport) => {
			const kept = createClient(echoService, transport)
				.chat((async function* () {})())
				[Symbol.asyncIterator]();
			assert.equal((await kept.next()).value?.value, "a");
			await until("the call is cancelled", () => server.calls[0]?.cancelled === true);
			await assert.rejects(
				(async () => {
					while (!(await kept.next()).done);
				})(),
				/nobody has taken what has come for 50 ms/,
			);
		},
		{ unreadMs: 50 },
	));

test("a loop over responses that was left: nobody has them any more", () =>
	rig(flood, async (server, transport) => {
		setFlagsFromString("--expose-gc");
		const collect = runInNewContext("gc") as () => void;
		const wait = async function* () {
			await new Promise(() => {});
		};
		await (async () => {
			for await (const _ of createClient(echoService, transport).chat(wait())) break;
		})();
		await until("the call is cancelled", () => {
			collect();
			return server.calls[0]?.cancelled === true;
		});
	}));
