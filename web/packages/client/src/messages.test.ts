import assert from "node:assert/strict";
import { test } from "node:test";
import { concat } from "./frames.js";
import { compressedFlag, createAssembler, createScanner, encodeMessage } from "./messages.js";

test("messages: cut anywhere", () => {
	const messages = [0, 1, 5, 300, 0, 70_000].map((n) => new Uint8Array(n).fill(n % 251));
	const all = concat(messages.map((m) => encodeMessage(m)));
	for (const step of [1, 2, 3, 7, 4096, all.length]) {
		const assembler = createAssembler(70_000);
		const scanner = createScanner();
		const got: Uint8Array[] = [];
		for (let at = 0; at < all.length; at += step) {
			assembler.push(all.subarray(at, at + step));
			scanner.scan(all.subarray(at, at + step));
			for (let m = assembler.next(); m; m = assembler.next()) got.push(m);
		}
		assert.deepEqual(got, messages, `step ${step}`);
		assert.equal(scanner.inside, false);
	}
});

test("messages: inside", () => {
	const scanner = createScanner();
	const bytes = encodeMessage(new Uint8Array(3));
	for (const [i, b] of bytes.entries()) {
		scanner.scan(Uint8Array.of(b));
		assert.equal(scanner.inside, i < bytes.length - 1, `byte ${i}`);
	}
});

test("messages: too large, compressed", () => {
	const large = createAssembler(10);
	large.push(encodeMessage(new Uint8Array(11)).subarray(0, 5));
	assert.throws(() => large.next(), /11 bytes; the limit is 10/);
	const compressed = createAssembler(10);
	compressed.push(encodeMessage(new Uint8Array(1), compressedFlag));
	assert.throws(() => compressed.next(), /no encoding/);
});
