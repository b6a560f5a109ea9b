// What the platform knows of the network and of the page.

/** NetworkEvents are what happens to both. */
export interface NetworkEvents {
	/** The network may be there again, or the page was asleep: look whether connections live. */
	wake(): void;
	/** The platform has another opinion on whether there is a network. */
	changed(): void;
	/** The page goes away. It may come back, with all that it has, if it is kept. */
	hide(kept: boolean): void;
}

/** watchNetwork returns a function that stops it. */
export function watchNetwork(events: NetworkEvents): () => void {
	const stop = new AbortController();
	const listen = (target: EventTarget | undefined, type: string, listener: (event: Event) => void) =>
		target?.addEventListener?.(type, listener, { signal: stop.signal });
	const { document } = globalThis as { document?: Document };
	listen(globalThis, "online", events.wake);
	listen(globalThis, "offline", events.changed);
	listen(document, "visibilitychange", () => document?.visibilityState === "visible" && events.wake());
	listen(document, "resume", events.wake);
	listen(globalThis, "pagehide", (event) => events.hide((event as PageTransitionEvent).persisted));
	listen(globalThis, "pageshow", events.wake);
	return () => stop.abort();
}

/** isOffline says whether there is surely no network. */
export function isOffline(): boolean {
	return (globalThis as { navigator?: { onLine?: boolean } }).navigator?.onLine === false;
}
