// The bidirectional calls of the matrix in Chromium, through proxies, over whatever carrier a session chooses by itself.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openPage } from "./serve.js";

const proxies = JSON.parse(process.env.PROXIES_URLS ?? "{}"); // by name
let opened;

before(async () => {
	opened = await openPage("Chromium", process.env.PROXIES_CHROMIUM, "matrix-page.js");
}, { timeout: 90_000 });
after(() => opened?.close(), { timeout: 15_000 });

for (const [name, baseUrl] of Object.entries(proxies)) {
	test(name, { timeout: 60_000 }, async (t) => {
		const results = await opened.evaluate(([where, kinds]) => globalThis.play(where, kinds), [{ carrier: "automatic", baseUrl }, ["bidi"]]);
		t.diagnostic(JSON.stringify({ carrier: await opened.evaluate((where) => globalThis.carrierOf(where), { carrier: "automatic", baseUrl }) }));
		assert.equal(Object.keys(results).length, 17);
		assert.deepEqual(Object.entries(results).filter(([, wrong]) => wrong), []);
	});
}
