import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import type { Bytes, Carrier, Connection } from "./carrier.js";
import { createDuplex } from "./duplex.js";
import { createStreamingDuplex } from "./duplex-streaming.js";
import { createLongPoll } from "./long-poll.js";

const turn = setImmediate; // before it is mocked

beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "Date"] }));
afterEach(() => mock.timers.reset());

async function pass(ms: number): Promise<void> {
	for (let t = 0; t <= ms; t++) {
		mock.timers.tick(t === 0 ? 0 : 1);
		await new Promise((resolve) => turn(resolve));
	}
}

/** An Asked is a request that waits for its answer. */
interface Asked {
	readonly method: string;
	readonly headers: Record<string, string>;
	readonly body: unknown;
	readonly signal: AbortSignal;
	answer(status: number, body?: BodyInit | null, headers?: Record<string, string>): void;
	fail(): void;
}

interface Rig {
	readonly asked: Asked[];
	readonly got: number[];
	readonly closed: string[];
	connection(): Connection;
	error(): unknown;
	/** waiting returns the requests of a verb that were not answered. */
	waiting(method: string): Asked[];
}

function rig(create: (options: { fetch: typeof fetch }) => Carrier): Rig {
	const asked: Asked[] = [];
	const open = new Set<Asked>();
	const got: number[] = [];
	const closed: string[] = [];
	let connection: Connection | undefined;
	let error: unknown;
	const fake = (_: unknown, init: RequestInit) =>
		new Promise<Response>((resolve, reject) => {
			const one: Asked = {
				method: init.method ?? "GET",
				headers: init.headers as Record<string, string>,
				body: init.body,
				signal: init.signal ?? new AbortController().signal,
				answer(status, body = null, headers = {}) {
					open.delete(one);
					resolve(new Response(body, { status, headers }));
				},
				fail() {
					open.delete(one);
					reject(new TypeError("fetch failed"));
				},
			};
			one.signal.addEventListener("abort", () => one.fail());
			asked.push(one);
			open.add(one);
		});
	const events = { data: (b: Uint8Array) => void got.push(...b), closed: (why: string) => void closed.push(why) };
	create({ fetch: fake as typeof fetch })
		.connect(new URL("http://localhost/sluice/v1"), events, new AbortController().signal)
		.then(
			(c) => {
				connection = c;
			},
			(err) => {
				error = err;
			},
		);
	return {
		asked,
		got,
		closed,
		connection: () => connection as Connection,
		error: () => error,
		waiting: (method) => asked.filter((a) => open.has(a) && a.method === method),
	};
}

/** A Download is the body of the streaming GET. */
function createDownload(): { body: ReadableStream<Uint8Array>; send(...b: number[]): void; end(): void } {
	let controller: ReadableStreamDefaultController<Uint8Array>;
	const body = new ReadableStream<Uint8Array>({
		start(c) {
			controller = c;
		},
	});
	return { body, send: (...b) => controller.enqueue(Uint8Array.from(b)), end: () => controller.close() };
}

/** opened answers the GET of a carrier. */
async function opened(create: (options: { fetch: typeof fetch }) => Carrier) {
	const r = rig(create);
	await pass(1);
	const down = createDownload();
	r.asked[0]?.answer(200, down.body);
	down.send(0x2e, 7);
	await pass(2);
	return { ...r, down };
}

const bytes = (...b: number[]): Bytes => Uint8Array.from(b);

test("duplex: a download, whose first byte means nothing", async () => {
	const { asked, got, closed, down, connection } = await opened(createDuplex);
	assert.match(asked[0]?.headers["sluice-session"] ?? "", /^[0-9a-f]{32}$/);
	assert.equal(asked[0]?.headers["sluice-offset"], "0");
	down.send(8, 9);
	await pass(1);
	assert.deepEqual(got, [7, 8, 9]);
	down.end();
	await pass(1);
	assert.deepEqual(closed, ["the server has ended the session"]);
	assert.ok(connection().pipe);
});

test("duplex: uploads are numbered, at most two at a time, and carry what waits", async () => {
	const { connection, waiting, asked } = await opened(createDuplex);
	const { write } = connection().pipe ?? assert.fail();
	for (let i = 0; i < 5; i++) void write(bytes(i, i));
	await pass(1);
	const uploads = () => asked.filter((a) => a.method === "POST").map((a) => [a.headers["sluice-offset"], a.body]);
	assert.deepEqual(uploads(), [
		["0", bytes(0, 0)],
		["2", bytes(1, 1)],
	]);
	waiting("POST")[1]?.answer(204);
	await pass(1);
	assert.deepEqual(uploads().slice(2), [["4", bytes(2, 2, 3, 3, 4, 4)]]);
});

