// The pages of examples/, which examples_test.go has started, in Chromium: whether each does what its README says.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { browsers } from "./browsers.js";

function variable(name) {
	const value = process.env[name];
	if (!value) throw new Error(`${name} is not set: examples_test.go runs this`);
	return value;
}

const limit = { timeout: 30_000 };
let browser;

before(async () => {
	browser = await browsers.Chromium(variable("EXAMPLES_CHROMIUM"));
}, { timeout: 60_000 });

after(() => browser?.close(), { timeout: 15_000 });

/** keepSources lets a test look at what the page opens. */
function keepSources() {
	globalThis.sources = [];
	globalThis.EventSource = class extends EventSource {
		constructor(...args) {
			super(...args);
			globalThis.sources.push(this);
		}
	};
}

/** countDatagrams counts those of WebTransport that a page gets. */
function countDatagrams() {
	globalThis.datagrams = 0;
	if (!globalThis.WebTransport) return; // about:blank
	const readables = new WeakSet();
	const property = Object.getOwnPropertyDescriptor(WebTransport.prototype, "datagrams");
	Object.defineProperty(WebTransport.prototype, "datagrams", {
		...property,
		get() {
			const both = property.get.call(this);
			readables.add(both.readable);
			return both;
		},
	});
	const { getReader } = ReadableStream.prototype;
	ReadableStream.prototype.getReader = function (...args) {
		const reader = getReader.apply(this, args);
		if (!readables.has(this)) return reader;
		const read = reader.read.bind(reader);
		reader.read = async () => {
			const part = await read();
			if (!part.done) globalThis.datagrams++;
			return part;
		};
		return reader;
	};
}

/** example tests one, with as many windows as the function takes. */
function example(name, title, run, timeout = limit.timeout) {
	test(`${name}: ${title}`, { timeout }, async () => {
		const url = variable(`EXAMPLES_${name.toUpperCase().replaceAll("-", "_")}`);
		const windows = [];
		try {
			for (let i = 0; i < run.length; i++) windows.push(await browser.newPage());
			for (const page of windows) {
				page.setDefaultTimeout(20_000);
				page.errors = [];
				page.on("pageerror", (err) => page.errors.push(err));
				await page.addInitScript(keepSources);
				await page.addInitScript(countDatagrams);
				await page.goto(url);
			}
			await run(...windows);
			for (const page of windows) assert.deepEqual(page.errors, []);
		} finally {
			for (const page of windows) await page.close();
		}
	});
}

const texts = (page, selector) => page.locator(selector).allTextContents();
/** shows waits for an element to have a text. */
const shows = (page, selector, text) => page.locator(selector).filter({ hasText: text }).first().waitFor();

example("notifications", "all come, and the EventSource is closed", async (page) => {
	await shows(page, "#state", "that was all");
	assert.equal((await texts(page, "li")).length, 4);
	assert.deepEqual(await page.evaluate(() => globalThis.sources.map((s) => s.readyState)), [2]);
});

example("websocket", "a game, and its end", async (page) => {
	let [low, high] = [1, 100];
	for (let turn = 1; ; turn++) {
		const n = (low + high) >> 1;
		await page.fill("#number", `${n}`);
		await page.press("#number", "Enter");
		const line = page.locator("li").nth(turn - 1);
		await line.waitFor();
		const text = await line.textContent();
		if (text === `${n}: right`) break;
		if (text === `${n}: higher`) low = n + 1;
		else if (text === `${n}: lower`) high = n - 1;
		else assert.fail(text);
	}
	await shows(page, "#state", "You have it.");

	await page.reload();
	await page.fill("#number", "200");
	await page.press("#number", "Enter");
	await shows(page, "#state", "4011 200 is not from 1 to 100");
});

example("upload", "progress, and what came", async (page) => {
	await page.evaluate(() => {
		globalThis.seen = [];
		new MutationObserver(() => seen.push(document.getElementById("progress").value)).observe(document.body, {
			attributes: true, attributeFilter: ["value"], subtree: true,
		});
	});
	const hash = createHash("sha256").update(Buffer.alloc(20_000_000, "Sluice")).digest("hex");
	await page.evaluate(() => {
		const files = new DataTransfer();
		files.items.add(new File(["Sluice".repeat(20_000_000 / 6 + 1).slice(0, 20_000_000)], "Ä file.bin"));
		const input = document.getElementById("file");
		input.files = files.files;
		input.dispatchEvent(new Event("change"));
	});
	await shows(page, "#state", `20000000 bytes, SHA-256 ${hash}`);
	const seen = await page.evaluate(() => globalThis.seen);
	assert.equal(seen.at(-1), 1);
	assert.ok(seen.every((x, i) => i === 0 || x >= seen[i - 1]), `${seen}`);
});

