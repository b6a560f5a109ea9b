import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { discover } from "./discovery.js";
import { createWebTransport } from "./webtransport.js";

interface Coded {
	readonly streamErrorCode: number | null;
}

/** The two forms of the constructor: a dictionary, in browsers so far, and a message with options. */
class DictionaryError extends Error implements Coded {
	readonly streamErrorCode: number | null;
	constructor(init: { message?: string; streamErrorCode?: number }) {
		super(init.message);
		this.streamErrorCode = init.streamErrorCode ?? null;
	}
}

class OptionsError extends Error implements Coded {
	readonly streamErrorCode: number | null;
	constructor(message: unknown, options: { streamErrorCode?: number } = {}) {
		super(String(message));
		this.streamErrorCode = options.streamErrorCode ?? null;
	}
}

const global = globalThis as { WebTransportError?: unknown };
afterEach(() => {
	global.WebTransportError = undefined;
});

/** A FakeTransport is a session, and what was done to it. */
function createFake() {
	const done: string[] = [];
	let control: ReadableStreamDefaultController<Uint8Array> | undefined;
	let end: (info: { closeCode: number; reason: string }) => void = () => {};
	const code = (err: unknown) => (err as Coded).streamErrorCode;
	const stream = () => ({
		readable: new ReadableStream<Uint8Array>({ cancel: (err) => void done.push(`cancel ${code(err)}`) }),
		writable: new WritableStream<Uint8Array>({
			write: (b) => void done.push(`write ${b}`),
			close: () => void done.push("fin"),
			abort: (err) => void done.push(`abort ${code(err)}`),
		}),
	});
	const made: unknown[] = [];
	function FakeTransport(url: string, options: unknown) {
		made.push(url, options);
		const server = new ReadableStream<Uint8Array>({
			start(c) {
				control = c;
			},
		});
		return {
			ready: Promise.resolve(),
			closed: new Promise((resolve) => {
				end = resolve;
			}),
			incomingUnidirectionalStreams: new ReadableStream({ start: (c) => c.enqueue(server) }),
			createBidirectionalStream: async () => stream(),
			close: (info: { closeCode: number; reason: string }) => done.push(`close ${info.closeCode} ${info.reason}`),
		};
	}
	return {
		done,
		made,
		constructor: FakeTransport as unknown as typeof WebTransport,
		send: (...b: number[]) => control?.enqueue(Uint8Array.from(b)),
		end: (closeCode: number, reason: string) => end({ closeCode, reason }),
	};
}

const soon = () => new Promise((resolve) => setTimeout(resolve, 5));

for (const form of [DictionaryError, OptionsError]) {
	test(`webtransport: cancel by both ways with code 1, and codes by ${form.name}`, async () => {
		global.WebTransportError = form;
		const fake = createFake();
		const got: number[] = [];
		const closed: string[] = [];
		const events = { data: (b: Uint8Array) => void got.push(...b), closed: (why: string) => void closed.push(why) };
		const carrier = createWebTransport({ WebTransport: fake.constructor });
		const connection = await carrier.connect(new URL("https://a/sluice/v1"), events, new AbortController().signal);
		fake.send(1, 2);
		await soon();
		assert.deepEqual(got, [1, 2]);
		assert.deepEqual(fake.made, ["https://a/sluice/v1", { protocols: ["sluice.v1"], serverCertificateHashes: [] }]);

		const calls = { data: () => {}, closed: () => {} };
		const first = (await connection.open?.(calls)) ?? assert.fail();
		await first.write(Uint8Array.from([7]));
		first.abort("cancel");
		await soon();
		assert.deepEqual(fake.done.splice(0).sort(), ["abort 1", "cancel 1", "write 7"]);
		const second = (await connection.open?.(calls)) ?? assert.fail();
		second.abort("elsewhere");
		await soon();
		assert.deepEqual(fake.done.splice(0).sort(), ["abort 7", "cancel 7"]);
		const third = (await connection.open?.(calls)) ?? assert.fail();
		third.end();
		await soon();
		assert.deepEqual(fake.done.splice(0), ["fin"]);

		fake.end(4, "drained");
		await soon();
		assert.deepEqual(closed, ["closed with 4, drained"]);
	});
}

test("webtransport: a client that leaves, and one that is cut", async () => {
	for (const [how, want] of [
		["leave", "close 0 why"],
		["cut", "close 7 why"],
	] as const) {
		const fake = createFake();
		const closed: string[] = [];
		const events = { data: () => {}, closed: (why: string) => void closed.push(why) };
		const carrier = createWebTransport({ WebTransport: fake.constructor });
		const connection = await carrier.connect(new URL("https://a/"), events, new AbortController().signal);
		connection.close(how, "why");
		fake.end(0, "");
		await soon();
		assert.deepEqual([fake.done, closed], [[want], []]);
	}
});

test("webtransport: streams that are open end first, and the session in a task of its own", async () => {
	global.WebTransportError = DictionaryError;
	for (const [how, want] of [
		["leave", ["abort 1", "cancel 1", "close 0 why"]],
		["cut", ["abort 7", "cancel 7", "close 7 why"]],
	] as const) {
		const fake = createFake();
		const events = { data: () => {}, closed: () => {} };
		const carrier = createWebTransport({ WebTransport: fake.constructor });
		const connection = await carrier.connect(new URL("https://a/"), events, new AbortController().signal);
		assert.ok(await connection.open?.(events));
		connection.close(how, "why");
		assert.ok(!fake.done.includes(want[2]));
		await soon();
		assert.deepEqual([fake.done.slice(0, 2).sort(), ...fake.done.slice(2)], [want.slice(0, 2), want[2]]);
	}
});

test("webtransport: a ticket for who has cookies", async () => {
	const events = { data: () => {}, closed: () => {} };
	const carriers = [{ name: "webtransport", url: "https://a:8443/sluice/v1", ticket: "/sluice/v1/ticket" }];
	const original = globalThis.fetch;
	for (const [status, want] of [
		[200, "https://a:8443/sluice/v1?ticket=abc"],
		[204, "https://a:8443/sluice/v1"],
		[401, "https://a:8443/sluice/v1"],
		[429, /no ticket: 429 too many/],
	] as const) {
		const asked: string[] = [];
		globalThis.fetch = async (to, init) => {
			asked.push(`${init?.method ?? "GET"} ${to} ${init?.credentials}`);
			if (!String(to).endsWith("/ticket")) return Response.json({ version: 1, carriers });
			return new Response(status === 200 ? '{"ticket": "abc"}' : status === 204 ? null : "too many", { status });
		};
		try {
			const fake = createFake();
			const carrier = createWebTransport({ discover, credentials: "include", WebTransport: fake.constructor });
			const connecting = carrier.connect(new URL("https://a/sluice/v1"), events, new AbortController().signal);
			if (typeof want === "string") {
				await connecting;
				assert.equal(fake.made[0], want);
			} else await assert.rejects(connecting, want);
			assert.deepEqual(asked, ["GET https://a/.well-known/sluice include", "POST https://a/sluice/v1/ticket include"]);
		} finally {
			globalThis.fetch = original;
		}
	}
});

test("webtransport: where there is none", async () => {
	const events = { data: () => {}, closed: () => {} };
	const connect = createWebTransport().connect(new URL("https://a/"), events, new AbortController().signal);
	await assert.rejects(connect, /no WebTransport here/);
});
