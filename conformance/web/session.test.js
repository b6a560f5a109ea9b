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

const ask = async (what) => (await fetch(`${control}/${what}`)).text();
const pause = (ms = 20) => new Promise((resolve) => setTimeout(resolve, ms));

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

	hole(opened) {
		/** race wants the connection before WebTransport has given up; the numbers are for people. */
		const race = async (t, want) => {
			const { carrier, happened } = await opened().evaluate((where) => globalThis.race(where), { baseUrl });
			t.diagnostic(JSON.stringify({ carrier, happened }));
			assert.equal(carrier, want);
			const at = (type, carrier) => happened.findIndex((e) => e.type === type && e.carrier === carrier);
			assert.ok(at("connecting", "webtransport") >= 0, "WebTransport is tried");
			assert.ok(at("open", want) >= 0);
			assert.ok(at("failed", "webtransport") < 0 || at("open", want) < at("failed", "webtransport"));
		};
		test("WebSocket is there", { timeout: 30_000 }, async (t) => {
			await race(t, "websocket");
		});
		test("WebSockets are refused too", { timeout: 30_000 }, async (t) => {
			await fetch(`${control}/refuse`, { method: "POST" });
			await race(t, "duplex-streaming");
		});
		test("packets fell into the hole", { timeout: 30_000 }, async () => {
			while (Number(await ask("dropped")) === 0) await pause();
		});
	},

	parallel(_, open) {
		for (const carrier of env("CARRIERS").split(",")) {
			test(carrier, { timeout: 180_000 }, async (t) => {
				// Nothing that the browser with another carrier has left.
				while (Number(await ask("connections")) + Number(await ask("calls")) > 0) await pause();
				const { evaluate, close } = await open();
				try {
					const held = await evaluate((where) => globalThis.hold(where), { baseUrl, carrier, calls: 100 });
					const calls = Number(await ask("calls"));
					let connections = Number(await ask("connections"));
					// Chromium does not close the connection of a session that has lost the race: the gateway does, soon.
					for (const end = Date.now() + 60_000; connections > 2 && Date.now() < end; connections = Number(await ask("connections"))) await pause();
					t.diagnostic(JSON.stringify({ carrier: held.carrier, calls, connections }));
					assert.equal(await evaluate(() => globalThis.release()), 100);
					assert.equal(calls, 100);
					assert.ok(connections <= 2, `${connections} connections`);
				} finally {
					await close();
				}
			});
		}
	},

	balanced(opened) {
		for (const carrier of ["duplex-streaming", "long-poll"]) {
			test(`20 sessions over ${carrier}`, { timeout: 60_000 }, async () => {
				assert.equal(await opened().evaluate((where) => globalThis.sessions(where), { baseUrl, carrier, count: 20 }), 20);
			});
		}
	},

	hidden(opened) {
		for (const carrier of ["websocket", "webtransport", "long-poll"]) {
			test(carrier, { timeout: 60_000 }, async (t) => {
				const { page } = opened();
				const until = async (good) => {
					for (;;) {
						const now = await page.evaluate(() => globalThis.talking());
						assert.equal(now.wrong, "");
						if (good(now)) return now;
						await pause();
					}
				};
				await page.evaluate((where) => globalThis.talk(where), { baseUrl, carrier });
				const before = await until((now) => now.answered > 10);
				await page.hide();
				await pause(500);
				await fetch(`${control}/cut`, { method: "POST" });
				await pause(500);
				await page.show();
				const after = await until((now) => now.answered > before.answered + 50);
				t.diagnostic(JSON.stringify(after));
				assert.ok(after.seen.length >= 2 || after.pauseMs >= 900, "the page was hidden, or asleep");
			});
		}
	},

	heap(opened) {
		const seconds = Number(env("SECONDS"));
		test(`calls for ${seconds} s`, { timeout: 3 * seconds * 1000 + 120_000 }, async (t) => {
			const { page } = opened();
			const work = (seconds) => page.evaluate((where) => globalThis.work(where), { baseUrl, seconds });
			await work(10); // until everything was there once
			const before = await page.heap();
			const calls = await work(seconds);
			const after = await page.heap();
			t.diagnostic(JSON.stringify({ calls, before, after }));
			assert.ok(after < before + 1_000_000, `the heap has grown from ${before} to ${after} bytes`);
		});
	},
};

for (const browserName of env("BROWSERS").split(",")) {
	describe(browserName, () => {
		const open = () => openPage(browserName, env(browserName.toUpperCase()), "session-page.js");
		let opened;
		before(async () => {
			opened = await open();
		}, { timeout: 90_000 });
		after(() => opened?.close(), { timeout: 15_000 });
		cases[env("CASE")](() => opened, open);
	});
}
