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
	if (typeof EventTarget === "undefined") return () => {};
	const listening: [EventTarget, string, (event: Event) => void][] = [];
	const listen = (target: unknown, type: string, listener: (event: Event) => void) => {
		if (!(target instanceof EventTarget)) return;
		target.addEventListener(type, listener);
		listening.push([target, type, listener]);
	};
	const { document } = globalThis as { document?: Document };
	listen(globalThis, "online", events.wake);
	listen(globalThis, "offline", events.changed);
	if (document) {
		listen(document, "visibilitychange", () => document.visibilityState === "visible" && events.wake());
		listen(document, "resume", events.wake);
		listen(globalThis, "pagehide", (event) => events.hide((event as PageTransitionEvent).persisted === true));
		listen(globalThis, "pageshow", events.wake);
	}
	return () => {
		for (const [target, type, listener] of listening) target.removeEventListener(type, listener);
	};
}

/** isOffline says whether there is surely no network. */
export function isOffline(): boolean {
	return (globalThis as { navigator?: { onLine?: boolean } }).navigator?.onLine === false;
}
