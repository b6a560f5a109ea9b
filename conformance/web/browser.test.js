// Connect-ES in Chromium, on a page of another origin than the gateway's.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { casesOf, protocols } from "./connect-cases.js";
import { env } from "./env.js";
import { bundle, serve } from "./serve.js";

const carriers = [
	{ name: "http", baseUrl: env.http, speaks: "http/1.1" },
	{ name: "https", baseUrl: env.https, speaks: "h2" },
];

const limit = { timeout: 15_000 };
let browser, context;
const servers = [];

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
	browser = await chromium.launch({ executablePath: env.chromium, args: ["--no-sandbox"], timeout: 30_000 });
	context = await browser.newContext({ ignoreHTTPSErrors: true });
	context.setDefaultTimeout(10_000);
	const script = await bundle("browser-page.js");
	for (const port of [env.listedPort, undefined]) servers.push(await serve(script, port));
	[listed, foreign] = await Promise.all(servers.map(({ origin }) => open(origin)));
}, { timeout: 60_000 });

after(async () => {
	await browser?.close();
	for (const server of servers) server.close();
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
