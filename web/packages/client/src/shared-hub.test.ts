import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { createHub } from "./shared-hub.js";
import { type Port, type SharedRequest, silentMs, type ToTab, type ToWorker } from "./shared-protocol.js";
import { Code } from "./status.js";

const turn = setImmediate; // before it is mocked

beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "Date"] }));
afterEach(() => mock.timers.reset());

const settle = async () => {
	for (let i = 0; i < 30; i++) await new Promise((resolve) => turn(resolve));
};

/** createWorld has a hub with a server that the test plays, and tabs. */
function createWorld() {
	const asked: { headers: Headers; signal: AbortSignal; send(text: string): void; end(): void }[] = [];
	const locks = new Map<string, () => void>();
	const fetch = (_: unknown, init: RequestInit = {}) =>
		new Promise<Response>((resolve) => {
			let content: ReadableStreamDefaultController<Uint8Array> | undefined;
			const signal = init.signal ?? new AbortController().signal;
			const body = new ReadableStream<Uint8Array>({ start: (c) => void (content = c) });
			signal.addEventListener("abort", () => content?.error(signal.reason));
			asked.push({
				headers: new Headers(init.headers),
				signal,
				send: (text) => content?.enqueue(new TextEncoder().encode(text)),
				end: () => content?.close(),
			});
			resolve(new Response(body, { headers: { "content-type": "text/event-stream" } }));
		});
	const request = (name: string, granted: () => void) => {
		locks.set(name, granted);
		return Promise.resolve();
	};
	const accept = createHub({
		fetch: fetch as typeof globalThis.fetch,
		locks: { request } as unknown as Pick<LockManager, "request">,
	});
	const open = (
		key: string,
		more: { maxQueuedEvents?: number; lock?: string; request?: Partial<SharedRequest> } = {},
	) => {
		const said: ToTab[] = [];
		const port: Port<ToTab, ToWorker> & { closed: boolean } = {
			closed: false,
			onmessage: null,
			postMessage: (m) => void (port.closed || said.push(structuredClone(m))),
			close: () => void (port.closed = true),
		};
		accept(port);
		const say = (data: ToWorker) => port.onmessage?.({ data: structuredClone(data) });
		say({
			type: "open",
			key,
			lock: more.lock,
			maxQueuedEvents: more.maxQueuedEvents ?? 100,
			request: { url: "http://gateway/", idleMs: 0, headers: [["authorization", "first"]], ...more.request },
		});
		return {
			port,
			said,
			say,
			ids: () => said.flatMap((m) => (m.type === "event" ? [m.event.id] : [])),
			last: () => said.at(-1),
		};
	};
	return { asked, open, locks };
}

const events = (from: number, to: number) =>
	Array.from({ length: to - from + 1 }, (_, i) => `id: ${from + i}\ndata: ${from + i}\n\n`).join("");
const eos = "event: EOS\nid: EOS\ndata:\n\n";

test("shared: tabs that want the same have one connection, and all of its events", async () => {
	const { asked, open } = createWorld();
	const a = open("x");
	const other = open("y");
	await settle();
	asked[0]?.send(events(1, 2));
	await settle();
	const b = open("x");
	asked[0]?.send(events(3, 3) + eos);
	await settle();
	assert.equal(asked.length, 2);
	assert.deepEqual([a.ids(), b.ids(), other.ids()], [["1", "2", "3"], ["3"], []]);
	assert.deepEqual([a.last()?.type, b.last()?.type], ["end", "end"]);
	assert.ok(a.port.closed && b.port.closed && !other.port.closed);
});

test("shared: the last tab that leaves closes the connection, whether it says so, is gone, or is silent", async () => {
	const { asked, open, locks } = createWorld();
	const [a, b, c] = [open("x"), open("x", { lock: "b" }), open("x")];
	await settle();
	a.say({ type: "leave" });
	await settle();
	locks.get("b")?.();
	assert.ok(b.port.closed);
	mock.timers.tick(silentMs - 1);
	c.say({ type: "alive" });
	mock.timers.tick(silentMs - 1);
	await settle();
	assert.equal(asked[0]?.signal.aborted, false);
	mock.timers.tick(1);
	await settle();
	assert.equal(asked[0]?.signal.aborted, true);
	const said = c.said.find((m) => m.type === "error");
	assert.match(said?.type === "error" ? said.message : "", /silent/);
	open("x");
	await settle();
	assert.equal(asked.length, 2, "the next one begins anew");
});

test("shared: a slow tab is waited for if it is the only one, and given up if others are faster", async () => {
	const { asked, open } = createWorld();
	const slow = open("x", { maxQueuedEvents: 3 });
	await settle();
	asked[0]?.send(events(1, 6));
	await settle();
	assert.deepEqual(slow.ids(), ["1", "2", "3"]);
	slow.say({ type: "taken", count: 2 });
	await settle();
	assert.deepEqual(slow.ids(), ["1", "2", "3", "4", "5"]);
	const fast = open("x", { maxQueuedEvents: 3 });
	await settle();
	assert.deepEqual(fast.ids(), ["6"]);
	const end = slow.last();
	assert.ok(
		end?.type === "error" &&
			end.code === Code.resourceExhausted &&
			/3 events behind.*maxQueuedEvents/.test(end.message),
	);
	assert.ok(slow.port.closed);
	asked[0]?.send(eos);
	await settle();
	assert.equal(fast.last()?.type, "end");
});

test("shared: errors and reconnects are told to all, and headers are asked of a tab that lives", async () => {
	const { asked, open } = createWorld();
	const [a, b] = [open("x"), open("x")];
	await settle();
	assert.equal(asked[0]?.headers.get("authorization"), "first");
	asked[0]?.send(events(1, 1));
	await settle();
	asked[0]?.end();
	await settle();
	for (const tab of [a, b]) assert.equal(tab.last()?.type, "reconnect");
	mock.timers.tick(1500);
	await settle();
	assert.equal(a.last()?.type, "headers");
	mock.timers.tick(2000); // it does not answer
	await settle();
	assert.equal(b.last()?.type, "headers");
	b.say({ type: "headers", headers: [["authorization", "second"]] });
	await settle();
	assert.equal(asked[1]?.headers.get("authorization"), "second");
	assert.equal(asked[1]?.headers.get("last-event-id"), "1");
	const status = { code: 5, message: "gone", details: [{ "@type": "t" }] };
	asked[1]?.send(`event: failure\ndata: ${JSON.stringify(status)}\n\n${eos}`);
	await settle();
	for (const tab of [a, b]) assert.deepEqual(tab.last(), { type: "error", ...status });
});
