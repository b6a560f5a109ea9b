// What tabs and the worker of shared-sse say to each other.

import type { RawEvent } from "./event-stream.js";
import type { Detail } from "./stream-error.js";

/** A SharedRequest is what a tab wants, as far as it can be sent. */
export interface SharedRequest {
	readonly url: string;
	readonly method?: string | undefined;
	readonly headers: readonly (readonly [string, string])[];
	readonly body?: string | undefined;
	readonly credentials?: RequestCredentials | undefined;
	readonly lastEventId?: string | undefined;
	readonly reconnect?: boolean | undefined;
	readonly retryMs?: number | undefined;
	readonly maxRetryMs?: number | undefined;
	readonly maxRetries?: number | undefined;
	readonly idleMs?: number | undefined;
	readonly maxLineBytes?: number | undefined;
	readonly maxEventBytes?: number | undefined;
	readonly failureEvent?: string | undefined;
}

/** ToWorker is what a tab says. */
export type ToWorker =
	| {
			readonly type: "open";
			/** Tabs with the same one share a connection. */
			readonly key: string;
			readonly request: SharedRequest;
			/** How many events the tab may be behind. */
			readonly maxQueuedEvents: number;
			/** A Web Lock that the tab holds as long as it lives. */
			readonly lock: string | undefined;
	  }
	/** So many events were taken. */
	| { readonly type: "taken"; readonly count: number }
	/** The answer to the worker's question. */
	| { readonly type: "headers"; readonly headers: readonly (readonly [string, string])[] }
	| { readonly type: "alive" }
	| { readonly type: "leave" };

/** ToTab is what the worker says. */
export type ToTab =
	| { readonly type: "opened" }
	| { readonly type: "event"; readonly event: RawEvent }
	| {
			readonly type: "reconnect";
			readonly code: number;
			readonly message: string;
			readonly delayMs: number;
			readonly failures: number;
			readonly lastEventId: string;
	  }
	/** The worker is about to connect, and wants fresh headers. */
	| { readonly type: "headers" }
	| { readonly type: "end" }
	| { readonly type: "error"; readonly code: number; readonly message: string; readonly details: readonly Detail[] };

/** How often a tab says that it lives, where there are no Web Locks, and how long it may be silent. Browsers slow the timers of hidden tabs to one a minute. */
export const aliveMs = 20_000;
export const silentMs = 180_000;

/** A Port is as much of a MessagePort as is needed. */
export interface Port<Out, In> {
	postMessage(message: Out): void;
	onmessage: ((event: { data: In }) => void) | null;
	close(): void;
}
