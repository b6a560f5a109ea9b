// Clients of other libraries on sessions of the TypeScript client: @protobuf-ts with generated code, nice-grpc-web and
// improbable-eng/grpc-web, in Node and in Chromium.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { WebSocket } from "ws";
import { browsers } from "./browsers.js";
import { cases } from "./call-cases.js";
import { env } from "./env.js";
import { generated } from "./generate.js";
import { bundle, serve } from "./serve.js";

const rounds = 60;
const code = generated(env.descriptorSet);

const dir = mkdtempSync(join(tmpdir(), "sluice-adapters-"));
after(() => rmSync(dir, { recursive: true }));
writeFileSync(join(dir, "adapters.mjs"), await bundle("adapters.js", { format: "esm", platform: "node", target: "node20", banner: {
	js: `import { createRequire } from "node:module"; const require = createRequire(${JSON.stringify(import.meta.url)});`,
} }, [code]));
const { createAdapters, createWebSocket, pingPong } = await import(join(dir, "adapters.mjs"));

const { session, callers } = createAdapters(env.http, env.descriptorSet, createWebSocket({ WebSocket }));
after(() => session.close());

function check({ code, texts, end }) {
	assert.equal(code, 0);
	assert.deepEqual(texts, Array.from({ length: rounds }, (_, i) => String(i)));
	assert.equal(end, "end");
}

for (const [name, caller] of Object.entries(callers)) {
	for (const [what, run] of Object.entries(cases)) test(`${name}: ${what}`, { timeout: 15_000 }, () => run(caller, false));

	test(`${name}: bidi, over cut connections`, { timeout: 15_000 }, async () => check(await pingPong(caller, session, rounds)));
}

test("in Chromium, over cut connections", { timeout: 60_000 }, async () => {
	const browser = await browsers.Chromium(env.chromium);
	const server = await serve(await bundle("adapters-page.js", {}, [code]), env.listedPort);
	try {
		const page = await browser.newPage();
		await page.goto(server.origin);
		const got = await page.evaluate((arg) => globalThis.judge(arg), { baseUrl: env.http, descriptorSet: [...env.descriptorSet], rounds });
		assert.deepEqual(Object.keys(got), Object.keys(callers));
		for (const one of Object.values(got)) check(one);
	} finally {
		server.close();
		await browser.close();
	}
});
