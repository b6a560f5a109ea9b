// Streams over REST in Node: the package eventsource and fetch, over HTTP/1.1 and HTTP/2.
import assert from "node:assert/strict";
import { subscribe } from "node:diagnostics_channel";
import { after, describe, test } from "node:test";
import { EventSource } from "eventsource";
import { Agent, fetch, setGlobalDispatcher, WebSocket } from "undici"; // Node's own fetch, which here may speak HTTP/2
import { cases } from "./rest-cases.js";
import { env } from "./rest-env.js";

const agent = new Agent({ allowH2: true, connect: { rejectUnauthorized: false } });
setGlobalDispatcher(agent);
Object.assign(globalThis, { EventSource, fetch, WebSocket });
after(() => agent.destroy());

const spoken = { "http:": new Set(), "https:": new Set() };
subscribe("undici:client:connected", ({ connectParams, socket }) => spoken[connectParams.protocol].add(socket.alpnProtocol));

// WebSockets are without TLS: undici's does not open with an agent that may speak HTTP/2.
// An EventSource waits a second before it comes back, so the cases run side by side.
describe("Node", { concurrency: true, timeout: 60_000 }, () => {
	for (const [name, base] of [["http", env.http], ["https", env.https]]) {
		for (const [title, judge] of Object.entries(cases)) {
			test(`Node, ${name}: ${title}`, { timeout: 40_000 }, () =>
				judge({ base, sockets: env.http, noLastId: true, call: (f, argument) => f(argument) }));
		}
	}
});

test("Node: it was HTTP/1.1 without TLS, and HTTP/2 with it", () => {
	assert.deepEqual(spoken, { "http:": new Set([undefined]), "https:": new Set(["h2"]) });
});