test("duplex: an upload without an answer is sent again, the same", async () => {
	const { connection, waiting, closed } = await opened(createDuplex);
	const { write } = connection().pipe ?? assert.fail();
	void write(bytes(1, 2, 3));
	await pass(1);
	waiting("POST")[0]?.fail();
	await pass(100);
	const [again] = waiting("POST");
	assert.deepEqual([again?.headers["sluice-offset"], again?.body], ["0", bytes(1, 2, 3)]);
	again?.answer(409, "too far ahead");
	await pass(200);
	waiting("POST")[0]?.answer(204);
	await pass(1000);
	assert.deepEqual([waiting("POST"), closed], [[], []]);
});

test("duplex: a 503 to an upload is tried again if the server says what it has taken", async () => {
	for (const [fields, again] of [
		[{ "sluice-taken": "0" }, true],
		[{}, false],
	] as const) {
		const { connection, waiting, closed } = await opened(createDuplex);
		const { write } = connection().pipe ?? assert.fail();
		void write(bytes(1, 2, 3));
		await pass(1);
		waiting("POST")[0]?.answer(503, "no memory", fields);
		await pass(100);
		assert.deepEqual(
			waiting("POST").map((a) => [a.headers["sluice-offset"], a.body]),
			again ? [["0", bytes(1, 2, 3)]] : [],
		);
		assert.deepEqual(closed, again ? [] : ["an upload was refused with 503: no memory"]);
	}
});

test("duplex: an upload that is refused, and one that never gets through, end the session", async () => {
	for (const answer of ["refuse", "fail"]) {
		const { connection, waiting, closed, asked } = await opened(createDuplex);
		const { write } = connection().pipe ?? assert.fail();
		void write(bytes(1)).catch(() => {});
		for (let tries = 0; tries < 10 && closed.length === 0; tries++) {
			await pass(1);
			if (answer === "fail") waiting("POST")[0]?.fail();
			else waiting("POST")[0]?.answer(404, "no such session");
			await pass(4000);
		}
		assert.match(closed.join(), answer === "fail" ? /an upload failed: fetch failed/ : /404: no such session/);
		assert.equal(asked[0]?.signal.aborted, true);
		await assert.rejects(write(bytes(2)));
	}
});

test("duplex: writers wait while uploads do", async () => {
	const { connection, waiting } = await opened(createDuplex);
	const { write } = connection().pipe ?? assert.fail();
	let written = 0;
	void (async () => {
		for (;;) {
			await write(new Uint8Array(16_384));
			written++;
		}
	})().catch(() => {});
	await pass(10);
	assert.equal(written, 6, "two are under way, and 64 KiB wait");
	waiting("POST")[0]?.answer(204);
	await pass(10);
	assert.ok(written > 6);
});

test("duplex: a large write goes in uploads that reach no further than 256 KiB, and waits for the last of them", async () => {
	const { connection, waiting } = await opened(createDuplex);
	const { write } = connection().pipe ?? assert.fail();
	const sent = new Uint8Array(1_000_000).map((_, i) => i >> 12);
	const got = new Uint8Array(sent.length);
	let written = 0;
	void write(bytes(sent[0] as number))
		.then(() => write(sent.subarray(1)))
		.then(() => written++);
	await pass(1);
	let taken = 0;
	for (let uploads = waiting("POST"); uploads[0]; uploads = waiting("POST")) {
		for (const { body, headers } of uploads) {
			assert.ok(body instanceof Uint8Array);
			const at = Number(headers["sluice-offset"]);
			got.set(body, at);
			assert.ok(at + body.length <= taken + 262_144, `${at + body.length - taken} bytes ahead`);
			assert.ok(written === 0 || sent.length - taken <= 262_144, "the write has waited");
		}
		taken += (uploads[0].body as Uint8Array).length;
		uploads[0].answer(204);
		await pass(1);
	}
	assert.equal(taken, sent.length);
	assert.deepEqual(got, sent);
	assert.equal(written, 1);
});

test("duplex: refused, and answers that are kept until they are whole", async () => {
	const refused = rig(createDuplex);
	await pass(1);
	refused.asked[0]?.answer(429, "too many sessions");
	await pass(2);
	assert.match(String(refused.error()), /429: too many sessions/);
	const kept = rig(createDuplex);
	await pass(2100);
	assert.match(kept.closed.join(), /no byte came in 2000 ms.*createLongPoll/);
	assert.equal(kept.waiting("DELETE").length, 1);
	assert.match(String(kept.error()), /fetch failed/);
});

test("duplex: leaving says so, a cut does not", async () => {
	const left = await opened(createDuplex);
	left.connection().close("leave");
	assert.equal(left.waiting("DELETE").length, 1);
	assert.equal(left.asked[0]?.signal.aborted, true);
	const cut = await opened(createDuplex);
	cut.connection().close("cut");
	assert.deepEqual([cut.waiting("DELETE"), cut.closed, cut.asked[0]?.signal.aborted], [[], [], true]);
});

