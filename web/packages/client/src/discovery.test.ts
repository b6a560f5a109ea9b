import assert from "node:assert/strict";
import { test } from "node:test";
import { avoided, browserOf, discover } from "./discovery.js";

const agents = {
	chrome: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
	edge: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
	firefox: "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0",
	safari:
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.4 Safari/605.1.15",
	chromeOnIos:
		"Mozilla/5.0 (iPhone; CPU iPhone OS 26_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0.7339.39 Mobile/15E148 Safari/604.1",
};

test("browsers by what they say of themselves", () => {
	const found = Object.values(agents).map((agent) => Object.values(browserOf(agent) ?? {}).join(" "));
	assert.deepEqual(found, [
		"chromium 156.0.0.0",
		"chromium 140.0.0.0",
		"firefox 153.0",
		"safari 26.4",
		"safari 26.4.1",
	]);
	assert.equal(browserOf("Node.js/22"), undefined);
	assert.equal(browserOf(""), undefined);
});

test("the list of what to avoid", () => {
	const list = [
		{ carrier: "webtransport", browser: "safari", from: "26.4", below: "27.0", reason: "streams stall" },
		{ carrier: "websocket", browser: "firefox" },
		{ carrier: "duplex", browser: "netscape" },
		"nonsense",
	];
	const by = (name: "safari" | "firefox", version: string) => avoided(list, { name, version }).map((a) => a.carrier);
	assert.deepEqual(by("safari", "26.3.9"), []);
	assert.deepEqual(by("safari", "26.4"), ["webtransport"]);
	assert.deepEqual(by("safari", "26.10"), ["webtransport"]);
	assert.deepEqual(by("safari", "27"), []);
	assert.deepEqual(by("firefox", "1"), ["websocket"]);
	assert.deepEqual(avoided(list, undefined), []);
	assert.deepEqual(avoided("nonsense", { name: "safari", version: "1" }), []);
});

test("the gateway's answer", async () => {
	const answer = {
		version: 1,
		carriers: [
			{
				name: "webtransport",
				protocol: "sluice.v1",
				url: "/w",
				certificates: [{ algorithm: "sha-256", value: "AQI=" }],
			},
			{ name: 7 },
		],
	};
	const fetching = (status: number, body: unknown) => async () => new Response(JSON.stringify(body), { status });
	const { carriers, avoid } = await discover("https://a.example/x", undefined, fetching(200, answer));
	assert.equal(carriers[0]?.url.href, "https://a.example/w");
	assert.deepEqual([...(carriers[0]?.certificates[0]?.value ?? [])], [1, 2]);
	assert.deepEqual([carriers.length, avoid], [1, []]);
	await assert.rejects(discover("https://a.example", undefined, fetching(403, "")), /403/);
	await assert.rejects(discover("https://a.example", undefined, fetching(200, { version: 2 })), /version 1/);
});
