// Connect-ES in Chromium, on a page of another origin than the gateway's.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import { casesOf, protocols } from "./connect-cases.js";
import { env } from "./env.js";

const carriers = [
	{ name: "http", baseUrl: env.http, speaks: "http/1.1" },
	{ name: "https", baseUrl: env.https, speaks: "h2" },
];

const limit = { timeout: 15_000 };
let browser, context;
const servers = [];

/** serve serves the page at a port, 0 is any, and returns its origin. */
async function serve(script, port) {
	const server = createServer((request, response) => {
		const isScript = request.url === "/page.js";
		response.setHeader("content-type", isScript ? "text/javascript" : "text/html; charset=utf-8");
		response.end(isScript ? script : `<!doctype html><link rel="icon" href="data:,"><script src="/page.js"></script>`);
	});
	servers.push(server);
	await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
	return `http://127.0.0.1:${server.address().port}`;
}

/** open opens the page and records what versions of HTTP it calls with. */
async function open(origin) {
	const page = await context.newPage();
	const spoken = new Map(); // by origin
	const devtools = await context.newCDPSession(page);
	await devtools.send("Network.enable");
	devtools.on("Network.responseReceived", ({ response: { url, protocol } }) => {
		const to = new URL(url).origin;
		spoken.set(to, (spoken.get(to) ?? new Set()).add(protocol));
	});
	await page.goto(origin);
	return { page, spoken };
}

let listed, foreign;

before(async () => {
	const bundle = await build({
		entryPoints: [new URL("browser-page.js", import.meta.url).pathname],
		bundle: true, write: false, format: "iife", target: "es2022",
	});
	const script = bundle.outputFiles[0].text;
	browser = await chromium.launch({ executablePath: env.chromium, args: ["--no-sandbox"], timeout: 30_000 });
	context = await browser.newContext({ ignoreHTTPSErrors: true });
	context.setDefaultTimeout(10_000);
	listed = await open(await serve(script, env.listedPort));
	foreign = await open(await serve(script, 0));
}, { timeout: 60_000 });

after(async () => {
	await browser?.close();
	for (const server of servers) {
		server.close();
		server.closeAllConnections();
	}
}, { timeout: 15_000 });

/** judge runs a case in a page. */
const judge = ({ page }, protocol, title, baseUrl) =>
	page.evaluate((arg) => globalThis.judge(arg), { protocol, title, baseUrl, descriptorSet: [...env.descriptorSet] });

for (const { name, baseUrl, speaks } of carriers) {
	for (const protocol of protocols) {
		for (const title of Object.keys(casesOf(protocol))) {
			test(`Chromium, ${name}, ${protocol}: ${title}`, limit, async () => {
				assert.equal(await judge(listed, protocol, title, baseUrl), undefined);
			});
		}
	}

	test(`Chromium, ${name}: it was ${speaks}`, limit, () => {
		assert.deepEqual([...listed.spoken.get(new URL(baseUrl).origin)], [speaks]);
	});

	for (const protocol of protocols) {
		test(`Chromium, ${name}, ${protocol}: a page of another origin is refused`, limit, async () => {
			assert.match(await judge(foreign, protocol, "unary", baseUrl), /Failed to fetch/);
		});
	}

	test(`Chromium, ${name}: a page of another origin is refused where browsers ask no leave`, limit, async () => {
		const url = baseUrl + "/sluice.demo.v1.Demo/Echo";
		const answer = foreign.page.waitForResponse(url);
		await foreign.page.evaluate((u) => fetch(u, { method: "POST", mode: "no-cors", body: "" }).then(() => null), url);
		assert.equal((await answer).status(), 403);
	});
}
