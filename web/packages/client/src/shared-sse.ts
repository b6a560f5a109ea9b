// Server-Sent Events on one connection for all tabs of an origin. Over HTTP/1.1 a browser makes six connections to a host, for all of them
// together: a seventh tab with a stream of its own would wait for ever.

import type { RawEvent } from "./event-stream.js";
import { cancelled, headersOf, parsed, reading } from "./request.js";
import { aliveMs, type Port, type SharedRequest, type ToTab, type ToWorker } from "./shared-protocol.js";
import { readEvents, type ServerEvent, type SseOptions } from "./sse.js";
import { Code } from "./status.js";
import { StreamError } from "./stream-error.js";

/** SharedSseOptions are those of sharedSse. */
export interface SharedSseOptions<T> extends Omit<SseOptions<T>, "body" | "fetch"> {
	/** Only text can be sent to the worker. */
	readonly body?: string | undefined;
	/**
	 * What tells that two tabs want the same. If missing it is the request with all its headers, so that tabs of two users share nothing;
	 * where each tab has a token of its own, give it a name of the user.
	 */
	readonly shareKey?: string | undefined;
	/** How many events a tab may be behind the fastest: 1000 if missing. One that is further behind ends with RESOURCE_EXHAUSTED. */
	readonly maxQueuedEvents?: number | undefined;
	/** Starts the worker, if a bundler or a policy wants another URL than sse-worker.js beside this module. */
	readonly worker?: (() => SharedWorker) | undefined;
	/** How long the worker may take to start before the tab has a connection of its own: 5000 ms if missing. */
	readonly workerMs?: number | undefined;
}

/**
 * sharedSse is sse on a connection that all tabs of this origin share that ask for the same. Who comes later gets what comes from then
 * on. The last one that leaves closes it. Where there is no SharedWorker the connection is the tab's own.
 *
 *     for await (const { data } of sharedSse<News>("/v1/news")) show(data);
 */
export function sharedSse<T = unknown>(
	url: string | URL,
	options: SharedSseOptions<T> = {},
): AsyncIterableIterator<ServerEvent<T>> {
	return reading(async function* (signal) {
		const from = (await subscribe(url, options, signal)) ?? readEvents(url, options, signal);
		for await (const { event, data, id } of from) yield { data: parsed(data, options.parse), event, id };
	}, options.signal);
}

