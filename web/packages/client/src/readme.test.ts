// The programs in the README and in the pages about browsers compile, against the sources.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import ts from "typescript";

/** generated is what generators would have made of a proto, by the names that the README has for it. */
const generated = {
	"chat_pb.ts": `import type { GenService } from "@bufbuild/protobuf/codegenv2";
import type { StringValueSchema } from "@bufbuild/protobuf/wkt";
export declare const ChatService: GenService<{
	talk: { methodKind: "bidi_streaming"; input: typeof StringValueSchema; output: typeof StringValueSchema };
}>;`,
	"demo_pb.ts": `import type { GenMessage, GenService } from "@bufbuild/protobuf/codegenv2";
import type { Message } from "@bufbuild/protobuf";
type Request = Message<"sluice.demo.v1.ChatRequest"> & { text: string };
type Response = Message<"sluice.demo.v1.ChatResponse"> & { text: string; number: number };
export declare const Demo: GenService<{
	chat: { methodKind: "bidi_streaming"; input: GenMessage<Request>; output: GenMessage<Response> };
}>;`,
	"chat.client.ts": `import type { DuplexStreamingCall, RpcOptions, RpcTransport } from "@protobuf-ts/runtime-rpc";
interface Text { value: string }
export declare class ChatServiceClient {
	constructor(transport: RpcTransport);
	talk(options?: RpcOptions): DuplexStreamingCall<Text, Text>;
}`,
	"chat.ts": `interface Text { value: string }
export declare const ChatServiceDefinition: {
	talk: {
		path: string; requestStream: true; responseStream: true; options: {};
		requestSerialize(value: Text): Uint8Array; requestDeserialize(b: Uint8Array): Text;
		responseSerialize(value: Text): Uint8Array; responseDeserialize(b: Uint8Array): Text;
	};
};`,
};

/** given is what the programs use and the page around them has. */
const given = `export {};
declare global {
	const baseUrl: string, token: string;
	const message: Uint8Array;
	const words: AsyncIterable<{ value: string }>;
	const user: string, file: Blob, sink: WritableStream<Uint8Array>;
	interface Tick {
		number: number;
	}
	function show(what: unknown, text?: string): void;
	function fetchToken(): Promise<string>;
}`;

test("what the README shows compiles", () => {
	const { exports } = JSON.parse(readFileSync("package.json", "utf8")) as { exports: object };
	const paths: Record<string, string[]> = {};
	for (const name of Object.keys(exports))
		paths[`@sluice-rpc/client${name.slice(1)}`] = [`${process.cwd()}/src/${name.slice(2) || "index"}.ts`];
	const dir = "build/readme";
	mkdirSync(`${dir}/gen`, { recursive: true });
	for (const [name, text] of Object.entries(generated)) writeFileSync(`${dir}/gen/${name}`, text);
	writeFileSync(`${dir}/given.ts`, given);
	const programs = ["README.md", "../../../docs/browser.md", "../../../docs/choosing-a-carrier.md"].flatMap((page) =>
		readFileSync(page, "utf8").split("```ts\n").slice(1),
	);
	const files = programs.map((text, i) => {
		const file = `${dir}/${i}.ts`;
		writeFileSync(file, `${text.slice(0, text.indexOf("```"))}\nexport {};\n`);
		return file;
	});
	assert.ok(files.length >= 8);
	const program = ts.createProgram([`${dir}/given.ts`, ...files], {
		noEmit: true,
		strict: true,
		skipLibCheck: true,
		target: ts.ScriptTarget.ES2022,
		module: ts.ModuleKind.NodeNext,
		moduleResolution: ts.ModuleResolutionKind.NodeNext,
		lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts", "lib.dom.asynciterable.d.ts"],
		types: [],
		allowImportingTsExtensions: true,
		paths,
	});
	const wrong = ts
		.getPreEmitDiagnostics(program)
		.map((d) => `${d.file?.fileName}: ${ts.flattenDiagnosticMessageText(d.messageText, "\n")}`);
	rmSync(dir, { recursive: true });
	assert.deepEqual(wrong, []);
});
