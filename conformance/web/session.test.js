// What becomes of sessions in browsers: SESSION_CASE names what is tried, and session_test.go says where.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { openPage } from "./serve.js";

const env = (name) => {
	const value = process.env[`SESSION_${name}`];
	if (!value) throw new Error(`SESSION_${name} is not set: session_test.go runs this`);
	return value;
};
const baseUrl = env("URL");
const control = env("CONTROL"); // does what a page cannot

const cases = {
	chaos(opened) {
		const count = Number(env("COUNT"));
		test(`${count} messages while their connections are cut`, { timeout: 60_000 + 20 * count }, async (t) => {
			const got = await opened().evaluate((where) => globalThis.chaos(where), { baseUrl, cut: `${control}/cut`, calls: 4, count });
			t.diagnostic(JSON.stringify(got));
			assert.equal(got.answers, count);
			for (const name of ["websocket", "webtransport", "duplex-streaming", "duplex", "long-poll"])
				assert.ok(got.opened[name] >= 1, `${name}: ${got.opened[name]}`);
		});
	},
};

for (const browserName of env("BROWSERS").split(",")) {
	describe(browserName, () => {
		let opened;
		before(async () => {
			opened = await openPage(browserName, env(browserName.toUpperCase()), "session-page.js");
		}, { timeout: 90_000 });
		after(() => opened?.close(), { timeout: 15_000 });
		cases[env("CASE")](() => opened);
	});
}
