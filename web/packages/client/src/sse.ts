// Server-Sent Events by fetch, as the gateway sends them: docs/protocols/rest-streams.md.

import { createEventParser, type EventLimits, type RawEvent } from "./event-stream.js";
import {
	cancelled,
	type Exchange,
	exchange,
	headersOf,
	methodOf,
	parsed,
	reading,
	type RequestOptions,
} from "./request.js";
import { Code } from "./status.js";
import { errorOfResponse, errorOfStatus, StreamError } from "./stream-error.js";

/** A ServerEvent is a message with what stands beside it. */
export interface ServerEvent<T> {
	readonly data: T;
	/** Its name, "message" if the server gives none. */
	readonly event: string;
	/** The id of this event, or the last one before it: what lastEventId is to continue behind it. */
	readonly id: string;
}

/** A Reconnect says why a stream connects again, and when. */
export interface Reconnect {
	readonly reason: StreamError;
	readonly delayMs: number;
	/** How many connections have brought no event since one did. */
	readonly failures: number;
	readonly lastEventId: string;
}

/** EventOptions say what is read, and what happens when the connection is lost. */
export interface EventOptions extends RequestOptions, EventLimits {
	/** The id of the event behind which the stream begins. */
	readonly lastEventId?: string | undefined;
	/** Whether a lost connection is made again: if missing, for GET only, since other requests may do something twice. */
	readonly reconnect?: boolean | undefined;
	/** The pause before another connection, until the server says what it is: 1000 ms if missing. It doubles with each failure. */
	readonly retryMs?: number | undefined;
	/** The longest pause, whatever the server says: 60000 ms if missing. Up to a half of it may come on top, at random. */
	readonly maxRetryMs?: number | undefined;
	/** How many connections in a row may bring no event: without end if missing. Then the stream ends with UNAVAILABLE. */
	readonly maxRetries?: number | undefined;
	/** Told before each pause. */
	readonly onReconnect?: ((reconnect: Reconnect) => void) | undefined;
	/** The name of the event that tells of a failure: "failure" if missing. It is the gateway's option rest.sse_failure. */
	readonly failureEvent?: string | undefined;
}

/** SseOptions are those of sse. */
export interface SseOptions<T> extends EventOptions {
	/** What makes a message of an event's data: JSON.parse if missing. */
	readonly parse?: ((data: string) => T) | undefined;
}

/**
 * sse reads a stream of events. When the connection is lost it comes back, with the id of the last event, until the server says that
 * the stream has ended. It throws a StreamError if the server says that the call has failed for good. Leaving the loop early
 * cancels the call.
 *
 *     for await (const { data, id } of sse<Tick>("https://api.example.com/v1/ticker", { headers: { authorization } })) show(data.number);
 */
export function sse<T = unknown>(
	url: string | URL,
	options: SseOptions<T> = {},
): AsyncIterableIterator<ServerEvent<T>> {
	return reading(async function* (signal) {
		for await (const { event, data, id } of readEvents(url, options, signal)) {
			yield { data: parsed(data, options.parse), event, id };
		}
	}, options.signal);
}

