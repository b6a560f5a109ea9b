import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { ndjson } from "./ndjson.js";
import { type Reconnect, sse, type SseOptions } from "./sse.js";
import { Code } from "./status.js";
import { StreamError } from "./stream-error.js";

const turn = setImmediate; // before it is mocked

beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "Date"] }));
afterEach(() => mock.timers.reset());

/** settle lets everything happen that waits for nothing. */
const settle = async () => {
	for (let i = 0; i < 20; i++) await new Promise((resolve) => turn(resolve));
};

/** A Request is one that the gateway has got. */
interface Asked {
	readonly method: string;
	readonly headers: Headers;
	readonly init: RequestInit & { duplex?: string };
	readonly signal: AbortSignal;
	/** answer sends the head; send, end and cut are for the content. */
	answer(status?: number, headers?: Record<string, string>): Asked;
	send(text: string): Asked;
	end(): void;
	cut(): void;
	refuse(): void;
	/** How often content was asked for. */
	pulls: number;
}

/** gateway is a fetch whose requests are answered by the test. */
function gateway(type: string) {
	const asked: Asked[] = [];
	const fetch = (_: unknown, init: RequestInit = {}) =>
		new Promise<Response>((resolve, reject) => {
			let content: ReadableStreamDefaultController<Uint8Array> | undefined;
			const signal = init.signal ?? new AbortController().signal;
			const one: Asked = {
				method: init.method ?? "GET",
				headers: new Headers(init.headers),
				init,
				signal,
				pulls: 0,
				answer(status = 200, headers = {}) {
					const body = new ReadableStream<Uint8Array>(
						{
							start: (c) => {
								content = c;
							},
							pull: () => {
								one.pulls++;
							},
						},
						{ highWaterMark: 0 },
					);
					resolve(
						new Response(status === 204 ? null : body, { status, headers: { "content-type": type, ...headers } }),
					);
					return one;
				},
				send(text) {
					content?.enqueue(new TextEncoder().encode(text));
					return one;
				},
				end: () => content?.close(),
				cut: () => content?.error(new TypeError("terminated")),
				refuse: () => reject(new TypeError("fetch failed")),
			};
			signal.addEventListener("abort", () => {
				reject(signal.reason);
				content?.error(signal.reason);
			});
			asked.push(one);
		});
	const last = () => asked.at(-1) as Asked;
	return { asked, last, fetch: fetch as typeof globalThis.fetch };
}

/** collect reads on its own. */
function collect<T>(iterable: AsyncIterable<T>) {
	const state: { got: T[]; done: boolean; error: unknown } = { got: [], done: false, error: undefined };
	void (async () => {
		try {
			for await (const value of iterable) state.got.push(value);
			state.done = true;
		} catch (err) {
			state.error = err;
		}
	})();
	return state;
}

function follow(options: SseOptions<unknown> = {}) {
	const g = gateway("text/event-stream");
	const reconnects: Reconnect[] = [];
	const state = collect(sse("http://gateway/", { fetch: g.fetch, onReconnect: (r) => reconnects.push(r), ...options }));
	/** again waits as long as the reader does. */
	const again = async () => {
		await settle();
		mock.timers.tick(reconnects.at(-1)?.delayMs ?? 0);
		await settle();
	};
	return { ...g, state, reconnects, again };
}

const eos = "event: EOS\nid: EOS\ndata:\n\n";
const status = (code: number, message: string) =>
	JSON.stringify({ code, message, details: [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "WHY" }] });

function failed(err: unknown, code: number, message: RegExp): StreamError {
	assert.ok(err instanceof StreamError, String(err));
	assert.equal(err.code, code);
	assert.match(err.message, message);
	return err;
}

