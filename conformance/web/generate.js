// What @protobuf-ts/plugin generates, as modules for esbuild: "generated:demo.client" is demo.client.ts.
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { CodeGeneratorRequestSchema, CodeGeneratorResponseSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

/** generated makes a plugin of what the generator makes of a descriptor set. */
export function generated(descriptorSet) {
	const protoFile = fromBinary(FileDescriptorSetSchema, descriptorSet).file;
	const input = toBinary(CodeGeneratorRequestSchema, create(CodeGeneratorRequestSchema, { fileToGenerate: protoFile.map((f) => f.name), protoFile }));
	const program = createRequire(import.meta.url).resolve("@protobuf-ts/plugin/bin/protoc-gen-ts");
	const { error, file } = fromBinary(CodeGeneratorResponseSchema, execFileSync(process.execPath, [program], { input, maxBuffer: 1 << 26 }));
	if (error) throw new Error(error);
	const files = new Map(file.map((f) => [f.name.replace(/\.ts$/, ""), f.content]));
	return {
		name: "generated",
		setup(b) {
			b.onResolve({ filter: /^generated:/ }, ({ path }) => ({ path: path.slice("generated:".length), namespace: "generated" }));
			b.onResolve({ filter: /^\./, namespace: "generated" }, ({ path, importer }) =>
				({ path: new URL(path, `file:///${importer}`).pathname.slice(1), namespace: "generated" }));
			b.onLoad({ filter: /./, namespace: "generated" }, ({ path }) =>
				({ contents: files.get(path), loader: "ts", resolveDir: import.meta.dirname }));
		},
	};
}
