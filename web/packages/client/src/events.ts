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

/** createEmitter makes the listeners of a session. One that fails is reported by the platform, and harms nobody. */
export function createEmitter(): Listenable & { emit(event: SessionEvents[keyof SessionEvents]): void } {
	const target = new EventTarget();
	const { addEventListener, removeEventListener } = target;
	return {
		addEventListener: addEventListener.bind(target) as Listenable["addEventListener"],
		removeEventListener: removeEventListener.bind(target) as Listenable["removeEventListener"],
		emit: ({ type, ...rest }) => void target.dispatchEvent(Object.assign(new Event(type), rest)),
	};
}