test("sse: messages, and an end that is no reason to come back", async () => {
	const { asked, last, state } = follow({ headers: { authorization: "Bearer abc" } });
	await settle();
	assert.equal(last().method, "GET");
	assert.equal(last().headers.get("accept"), "text/event-stream");
	assert.equal(last().headers.get("authorization"), "Bearer abc");
	assert.equal(last().headers.has("last-event-id"), false);
	last().answer().send(':\n\nid: 1\ndata: {"n":1}\n\nevent: odd\nid: 2\nda').send(`ta: 2\n\n${eos}`);
	await settle();
	assert.deepEqual(state, {
		got: [
			{ data: { n: 1 }, event: "message", id: "1" },
			{ data: 2, event: "odd", id: "2" },
		],
		done: true,
		error: undefined,
	});
	assert.ok(last().signal.aborted, "nothing is left open");
	mock.timers.tick(1e6);
	await settle();
	assert.equal(asked.length, 1);
});

test("sse: a stream that breaks goes on behind its last event", async () => {
	let token = 0;
	const { asked, last, state, reconnects, again } = follow({ headers: () => ({ authorization: `${++token}` }) });
	await settle();
	last().answer().send("id: grüße\ndata: 1\n\nid: 9\ndata: 2\n"); // inside of an event
	await settle();
	last().cut();
	await again();
	assert.equal(asked.length, 2);
	const id = last().headers.get("last-event-id") ?? "";
	assert.equal(Buffer.from(id, "latin1").toString(), "grüße");
	assert.equal(last().headers.get("authorization"), "2", "headers are asked for each connection");
	assert.equal(reconnects[0]?.reason.code, Code.unavailable);
	assert.equal(reconnects[0]?.lastEventId, "grüße");
	last().answer().send(`id: 9\ndata: 2\n\n${eos}`);
	await settle();
	assert.deepEqual(
		state.got.map((e) => e.data),
		[1, 2],
	);
	assert.ok(state.done);
});

test("sse: an end without its mark, and no connection at all, are losses", async () => {
	const { asked, last, state, again } = follow();
	await settle();
	last().answer().send("id: 1\ndata: 1\n\n").end();
	await again();
	last().refuse();
	await again();
	last().answer(503);
	last().send("no backend").end();
	await again();
	assert.equal(asked.length, 4);
	assert.equal(last().headers.get("last-event-id"), "1");
	last().answer().send(eos);
	await settle();
	assert.ok(state.done);
});

test("sse: a failure that would happen again is an error with code and details", async () => {
	for (const code of [Code.invalidArgument, Code.unavailable]) {
		const { asked, last, state } = follow();
		await settle();
		last()
			.answer()
			.send(`id: 1\ndata: 1\n\nevent: failure\ndata: ${status(code, "as asked")}\n\n${eos}`);
		await settle();
		const err = failed(state.error, code, /as asked/);
		assert.deepEqual(err.details, [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "WHY" }]);
		assert.equal(asked.length, 1);
		assert.equal(state.got.length, 1);
	}
});

test("sse: a failure that would happen again, and then a cut", async () => {
	const { asked, last, state } = follow();
	await settle();
	last()
		.answer()
		.send(`event: failure\ndata: ${status(Code.notFound, "gone")}\n\n`);
	await settle();
	last().cut();
	await settle();
	failed(state.error, Code.notFound, /gone/);
	assert.equal(asked.length, 1);
});

test("sse: a failure that may pass is waited for as long as the server says", async () => {
	const { asked, last, reconnects, again } = follow();
	await settle();
	last()
		.answer()
		.send(`id: 4\ndata: 1\n\nevent: failure\nretry: 7000\ndata: ${status(14, "restarting")}\n\n`)
		.end();
	await settle();
	const { delayMs, reason } = reconnects[0] as Reconnect;
	assert.ok(delayMs >= 7000 && delayMs <= 10_500, `${delayMs}`);
	failed(reason, Code.unavailable, /restarting/);
	mock.timers.tick(delayMs - 1);
	await settle();
	assert.equal(asked.length, 1);
	mock.timers.tick(1);
	await again();
	assert.equal(last().headers.get("last-event-id"), "4");
});