/** subscribe joins at the worker. It resolves with nothing if there is none. */
async function subscribe<T>(
	url: string | URL,
	options: SharedSseOptions<T>,
	signal: AbortSignal,
): Promise<AsyncGenerator<RawEvent, void> | undefined> {
	if (typeof SharedWorker === "undefined") return undefined;
	const { shareKey, maxQueuedEvents = 1000, workerMs = 5000 } = options;
	const request = requestOf(url, options, await listOf(options.headers, signal));
	const key = shareKey === undefined ? JSON.stringify(request) : `${request.url} ${shareKey}`;
	const lock = await hold(signal);
	const worker = start(options.worker);
	if (!worker) {
		lock?.release();
		return undefined;
	}
	const port = worker.port as unknown as Port<ToWorker, ToTab>;
	const queue: RawEvent[] = [];
	let opened: (yes: boolean) => void = () => {};
	let last: { readonly error?: StreamError } | undefined; // how it ended
	let wake: (() => void) | undefined;

	const finish = (error?: StreamError) => {
		last ??= error ? { error } : {};
		wake?.();
	};
	port.onmessage = ({ data }) => {
		switch (data.type) {
			case "opened":
				return opened(true);
			case "event":
				queue.push(data.event);
				return wake?.();
			case "headers":
				void listOf(options.headers, signal).then(
					(headers) => port.postMessage({ type: "headers", headers }),
					() => {}, // another tab is asked
				);
				return;
			case "reconnect": {
				const { delayMs, failures, lastEventId } = data;
				return options.onReconnect?.({
					reason: new StreamError(data.code, data.message),
					delayMs,
					failures,
					lastEventId,
				});
			}
			case "end":
				return finish();
			case "error":
				return finish(new StreamError(data.code, data.message, { details: data.details }));
		}
	};
	const began = new Promise<boolean>((resolve) => {
		opened = resolve;
		worker.addEventListener("error", () => resolve(false)); // its script can't be loaded
		setTimeout(() => resolve(false), workerMs);
	});
	port.postMessage({ type: "open", key, request, maxQueuedEvents, lock: lock?.name });
	if (!(await began)) {
		port.postMessage({ type: "leave" });
		port.close();
		lock?.release();
		return undefined;
	}

	/** A page that is put aside can't read; it is told when it comes back. */
	const aside = () => {
		port.postMessage({ type: "leave" });
		finish(new StreamError(Code.unavailable, "the page was put aside, and has missed events"));
	};
	const aborted = () => finish(cancelled(signal));
	const alive = lock === undefined ? setInterval(() => port.postMessage({ type: "alive" }), aliveMs) : undefined;
	addEventListener("pagehide", aside);
	signal.addEventListener("abort", aborted);
	if (signal.aborted) aborted();
	return (async function* () {
		try {
			for (;;) {
				while (queue.length === 0 && !last) {
					await new Promise<void>((resolve) => {
						wake = resolve;
					});
				}
				const event = queue.shift();
				if (event) {
					yield event;
					port.postMessage({ type: "taken", count: 1 });
				} else if (last?.error) throw last.error;
				else return;
			}
		} finally {
			clearInterval(alive);
			removeEventListener("pagehide", aside);
			signal.removeEventListener("abort", aborted);
			port.postMessage({ type: "leave" });
			port.close();
			lock?.release();
		}
	})();
}

function start(create: (() => SharedWorker) | undefined): SharedWorker | undefined {
	try {
		const worker = create
			? create()
			: new SharedWorker(new URL("./sse-worker.js", import.meta.url), { type: "module", name: "sluice-sse" });
		worker.port.start();
		return worker;
	} catch {
		return undefined; // a policy forbids it
	}
}

/** A Lock is one that the worker waits for. */
interface Lock {
	readonly name: string;
	release(): void;
}

/** hold holds a lock until it is released, or until the signal or the end of the page. Without TLS there are none. */
function hold(signal: AbortSignal): Promise<Lock | undefined> {
	const locks = (globalThis.navigator as Partial<Navigator> | undefined)?.locks;
	if (!locks) return Promise.resolve(undefined);
	const name = `sluice-sse ${crypto.randomUUID()}`;
	return new Promise((resolve) => {
		const held = locks.request(
			name,
			() =>
				new Promise<void>((release) => {
					resolve({ name, release });
					if (signal.aborted) release();
					signal.addEventListener("abort", () => release(), { once: true });
				}),
		);
		held.catch(() => resolve(undefined));
	});
}

/** listOf asks for the headers, as they can be sent. */
async function listOf(headers: SharedSseOptions<unknown>["headers"], signal: AbortSignal): Promise<[string, string][]> {
	const all: [string, string][] = [];
	(await headersOf(headers, signal)).forEach((value, name) => all.push([name, value]));
	return all;
}

/** requestOf takes what can be sent. */
function requestOf<T>(
	url: string | URL,
	options: SharedSseOptions<T>,
	headers: SharedRequest["headers"],
): SharedRequest {
	const { method, body, credentials, lastEventId, reconnect, retryMs, maxRetryMs, maxRetries, idleMs } = options;
	const { maxLineBytes, maxEventBytes, failureEvent } = options;
	const rest = { method, body, credentials, lastEventId, reconnect, retryMs, maxRetryMs, maxRetries, idleMs };
	return { url: new URL(url, location.href).href, headers, ...rest, maxLineBytes, maxEventBytes, failureEvent };
}
