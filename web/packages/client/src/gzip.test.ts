import assert from "node:assert/strict";
import { test } from "node:test";
import { gunzipSync, gzipSync } from "node:zlib";
import { Code } from "@connectrpc/connect";
import { createGzip } from "./gzip.js";

const gzip = createGzip();

test("gzip as others have it", async () => {
	for (const size of [0, 1, 100_000]) {
		const b = new Uint8Array(size).map((_, i) => i);
		assert.deepEqual(new Uint8Array(gunzipSync(await gzip.compress(b))), b);
		assert.deepEqual(await gzip.decompress(gzipSync(b), 100_000), b);
	}
});

test("a message that becomes too large, one that is cut, one that is none", async () => {
	const bomb = gzipSync(new Uint8Array(10_000_000));
	await assert.rejects(gzip.decompress(bomb, 1_000_000), { code: Code.ResourceExhausted });
	await assert.rejects(gzip.decompress(bomb.subarray(0, bomb.length - 9), 10_000_000), { code: Code.InvalidArgument });
	await assert.rejects(gzip.decompress(new Uint8Array(10), 1000), { code: Code.InvalidArgument });
});