example("mount", "what was there, a call and a stream", async (page) => {
	await shows(page, "#version", "1.2.3");
	await shows(page, "#unary", "SERVING");
	await shows(page, "#stream", "SERVING");
});

example("chat", "two windows hear each other, in order", async (ann, ben) => {
	await ben.getByLabel("Your name").fill("Ben");
	const say = async (page, text) => {
		await page.getByLabel("Message").fill(text);
		await page.keyboard.press("Enter");
	};
	// Who is in the room shows when one hears oneself.
	await say(ben, "Is anybody here?");
	await shows(ben, "li", "Is anybody here?");
	await say(ann, "Yes.");
	for (const page of [ann, ben]) await shows(page, "li", "Ann Yes.");
	for (let i = 1; i <= 5; i++) await say(i % 2 ? ann : ben, `${i}`);
	for (const page of [ann, ben]) {
		await page.locator("li").filter({ hasText: /^(Ann|Ben) [1-5]$/ }).nth(4).waitFor();
		const heard = (await texts(page, "li")).filter((text) => /^(Ann|Ben) [1-5]$/.test(text));
		const of = (name) => heard.filter((text) => text.startsWith(name));
		assert.deepEqual([of("Ann"), of("Ben")], [["Ann 1", "Ann 3", "Ann 5"], ["Ben 2", "Ben 4"]]);
	}
});

example("dashboard", "prices come, and are drawn", async (page) => {
	await page.waitForFunction(() => {
		const rows = [...document.querySelectorAll("tr")];
		const points = (row) => row.querySelector("polyline").getAttribute("points")?.split(" ").length ?? 0;
		return rows.length === 3 && rows.every((row) => points(row) >= 5);
	});
	assert.deepEqual(await texts(page, "th"), ["ABC", "DEF", "GHI"]);
	assert.match((await texts(page, "#ABC td"))[0], /^\d+\.\d\d$/);
	await shows(page, "#state", "live");
});

example("http2-duplex", "keys come back", async (page) => {
	await shows(page, "h1", "Type");
	await page.keyboard.type("Hello, Sluice");
	await shows(page, "pre", /^Hello, Sluice$/);
});

example("grpcwebproxy", "a unary call by fetch, a stream by WebSocket", async (page) => {
	await shows(page, "#state", "that was all");
	assert.deepEqual(await texts(page, "#now"), ["Oslo: -3 °C"]);
	assert.deepEqual(await texts(page, "li"), ["-3 °C", "-2 °C", "-1 °C"]);
});

example("cursors", "they move in the other window, in datagrams", async (ann, ben) => {
	for (const page of [ann, ben]) {
		// Where a machine is too busy for QUIC's handshake the page stays on another carrier, for a while.
		for (let left = 2; ; left--) {
			try {
				await page.locator("#state").filter({ hasText: "over webtransport" }).waitFor({ timeout: 8000 });
				break;
			} catch (err) {
				if (left === 0) throw err;
				await page.reload();
			}
		}
	}
	const { width, height } = ben.viewportSize();
	await ann.bringToFront(); // a page behind gets one event a second
	// Moves may be lost: the last one is said again.
	for (let i = 1; i <= 20; i++) await ann.mouse.move((width * i) / 40, (height * i) / 80);
	await ben.bringToFront();
	await ben.waitForFunction(() => {
		const [cursor] = document.querySelectorAll(".cursor");
		return cursor && Math.abs(parseFloat(cursor.style.left) - 50) < 1 && Math.abs(parseFloat(cursor.style.top) - 25) < 1;
	});
	await ben.waitForFunction(() => globalThis.datagrams > 0);
	assert.equal(await ben.locator(".cursor").count(), 1);

	await ann.goto("about:blank");
	await ben.locator(".cursor").waitFor({ state: "detached" });
}, 60_000);
