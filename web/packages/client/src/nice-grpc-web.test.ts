import assert from "node:assert/strict";
import { test } from "node:test";
import { ClientError, createChannel, createClient, Metadata, Status } from "nice-grpc-web";
import { createNiceTransport } from "./nice-grpc-web.js";
import { createTestServer, type Service, type TestServer } from "./testing.js";

interface Text {
	readonly value: string;
}

const serialize = ({ value }: Text) => new TextEncoder().encode(value);
const deserialize = (b: Uint8Array): Text => ({ value: new TextDecoder().decode(b) });
const text = {
	requestSerialize: serialize,
	requestDeserialize: deserialize,
	responseSerialize: serialize,
	responseDeserialize: deserialize,
	options: {},
};
const definition = {
	unary: { path: "/test.v1.Echo/Unary", requestStream: false, responseStream: false, ...text },
	chat: { path: "/test.v1.Echo/Chat", requestStream: true, responseStream: true, ...text },
} as const;

async function rig(service: Service, run: (client: ReturnType<typeof make>, server: TestServer) => Promise<void>) {
	const server = createTestServer(service);
	const transport = createNiceTransport({ baseUrl: "http://localhost/", carriers: server.carrier("multiplexed") });
	try {
		await run(make(transport), server);
	} finally {
		transport.session.close();
	}
}
const make = (transport: ReturnType<typeof createNiceTransport>) =>
	createClient(definition, createChannel("http://localhost", transport));

const echo: Service = {
	begin: (call) =>
		call.headers([
			["x-served-by", "test"],
			["x-bytes-bin", "AP8"],
		]),
	data(call, b) {
		call.write(b);
		call.take(b.length);
	},
	halfClosed: (call) =>
		call.end([
			["grpc-status", "0"],
			["x-end", "of test"],
			["x-end-bin", "AQ==, Ag"],
		]),
};

test("unary: the path, metadata", () =>
	rig(echo, async (client, server) => {
		let header = Metadata();
		let trailer = Metadata();
		const answer = await client.unary(
			{ value: "a" },
			{
				metadata: Metadata({ "x-mine": "1", "x-mine-bin": Uint8Array.of(0, 255) }),
				onHeader: (h) => (header = h),
				onTrailer: (t) => (trailer = t),
			},
		);
		assert.equal(answer.value, "a");
		assert.deepEqual([header.get("x-served-by"), header.get("x-bytes-bin")], ["test", Uint8Array.of(0, 255)]);
		assert.deepEqual(
			[trailer.get("x-end"), trailer.getAll("x-end-bin")],
			["of test", [Uint8Array.of(1), Uint8Array.of(2)]],
		);
		const fields = server.calls[0]?.fields;
		assert.deepEqual(
			[":path", "x-mine", "x-mine-bin", "content-type", "x-grpc-web"].map((name) => fields?.get(name)),
			["/test.v1.Echo/Unary", "1", "AP8=", undefined, undefined],
		);
	}));

test("bidirectional: goes on after a cut", () =>
	rig(echo, async (client, server) => {
		const says: ((value: string | undefined) => void)[] = [];
		const said = Array.from({ length: 21 }, () => new Promise<string | undefined>((resolve) => says.push(resolve)));
		const words = async function* () {
			for (const word of said) {
				const value = await word;
				if (value === undefined) return;
				yield { value };
			}
		};
		const answers = client.chat(words())[Symbol.asyncIterator]();
		for (let i = 0; i < 20; i++) {
			const next = answers.next();
			says[i]?.(`${i}`);
			if (i % 5 === 4) server.cut();
			assert.deepEqual((await next).value, { value: `${i}` });
		}
		says[20]?.(undefined);
		assert.equal((await answers.next()).done, true);
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
				]);
			},
		};
		await rig(failing, async (client) => {
			const err = await client.unary({ value: "a" }).catch((e) => e);
			assert.ok(err instanceof ClientError);
			assert.deepEqual([err.code, err.details], [Status.NOT_FOUND, "no ä %"]);
		});
	}
});

const speaking: Service = {
	begin(call) {
		call.headers([]);
		call.write(Uint8Array.of(0, 0, 0, 0, 1, 97));
	},
};

test("abort, leaving the loop and messages that fail cancel the call", () =>
	rig(speaking, async (client, server) => {
		const until = async (good: () => boolean) => {
			for (const end = Date.now() + 5000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 2)))
				if (good()) return;
			assert.fail("not within 5 s");
		};
		const never = async function* (fails: boolean) {
			yield { value: "a" };
			if (fails) await until(() => server.calls.length === 3);
			if (fails) throw new Error("no more");
			await new Promise(() => {});
		};
		const abort = new AbortController();
		await assert.rejects(
			async () => {
				for await (const _ of client.chat(never(false), { signal: abort.signal })) abort.abort();
			},
			{ name: "AbortError" },
		);
		for await (const _ of client.chat(never(false))) break;
		await assert.rejects(async () => {
			for await (const _ of client.chat(never(true))) void _;
		}, /no more/);
		await until(() => server.calls.length === 3 && server.calls.every((c) => c.cancelled));
	}));
