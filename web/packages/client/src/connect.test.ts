import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { create, createFileRegistry } from "@bufbuild/protobuf";
import {
	FileDescriptorProtoSchema,
	FileDescriptorSetSchema,
	file_google_protobuf_wrappers,
	type StringValueSchema,
} from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import type { GenService } from "@bufbuild/protobuf/codegenv2";
import ts from "typescript";
import { createSluiceTransport, type SluiceTransport } from "./connect.js";
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

async function rig(service: Service, run: (server: TestServer, transport: SluiceTransport) => Promise<void>) {
	const server = createTestServer(service);
	const carriers = server.carrier("multiplexed");
	const transport = createSluiceTransport({ baseUrl: "http://localhost/", carriers, unary: "session" });
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
		await assert.rejects(client.unary({}, { signal: AbortSignal.timeout(20) }), { code: Code.Canceled });
		await assert.rejects(client.unary({}, { timeoutMs: 20 }), { code: Code.DeadlineExceeded });
		const failing = async function* () {
			yield { value: "a" };
			await new Promise((resolve) => setTimeout(resolve, 20));
			throw new Error("no more");
		};
		await assert.rejects(client.chat(failing())[Symbol.asyncIterator]().next(), /no more/);
		for (const end = Date.now() + 5000; Date.now() < end && !server.calls.every((c) => c.cancelled);)
			await new Promise((resolve) => setTimeout(resolve, 5));
		assert.deepEqual(
			server.calls.map((c) => c.cancelled),
			[true, true, true],
		);
	}));

test("what the README shows compiles", () => {
	const readme = readFileSync("README.md", "utf8");
	const snippet = readme.split("```ts\n").find((s) => s.includes("@sluice-rpc/client/connect"));
	assert.ok(snippet);
	const dir = "build/readme";
	mkdirSync(`${dir}/gen`, { recursive: true });
	const method = `{ methodKind: "bidi_streaming"; input: typeof StringValueSchema; output: typeof StringValueSchema }`;
	writeFileSync(
		`${dir}/gen/chat_pb.ts`,
		`import type { GenService } from "@bufbuild/protobuf/codegenv2";
import type { StringValueSchema } from "@bufbuild/protobuf/wkt";
export declare const ChatService: GenService<{ talk: ${method} }>;\n`,
	);
	const around = `declare const words: AsyncIterable<{ value: string }>;\ndeclare function show(text: string): void;\n`;
	writeFileSync(`${dir}/snippet.ts`, around + snippet.slice(0, snippet.indexOf("```")));
	const program = ts.createProgram([`${dir}/snippet.ts`], {
		noEmit: true,
		strict: true,
		skipLibCheck: true,
		target: ts.ScriptTarget.ES2022,
		module: ts.ModuleKind.NodeNext,
		moduleResolution: ts.ModuleResolutionKind.NodeNext,
		lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts", "lib.dom.asynciterable.d.ts"],
		types: [],
		paths: { "@sluice-rpc/client/connect": [`${process.cwd()}/src/connect.ts`] },
	});
	const wrong = ts.getPreEmitDiagnostics(program).map((d) => ts.flattenDiagnosticMessageText(d.messageText, "\n"));
	rmSync(dir, { recursive: true });
	assert.deepEqual(wrong, []);
});
