// What the worker of shared-sse does: one connection for all tabs that want the same, which ends with the last of them.

import type { RawEvent } from "./event-stream.js";
import { readEvents, type Reconnect } from "./sse.js";
import { type Port, type SharedRequest, silentMs, type ToTab, type ToWorker } from "./shared-protocol.js";
import { Code } from "./status.js";
import { StreamError } from "./stream-error.js";

/** A Tab is one that reads. */
interface Tab {
	readonly port: Port<ToTab, ToWorker>;
	readonly maxQueuedEvents: number;
	queued: number;
	headers: ((headers: SharedRequest["headers"]) => void) | undefined;
	silent: ReturnType<typeof setTimeout> | undefined;
}

/** A Feed is one connection with its tabs. */
interface Feed {
	readonly tabs: Set<Tab>;
	readonly abort: AbortController;
	/** Wakes who waits for a tab that has room. */
	wake: (() => void) | undefined;
}

/** HubOptions are for tests. */
export interface HubOptions {
	readonly fetch?: typeof globalThis.fetch;
	readonly locks?: Pick<LockManager, "request"> | undefined;
}

/** How long a tab may take to answer what its headers are, before another one is asked. */
const headersMs = 2000;

/** createHub returns what takes the ports of tabs. */
export function createHub({ fetch, locks }: HubOptions = {}): (port: Port<ToTab, ToWorker>) => void {
	const feeds = new Map<string, Feed>();

	const leave = (key: string, feed: Feed, tab: Tab) => {
		clearTimeout(tab.silent);
		if (!feed.tabs.delete(tab)) return;
		tab.headers?.([]);
		tab.port.close();
		feed.wake?.();
		if (feed.tabs.size > 0) return;
		feeds.delete(key);
		feed.abort.abort();
	};

	/** tell says one thing to all. */
	const tell = (feed: Feed, message: ToTab) => {
		for (const tab of feed.tabs) tab.port.postMessage(message);
	};

	const end = (key: string, feed: Feed, message: ToTab) => {
		if (feeds.get(key) === feed) feeds.delete(key);
		tell(feed, message);
		for (const tab of [...feed.tabs]) leave(key, feed, tab);
	};

	/** give gives an event to all tabs. It waits while all of them are behind; one that only others don't wait for is given up. */
	const give = async (key: string, feed: Feed, event: RawEvent) => {
		const full = (tab: Tab) => tab.queued >= tab.maxQueuedEvents;
		while (feed.tabs.size > 0 && [...feed.tabs].every(full)) {
			await new Promise<void>((resolve) => {
				feed.wake = resolve;
			});
		}
		for (const tab of [...feed.tabs]) {
			if (!full(tab)) {
				tab.queued++;
				tab.port.postMessage({ type: "event", event });
				continue;
			}
			const message = `this tab is more than ${tab.maxQueuedEvents} events behind others that share its connection (maxQueuedEvents)`;
			tab.port.postMessage({ type: "error", code: Code.resourceExhausted, message, details: [] });
			leave(key, feed, tab);
		}
	};

	/** headersOf asks a tab, so that tokens are fresh. */
	const headersOf = async (feed: Feed): Promise<Headers> => {
		for (const tab of [...feed.tabs]) {
			const answer = await new Promise<SharedRequest["headers"] | undefined>((resolve) => {
				const timer = setTimeout(() => resolve(undefined), headersMs);
				tab.headers = (headers) => {
					clearTimeout(timer);
					resolve(headers);
				};
				tab.port.postMessage({ type: "headers" });
			});
			tab.headers = undefined;
			if (answer && feed.tabs.has(tab))
				return new Headers(answer.map(([name, value]): [string, string] => [name, value]));
		}
		throw new StreamError(Code.unavailable, "no tab says what the headers are");
	};

	const run = async (key: string, feed: Feed, request: SharedRequest) => {
		const { url, headers, ...rest } = request;
		let first: Headers | undefined = new Headers(headers.map(([name, value]): [string, string] => [name, value]));
		const fresh = () => {
			const now = first;
			first = undefined;
			return now ?? headersOf(feed);
		};
		try {
			const options = {
				...rest,
				fetch,
				headers: fresh,
				onReconnect: ({ reason, ...more }: Reconnect) =>
					tell(feed, { type: "reconnect", code: reason.code, message: reason.status.message, ...more }),
			};
			for await (const event of readEvents(url, options, feed.abort.signal)) await give(key, feed, event);
			end(key, feed, { type: "end" });
		} catch (err) {
			const failure = err instanceof StreamError ? err : new StreamError(Code.unknown, String(err));
			end(key, feed, { type: "error", code: failure.code, message: failure.status.message, details: failure.details });
		}
	};

	return (port) => {
		let place: { key: string; feed: Feed; tab: Tab; locked: boolean } | undefined;
		/** heard gives a tab that has no lock more time. */
		const heard = () => {
			if (!place || place.locked) return;
			const { key, feed, tab } = place;
			clearTimeout(tab.silent);
			if (!feed.tabs.has(tab)) return;
			tab.silent = setTimeout(() => {
				const message = `the tab was silent for ${silentMs} ms`;
				port.postMessage({ type: "error", code: Code.unavailable, message, details: [] });
				leave(key, feed, tab);
			}, silentMs);
		};
		const open = ({ key, request, maxQueuedEvents, lock }: Extract<ToWorker, { type: "open" }>) => {
			const tab: Tab = { port, maxQueuedEvents, queued: 0, headers: undefined, silent: undefined };
			let feed = feeds.get(key);
			const begins = !feed;
			feed ??= { tabs: new Set(), abort: new AbortController(), wake: undefined };
			feed.tabs.add(tab);
			feeds.set(key, feed);
			feed.wake?.(); // it has room
			port.postMessage({ type: "opened" });
			const joined = feed;
			const locked = lock !== undefined && locks !== undefined;
			place = { key, feed, tab, locked };
			// The lock is ours when the tab is gone, however it went.
			if (locked) void locks.request(lock, () => leave(key, joined, tab));
			heard();
			if (begins) void run(key, feed, request);
		};
		port.onmessage = ({ data }) => {
			heard();
			switch (data.type) {
				case "open":
					if (!place) open(data);
					break;
				case "taken":
					if (!place) break;
					place.tab.queued -= data.count;
					place.feed.wake?.();
					break;
				case "headers":
					place?.tab.headers?.(data.headers);
					break;
				case "leave":
					if (place) leave(place.key, place.feed, place.tab);
					break;
				case "alive":
					break;
			}
		};
	};
}
