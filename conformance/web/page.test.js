// The page of sluice demo, in Chromium and Firefox as they come: a bidirectional call over each carrier, which goes on
// when its connection is cut, and when it is moved to another carrier.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { browsers } from "./browsers.js";

function variable(name) {
	const value = process.env[name];
	if (!value) throw new Error(`${name} is not set: page_test.go runs this`);
	return value;
}

const url = variable("PAGE_URL");
const programs = { Chromium: variable("PAGE_CHROMIUM"), Firefox: variable("PAGE_FIREFOX") };
const carriers = ["websocket", "webtransport", "duplex-streaming", "duplex", "long-poll"];

// What follows runs in the page.

const state = () => {
	const text = (id) => document.getElementById(id).textContent;
	return {
		carrier: text("state"),
		connections: Number(text("connections")),
		sent: Number(text("sent")),
		answered: Number(text("answered")),
		wrong: Number(text("wrong")),
		last: document.getElementById("messages").lastElementChild?.textContent ?? "",
		log: [...document.getElementById("log").children].slice(-12).map((e) => e.textContent),
	};
};
const choose = (name) => document.querySelector(`input[value="${name}"]`).click();
const press = (id) => document.getElementById(id).click();
const say = (text) => {
	document.getElementById("text").value = text;
	document.getElementById("form").requestSubmit();
};

/** watch counts what the client posts from now on, by what its content is. */
const watch = () => {
	const posts = { streams: 0, bytes: 0, empty: 0 };
	const send = globalThis.fetch;
	globalThis.posts = posts;
	globalThis.fetch = (to, init) => {
		if (init?.method === "POST") posts[init.body instanceof ReadableStream ? "streams" : init.body ? "bytes" : "empty"]++;
		return send(to, init);
	};
};

for (const [name, launch] of Object.entries(browsers)) {
	describe(name, { timeout: 120_000 }, () => {
		let browser, page;

		/** until waits for the page to be as it should. */
		const until = async (what, good) => {
			let now;
			for (const end = Date.now() + 15_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 20))) {
				now = await page.evaluate(state);
				if (good(now)) return now;
			}
			assert.fail(`${what}: ${JSON.stringify(now, undefined, 1)}`);
		};

		before(async () => {
			browser = await launch(programs[name]);
			page = await browser.newPage();
			await page.goto(url);
			await until("the first answer", (s) => s.answered === 1);
		}, { timeout: 60_000 });

		after(() => browser?.close(), { timeout: 15_000 });

		for (const carrier of carriers) {
			test(`${name}, ${carrier}: the call goes on there, and after a cut`, async () => {
				await page.evaluate(choose, carrier);
				const before = await until("the other carrier", (s) => s.carrier === carrier);
				await page.evaluate(say, `over ${carrier}`);
				await until("an answer", (s) => s.last === `${before.sent + 1}  you said: over ${carrier}` && s.answered === s.sent);

				await page.evaluate(press, "run");
				for (let cuts = 1; cuts <= 3; cuts++) {
					const { answered } = await page.evaluate(state);
					await until("more answers", (s) => s.answered > answered + 3);
					await page.evaluate(press, "cut");
					await until("another connection", (s) => s.connections >= before.connections + cuts && s.carrier === carrier);
				}
				await page.evaluate(press, "run");
				const { wrong, sent } = await until("all answers", (s) => s.answered === s.sent);
				assert.equal(wrong, 0, "nothing is lost, doubled or out of order");
				assert.ok(sent >= before.sent + 12);
			});
		}

		test(`${name}: over HTTP/2 one POST streams, where the browser can`, async () => {
			const { carriers } = await (await fetch(new URL("/.well-known/sluice", url))).json();
			const secure = new URL("/", carriers.find((c) => c.name === "webtransport").url);
			await page.goto(secure.href);
			await until("the first answer", (s) => s.answered === 1);
			await page.evaluate(watch);
			await page.evaluate(choose, "duplex-streaming");
			await until("the other carrier", (s) => s.carrier === "duplex-streaming");
			await page.evaluate(press, "run");
			await until("answers", (s) => s.answered > 60);
			await page.evaluate(press, "run");
			const { wrong } = await until("all answers", (s) => s.answered === s.sent);
			assert.equal(wrong, 0);
			const posts = await page.evaluate(() => globalThis.posts);
			if (name === "Chromium") assert.deepEqual({ streams: posts.streams, bytes: posts.bytes }, { streams: 1, bytes: 0 });
			else assert.ok(posts.streams === 0 && posts.bytes > 10, JSON.stringify(posts));
		});

		test(`${name}: the call ends, and another one begins`, async () => {
			await page.evaluate(press, "end");
			await until("the end", (s) => s.last === "the call has ended: OK");
			await page.evaluate(say, "again");
			await until("an answer", (s) => s.last === "1  you said: again" && s.sent === 1);
		});
	});
}