test("sse: pauses double while nothing comes, within their limit, and differ", async () => {
	const { last, reconnects, again } = follow({ retryMs: 100, maxRetryMs: 1000 });
	await settle();
	for (let i = 0; i < 8; i++) {
		last().refuse();
		await again();
	}
	for (const [i, { delayMs, failures }] of reconnects.entries()) {
		const least = Math.min(1000, 100 * 2 ** i);
		assert.equal(failures, i + 1);
		assert.ok(delayMs >= least && delayMs <= 1.5 * least, `${i}: ${delayMs}`);
	}
	assert.ok(new Set(reconnects.slice(4).map((r) => r.delayMs)).size > 1, "they are not all the same");
	last().answer().send("data: 1\n\n");
	await settle();
	last().cut();
	await again();
	assert.equal(reconnects.at(-1)?.failures, 1, "an event makes good for them");
});

test("sse: a server can't ask for more than maxRetryMs", async () => {
	const { last, reconnects } = follow({ maxRetryMs: 5000 });
	await settle();
	last().answer().send("retry: 999999999\n\n").end();
	await settle();
	assert.ok((reconnects[0]?.delayMs ?? 1e9) <= 7500);
});

test("sse: retry-after", async () => {
	const { last, reconnects } = follow();
	await settle();
	last().answer(429, { "retry-after": "20", "content-type": "application/json" });
	last().send(status(Code.resourceExhausted, "slow down")).end();
	await settle();
	assert.ok((reconnects[0]?.delayMs ?? 0) >= 20_000);
});

test("sse: maxRetries", async () => {
	const { last, state, again } = follow({ maxRetries: 2 });
	await settle();
	last().answer().send("id: 1\ndata: 1\n\n").end();
	await again();
	last().refuse();
	await again();
	assert.equal(state.error, undefined);
	last().refuse();
	await settle();
	failed(state.error, Code.unavailable, /fetch failed/);
});

test("sse: what may do something twice is not sent again", async () => {
	const { asked, last, state } = follow({ body: '{"count":3}' });
	await settle();
	assert.equal(last().method, "POST");
	assert.equal(last().headers.get("content-type"), "application/json");
	last().answer().send("id: 1\ndata: 1\n\n").end();
	await settle();
	failed(state.error, Code.unavailable, /the response ended, and the stream did not/);
	assert.equal(asked.length, 1);

	const willing = follow({ body: '{"count":3}', reconnect: true });
	await settle();
	willing.last().answer().cut();
	await willing.again();
	assert.equal(willing.asked.length, 2);
	const stream = follow({ body: new ReadableStream(), reconnect: true });
	await settle();
	assert.ok(stream.state.error instanceof TypeError);
});

test("sse: 204 is an end", async () => {
	const { last, state } = follow({ lastEventId: "EOS" });
	await settle();
	assert.equal(last().headers.get("last-event-id"), "EOS");
	last().answer(204);
	await settle();
	assert.ok(state.done);
});

test("sse: answers that are errors", async () => {
	const google = { error: { code: 404, message: "no item", status: "NOT_FOUND", details: [] } };
	const problem = { type: "about:blank", title: "NOT_FOUND", status: 404, detail: "no item", code: 5, details: [] };
	const answers: [number, string, Record<string, string>][] = [
		[404, status(Code.notFound, "no item"), {}],
		[404, JSON.stringify(google), {}],
		[404, JSON.stringify(problem), {}],
		[404, "", { "grpc-status": "5", "grpc-message": "no%20item" }],
	];
	for (const [code, body, headers] of answers) {
		const { last, state } = follow();
		await settle();
		last().answer(code, headers).send(body).end();
		await settle();
		failed(state.error, Code.notFound, /no item/);
	}
	const { last, state } = follow();
	await settle();
	last().answer(403).send("<html>no</html>").end();
	await settle();
	failed(state.error, Code.permissionDenied, /403: <html>no/);
	const other = follow();
	await settle();
	other.last().answer(200, { "content-type": "text/html" });
	await settle();
	failed(other.state.error, Code.internal, /text\/html, and not text\/event-stream/);
});

test("sse: a connection on which nothing comes is a broken one; signs of life count", async () => {
	const { asked, last, again } = follow({ idleMs: 1000 });
	await settle();
	last().answer();
	for (let i = 0; i < 5; i++) {
		await settle();
		mock.timers.tick(900);
		last().send(":\n\n");
	}
	await settle();
	assert.equal(asked.length, 1);
	mock.timers.tick(1000);
	await again();
	assert.ok(asked[0]?.signal.aborted);
	assert.equal(asked.length, 2);
	mock.timers.tick(1000); // no head either
	await again();
	assert.equal(asked.length, 3);
});