/** readEvents yields events as they came, without those that tell how the stream ends. */
export async function* readEvents(
	url: string | URL,
	options: EventOptions,
	signal: AbortSignal,
): AsyncGenerator<RawEvent, void> {
	const { maxRetryMs = 60_000, maxRetries = Number.POSITIVE_INFINITY, failureEvent = "failure" } = options;
	const again = options.reconnect ?? methodOf(options).toUpperCase() === "GET";
	if (again && options.body instanceof ReadableStream)
		throw new TypeError("a stream can't be sent again: give reconnect: false");
	let lastEventId = options.lastEventId ?? "";
	let retryMs = options.retryMs ?? 1000;
	let failures = 0;
	// Who has no headers at first may never have them. Later it is one of the reasons why there is no connection.
	let asked: Headers | undefined = await headersOf(options.headers, signal);
	for (;;) {
		let lost: Lost | undefined;
		let failure: StreamError | undefined;
		let mayPass = false;
		let opened: Exchange | undefined;
		try {
			const headers = asked ?? (await headersOf(options.headers, signal));
			asked = undefined;
			const more: Record<string, string> = lastEventId === "" ? {} : { "last-event-id": latin1(lastEventId) };
			opened = await exchange(url, { ...options, headers }, "text/event-stream", more, signal);
			const { response, content } = opened;
			if (response.status === 204) return; // HTML, section 9.2.3: it does not want us back
			await check(response);
			const parser = createEventParser(lastEventId, options);
			for await (const b of content) {
				for (const raw of parser.feed(b)) {
					if (raw.event === "EOS" && raw.id === "EOS") {
						if (failure) throw failure;
						return;
					}
					lastEventId = parser.lastEventId;
					if (raw.event === failureEvent) {
						failure = errorOfStatus(statusOf(raw.data));
						mayPass = raw.retry !== undefined || failure.code === Code.unavailable;
						continue;
					}
					failures = 0;
					yield raw;
				}
				lastEventId = parser.lastEventId;
				retryMs = parser.retry ?? retryMs;
			}
			if (failure && !mayPass) throw failure;
			lost = new Lost(failure ?? new StreamError(Code.unavailable, "the response ended, and the stream did not"));
		} catch (err) {
			const broke = err instanceof StreamError && err.code === Code.unavailable && err !== failure;
			if (broke && failure && !mayPass) throw failure; // what was to follow it is lost, and would change nothing
			if (broke) lost = new Lost(failure ?? err);
			else if (err instanceof Lost) lost = err;
			else throw err;
		} finally {
			opened?.close();
		}
		failures++;
		if (!again || failures > maxRetries) throw lost.reason;
		const wait = Math.max(lost.afterMs, retryMs * 2 ** Math.min(failures - 1, 20));
		// Those that were cut off together must not come back together, nor sooner than the server asked.
		const delayMs = Math.round(Math.min(wait, maxRetryMs) * (1 + Math.random() / 2));
		options.onReconnect?.({ reason: lost.reason, delayMs, failures, lastEventId });
		await pause(delayMs, signal);
	}
}

/** Lost is a connection that may be made again. */
class Lost extends Error {
	readonly reason: StreamError;
	readonly afterMs: number;

	constructor(reason: StreamError, afterMs = 0) {
		super(reason.message);
		this.reason = reason;
		this.afterMs = afterMs;
	}
}

/** check throws unless the response is a stream of events. */
async function check(response: Response): Promise<void> {
	const type = response.headers.get("content-type") ?? "";
	if (response.status === 200 && /^text\/event-stream\s*(;|$)/i.test(type)) return;
	if (response.ok) {
		const what = `the answer is ${response.status}, ${type || "of no type"}, and not text/event-stream`;
		throw new StreamError(Code.internal, what);
	}
	const failure = await errorOfResponse(response);
	const after = response.headers.get("retry-after"); // RFC 9110, section 10.2.3
	if (after === null) throw failure;
	const ms = /^\d{1,9}$/.test(after) ? Number(after) * 1000 : Date.parse(after) - Date.now();
	throw new Lost(failure, Math.max(0, ms || 0));
}

function statusOf(data: string): unknown {
	try {
		return JSON.parse(data);
	} catch {
		return data;
	}
}

/** latin1 has a character for each byte of UTF-8, as a field of fetch wants it (HTML, section 9.2.3). */
function latin1(text: string): string {
	return Array.from(new TextEncoder().encode(text), (n) => String.fromCharCode(n)).join("");
}

/** pause waits, or no longer than until there is a network again. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
	return new Promise((resolve, reject) => {
		const { addEventListener, removeEventListener } = globalThis as Partial<typeof globalThis>;
		const done = () => {
			clearTimeout(timer);
			signal.removeEventListener("abort", done);
			removeEventListener?.call(globalThis, "online", done);
			if (signal.aborted) reject(cancelled(signal));
			else resolve();
		};
		const timer = setTimeout(done, Math.min(ms, 2 ** 31 - 1));
		signal.addEventListener("abort", done);
		addEventListener?.call(globalThis, "online", done);
		if (signal.aborted) done();
	});
}
