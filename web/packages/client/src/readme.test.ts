import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import ts from "typescript";

const around = `export {};
interface Tick { number: number }
declare const token: string, user: string, file: Blob, sink: WritableStream<Uint8Array>;
declare function show(n: number, text?: string): void;
`;

test("what the README shows of readers and raw bytes compiles", () => {
	const readme = readFileSync("README.md", "utf8");
	const dir = "build/readme-readers";
	mkdirSync(dir, { recursive: true });
	const files = ["@sluice-rpc/client/readers", "@sluice-rpc/client/shared-sse", "openDuplex("].map((what, i) => {
		const snippet = readme.split("```ts\n").find((s) => s.slice(0, s.indexOf("```")).includes(what));
		assert.ok(snippet, what);
		writeFileSync(`${dir}/${i}.ts`, around + snippet.slice(0, snippet.indexOf("```")));
		return `${dir}/${i}.ts`;
	});
	const program = ts.createProgram(files, {
		noEmit: true,
		strict: true,
		skipLibCheck: true,
		target: ts.ScriptTarget.ES2022,
		module: ts.ModuleKind.NodeNext,
		moduleResolution: ts.ModuleResolutionKind.NodeNext,
		lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts", "lib.dom.asynciterable.d.ts"],
		types: [],
		paths: {
			"@sluice-rpc/client": [`${process.cwd()}/src/index.ts`],
			"@sluice-rpc/client/*": [`${process.cwd()}/src/*.ts`],
		},
	});
	const wrong = ts.getPreEmitDiagnostics(program).map((d) => ts.flattenDiagnosticMessageText(d.messageText, "\n"));
	rmSync(dir, { recursive: true });
	assert.deepEqual(wrong, []);
});
