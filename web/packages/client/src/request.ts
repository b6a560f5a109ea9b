// Requests of the gateway's REST streams by fetch, and their content, for the readers.

import { messageOf } from "./message-of.js";
import { brokeOff, StreamError } from "./stream-error.js";
import { Code } from "./status.js";

/** RequestOptions say what is asked, and how. */
export interface RequestOptions {
	/** GET if missing, or POST if there is a body. */
	readonly method?: string | undefined;
	/**
	 * What an EventSource can't send: authorization and the like. A function is asked at each connection, so that a token can be fresh.
	 * If it rejects there is no connection. That ends the stream at the first one, and later if it is a StreamError other than UNAVAILABLE.
	 */
	readonly headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>) | undefined;
	/** The request, for methods that want one. Text is JSON unless a content-type says otherwise. */
	readonly body?: BodyInit | null | undefined;
	/** Ends the stream with CANCELLED. */
	readonly signal?: AbortSignal | undefined;
	/** Whether cookies are sent to another origin, as fetch has it. */
	readonly credentials?: RequestCredentials | undefined;
	/** Instead of the platform's. */
	readonly fetch?: typeof globalThis.fetch | undefined;
	/**
	 * How long nothing may come, not even a sign of life, before the connection counts as broken: 60000 ms if missing, which is
	 * four heartbeats of the gateway. 0 is for ever.
	 */
	readonly idleMs?: number | undefined;
}

/** An Exchange is a response whose content is read as it is wanted. */
export interface Exchange {
	readonly response: Response;
	/** The content. It throws a StreamError with UNAVAILABLE if the connection breaks. */
	readonly content: AsyncIterable<Uint8Array>;
	/** close gives up what was not read. It has to be called. */
	close(): void;
}

const defaultIdleMs = 60_000;

/** exchange makes a request. The signal ends it and its content. Nothing is read but what is asked for, so a slow reader slows the server down. */
export async function exchange(
	url: string | URL,
	options: RequestOptions,
	accept: string,
	more: Readonly<Record<string, string>>,
	signal: AbortSignal,
): Promise<Exchange> {
	const { idleMs = defaultIdleMs } = options;
	const abort = new AbortController();
	const stop = () => abort.abort(signal.reason);
	if (signal.aborted) stop();
	signal.addEventListener("abort", stop, { once: true });

	/** within waits for the network, and no longer than idleMs. */
	const within = async <T>(what: string, wait: Promise<T>): Promise<T> => {
		let idle: StreamError | undefined;
		const late = () => {
			idle = new StreamError(Code.unavailable, `${what}: nothing came in ${idleMs} ms (idleMs)`);
			abort.abort(idle);
		};
		const timer = idleMs > 0 ? setTimeout(late, idleMs) : undefined;
		try {
			return await wait;
		} catch (err) {
			if (signal.aborted) throw cancelled(signal);
			throw idle ?? brokeOff(what, err);
		} finally {
			clearTimeout(timer);
		}
	};

	async function* read(body: ReadableStream<Uint8Array> | null) {
		const reader = body?.getReader();
		while (reader) {
			const part = await within("the connection broke", reader.read());
			if (part.done) return;
			yield part.value;
		}
	}

	const close = () => {
		signal.removeEventListener("abort", stop);
		abort.abort();
	};

	try {
		const send = options.fetch ?? globalThis.fetch.bind(globalThis);
		const init = await initOf(options, accept, more, abort.signal);
		const response = await within("there is no connection", send(url, init));
		return { response, content: read(response.body), close };
	} catch (err) {
		close();
		throw err;
	}
}

/** initOf makes what fetch wants. */
async function initOf(
	{ method, headers, body, credentials }: RequestOptions,
	accept: string,
	more: Readonly<Record<string, string>>,
	signal: AbortSignal,
): Promise<RequestInit> {
	const all = await headersOf(headers, signal);
	if (!all.has("accept")) all.set("accept", accept);
	if (typeof body === "string" && !all.has("content-type")) all.set("content-type", "application/json");
	for (const [name, value] of Object.entries(more)) all.set(name, value);
	const init: RequestInit & { duplex?: "half" } = {
		method: methodOf({ method, body }),
		headers: all,
		signal,
		cache: "no-store",
	};
	if (body !== undefined && body !== null) init.body = body;
	if (body instanceof ReadableStream) init.duplex = "half"; // the Fetch Standard wants it said
	if (credentials) init.credentials = credentials;
	return init;
}

/** headersOf asks for the headers. If there are none now it throws a StreamError: UNAVAILABLE, unless headers throws one of its own. */
export async function headersOf(headers: RequestOptions["headers"], signal: AbortSignal): Promise<Headers> {
	if (typeof headers !== "function") return new Headers(headers);
	if (signal.aborted) throw cancelled(signal);
	let stop = () => {};
	const aborted = new Promise<never>((_, reject) => {
		stop = () => reject(cancelled(signal));
	});
	signal.addEventListener("abort", stop);
	try {
		return new Headers(await Promise.race([aborted, headers()]));
	} catch (err) {
		throw err instanceof StreamError ? err : brokeOff("headers", err);
	} finally {
		signal.removeEventListener("abort", stop);
	}
}

/** methodOf is the method of a request: that which is given, or what goes with its body. */
export function methodOf({ method, body }: Pick<RequestOptions, "method" | "body">): string {
	return method ?? (body === undefined || body === null ? "GET" : "POST");
}

/** cancelled makes the error of a stream that its reader has ended. */
export function cancelled(signal: AbortSignal): StreamError {
	return new StreamError(Code.cancelled, "aborted by the signal", { cause: signal.reason });
}

/**
 * reading makes an iterable of what start yields. It begins when it is read for the first time; leaving a loop early ends its
 * request, also while the next message is awaited.
 */
export function reading<T>(
	start: (signal: AbortSignal) => AsyncGenerator<T, void>,
	signal: AbortSignal | undefined,
): AsyncIterableIterator<T> {
	const abort = new AbortController();
	const stop = () => abort.abort(signal?.reason);
	let left = false;
	let begun: AsyncGenerator<T, void> | undefined;
	const begin = () => {
		if (signal?.aborted) stop();
		signal?.addEventListener("abort", stop, { once: true });
		return start(abort.signal);
	};
	const over = () => signal?.removeEventListener("abort", stop);
	return {
		async next() {
			if (left) return { done: true, value: undefined };
			begun ??= begin();
			try {
				if (abort.signal.aborted) {
					await begun.return(); // for await calls no return of who has thrown
					throw cancelled(abort.signal); // also where there is more that has come
				}
				const next = await begun.next();
				if (next.done) over();
				return next.done ? { done: true, value: undefined } : next;
			} catch (err) {
				over();
				if (left) return { done: true, value: undefined };
				throw err;
			}
		},
		async return() {
			left = true;
			over();
			abort.abort();
			await begun?.return();
			return { done: true, value: undefined };
		},
		[Symbol.asyncIterator]() {
			return this;
		},
	};
}

/** parsed reads JSON, or what else a message is. */
export function parsed<T>(text: string, parse: ((text: string) => T) | undefined): T {
	try {
		return parse ? parse(text) : (JSON.parse(text) as T);
	} catch (err) {
		const why = messageOf(err);
		throw new StreamError(Code.internal, `a message can't be read: ${why}`, { cause: err });
	}
}