test("sse: the signal ends it, whatever it waits for", async () => {
	const reason = new Error("enough");
	for (const until of ["head", "content", "pause"]) {
		const abort = new AbortController();
		const { last, state } = follow({ signal: abort.signal });
		await settle();
		if (until !== "head") last().answer().send("data: 1\n\n");
		await settle();
		if (until === "pause") last().cut();
		await settle();
		abort.abort(reason);
		await settle();
		assert.equal(failed(state.error, Code.cancelled, /aborted by the signal/).cause, reason, until);
		assert.ok(last().signal.aborted);
	}
	const { asked, state } = follow({ signal: AbortSignal.abort() });
	await settle();
	failed(state.error, Code.cancelled, /aborted/);
	assert.equal(asked.length, 0);
});

test("sse: headers that can't be had are waited for, but not at first", async () => {
	const refused = () => Promise.reject(new TypeError("no token"));
	const first = follow({ headers: refused });
	await settle();
	failed(first.state.error, Code.unavailable, /headers: no token/);
	assert.deepEqual([first.asked.length, first.reconnects.length], [0, 0]);

	let headers: () => Promise<HeadersInit> = async () => ({ authorization: "first" });
	const later = follow({ headers: () => headers() });
	await settle();
	later.last().answer().send("id: 1\ndata: 1\n\n").end();
	await settle();
	headers = refused;
	await later.again();
	assert.deepEqual([later.state.error, later.asked.length, later.reconnects.length], [undefined, 1, 2]);
	failed(later.reconnects[1]?.reason, Code.unavailable, /headers: no token/);
	headers = async () => ({ authorization: "second" });
	await later.again();
	assert.equal(later.last().headers.get("authorization"), "second");
	assert.equal(later.last().headers.get("last-event-id"), "1");
	later.last().answer().send(eos);
	await settle();
	assert.equal(later.state.done, true);

	const signedOut = follow({ headers: () => headers() });
	await settle();
	signedOut.last().refuse();
	headers = () => Promise.reject(new StreamError(Code.unauthenticated, "signed out"));
	await settle();
	await signedOut.again();
	failed(signedOut.state.error, Code.unauthenticated, /signed out/);
});

test("sse: the signal and leaving don't wait for headers", async () => {
	const never = () => new Promise<never>(() => {});
	const abort = new AbortController();
	const { state, asked } = follow({ headers: never, signal: abort.signal });
	await settle();
	abort.abort();
	await settle();
	failed(state.error, Code.cancelled, /aborted/);
	const reader = sse("http://gateway/", { headers: never });
	const next = reader.next();
	await settle();
	await reader.return?.();
	assert.equal((await next).done, true);
	assert.equal(asked.length, 0);
});

test("sse: leaving the loop ends the request, also while a message is awaited", async () => {
	const g = gateway("text/event-stream");
	const reader = sse("http://gateway/", { fetch: g.fetch });
	const first = reader.next();
	await settle();
	g.last().answer().send("data: 1\n\ndata: 2\n\n");
	assert.equal((await first).value?.data, 1);
	await reader.return?.();
	assert.ok(g.last().signal.aborted);
	assert.equal((await reader.next()).done, true);

	const waiting = sse("http://gateway/", { fetch: g.fetch });
	const next = waiting.next();
	await settle();
	g.last().answer();
	await settle();
	await waiting.return?.();
	assert.equal((await next).done, true);
	assert.ok(g.last().signal.aborted);
});

test("sse: who does not read does not pull", async () => {
	const g = gateway("text/event-stream");
	const reader = sse("http://gateway/", { fetch: g.fetch });
	const first = reader.next();
	await settle();
	g.last().answer();
	await settle();
	assert.equal(g.last().pulls, 1);
	g.last().send("data: 1\n\ndata: 2\n\n");
	await first;
	await reader.next();
	await settle();
	assert.equal(g.last().pulls, 1, "nothing is asked for before both are taken");
	void reader.next().catch(() => {});
	await settle();
	assert.equal(g.last().pulls, 2);
});

