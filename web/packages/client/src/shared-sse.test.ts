import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import type { Port, ToTab, ToWorker } from "./shared-protocol.js";
import { sharedSse } from "./shared-sse.js";
import { Code } from "./status.js";
import { StreamError } from "./stream-error.js";

const settle = async () => {
	for (let i = 0; i < 30; i++) await new Promise((resolve) => setImmediate(resolve));
};

/** A World is a page: its locks and its listeners, and a worker that the test plays. */
interface World {
	readonly locks: Set<string>;
	readonly listeners: Set<unknown>;
	readonly said: ToWorker[];
	closed: boolean;
	say(message: ToTab): void;
}

let world: World;
const names = ["SharedWorker", "location", "navigator", "addEventListener", "removeEventListener"] as const;
const before = names.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const);

beforeEach(() => {
	const port: Port<ToWorker, ToTab> & { start(): void } = {
		onmessage: null,
		start() {},
		postMessage(message) {
			world.said.push(structuredClone(message));
			if (message.type === "open") queueMicrotask(() => world.say({ type: "opened" }));
		},
		close() {
			world.closed = true;
		},
	};
	world = {
		locks: new Set(),
		listeners: new Set(),
		said: [],
		closed: false,
		say: (data) => port.onmessage?.({ data }),
	};
	const request = async (name: string, granted: () => Promise<void>) => {
		world.locks.add(name);
		await granted();
		world.locks.delete(name);
	};
	const page: Record<(typeof names)[number], unknown> = {
		SharedWorker: class {
			readonly port = port;
			addEventListener() {}
		},
		location: new URL("http://page/"),
		navigator: { locks: { request } },
		addEventListener: (_: string, listener: unknown) => world.listeners.add(listener),
		removeEventListener: (_: string, listener: unknown) => world.listeners.delete(listener),
	};
	for (const name of names) Object.defineProperty(globalThis, name, { value: page[name], configurable: true });
});
afterEach(() => {
	for (const [name, was] of before) {
		if (was) Object.defineProperty(globalThis, name, was);
		else Reflect.deleteProperty(globalThis, name);
	}
});

const event = (id: string): ToTab => ({ type: "event", event: { event: "message", data: id, id, retry: undefined } });

/** left asserts that nothing is left of a tab's stream. */
async function left() {
	await settle();
	assert.deepEqual(world.said.at(-1), { type: "leave" });
	assert.deepEqual([world.closed, world.listeners.size, world.locks.size], [true, 0, 0]);
}

test("sharedSse: a signal that aborts inside the loop leaves the worker", async () => {
	const abort = new AbortController();
	const got: string[] = [];
	const reading = (async () => {
		for await (const { id } of sharedSse("/news", { signal: abort.signal, workerMs: 50 })) {
			got.push(id);
			abort.abort();
		}
	})();
	await settle();
	assert.deepEqual([world.locks.size, world.listeners.size], [1, 1]);
	world.say(event("1"));
	world.say(event("2"));
	await assert.rejects(reading, (err) => err instanceof StreamError && err.code === Code.cancelled);
	assert.deepEqual(got, ["1"]);
	await left();
});

test("sharedSse: a stream that ends lets go of its lock, well or not", async () => {
	for (const last of [{ type: "end" }, { type: "error", code: Code.notFound, message: "", details: [] }] as const) {
		let error: unknown;
		const got: string[] = [];
		const reading = (async () => {
			for await (const { id } of sharedSse("/news", { workerMs: 50 })) got.push(id);
		})().catch((err) => {
			error = err;
		});
		await settle();
		world.say(event("1"));
		world.say(last);
		await reading;
		assert.deepEqual(got, ["1"]);
		assert.equal((error as StreamError | undefined)?.code, last.type === "end" ? undefined : Code.notFound);
		await left();
	}
});

test("sharedSse: headers that can't be had at first are a StreamError", async () => {
	const headers = () => Promise.reject(new TypeError("no token"));
	const next = sharedSse("/news", { headers }).next();
	await assert.rejects(next, (err) => err instanceof StreamError && err.code === Code.unavailable);
	assert.deepEqual([world.said, world.locks.size], [[], 0]);
});
