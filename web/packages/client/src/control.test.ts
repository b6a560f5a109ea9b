import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { createControl } from "./control.js";
import { type Frame, Kind } from "./frames.js";

beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "Date"] }));
afterEach(() => mock.timers.reset());

test("an answer that comes late is not that of a later ping", async () => {
	const said: Frame[] = [];
	const silent: string[] = [];
	const control = createControl({
		say: (frame) => said.push(frame),
		open() {},
		goaway() {},
		silent: (reason) => silent.push(reason),
	});
	control.receive({ kind: Kind.welcome, payload: new Uint8Array(0) });
	const first = assert.rejects(control.ping(1000), /no answer to a ping in 1000 ms/);
	mock.timers.tick(500);
	control.heard(); // something else, in front of the answer
	mock.timers.tick(500);
	await first;
	assert.deepEqual(silent, []);

	let answered = false;
	const second = control.ping(1000).then(() => {
		answered = true;
	});
	const pong = (n: number) => control.receive({ kind: Kind.pong, payload: (said[n] as Frame).payload });
	pong(0);
	await new Promise((resolve) => setImmediate(resolve));
	assert.equal(answered, false);
	pong(1);
	await second;
	control.stop();
});