test("sse: messages that can't be read, and messages that are not JSON", async () => {
	const { last, state } = follow();
	await settle();
	last().answer().send("data: {\n\n");
	await settle();
	failed(state.error, Code.internal, /can't be read/);
	const text = follow({ parse: (data) => data });
	await settle();
	text.last().answer().send(`data: {\n\n${eos}`);
	await settle();
	assert.deepEqual(
		text.state.got.map((e) => e.data),
		["{"],
	);
});

test("sse: limits end the stream, and it does not come back", async () => {
	const { asked, last, state } = follow({ maxLineBytes: 20 });
	await settle();
	last()
		.answer()
		.send(`data: ${"x".repeat(20)}`);
	await settle();
	failed(state.error, Code.resourceExhausted, /maxLineBytes/);
	mock.timers.tick(1e6);
	assert.equal(asked.length, 1);
});

function lines(options: Parameters<typeof ndjson>[1] = {}) {
	const g = gateway("application/x-ndjson");
	return { ...g, state: collect(ndjson("http://gateway/", { fetch: g.fetch, ...options })) };
}

test("ndjson: messages, signs of life, and a whole response", async () => {
	const { last, state } = lines({ headers: { "x-a": "1" } });
	await settle();
	assert.equal(last().headers.get("accept"), "application/x-ndjson");
	assert.equal(last().headers.get("x-a"), "1");
	last().answer().send('\n{"n":1}\n\r\n \n{"n"').send(":2}\r\n\n").end();
	await settle();
	assert.deepEqual(state, { got: [{ n: 1 }, { n: 2 }], done: true, error: undefined });
});

test("ndjson: a failure, an end inside a line and a cut are no good ends", async () => {
	const marked = lines();
	await settle();
	marked
		.last()
		.answer()
		.send(`{"n":1}\n{"@error":${status(3, "as asked")}}\n`)
		.end();
	await settle();
	assert.equal(failed(marked.state.error, Code.invalidArgument, /as asked/).details[0]?.reason, "WHY");
	assert.equal(marked.state.got.length, 1);

	const short = lines();
	await settle();
	short.last().answer().send('{"n":1}\n{"n":2}').end();
	await settle();
	failed(short.state.error, Code.unavailable, /the last line has no end/);
	assert.equal(short.state.got.length, 1);

	const cut = lines();
	await settle();
	cut.last().answer().send('{"n":1}\n');
	await settle();
	cut.last().cut();
	await settle();
	failed(cut.state.error, Code.unavailable, /the connection broke: terminated/);
	assert.equal(cut.state.got.length, 1);
	assert.equal(cut.asked.length, 1);
});

test("ndjson: errors before the first line", async () => {
	const refused = lines();
	await settle();
	refused.last().answer(400).send(status(3, "query")).end();
	await settle();
	failed(refused.state.error, Code.invalidArgument, /query/);
	const other = lines();
	await settle();
	other.last().answer(200, { "content-type": "application/json" });
	await settle();
	failed(other.state.error, Code.internal, /application\/json, and not application\/x-ndjson/);
	const none = lines();
	await settle();
	none.last().refuse();
	await settle();
	failed(none.state.error, Code.unavailable, /there is no connection/);
});

test("ndjson: headers that can't be had", async () => {
	const { asked, fetch } = gateway("application/x-ndjson");
	const state = collect(ndjson("http://gateway/", { fetch, headers: () => Promise.reject(new TypeError("no token")) }));
	await settle();
	failed(state.error, Code.unavailable, /headers: no token/);
	assert.equal(asked.length, 0);
});

test("ndjson: a body that streams", async () => {
	const { last } = lines({ body: new ReadableStream() });
	await settle();
	assert.equal(last().method, "POST");
	assert.equal(last().init.duplex, "half");
});

test("ndjson: limits", async () => {
	const { last, state } = lines({ maxLineBytes: 8 });
	await settle();
	last().answer().send('{"n":12}\n{"n":123}\n');
	await settle();
	assert.equal(state.got.length, 1);
	failed(state.error, Code.resourceExhausted, /maxLineBytes/);
});
