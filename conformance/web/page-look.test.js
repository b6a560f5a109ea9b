// The page of sluice demo in Chromium: that it asks nobody else, that nothing goes wrong unseen, that it fits a phone, that
// it needs no mouse; and what is on it beside the calls.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { chromium } from "playwright-core";
import { carriers, choose, press, state, untilOf, variable } from "./page-env.js";

const url = variable("PAGE_URL");
const limit = { timeout: 60_000 };

/** Chromium writes these itself: when a connection is cut, when it can't stream an upload over HTTP/1.1, and when one is given up that is not open yet. */
const known =
	/^Failed to load resource: net::ERR_(INCOMPLETE_CHUNKED_ENCODING|ALPN_NEGOTIATION_FAILED)$|WebSocket is closed before the connection is established\.$/;

describe("look", { timeout: 180_000 }, () => {
	let browser, context, page, until;
	const problems = [];
	const requests = new Set();

	const listen = (page) => {
		page.setDefaultTimeout(20_000);
		page.on("console", (m) => ["error", "warning"].includes(m.type()) && !known.test(m.text()) && problems.push(m.text()));
		page.on("pageerror", (e) => problems.push(String(e)));
		page.on("request", (r) => requests.add(new URL(r.url()).host));
	};

	before(async () => {
		browser = await chromium.launch({ executablePath: variable("PAGE_CHROMIUM"), args: ["--no-sandbox"], ...limit });
		context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 900 } });
		page = await context.newPage();
		listen(page);
		await page.goto(url);
		until = untilOf(page);
		await until("the first tick", (s) => s.tick > 0);
	}, limit);

	after(() => browser?.close(), { timeout: 15_000 });

	test("a strict content security policy", limit, async () => {
		const policy = (await fetch(url)).headers.get("content-security-policy");
		for (const rule of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"]) {
			assert.ok(policy.split("; ").includes(rule), policy);
		}
	});

	test("no mouse is needed, and the focus is seen", limit, async () => {
		await page.evaluate(() => document.activeElement.blur());
		const seen = new Set();
		const until = async (id) => {
			for (let n = 0; n < 60; n++) {
				await page.keyboard.press("Tab");
				const focus = await page.evaluate(() => {
					const e = document.activeElement;
					const ring = [e, e.nextElementSibling, e.closest("label")].some((x) => x && getComputedStyle(x).outlineStyle !== "none");
					const { top, bottom, height } = e.getBoundingClientRect();
					const bar = document.getElementById("status");
					const covered = !bar.contains(e) && height < 300 && bottom <= bar.getBoundingClientRect().bottom && top >= bar.getBoundingClientRect().top;
					return { id: e.id || e.value, ring, covered };
				});
				assert.ok(focus.ring, `the focus on ${focus.id} can't be seen`);
				assert.ok(!focus.covered, `${focus.id} is below the bar`);
				seen.add(focus.id);
				if (focus.id === id) return;
			}
			assert.fail(`no way to ${id}: ${[...seen]}`);
		};
		await until("automatic");
		await page.keyboard.press("ArrowRight");
		await page.keyboard.press("ArrowRight");
		await untilOf(page)("the other carrier", (s) => s.carrier === "websocket");
		const { reconnects } = await page.evaluate(state);
		await until("cut");
		await page.keyboard.press("Enter");
		await untilOf(page)("another connection", (s) => s.reconnects > reconnects);
		await until("chat-text");
		await page.keyboard.type("typed");
		await page.keyboard.press("Enter");
		await untilOf(page)("what was said", (s) => s.last === "typed");
		await until("keys-text");
		await page.keyboard.type("hi!");
		await page.keyboard.press("Backspace");
		await untilOf(page)("the keys", (s) => s.back === 4 && s.wrong === 0);
		assert.deepEqual(await page.$$eval("#keys-caps kbd", (all) => all.map((e) => e.textContent)), ["h", "i", "!", "⌫"]);
		for (const id of ["keys-run", "ticker-run", "upload-file", "upload-pace", "upload-run", "unary-text"]) await until(id);
		await page.keyboard.press("Enter");
		await untilOf(page)("an answer", (s) => s.answer.startsWith("hello after "));
		for (const id of ["trips-run", "ticker", "rest", "curl", "lines-copy", "frames-all", "frames-pause", "frames-clear"]) await until(id);
	});

	test("each part shows its code", limit, async () => {
		const snippets = await page.$$eval(".parts > .card", (all) => all.map((e) => e.querySelector(".snippet").textContent));
		assert.equal(snippets.length, 5);
		for (const s of snippets) assert.match(s, /^const \w+ = (await )?client\.\w+\(.*\);\n.*show\(\w+\.\w+\);$/);
	});

	test("round trips on every carrier", limit, async () => {
		await page.waitForFunction(
			(carriers) => carriers.every((name) => document.querySelector(`figure[data-carrier="${name}"] .line`).getAttribute("points").split(" ").length > 1),
			carriers,
		);
		const values = await page.$$eval("figure .value", (all) => all.map((e) => e.textContent));
		assert.ok(values.length === carriers.length && values.every((v) => /^\d+(\.\d)? ms$/.test(v)), values.join());
		await page.evaluate(press, "trips-run");
		assert.equal(await page.getAttribute("#trips-run", "aria-pressed"), "false");
	});

	test("frames, bounded and readable", limit, async () => {
		const lines = () => page.$$eval("#frames-log li", (all) => all.map((e) => [...e.children].slice(1).map((c) => c.textContent).join("|")));
		const called = async (what) => {
			await page.evaluate(press, "frames-clear");
			await page.fill("#unary-text", what);
			await page.press("#unary-text", "Enter");
			await until("an answer", (s) => s.answer.startsWith(`${what} after `));
		};
		await called("readable");
		await page.waitForFunction(() => document.querySelectorAll("#frames-log li").length > 5);
		const shown = (await lines()).filter((l) => l.includes("|Echo "));
		assert.match(shown[0], /^↑\|HEADERS\|Echo \d+\|.*:path: \/sluice\.demo\.v1\.Demo\/Echo/);
		assert.match(shown[0], /:call: …/, "the secret of the call");
		assert.match(shown[1], /^↑\|DATA\|Echo \d+\|15 bytes {2}\{"text":"readable"\}$/);
		assert.ok(shown.some((l) => /^↓\|END\|Echo \d+\|grpc-status: 0$/.test(l)), shown.join("\n"));

		await page.evaluate(press, "frames-pause");
		await page.evaluate(press, "frames-clear");
		await called("unseen");
		assert.deepEqual(await lines(), []);
		await page.evaluate(press, "frames-pause");

		await page.selectOption("#upload-pace", "0");
		await page.click("#upload-run"); // is in more frames
		await until("the end of the upload", (s) => s.uploaded === 1);
		await page.waitForFunction(() => [...document.querySelectorAll("#frames-log li")].at(-1).textContent.includes("Ticker"));
		assert.equal((await lines()).length, 300);
		// In one step: $$eval asks about elements that it has found before, which may have left the list since.
		const hidden = () =>
			page.evaluate(() => [...document.querySelectorAll("#frames-log .noise")].filter((e) => e.offsetParent === null).length);
		assert.ok((await hidden()) > 0);
		await page.check("#frames-all");
		assert.equal(await hidden(), 0);
	});

	describe("the lines to copy", () => {
		const ticks = /^(\{"number":[123],"unixMs":"\d+"\}\n){3}$/;
		const events = /^(id: [123]\ndata: \{"number":[123],"unixMs":"\d+"\}\n\n){3}event: EOS\nid: EOS\ndata: ?\n\n$/;
		const line = async (call, form, language) => {
			for (const [name, value] of Object.entries({ "lines-call": call, "lines-form": form, "lines-language": language })) {
				await page.evaluate(choose, { name, value });
			}
			return page.textContent("#lines-code");
		};
		/** run runs a command; one that does not end by itself is ended when it has said what it should. */
		const run = (command, args, options, enough) =>
			new Promise((resolve, reject) => {
				const child = spawn(command, args, { ...options, detached: true, stdio: ["ignore", "pipe", "pipe"] });
				let out = "";
				let err = "";
				const end = () => process.kill(-child.pid);
				const late = setTimeout(end, 30_000);
				child.stdout.on("data", (b) => {
					out += b;
					if (enough?.(out)) end();
				});
				child.stderr.on("data", (b) => (err += b));
				child.on("error", reject);
				child.on("close", (code) => {
					clearTimeout(late);
					if (code === 0 || enough?.(out)) resolve(out);
					else reject(new Error(`${command} ${args.join(" ")}: ${code}\n${out}\n${err}`));
				});
			});
		const heard = (name) => (out) => out.includes(`hello from ${name}`);

		test("curl", limit, async () => {
			const curl = async (call, form, enough) => run("sh", ["-c", await line(call, form, "curl")], {}, enough);
			assert.match(await curl("ticker", "rest"), ticks);
			assert.match(await curl("ticker", "sse"), events);
			assert.match(await curl("room", "rest", heard("curl")), /"name":"curl","text":"hello from curl"/);
			await until("what curl said", (s) => s.last === "hello from curl");
			assert.match(await curl("room", "sse", heard("curl")), /data: .*"text":"hello from curl"/);
		});

		test("curl has no WebSocket", limit, async () => {
			assert.match(await line("ticker", "websocket", "curl"), /Take JavaScript or Go/);
			assert.equal(await page.isDisabled("#lines-copy"), true);
		});

		for (const form of ["rest", "sse", "websocket"]) {
			test(`JavaScript, ${form}`, limit, async () => {
				const other = await context.newPage();
				listen(other);
				await other.goto(url);
				/** evaluate runs lines in the console of another window, and returns what they log as soon as it is enough. */
				const evaluate = async (code, enough) => {
					const logged = [];
					const take = async (m) => m.type() === "log" && logged.push(await m.args()[0].jsonValue());
					other.on("console", take);
					const ended = other.evaluate(`(async () => { ${code}\n })()`).catch(() => {}); // a page that is gone
					for (const end = Date.now() + 15_000; !enough(logged); await new Promise((resolve) => setTimeout(resolve, 20))) {
						assert.ok(Date.now() < end, `${code}: ${JSON.stringify(logged)}`);
					}
					other.off("console", take);
					return { logged, ended };
				};
				const { logged } = await evaluate(await line("ticker", form, "javascript"), (l) => l.length === 3);
				assert.deepEqual(logged.map((m) => m.number), [1, 2, 3]);
				const said = form === "sse" ? "curl" : "JavaScript";
				const { ended } = await evaluate(await line("room", form, "javascript"), (l) => l.some((m) => m.text === `hello from ${said}`));
				await other.close();
				await ended;
			});
		}

		test("Go", { timeout: 120_000 }, async () => {
			const dir = await mkdtemp(join(tmpdir(), "lines-"));
			const go = async (call, form, enough) => {
				const file = join(dir, `${call}-${form}.go`);
				const program = join(dir, `${call}-${form}`);
				await writeFile(file, await line(call, form, "go"));
				await new Promise((resolve, reject) => {
					execFile("go", ["build", "-o", program, file], { cwd: new URL("../..", import.meta.url) }, (err, _, stderr) => (err ? reject(new Error(stderr)) : resolve()));
				});
				return run(program, [], {}, enough);
			};
			try {
				assert.match(await go("ticker", "websocket"), ticks);
				assert.match(await go("room", "rest", heard("Go")), /"text":"hello from Go"/);
				if (process.env.MATRIX !== "whole") return; // each has to be linked
				assert.match(await go("ticker", "rest"), ticks);
				assert.match(await go("ticker", "sse"), /^(\{"number":[123],"unixMs":"\d+"\}\n){3}\n?$/);
				assert.match(await go("room", "sse", heard("Go")), /"text":"hello from Go"/);
				assert.match(await go("room", "websocket", heard("Go")), /"text":"hello from Go"/);
			} finally {
				await rm(dir, { recursive: true, force: true });
			}
		});

		test("are copied", limit, async () => {
			await context.grantPermissions(["clipboard-read", "clipboard-write"]);
			const text = await line("ticker", "sse", "curl");
			await page.click("#lines-copy");
			await page.waitForFunction(() => document.getElementById("lines-copy").textContent === "Copied");
			assert.equal(await page.evaluate(() => navigator.clipboard.readText()), text);
			assert.equal(text, `curl -N -H 'Accept: text/event-stream' '${new URL(url).origin}/v1/ticker?count=3'`);
		});

		test("are those of the address of the page", limit, async () => {
			const { carriers } = await (await fetch(new URL("/.well-known/sluice", url))).json();
			const { origin } = new URL(carriers.find((c) => c.name === "webtransport").url);
			const other = await context.newPage();
			await other.goto(`${origin}/`);
			await other.waitForFunction((want) => document.getElementById("lines-code").textContent === want, `curl -k -N '${origin}/v1/ticker?count=3'`);
			await other.evaluate(choose, { name: "lines-form", value: "websocket" });
			await other.evaluate(choose, { name: "lines-language", value: "javascript" });
			assert.ok((await other.textContent("#lines-code")).includes(`"wss://${new URL(origin).host}/v1/ticker?count=3"`));
			await other.evaluate(choose, { name: "lines-language", value: "go" });
			assert.ok((await other.textContent("#lines-code")).includes("InsecureSkipVerify: true"));
			await other.close();
		});
	});

	for (const width of [320, 360, 700, 1024]) {
		test(`${width} px wide, nothing is cut off`, limit, async () => {
			await page.setViewportSize({ width, height: 740 });
			const wide = await page.evaluate(() => {
				const scrolls = (e) => e && (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
				const out = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5 && !scrolls(e.parentElement));
				return { page: document.documentElement.scrollWidth - innerWidth, out: out.map((e) => e.id || e.className || e.tagName) };
			});
			assert.deepEqual(wide, { page: 0, out: [] });
		});
	}

	test("dark and light, as the system or the switch says", limit, async () => {
		const shade = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
		await page.emulateMedia({ colorScheme: "light" });
		const light = await shade();
		await page.emulateMedia({ colorScheme: "dark" });
		const dark = await shade();
		assert.notEqual(light, dark);
		await page.evaluate(choose, { name: "theme", value: "light" });
		assert.equal(await shade(), light);
		await page.reload();
		assert.equal(await shade(), light, "it is remembered");
		await page.evaluate(choose, { name: "theme", value: "auto" });
		assert.equal(await shade(), dark);
	});

	test("names for what can be used, and enough contrast", limit, async () => {
		for (const colorScheme of ["light", "dark"]) {
			await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
			const faults = await page.evaluate(() => {
				const faults = [];
				for (const e of document.querySelectorAll("button, input, select, a")) {
					const name = e.getAttribute("aria-label") || e.textContent.trim() || [...(e.labels ?? [])].map((l) => l.textContent.trim()).join("");
					if (!name) faults.push(`no name: ${e.outerHTML.slice(0, 80)}`);
				}
				const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
				const rgba = (color) => {
					context.clearRect(0, 0, 1, 1);
					context.fillStyle = color;
					context.fillRect(0, 0, 1, 1);
					return [...context.getImageData(0, 0, 1, 1).data];
				};
				const behind = (e) => {
					for (; e; e = e.parentElement) {
						const c = rgba(getComputedStyle(e).backgroundColor);
						if (c[3] > 200) return c;
					}
					return [255, 255, 255];
				};
				const luminance = (c) => {
					const [r, g, b] = c.slice(0, 3).map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
					return 0.2126 * r + 0.7152 * g + 0.0722 * b;
				};
				for (const e of document.querySelectorAll("body *")) {
					const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
					if (!text || !e.checkVisibility() || e.closest(":disabled, .missing, .hidden, .skip")) continue;
					const [a, b] = [luminance(rgba(getComputedStyle(e).color)), luminance(behind(e))].sort((x, y) => y - x);
					if ((a + 0.05) / (b + 0.05) < 4.5) faults.push(`${((a + 0.05) / (b + 0.05)).toFixed(2)}: ${e.outerHTML.slice(0, 80)}`);
				}
				return faults;
			});
			assert.deepEqual(faults, [], colorScheme);
		}
	});

	test("nothing went wrong, and nobody else was asked", limit, () => {
		assert.deepEqual(problems, []);
		const { hostname } = new URL(url);
		assert.deepEqual([...requests].filter((host) => host && host.replace(/:\d+$/, "") !== hostname), []);
	});
});
