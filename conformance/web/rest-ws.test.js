// Streams over REST by the package ws, without TLS and with it.
import { describe, test } from "node:test";
import WebSocket from "ws";
import { cases } from "./rest-cases.js";
import { env } from "./rest-env.js";

globalThis.WebSocket = class extends WebSocket {
	constructor(url, protocols) {
		super(url, protocols, { rejectUnauthorized: false }); // the certificate is the judge's own
	}
};

describe("ws", { timeout: 60_000 }, () => {
	for (const [name, base] of [["ws", env.http], ["wss", env.https]]) {
		for (const [title, judge] of Object.entries(cases).filter(([title]) => title.includes("WebSocket"))) {
			test(`${name}: ${title}`, { timeout: 40_000 }, () => judge({ base, call: (f, argument) => f(argument) }));
		}
	}
});
