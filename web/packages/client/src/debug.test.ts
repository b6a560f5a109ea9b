import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog } from "./debug.js";

test("a log of events and frames, without secrets", () => {
	const lines: string[] = [];
	const log = createLog((line) => lines.push(line.replace(/^sluice \d+\.\d{3} /, "")));
	const frame = (kind: string, payload: string | Uint8Array, call = 1) =>
		log.frame({
			direction: "up",
			carrier: "websocket",
			call,
			kind,
			payload: typeof payload === "string" ? new TextEncoder().encode(payload) : payload,
		});
	log.event({ type: "lost", reason: "closed with 1006", waiting: 2, retryMs: undefined });
	frame("HELLO", "authorization: Bearer secret\r\nx-id: 7\r\n", 0);
	frame("RESUME", ":call: 0f\r\n:ticket: secret\r\n");
	frame("DATA", "secret");
	frame("CREDIT", Uint8Array.from([0, 0, 0, 0, 0, 0, 128, 0, 0, 1, 0, 0, 1]));
	frame("CANCEL", "");
	assert.deepEqual(lines, [
		"lost reason: closed with 1006, waiting: 2",
		"websocket > - HELLO authorization: …, x-id: 7",
		"websocket > 1 RESUME :call: 0f, :ticket: …",
		"websocket > 1 DATA 6 bytes",
		"websocket > 1 CREDIT taken 32768, window 65536, got 1",
		"websocket > 1 CANCEL ",
	]);
});
