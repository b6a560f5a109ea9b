import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { explain } from "./explain.js";

const global = globalThis as { location?: unknown };
afterEach(() => {
	delete global.location;
});

test("why nothing works", async () => {
	const answers = (...modes: string[]) =>
		(async (_: unknown, init?: RequestInit) => {
			if (!modes.includes(String(init?.mode))) throw new TypeError("Failed to fetch");
			return new Response();
		}) as typeof fetch;
	const endpoint = new URL("https://gateway.example/sluice/v1");
	const why = (...modes: string[]) => explain(endpoint, "websocket: closed", answers(...modes));
	assert.match(await why("cors", "no-cors"), /answers, but no carrier gets through: websocket: closed/);
	assert.match(await why("no-cors"), /does not answer/, "there are no origins here");
	global.location = { origin: "https://app.example" };
	assert.match(await why("no-cors"), /answers, but not to pages of https:\/\/app.example: let the gateway allow/);
	assert.match(
		await why(),
		/https:\/\/gateway.example does not answer: there is no network, or no gateway, or its certificate/,
	);
	global.location = { origin: "https://gateway.example" };
	assert.match(await why("no-cors"), /does not answer/, "of its own page an origin is no question");
});
