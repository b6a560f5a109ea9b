// The matrix of calls in browsers, with the client of web/packages/client: every case in every kind
// of call over every carrier, from a page of another origin than the gateway's.
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { browsers } from "./browsers.js";
import { bundle, serve } from "./serve.js";

const env = (name) => {
	const value = process.env[`MATRIX_${name}`];
	if (!value) throw new Error(`MATRIX_${name} is not set: matrix_test.go runs this`);
	return value;
};
const cases = JSON.parse(readFileSync(new URL("../internal/matrix/cases.json", import.meta.url), "utf8"));
const kinds = ["unary", "server", "client", "bidi"];
const hash = Buffer.from(new X509Certificate(readFileSync(env("CERT"))).fingerprint256.replaceAll(":", ""), "hex");
const base = { http: env("HTTP"), https: env("HTTPS") };

// Each with the scheme. Without TLS a streaming upload is none.
const carriers = env("CARRIERS").split(",").map((c) => c.split("+"));

let server;

before(async () => {
	server = await serve(await bundle("matrix-page.js"), Number(env("PAGE_PORT")));
}, { timeout: 30_000 });

after(() => server?.close());

for (const [browserName, launch] of Object.entries(browsers)) {
	describe(browserName, () => {
		let browser, page;
		before(async () => {
			browser = await launch(env(browserName.toUpperCase()));
			page = await browser.newPage();
			await page.goto(server.origin);
		}, { timeout: 90_000 });
		after(() => browser?.close(), { timeout: 15_000 });

		for (const [carrier, scheme] of carriers) {
			describe(`${carrier}, ${scheme}`, () => {
				let results;
				before(async () => {
					const where = { carrier, baseUrl: base[scheme], hash: [...hash] };
					results = await page.evaluate(([where, kinds]) => globalThis.play(where, kinds), [where, kinds]);
				}, { timeout: 60_000 });
				for (const kind of kinds) {
					for (const { name } of cases) test(`${name}, ${kind}`, () => assert.equal(results[`${name}, ${kind}`], ""));
				}
			});
		}
	});
}
