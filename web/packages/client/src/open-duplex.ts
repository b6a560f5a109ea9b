// Streams of bytes in both directions, for pages that know nothing of gRPC.

import type { Bytes } from "./carrier.js";
import type { HttpOptions } from "./http.js";
import { messageOf } from "./message-of.js";
import type { RawStream } from "./raw.js";
import { openRawHttp } from "./raw-http.js";
import { openRawWebSocket } from "./raw-websocket.js";
import { Code, StatusError, statusOf } from "./status.js";
import type { WebSocketOptions } from "./websocket.js";

/** RawCarrier is a way for raw bytes: a WebSocket, or plain HTTP requests. */
export type RawCarrier = "websocket" | "http";

/** DuplexOptions say how a stream is opened. */
export interface DuplexOptions extends HttpOptions, Pick<WebSocketOptions, "WebSocket" | "token"> {
	/** What is tried, in this order: WebSocket, then HTTP requests, if missing. With headers it is HTTP requests only. */
	readonly carriers?: readonly RawCarrier[];
	/**
	 * Fields of the request that opens the stream. No page can give a WebSocket any; token is authorization on both.
	 */
	readonly headers?: HeadersInit;
	/** Gives the stream up, also while it is opened. */
	readonly signal?: AbortSignal;
	/** How long one way may take to open: 5000 ms if missing. */
	readonly connectMs?: number;
}

/** A Duplex is a stream of bytes in both directions. */
export interface Duplex {
	/** What comes. Who does not read slows the server down. It is errored with a StatusError unless the server ends it well. */
	readonly readable: ReadableStream<Uint8Array>;
	/** What goes. Its writer's ready and write wait for a slow server; close ends this direction only. */
	readonly writable: WritableStream<Uint8Array>;
	/** Which way it goes. */
	readonly carrier: RawCarrier;
}

/**
 * openDuplex opens a stream of bytes: to a method of google.protobuf.BytesValue or google.api.HttpBody messages at a gateway, or to a
 * Go program with package duplex. It takes what works. Cancelling readable or aborting writable gives up both directions.
 *
 *     const { readable, writable } = await openDuplex("https://api.example.com/sluice/v1/raw/shell.v1.Shell/Open");
 *     await file.stream().pipeThrough({ readable, writable }).pipeTo(sink);
 *
 * Such a stream ends with its connection: nothing numbers its bytes. A call on a session goes on.
 */
export async function openDuplex(url: string | URL, options: DuplexOptions = {}): Promise<Duplex> {
	const { carriers = options.headers ? ["http"] : ["websocket", "http"] } = options;
	if (carriers.length === 0) throw new TypeError("a duplex needs a carrier");
	if (options.headers && carriers.includes("websocket"))
		throw new TypeError("a WebSocket can't have headers: give a token");
	const endpoint = new URL(url, (globalThis as { location?: Location }).location?.href);
	const refused: string[] = [];
	let code: number = Code.unavailable;
	for (const carrier of carriers) {
		try {
			return duplexOf(await attempt(carrier, endpoint, options), carrier, options.signal);
		} catch (err) {
			if (options.signal?.aborted) throw new StatusError(statusOf(Code.cancelled, "aborted by the signal"));
			if (err instanceof StatusError) code = err.code;
			refused.push(`${carrier}: ${messageOf(err)}`);
		}
	}
	throw new StatusError(statusOf(code, refused.join("; ")));
}

/** attempt opens a stream one way, within its time. */
async function attempt(carrier: RawCarrier, endpoint: URL, options: DuplexOptions): Promise<RawStream> {
	const { connectMs = 5000, signal } = options;
	const abort = new AbortController();
	const stop = () => abort.abort(signal?.reason);
	if (signal?.aborted) stop();
	signal?.addEventListener("abort", stop, { once: true });
	const timer = setTimeout(() => abort.abort(new Error(`no answer in ${connectMs} ms (connectMs)`)), connectMs);
	try {
		if (carrier === "websocket") return await openRawWebSocket(endpoint, options, abort.signal);
		return await openRawHttp(endpoint, { ...options, fetch: withFields(options) }, abort.signal);
	} catch (err) {
		throw abort.signal.aborted ? abort.signal.reason : err;
	} finally {
		clearTimeout(timer);
		signal?.removeEventListener("abort", stop);
	}
}

/** withFields adds the fields to the GET, which opens the stream. Others have none, so that one preflight is enough for them. */
function withFields({
	fetch = globalThis.fetch.bind(globalThis),
	headers,
	token,
}: DuplexOptions): typeof globalThis.fetch {
	const all = new Headers(headers);
	if (token !== undefined && !all.has("authorization")) all.set("authorization", `Bearer ${token}`);
	return (url, init) => {
		if (init?.method !== "GET") return fetch(url, init);
		const both = new Headers(all);
		new Headers(init.headers).forEach((value, name) => both.set(name, value));
		return fetch(url, { ...init, headers: both });
	};
}

/** duplexOf makes streams of the platform, which keep nothing that was not asked for. */
function duplexOf(raw: RawStream, carrier: RawCarrier, signal: AbortSignal | undefined): Duplex {
	let down = true;
	let up = true;
	let input: ReadableStreamDefaultController<Uint8Array> | undefined;
	let output: WritableStreamDefaultController | undefined;

	const leave = () => stop(new StatusError(statusOf(Code.cancelled, "aborted by the signal")));
	const page = globalThis as Partial<EventTarget> & { document?: unknown };
	if (page.document) page.addEventListener?.("pagehide", leave);
	signal?.addEventListener("abort", leave, { once: true });
	const closed = () => {
		if (down || up) return;
		signal?.removeEventListener("abort", leave);
		if (page.document) page.removeEventListener?.("pagehide", leave);
	};
	const endDown = () => {
		down = false;
		closed();
	};
	const endUp = () => {
		up = false;
		closed();
	};

	/** stop gives up what is left of both directions. */
	const stop = (reason: unknown) => {
		raw.leave();
		if (down) input?.error(reason);
		if (up) output?.error(reason);
		endDown();
		endUp();
	};

	const readable = new ReadableStream<Uint8Array>(
		{
			start(controller) {
				input = controller;
			},
			async pull(controller) {
				try {
					const b = await raw.read();
					if (!down) return;
					if (b) return controller.enqueue(b);
					endDown();
					controller.close();
				} catch (err) {
					if (!down) return;
					endDown();
					controller.error(err);
				}
			},
			cancel: stop,
		},
		{ highWaterMark: 0 },
	);

	const writable = new WritableStream<Uint8Array>({
		start(controller) {
			output = controller;
		},
		write(chunk) {
			const b = bytesOf(chunk);
			return b.length > 0 ? raw.write(b) : undefined;
		},
		async close() {
			await raw.end();
			endUp();
		},
		abort: stop,
	});
	void raw.failed.then((err) => {
		if (up) output?.error(err);
		endUp();
	});
	return { readable, writable, carrier };
}

function bytesOf(chunk: unknown): Bytes {
	if (chunk instanceof Uint8Array) return chunk as Bytes;
	if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk);
	throw new TypeError("what is written to a duplex has to be bytes");
}
