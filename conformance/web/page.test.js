// The page of sluice demo, in Chromium and Firefox as they come: each part, over each carrier, in two windows, while the
// connection is cut under it. page-look.test.js has the rest.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { browsers } from "./browsers.js";
import { carriers, choose, press, state, untilOf, variable } from "./page-env.js";

const url = variable("PAGE_URL");
const programs = { Chromium: variable("PAGE_CHROMIUM"), Firefox: variable("PAGE_FIREFOX") };

// What follows runs in the page.

const say = (text) => {
	document.getElementById("chat-text").value = text;
	document.getElementById("chat-form").requestSubmit();
};
const ask = (text) => {
	document.getElementById("unary-text").value = text;
	document.getElementById("unary-form").requestSubmit();
};
const upload = (pace) => {
	document.getElementById("upload-pace").value = pace;
	document.getElementById("upload-form").requestSubmit();
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
	describe(name, { timeout: 180_000 }, () => {
		let browser, page, until;

		before(async () => {
			browser = await launch(programs[name]);
			page = await browser.newPage();
			await page.goto(url);
			until = untilOf(page);
			await until("the first tick", (s) => s.tick > 0 && s.phase === "open");
			await page.evaluate(press, "trips-run"); // the measuring, which page-look.test.js judges
		}, { timeout: 60_000 });

		after(() => browser?.close(), { timeout: 15_000 });

		for (const carrier of carriers) {
			test(`${name}, ${carrier}: all calls go on there, and after cuts`, async () => {
				await page.evaluate(choose, { name: "carrier", value: carrier });
				await until("the other carrier", (s) => s.carrier === carrier && s.phase === "open");
				await page.evaluate(ask, `over ${carrier}`);
				await until("an answer", (s) => s.answer.startsWith(`over ${carrier} after `));

				await page.evaluate(press, "keys-run");
				for (let cuts = 1; cuts <= 3; cuts++) {
					const { back, tick, reconnects } = await page.evaluate(state);
					await until("more keys and ticks", (s) => s.back > back + 3 && s.tick > tick);
					await page.evaluate(press, "cut");
					await until("another connection", (s) => s.reconnects > reconnects && s.carrier === carrier && s.phase === "open");
				}
				await page.evaluate(press, "keys-run");
				const { wrong, sent, note } = await until("all keys", (s) => s.back === s.sent);
				assert.equal(wrong, 0, "a key was lost, doubled or out of order");
				assert.equal(note, "none missing");
				assert.ok(sent >= 12);
			});
		}

		test(`${name}: automatic finds a carrier`, async () => {
			await page.evaluate(choose, { name: "carrier", value: "automatic" });
			await until("a better carrier", (s) => s.phase === "open" && ["websocket", "webtransport"].includes(s.carrier));
		});

		test(`${name}: two windows chat, and one is cut in the middle`, async () => {
			const other = await browser.newPage();
			await other.goto(url);
			const there = untilOf(other);
			const own = `in ${name}, ${Date.now()}`; // the room remembers what others have said
			await there("the room", (s) => s.members.includes("other"));
			await until("the other", (s) => s.members.includes("other"));
			await page.evaluate(say, `one ${own}`);
			await there("what was said", (s) => s.last === `one ${own}`);
			await page.evaluate(press, "cut");
			await other.evaluate(say, `two ${own}`);
			await page.evaluate(say, `three ${own}`);
			for (const [what, see] of [["this window", until], ["the other window", there]]) {
				const saidHere = ({ messages }) => messages.filter((m) => m.endsWith(own));
				const now = await see(`all in ${what}`, (s) => saidHere(s).length === 3);
				assert.deepEqual(saidHere(now).sort(), [`one ${own}`, `three ${own}`, `two ${own}`]);
			}
			await other.close();
			await page.bringToFront();
		});

		test(`${name}: an upload is cut in the middle, and arrives whole`, async () => {
			await page.evaluate(upload, "4000000");
			await until("a part", (s) => s.uploaded > 0.2);
			await page.evaluate(press, "cut");
			const { upload: said } = await until("the end", (s) => s.uploaded === 1);
			assert.match(said, /^4\.0 MB in \d+\.\d s, the same SHA-256$/);
		});

		test(`${name}: an upload and the ticker are stopped`, async () => {
			await page.evaluate(upload, "1000000");
			await until("a part", (s) => s.uploaded > 0.02 && s.uploaded < 1);
			await page.evaluate(press, "upload-run");
			await until("the end", (s) => s.upload === "stopped");
			await page.evaluate(press, "ticker-run");
			await until("the end", (s) => s.note === "stopped");
			await page.evaluate(press, "ticker-run");
			await until("the first ticks", (s) => s.tick > 0 && s.tick < 20 && s.note === "none missing");
		});

		test(`${name}: over HTTP/2 one POST streams, where the browser can`, async () => {
			const { carriers } = await (await fetch(new URL("/.well-known/sluice", url))).json();
			const secure = new URL("/", carriers.find((c) => c.name === "webtransport").url);
			await page.goto(secure.href);
			await until("the first tick", (s) => s.tick > 0);
			await page.evaluate(press, "trips-run");
			await page.evaluate(watch);
			await page.evaluate(choose, { name: "carrier", value: "duplex-streaming" });
			await until("the other carrier", (s) => s.carrier === "duplex-streaming");
			await page.evaluate(press, "keys-run");
			await until("keys", (s) => s.back > 60);
			await page.evaluate(press, "keys-run");
			const { wrong } = await until("all keys", (s) => s.back === s.sent);
			assert.equal(wrong, 0);
			const posts = await page.evaluate(() => globalThis.posts);
			if (name === "Chromium") assert.deepEqual({ streams: posts.streams, bytes: posts.bytes }, { streams: 1, bytes: 0 });
			else assert.ok(posts.streams === 0 && posts.bytes > 10, JSON.stringify(posts));
		});
	});
}
