// The demo's messages, made at run time from the descriptor set that the Go test compiles:
// no generated code to keep in step.
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

export function createSchema(descriptorSet) {
	const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptorSet));
	return {
		service: registry.getService("sluice.demo.v1.Demo"),
		message: (name) => registry.getMessage("sluice.demo.v1." + name),
	};
}

// What the backend of web_test.go says when it is told to fail.
export const failure = { message: "as asked: 100% ärger €\n", detail: "why" };

export function equal(got, want, what) {
	if (got !== want) {
		throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
	}
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// until polls a condition that has to become true soon.
export async function until(what, condition) {
	for (const end = Date.now() + 5000; Date.now() < end; await sleep(20)) {
		if (await condition()) return;
	}
	throw new Error(`${what}: not within 5 s`);
}
