// What a session tells of its connection.

/** A SessionEvent is something that happened to the connection. */
export type SessionEvent =
	| { readonly type: "connecting"; readonly carrier: string }
	| { readonly type: "failed"; readonly carrier: string; readonly reason: string }
	| { readonly type: "open"; readonly carrier: string; readonly node: string | undefined; readonly resuming: number }
	| { readonly type: "lost"; readonly reason: string; readonly waiting: number; readonly retryMs: number | undefined }
	| { readonly type: "goaway"; readonly carrier: string; readonly reason: string };

/** SessionEvents are the events of a session by their names. */
export type SessionEvents = { readonly [E in SessionEvent as E["type"]]: E } & {
	/** The state is another one. */
	readonly state: { readonly type: "state"; readonly state: SessionState };
};

/** A SessionState is how a session is at one moment. */
export interface SessionState {
	/**
	 * idle: nobody needs a connection. connecting: it is being made. open: calls go. waiting: until the next try. closed: by the
	 * application.
	 */
	readonly phase: "idle" | "connecting" | "open" | "waiting" | "closed";
	/** The carrier of the connection that there is. */
	readonly carrier?: string | undefined;
	/** The last round trip that was measured on it. */
	readonly roundTripMs?: number | undefined;
	/** How many connections there were after the first one. */
	readonly reconnects: number;
	/** Why the last connection was lost, or could not be made. */
	readonly reason?: string | undefined;
	/** There is no network, as far as the platform knows. */
	readonly offline: boolean;
}

/** Listenable is what has events. Listeners are called in the order in which they were added. */
export interface Listenable {
	addEventListener<K extends keyof SessionEvents>(type: K, listener: (event: SessionEvents[K]) => void): void;
	removeEventListener<K extends keyof SessionEvents>(type: K, listener: (event: SessionEvents[K]) => void): void;
}

type Listener = (event: never) => void;

/** createEmitter makes the listeners of a session. */
export function createEmitter(): Listenable & { emit(event: SessionEvents[keyof SessionEvents]): void } {
	const listeners = new Map<string, Set<Listener>>();
	return {
		addEventListener(type, listener) {
			const set = listeners.get(type) ?? new Set();
			listeners.set(type, set.add(listener));
		},
		removeEventListener(type, listener) {
			listeners.get(type)?.delete(listener);
		},
		emit(event) {
			for (const listener of [...(listeners.get(event.type) ?? [])]) {
				try {
					listener(event as never);
				} catch (err) {
					// A listener that fails is no reason to fail here: the platform reports it.
					queueMicrotask(() => {
						throw err;
					});
				}
			}
		},
	};
}