test("streaming: one upload, once it is proven", async () => {
	const { connection, waiting } = await opened(createStreamingDuplex);
	const [upload] = waiting("POST");
	assert.ok(upload?.body instanceof ReadableStream);
	const reader = upload.body.getReader();
	const { write } = connection().pipe ?? assert.fail();
	void write(bytes(1, 2));
	await pass(1);
	assert.deepEqual((await reader.read()).value, bytes(1, 2));
	const [, probe] = waiting("POST");
	assert.equal(probe?.body, undefined);
	probe?.answer(204, null, { "sluice-taken": "2" });
	await pass(1);
	void write(bytes(3));
	assert.deepEqual((await reader.read()).value, bytes(3));
	await pass(3000);
	assert.deepEqual(waiting("POST"), [upload]);
});

test("streaming: bytes that don't arrive are sent in uploads of their own", async () => {
	const { connection, waiting, asked, closed } = await opened(createStreamingDuplex);
	const { write } = connection().pipe ?? assert.fail();
	void write(bytes(1, 2));
	await pass(1);
	for (let ms = 0; ms < 2200; ms += 20) {
		for (const a of waiting("POST")) if (a.body === undefined) a.answer(204, null, { "sluice-taken": "0" });
		if (ms === 500) void write(bytes(3));
		await pass(20);
	}
	const plain = waiting("POST").map((a) => [a.headers["sluice-offset"], a.body]);
	assert.deepEqual(plain, [["0", bytes(1, 2, 3)]]);
	assert.equal(asked.find((a) => a.body instanceof ReadableStream)?.signal.aborted, true);
	assert.deepEqual(closed, []);
});

test("streaming: a browser that refuses it at once is not asked again", async () => {
	let carrier: Carrier | undefined;
	const { connection, waiting, asked, closed } = await opened((options) => (carrier = createStreamingDuplex(options)));
	waiting("POST")[0]?.fail();
	await pass(1);
	waiting("POST")[0]?.answer(204, null, { "sluice-taken": "0" }); // so the network is not the reason
	const { write } = connection().pipe ?? assert.fail();
	void write(bytes(5));
	await pass(1);
	assert.deepEqual(
		waiting("POST").map((a) => a.body),
		[bytes(5)],
	);
	assert.deepEqual(closed, []);

	const events = { data: () => {}, closed: () => {} };
	void carrier?.connect(new URL("http://localhost/sluice/v1"), events, new AbortController().signal);
	await pass(1);
	const again = asked.length;
	const down = createDownload();
	waiting("GET")[0]?.answer(200, down.body);
	down.send(0x2e);
	await pass(2);
	assert.equal(asked.length, again, "an upload before there is something to send");
});

test("streaming: an upload that breaks with the network is tried again by the next connection", async () => {
	let carrier: Carrier | undefined;
	const { waiting } = await opened((options) => (carrier = createStreamingDuplex(options)));
	waiting("POST")[0]?.fail();
	await pass(1);
	waiting("POST")[0]?.fail(); // nothing gets through
	const events = { data: () => {}, closed: () => {} };
	void carrier?.connect(new URL("http://localhost/sluice/v1"), events, new AbortController().signal);
	await pass(1);
	const down = createDownload();
	waiting("GET")[0]?.answer(200, down.body);
	down.send(0x2e);
	await pass(2);
	assert.ok(waiting("POST").some((a) => a.body instanceof ReadableStream));
});

test("long poll: batches are acknowledged, and asked for again when they were lost", async () => {
	const { asked, got, closed, waiting } = rig(createLongPoll);
	await pass(1);
	assert.equal(asked[0]?.headers["sluice-poll"], "1");
	asked[0]?.answer(200, bytes(1, 2, 3));
	await pass(1);
	assert.equal(waiting("GET")[0]?.headers["sluice-offset"], "3");
	waiting("GET")[0]?.fail();
	await pass(100);
	assert.equal(waiting("GET")[0]?.headers["sluice-offset"], "3");
	waiting("GET")[0]?.answer(200, null);
	await pass(1);
	waiting("GET")[0]?.answer(200, bytes(4), { "sluice-end": "1" });
	await pass(1);
	assert.equal(waiting("GET")[0]?.headers["sluice-offset"], "4");
	waiting("GET")[0]?.answer(200, null, { "sluice-end": "1" });
	await pass(1);
	assert.deepEqual(got, [1, 2, 3, 4]);
	assert.deepEqual(closed, ["the server has ended the session"]);
});

test("long poll: a session that is over", async () => {
	const { asked, closed, waiting } = rig(createLongPoll);
	await pass(1);
	asked[0]?.answer(200, bytes(1));
	await pass(1);
	waiting("GET")[0]?.answer(404, "no such session");
	await pass(1);
	assert.match(closed.join(), /a poll was refused with 404: no such session/);
});
